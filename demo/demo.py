"""The main job on real data: rehearse a digits classifier with three silent faults, then train it and its repaired twin.

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
    say("A digits classifier that trains to a believable accuracy (demo/digits.py):")
    faulty = train("digits.py")
    say("What `recipe check demo/digits.py` finds in it:")
    found = check("digits.py")
    say("The repaired twin (demo/digits_repaired.py):")
    healthy = train("digits_repaired.py")
    clean = check("digits_repaired.py")
    say(f"Validation accuracy: {faulty:.1%} with the faults, {healthy:.1%} after the repair.")
    ok = found == 1 and clean == 0 and healthy > faulty
    if not ok:
        print(f"The demo did not go as it should (exit codes {found} and {clean}, expected 1 and 0).", file=sys.stderr)
    return 0 if ok else 1


def say(text: str) -> None:
    print(f"\n=== {text}\n", flush=True)


def train(script: str) -> float:
    done = subprocess.run([sys.executable, HERE / script], check=True, capture_output=True, text=True)
    print(done.stdout, flush=True)
    return float(re.findall(r"accuracy ([\d.]+)%", done.stdout)[-1]) / 100


def check(script: str) -> int:
    return subprocess.run([sys.executable, "-m", "trainrecipe", "check", str(HERE / script)]).returncode


if __name__ == "__main__":
    sys.exit(main())
