"""Which planted faults are found, which healthy programs are silent, and how long it takes: a table over gallery and zoo.

    python benchmarks/detection.py                # writes benchmarks/detection.md and prints the summary
    python benchmarks/detection.py --seed 1
    python benchmarks/detection.py --peers        # other tools on the same programs too, which takes hours (see peers.py)

Found: the fault's own check is among the findings. First: it is the headline. Alarm: a finding of severity warning or
error on a healthy program.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import peers

from trainrecipe import testing
from trainrecipe.finding import Severity

ROOT = Path(__file__).resolve().parent.parent
REPEATED = {"irreproducible"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", nargs="*", choices=list(peers.PEERS), help="also these tools; all of them, if none is named")
    parser.add_argument("--peer-seconds", type=float, default=peers.SECONDS, help="time limit for one tool on one program")
    parser.add_argument("--answers", type=Path, help="a file that keeps the answers of the tools, so that a sweep can go on")
    options = parser.parse_args()
    asked = [] if options.peers is None else peers.preload(peers.PEERS[name] for name in options.peers or peers.PEERS)
    testing.preload()
    faulty = sorted((ROOT / "gallery").glob("*/faulty*.py"))
    healthy = sorted((ROOT / "gallery").glob("*/healthy*.py"))
    zoo = sorted(p for p in (ROOT / "zoo").glob("*.py") if not p.stem.endswith("_parts"))
    scripts = [*faulty, *healthy, *zoo]
    rows = [row(path, options.seed) for path in scripts]
    text, short = table(rows), summary(rows)
    if options.peers is not None:
        answers = list(peers.sweep(asked, scripts, options.peer_seconds, options.answers))
        compared = comparison(rows, answers)
        short += "\n\n" + compared
        text += "\n## Peers\n\n" + compared + "\n\n" + "\n".join(peers.details(answers)) + "\n"
    (ROOT / "benchmarks" / "detection.md").write_text(text)
    print(short)


def row(path: Path, seed: int) -> dict[str, object]:
    suspect = path.parent.name
    seen = testing.observe(str(path), rehearsal=suspect not in peers.WHOLE_RUN, twice=suspect in REPEATED, seed_offset=seed)
    findings = seen.record.findings
    named = [f.check for f in findings]
    beneath = [g.check for f in findings for g in f.related]
    loud = [f.check for f in findings if f.counts(Severity.WARNING)]
    result: dict[str, object] = {"script": str(path.relative_to(ROOT)), "seconds": seen.seconds, "loud": loud}
    if path.name.startswith("faulty"):
        result |= {"found": suspect in named + beneath, "first": bool(named) and named[0] == suspect}
    print(result, flush=True)
    return result


def summary(rows: list[dict[str, object]]) -> str:
    planted = [r for r in rows if "found" in r]
    twins = [r for r in rows if "found" not in r and str(r["script"]).startswith("gallery")]
    zoo = [r for r in rows if str(r["script"]).startswith("zoo")]
    seconds = [float(str(r["seconds"])) for r in rows]
    return "\n".join(
        [
            "| programs | number | result |",
            "|---|---|---|",
            f"| planted faults found | {len(planted)} | {sum(bool(r['found']) for r in planted)} |",
            f"| planted fault is the headline | {len(planted)} | {sum(bool(r['first']) for r in planted)} |",
            f"| healthy twins with an alarm | {len(twins)} | {sum(bool(r['loud']) for r in twins)} |",
            f"| zoo programs with an alarm | {len(zoo)} | {sum(bool(r['loud']) for r in zoo)} |",
            f"| seconds per program (median, largest) | {len(rows)} | {statistics.median(seconds):.1f}, {max(seconds):.1f} |",
        ]
    )


def comparison(rows: list[dict[str, object]], answers: Sequence[peers.Answer]) -> str:
    """Our row beside those of the peers."""
    planted = [r for r in rows if "found" in r]
    twins = [r for r in rows if "found" not in r and str(r["script"]).startswith("gallery")]
    zoo = [r for r in rows if str(r["script"]).startswith("zoo")]
    alarmed = [sum(bool(r["loud"]) for r in part) for part in (planted, twins, zoo)]
    seconds = statistics.median(float(str(r["seconds"])) for r in rows)
    return "\n".join(
        [
            f"| tool | alarm on one of {len(planted)} faults | fault named right | alarm on a healthy twin | on a zoo program "
            "| cannot run | median seconds |",
            "|---|---|---|---|---|---|---|",
            f"| trainrecipe | {alarmed[0]} | {sum(bool(r['found']) for r in planted)} | {alarmed[1]} of {len(twins)} "
            f"| {alarmed[2]} of {len(zoo)} | 0 of {len(rows)} | {seconds:.1f} |",
            *peers.summary(answers),
            "",
            peers.EXPLAINED,
        ]
    )


def table(rows: list[dict[str, object]]) -> str:
    lines = ["# Detection over gallery and zoo", "", "Written by `benchmarks/detection.py`.", "", summary(rows), ""]
    lines += ["| program | found | headline | alarms | seconds |", "|---|---|---|---|---|"]
    for r in rows:
        found = {True: "yes", False: "**no**"}.get(r.get("found"), "")  # type: ignore[call-overload]
        first = {True: "yes", False: "no"}.get(r.get("first"), "")  # type: ignore[call-overload]
        alarms = "" if "found" in r else ", ".join(r["loud"])  # type: ignore[arg-type]
        lines.append(f"| {r['script']} | {found} | {first} | {alarms} | {float(str(r['seconds'])):.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
