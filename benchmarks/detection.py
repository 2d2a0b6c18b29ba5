"""Which planted faults are found, which healthy programs are silent, and how long it takes: a table over gallery and zoo.

    python benchmarks/detection.py                # writes benchmarks/detection.md and prints the summary
    python benchmarks/detection.py --seeds 0 1 2  # each program under three seeds
    python benchmarks/detection.py --peers        # other tools on the same programs too, which takes hours (see peers.py)

Found: the fault's own check is among the findings. First: it is the headline. Alarm: a finding of severity warning or
error on a healthy program.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import peers

from trainrecipe import testing
from trainrecipe.finding import Severity

ROOT = Path(__file__).resolve().parent.parent


@dataclasses.dataclass
class Row:
    """What trainrecipe said of one program, under every seed. `found` and `first` count seeds; `loud` holds each alarm once."""

    script: str
    seeds: int
    seconds: float
    loud: list[str]
    found: int = 0
    first: int = 0

    @property
    def planted(self) -> bool:
        """Whether the program has a fault."""
        return "/faulty" in self.script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="added to every seed that a program sets")
    parser.add_argument("--workers", type=int, default=2, help="programs at a time; 1 where their seconds matter")
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
    with ThreadPoolExecutor(options.workers) as pool:
        rows = list(pool.map(lambda path: row(path, options.seeds), scripts))
    text, short = table(rows), summary(rows)
    if options.peers is not None:
        answers = list(peers.sweep(asked, scripts, options.peer_seconds, options.answers))
        compared = comparison(rows, answers)
        short += "\n\n" + compared
        text += "\n## Peers\n\n" + compared + "\n\n" + "\n".join(peers.details(answers)) + "\n"
    (ROOT / "benchmarks" / "detection.md").write_text(text)
    print(short)


def row(path: Path, seeds: Sequence[int]) -> Row:
    suspect = path.parent.name
    result, seconds = Row(str(path.relative_to(ROOT)), len(seeds), 0.0, []), []
    for seed in seeds:
        seen = testing.observe(str(path), seed_offset=seed, **testing.way_of(str(path)))
        findings = seen.record.findings
        seconds.append(seen.seconds)
        result.found += any(f.check == suspect or any(g.check == suspect for g in f.related) for f in findings)
        result.first += bool(findings) and findings[0].check == suspect
        result.loud += [f.check for f in findings if f.counts(Severity.WARNING) and f.check not in result.loud]
    result.seconds = statistics.median(seconds)
    print(result, flush=True)
    return result


def parts(rows: Sequence[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """Planted faults, their healthy twins, and the zoo."""
    zoo = [r for r in rows if r.script.startswith("zoo")]
    return [r for r in rows if r.planted], [r for r in rows if not r.planted and r not in zoo], zoo


def summary(rows: Sequence[Row]) -> str:
    planted, twins, zoo = parts(rows)
    seconds = [r.seconds for r in rows]
    return "\n".join(
        [
            f"| programs, each under {rows[0].seeds} seed{'s' * (rows[0].seeds > 1)} | number | result |",
            "|---|---|---|",
            f"| planted faults found under every seed | {len(planted)} | {sum(r.found == r.seeds for r in planted)} |",
            f"| planted fault is the headline under every seed | {len(planted)} | {sum(r.first == r.seeds for r in planted)} |",
            f"| healthy twins with an alarm under any seed | {len(twins)} | {sum(bool(r.loud) for r in twins)} |",
            f"| zoo programs with an alarm under any seed | {len(zoo)} | {sum(bool(r.loud) for r in zoo)} |",
            f"| seconds per program (median, largest) | {len(rows)} | {statistics.median(seconds):.1f}, {max(seconds):.1f} |",
        ]
    )


def comparison(rows: Sequence[Row], answers: Sequence[peers.Answer]) -> str:
    """Our row beside those of the peers."""
    planted, twins, zoo = parts(rows)
    alarmed = [sum(bool(r.loud) for r in part) for part in (planted, twins, zoo)]
    named, seconds = sum(r.found == r.seeds for r in planted), statistics.median(r.seconds for r in rows)
    return "\n".join(
        [
            f"| tool | alarm on one of {len(planted)} faults | fault named right | alarm on a healthy twin | on a zoo program "
            "| cannot run | median seconds |",
            "|---|---|---|---|---|---|---|",
            f"| trainrecipe | {alarmed[0]} | {named} | {alarmed[1]} of {len(twins)} "
            f"| {alarmed[2]} of {len(zoo)} | 0 of {len(rows)} | {seconds:.1f} |",
            *peers.summary(answers),
            "",
            peers.EXPLAINED,
        ]
    )


def table(rows: Sequence[Row]) -> str:
    lines = ["# Detection over gallery and zoo", "", "Written by `benchmarks/detection.py`.", "", summary(rows), ""]
    lines += ["| program | found | headline | alarms | seconds |", "|---|---|---|---|---|"]
    for r in rows:
        found, first = (_share(n, r.seeds) if r.planted else "" for n in (r.found, r.first))
        lines.append(f"| {r.script} | {found} | {first} | {'' if r.planted else ', '.join(r.loud)} | {r.seconds:.1f} |")
    return "\n".join(lines) + "\n"


def _share(number: int, seeds: int) -> str:
    return "yes" if number == seeds else f"**{number} of {seeds}**" if number else "**no**"


if __name__ == "__main__":
    main()
