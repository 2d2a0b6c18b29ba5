"""The main job on real data: look at the digits, rehearse a classifier with three silent faults, then train its repaired twin.

python demo/demo.py
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Show the faulty program, what is found in it, and what repairing it is worth."""
    say("What `recipe data demo/digits.py` says of its data:")
    studied = recipe("data", "digits.py")
    say("A digits classifier that trains to a believable accuracy (demo/digits.py):")
    faulty = train("digits.py")
    say("What `recipe check demo/digits.py` finds in it:")
    found = recipe("check", "digits.py")
    say("The repaired twin (demo/digits_repaired.py):")
    healthy = train("digits_repaired.py")
    clean = recipe("check", "digits_repaired.py")
    say(f"Validation accuracy: {faulty:.1%} with the faults, {healthy:.1%} after the repair.")
    ok = studied == 0 and found == 1 and clean == 0 and healthy > faulty
    if not ok:
        codes = f"{studied}, {found} and {clean}, expected 0, 1 and 0"
        print(f"The demo did not go as it should (exit codes {codes}).", file=sys.stderr)
    say(f"Look at the digits yourself, and label some: {Path(sys.executable).parent / 'recipe'} view")
    return 0 if ok else 1


def say(text: str) -> None:
    print(f"\n=== {text}\n", flush=True)


def train(script: str) -> float:
    done = subprocess.run([sys.executable, HERE / script], check=True, capture_output=True, text=True)
    print(done.stdout, flush=True)
    return float(re.findall(r"accuracy ([\d.]+)%", done.stdout)[-1]) / 100


def recipe(command: str, script: str) -> int:
    return subprocess.run([sys.executable, "-m", "trainrecipe", command, str(HERE / script)]).returncode


if __name__ == "__main__":
    sys.exit(main())
