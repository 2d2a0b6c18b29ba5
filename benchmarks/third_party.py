"""Other people's libraries, used as their documentation says: nothing may be reported on them, and nothing may crash.

    pip install stable-baselines3 gymnasium torchdiffeq x-transformers pytorch-metric-learning gpytorch pyro-ppl normflows \\
        torch-geometric vector-quantize-pytorch pytorch-tabnet sbi pykeen neuralforecast
    python benchmarks/third_party.py               # writes benchmarks/third_party.md and prints it
    python benchmarks/third_party.py --data        # with `recipe data` instead; printed only
    python benchmarks/third_party.py sb3_ppo       # only this program, with what was found

Each program in `third_party/` names the packages it needs; those that are not installed are left out and told.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent
SECONDS = 600
"""Time limit for one program."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What `recipe check`, or `recipe data`, said of one program."""

    name: str
    status: str
    seen: str
    findings: list[dict[str, Any]]
    failed: list[str]
    seconds: float

    @property
    def loud(self) -> list[str]:
        """Findings above a note."""
        return [f"{f['severity']} {f['check']}" for f in self.findings if f["severity"] != "note"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", help="only these")
    parser.add_argument("--data", action="store_true", help="ask `recipe data`")
    options = parser.parse_args()
    answers, lacking = [], []
    for path in sorted((HERE / "third_party").glob("*.py")):
        if options.programs and path.stem not in options.programs:
            continue
        missing = [name for name in needs(path) if importlib.util.find_spec(name) is None]
        if missing:
            lacking.append(f"{path.stem} (needs {', '.join(missing)})")
            continue
        answers.append(ask(path, "data" if options.data else "check"))
        print(answers[-1].name, answers[-1].status, *answers[-1].loud, f"{answers[-1].seconds:.0f} s", flush=True)
        for f in answers[-1].findings if options.programs else ():
            print("   ", f["severity"], f["check"], f["place"] and f"{f['place']['file']}:{f['place']['line']}", f["says"])
    text = table(answers, lacking)
    if not options.programs and not options.data:
        (HERE / "third_party.md").write_text(text)
    print(text)


def needs(path: Path) -> list[str]:
    """The packages that a program names in a comment below its title."""
    line = next(line for line in path.read_text().splitlines() if line.startswith("# needs: "))
    return line.removeprefix("# needs: ").split()


def ask(path: Path, command: str) -> Answer:
    """Ask about one program, in an empty folder."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="trainrecipe-third-") as folder:
        out = Path(folder, "out.json")
        words = ["check", str(path), "--once"] if command == "check" else ["data", str(path)]
        call = [sys.executable, "-m", "trainrecipe", *words, "--format", "json", "-o", str(out)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            subprocess.run(call, cwd=folder, timeout=SECONDS, check=False, **quiet)
        except subprocess.TimeoutExpired:
            return Answer(path.stem, "over time", "", [], [], time.perf_counter() - started)
        found = json.loads(out.read_text())
    failed = [s["check"] for s in found["skipped"] if "itself failed" in s["why"]]
    seen = found["facts"].get("seen", "")
    return Answer(path.stem, found["status"], seen, found["findings"], failed, time.perf_counter() - started)


def table(answers: list[Answer], lacking: list[str]) -> str:
    lines = ["# Other people's libraries", "", "Written by `benchmarks/third_party.py`.", ""]
    lines += [
        "| program | status | seen | warnings and errors | notes | checks that failed | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for a in answers:
        notes = ", ".join(f["check"] for f in a.findings if f["severity"] == "note")
        row = [a.name, a.status, a.seen, ", ".join(a.loud), notes, ", ".join(a.failed), f"{a.seconds:.0f}"]
        lines.append("| " + " | ".join(row) + " |")
    lines += ["", f"Of {len(answers)} programs {sum(bool(a.loud) for a in answers)} got an alarm."]
    if lacking:
        lines += ["", "Left out: " + "; ".join(lacking) + "."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
