"""Plants faults automatically into healthy programs and counts how many are named: recall per operator.

    python benchmarks/mutation.py                     # a sample of 6 programs per operator; writes benchmarks/mutation.md
    python benchmarks/mutation.py --each 0            # every program that an operator fits, which takes hours
    python benchmarks/mutation.py --operators drop-eval flip-loss
    python benchmarks/mutation.py --pairs 40          # 40 programs with two faults each; writes benchmarks/mutation_pairs.md
    python benchmarks/mutation.py --show drop-eval zoo/batchnorm_cnn.py     # print the mutant

The programs are the zoo and the healthy halves of the gallery, so that what is found does not depend on specimens made by
hand. A mutant that crashes, or that trains to the same weights and prints the same, has no silent fault and is left out,
except for operators that are meant to leave results as they are. Named: a check that names the planted fault is among the
findings; at the top: it is the first or the second. Alarm: any finding of severity warning or error.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import os
import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from operators import OPERATORS, Operator

from trainrecipe import testing
from trainrecipe.check import built_in
from trainrecipe.finding import Severity

ROOT = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one mutant. `fate`: crashes, same, lost, alarm (something else is said), named, top."""

    operator: str
    script: str
    fate: str
    said: tuple[str, ...] = ()
    seconds: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=6, help="programs per operator, drawn with a fixed seed; 0: all")
    parser.add_argument("--operators", nargs="+", choices=[o.name for o in OPERATORS], help="only these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=0, help="plant two faults at once, into this many programs")
    parser.add_argument("--show", nargs=2, metavar=("OPERATOR", "SCRIPT"), help="print a mutant and stop")
    options = parser.parse_args()
    if options.show:
        operator = next(o for o in OPERATORS if o.name == options.show[0])
        print(mutant(operator, Path(options.show[1])) or "the operator finds no place in this script")
        return
    testing.preload()
    chosen = [o for o in OPERATORS if not options.operators or o.name in options.operators]
    if options.pairs:
        text = table_of_pairs(list(sweep_pairs(chosen, options.pairs, options.workers)))
    else:
        text = table(chosen, list(sweep(jobs(chosen, options.each), options.workers)))
    if not options.operators:
        (ROOT / "benchmarks" / ("mutation_pairs.md" if options.pairs else "mutation.md")).write_text(text)
    print(text)


def programs() -> list[Path]:
    """The zoo and the healthy halves of the gallery."""
    zoo = [p for p in (ROOT / "zoo").glob("*.py") if not p.stem.endswith("_parts")]
    return sorted([*zoo, *(ROOT / "gallery").glob("*/healthy*.py")])


def mutant(operator: Operator, path: Path) -> str:
    """The script with the fault in it; empty where the operator finds no place."""
    tree = ast.parse(path.read_text())
    if not operator.plant(tree):
        return ""
    return ast.unparse(ast.fix_missing_locations(tree))


Job = tuple[Operator, Path, str]


def jobs(operators: Sequence[Operator], each: int) -> Iterator[Job]:
    """Every operator on a sample of the programs that it fits."""
    for operator in operators:
        fitting = [(operator, p, text) for p in programs() if (text := mutant(operator, p))]
        random.Random(operator.name).shuffle(fitting)
        yield from fitting[: each or None]


def sweep(given: Iterable[Job], workers: int) -> Iterator[Outcome]:
    """Judge mutants, several at a time."""
    with tempfile.TemporaryDirectory(prefix="trainrecipe-mutants-") as folder, ThreadPoolExecutor(workers) as pool:
        for outcome in pool.map(lambda job: judge(*job, Path(folder)), given):
            print(f"{outcome.operator:32} {outcome.script:60} {outcome.fate:8} {', '.join(outcome.said)}", flush=True)
            yield outcome


def sweep_pairs(operators: Sequence[Operator], number: int, workers: int) -> Iterator[tuple[Outcome, frozenset[str]]]:
    """Programs in which two operators that no check names together each plant a fault, and what names the second.

    Only such pairs are counted of which each is named when it is planted alone: what a second fault does to it is asked here.
    """
    chance, given = random.Random(0), programs()
    sure = [o for o in operators if not o.twice]
    found = 0
    while found < number:
        made: list[tuple[Job, Job, Job, frozenset[str]]] = []
        while len(made) < 2 * workers:
            first, second = chance.sample(sure, 2)
            path = chance.choice(given)
            tree = ast.parse(path.read_text())
            alone = mutant(second, path)
            if not first.named_by & second.named_by and alone and first.plant(tree) and second.plant(tree):
                both = dataclasses.replace(first, name=f"{first.name} + {second.name}", silent=False)
                text = ast.unparse(ast.fix_missing_locations(tree))
                made.append(((first, path, mutant(first, path)), (second, path, alone), (both, path, text), second.named_by))
        one = list(sweep([m[0] for m in made], workers))
        kept = [m for m, outcome in zip(made, one, strict=True) if outcome.fate in ("named", "top")]
        two = list(sweep([m[1] for m in kept], workers))
        kept = [m for m, outcome in zip(kept, two, strict=True) if outcome.fate in ("named", "top")]
        kept = kept[: number - found]
        found += len(kept)
        yield from zip(sweep([m[2] for m in kept], workers), [m[3] for m in kept], strict=True)


def judge(operator: Operator, path: Path, text: str, folder: Path) -> Outcome:
    """Run one mutant bare, to see whether anything changes, and then under observation."""
    started = time.perf_counter()
    name = str(path.relative_to(ROOT))
    own = folder / f"{operator.name}-{name.replace('/', '-').removesuffix('.py')}"
    own.mkdir()
    script = own / path.name
    script.write_text(text)
    for beside in path.parent.iterdir():  # parts and data files that the script reads
        if beside.is_file() and beside.name.startswith(path.stem + "_"):
            (own / beside.name).write_bytes(beside.read_bytes())
    if not operator.silent:
        after, before = testing.final(str(script), observed=False), testing.final(str(path), observed=False)
        if after.code != before.code:
            return Outcome(operator.name, name, "crashes")
        if (after.weights, after.output) == (before.weights, before.output):
            return Outcome(operator.name, name, "same")
    seen = testing.observe(str(script), twice=operator.twice)
    if seen.record.status not in ("rehearsed", "finished"):
        return Outcome(operator.name, name, "crashes")
    findings = seen.record.findings
    families = [{f.check, *(g.check for g in f.related)} for f in findings]
    said = tuple("/".join([f.check, *(g.check for g in f.related)]) for f in findings)
    top = any(named & operator.named_by for named in families[:2])
    named = any(named & operator.named_by for named in families)
    alarm = any(f.counts(Severity.WARNING) for f in findings)
    fate = "top" if top else "named" if named else "alarm" if alarm else "lost"
    return Outcome(operator.name, name, fate, said, time.perf_counter() - started)


def table(operators: Sequence[Operator], outcomes: Sequence[Outcome]) -> str:
    lines = [
        "# Recall on faults that are planted automatically",
        "",
        "Written by `benchmarks/mutation.py`.",
        "",
        "| operator | faulty mutants | named first or second | named | another alarm | nothing | no fault (same, crashes) |",
        "|---|---|---|---|---|---|---|",
    ]
    known = {c.id for c in built_in()}
    total = [0] * 5
    for operator in operators:
        fates = [o.fate for o in outcomes if o.operator == operator.name]
        same, crashed = fates.count("same"), fates.count("crashes")
        top, alarm, lost = fates.count("top"), fates.count("alarm"), fates.count("lost")
        faulty = len(fates) - same - crashed
        named = faulty - alarm - lost
        total = [a + b for a, b in zip(total, (faulty, top, named, alarm, lost), strict=True)]
        mark = "" if operator.named_by & known else " (no check for it)"
        lines.append(f"| {operator.name}{mark} | {faulty} | {top} | {named} | {alarm} | {lost} | {same}, {crashed} |")
    lines.append("| **all** | " + " | ".join(str(n) for n in total) + " | |")
    missed = [o for o in outcomes if o.fate in ("lost", "alarm")]
    lines += ["", "## Not named", ""] + [f"- {o.operator}, {o.script}: {', '.join(o.said) or 'nothing'}" for o in missed]
    return "\n".join(lines) + "\n"


def table_of_pairs(outcomes: Sequence[tuple[Outcome, frozenset[str]]]) -> str:
    """How often both of two planted faults are named."""
    lines = ["# Recall on programs with two planted faults", "", "Written by `benchmarks/mutation.py --pairs`.", ""]
    lines += ["Each of the two is named when it is planted alone.", ""]
    faulty = [(o, named) for o, named in outcomes if o.fate not in ("same", "crashes")]
    counts = {"both": 0, "first only": 0, "second only": 0, "none": 0}
    rows = []
    for outcome, second in faulty:
        one = outcome.fate in ("top", "named")
        two = any(set(said.split("/")) & second for said in outcome.said)
        fate = "both" if one and two else "first only" if one else "second only" if two else "none"
        counts[fate] += 1
        rows.append(f"| {outcome.operator} | {outcome.script} | {fate} | {', '.join(outcome.said) or 'nothing'} |")
    lines += [f"Of {len(faulty)} programs: " + ", ".join(f"{k} named {v}" for k, v in counts.items()) + ".", ""]
    return "\n".join([*lines, "| operators | program | named | said |", "|---|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    main()
