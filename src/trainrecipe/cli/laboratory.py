"""What the commands that make experiments have in common: plan, progress, journal."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from trainrecipe import progress
from trainrecipe.cli.output import console
from trainrecipe.cli.watched import must_exist
from trainrecipe.journal.events import EventLog
from trainrecipe.lab.changes import applied
from trainrecipe.lab.experiment import Experiment, Result
from trainrecipe.lab.pool import Pool

if TYPE_CHECKING:
    from rich.table import Table

    from trainrecipe.picture import Picture

FOLDER = "lab"
"""Beside the runs: one file for each experiment that was made."""


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the person asked for. `seconds` is the longest that one training may take (0: no limit)."""

    script: str
    args: tuple[str, ...]
    module: bool
    seeds: int
    metric: str
    workers: int
    seconds: float
    plan: bool

    @property
    def baseline(self) -> Experiment:
        """The script as it is."""
        return Experiment(self.script, self.args, module=self.module)


def regularized(wish: Wish, changes: Sequence[str], curve: bool) -> int:
    """Run stage 4 and show what it found. Raises WrongUse for wrong changes, and where the script fails."""
    from trainrecipe.stages.regularize import DEFAULT, planned, regularize
    from trainrecipe.view import changes as view

    wanted = tuple(changes) or DEFAULT
    question = f"Does any of {len(wanted)} changes help {wish.script} beyond what chance does?"
    with _laboratory(wish, "regularize", wanted) as lab:
        if not lab.planned(question, planned(wanted, wish.seeds, curve), wanted):
            return 0
        report = regularize(
            lab.run, wish.baseline, changes=wanted, seeds=wish.seeds, metric=wish.metric, curve=curve, tell=lab.say
        )
        told = [view.baseline(report.comparison), *view.sentences(report)]
        lab.show(question, told, view.table(report.comparison), view.pictures(report))
    return 0


def overfitted(wish: Wish) -> int:
    """Run stage 3 and show what it found. Raises WrongUse where the script fails."""
    from trainrecipe.stages.overfit import CHANGES, overfit
    from trainrecipe.view import changes as view

    question = f"Can the training loss of {wish.script} be driven down, and do its own choices help?"
    with _laboratory(wish, "overfit", CHANGES) as lab:
        if not lab.planned(question, wish.seeds * (2 + len(CHANGES)), CHANGES):
            return 0
        report = overfit(lab.run, wish.baseline, seeds=wish.seeds, tell=lab.say)
        told = [view.baseline(report.comparison), *view.overfitting(report)]
        lab.show(question, told, view.table(report.comparison), view.effects(report.comparison))
    return 0


def tuned(wish: Wish, knobs: Sequence[str], trials: int) -> int:
    """Run stage 5 and show what it found. Raises WrongUse for wrong ranges, and where the script fails."""
    from trainrecipe.stages.tune import parse, tune
    from trainrecipe.view import changes as view

    space = [parse(text) for text in knobs]
    tried = tuple(f"{r.name}={r.values[0] if r.values else int(r.low) if r.whole else r.low}" for r in space)
    question = f"Which values of {', '.join(r.name for r in space) or 'nothing'} are best for {wish.script}?"
    with _laboratory(wish, "tune", tried) as lab:
        if not lab.planned(question, 1 + trials + wish.seeds * 4, knobs):
            return 0
        report = tune(
            lab.run,
            wish.baseline,
            space,
            trials=trials,
            at_once=lab.workers,
            seeds=wish.seeds,
            metric=wish.metric,
            tell=lab.say,
        )
        table = view.table(report.confirmed) if report.confirmed is not None else None
        lab.show(question, list(view.tuning(report)), table, view.search(report, space))
    return 0


class _Laboratory:
    """Makes experiments, and tells how far it is."""

    def __init__(self, wish: Wish, pool: Pool, log: EventLog) -> None:
        self._wish, self._pool, self._log = wish, pool, log
        self._doing = ""
        self.workers = pool.workers

    def planned(self, question: str, number: int, changes: Sequence[str]) -> bool:
        """Say the question and what its answer costs, from one training of the script as it is. Whether to go on."""
        (first,) = self.run([self._wish.baseline])
        cost = f"{number} trainings of {first.seconds:.1f} s, {self.workers} at once: {self.cost(number, first.seconds)}"
        print(f"{question}\n{cost}")
        if self._wish.plan:
            print("\n".join(f"  {change}" for change in changes))
        return not self._wish.plan

    def show(self, question: str, told: Sequence[str], table: Table | None, pictures: Iterable[Picture]) -> None:
        """Print what was found, and record it."""
        progress.show()
        out = console()
        out.print()
        out.print(told[0], highlight=False, markup=False)
        if table is not None:
            out.print(table)
        for line in told[1:]:
            out.print(line, highlight=False, markup=False)
        self._log.append("summary", facts={"question": question})
        for line in told:
            self._log.append("message", level="info", text=line)
        for picture in pictures:
            self._log.append("picture", picture=picture.to_json())

    def say(self, text: str) -> None:
        """What comes now."""
        self._doing = text

    def run(self, experiments: Sequence[Experiment]) -> Iterable[Result]:
        """Their results, each told to the journal when it is new."""
        known = self._pool.kept.all(experiments)
        began, total = time.perf_counter(), len(experiments)
        for number, result in enumerate(self._pool.run(experiments, known), 1):
            if result.experiment not in known:
                self._log.append("experiment", experiment=dataclasses.asdict(result.experiment), status=result.status)
            new = number - len(known)
            left = (time.perf_counter() - began) / new * (total - number) if new > 0 else 0.0
            told = f"{self._doing}: " if self._doing else ""
            progress.show(f"{told}{number} of {total}, {result.experiment.named}" + (f", {left:.0f} s left" if left else ""))
            yield result
        progress.show()

    def cost(self, number: int, seconds: float) -> str:
        """How long so many trainings take, in words."""
        whole = seconds * -(-number // self.workers)
        if whole < 120:
            return f"about {whole:.0f} s"
        return f"about {whole / 60:.0f} min" if whole < 7200 else f"about {whole / 3600:.1f} h"


@contextlib.contextmanager
def _laboratory(wish: Wish, command: str, changes: Sequence[str]) -> Iterator[_Laboratory]:
    """A pool of processes and the log of a run; whatever ends it, the log says so. Raises WrongUse for wrong changes."""
    from trainrecipe.journal.code import keep
    from trainrecipe.journal.snapshot import environment
    from trainrecipe.journal.store import Journal

    must_exist(wish.script, wish.module)
    for change in changes:
        applied([change], wish.script, wish.module)
    log = Journal.at().new_run(command=command, script=wish.script, args=wish.args, environment=environment())
    keep(log.path.parent, wish.script, wish.module)
    if log.notice:
        print(f"recipe: {log.notice}", file=sys.stderr)
    folder = log.path.parent.parent.parent / FOLDER
    began, status, code = time.perf_counter(), "failed", 2
    try:
        with Pool(folder, workers=wish.workers, seconds=wish.seconds) as pool:
            yield _Laboratory(wish, pool, log)
        status, code = "finished", 0
    except KeyboardInterrupt:
        status, code = "interrupted", 130
        progress.show()
        print("recipe: interrupted; what was made is kept, and the same command goes on from it", file=sys.stderr)
        raise
    finally:
        log.append("ended", status=status, exit_code=code, seconds=round(time.perf_counter() - began, 3))
        log.close()
