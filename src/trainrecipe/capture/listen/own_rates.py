"""Learning rates that a script sets by hand, step by step, as they were seen: a schedule without a scheduler."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from trainrecipe.capture.listen.loops import tree_of
from trainrecipe.capture.listen.planned_rates import POINTS, measure
from trainrecipe.capture.unused import user_files
from trainrecipe.capture.where import place
from trainrecipe.finding import Place
from trainrecipe.subjects.run import Optimizer, Run, Scheduler

VARIES = 0.01
"""Relative change below which a rate counts as constant."""
FEWEST = 20
"""Steps below which nothing is said of a schedule."""


def fill(run: Run) -> None:
    """Write `run.own_rates`: the rates of each optimiser that varied though no scheduler was built on it."""
    driven = {s.optimizer for s in (*run.schedulers, *run.idle_schedulers)}
    for optimizer in run.optimizers:
        rates = optimizer.rates
        if optimizer.number in driven or len(rates) < FEWEST or max(rates) - min(rates) <= VARIES * max(rates):
            continue
        positions = _positions(run, optimizer)
        if positions is not None:
            run.own_rates.append(_record(run, optimizer, positions))


def _positions(run: Run, optimizer: Optimizer) -> list[float] | None:
    """The number that each step has in the run as it would be with no batch left out; None where that cannot be told."""
    passes = [p for p in run.passes if p.trains]
    if not any(p.cut for p in passes):
        return [float(i) for i in range(len(optimizer.rates))]
    if sum(p.batches for p in passes) != len(optimizer.rates) or any(p.length is None for p in passes):
        return None
    starts = itertools.accumulate((p.length or 0 for p in passes), initial=0)
    return [float(start + i) for start, p in zip(starts, passes, strict=False) for i in range(p.batches)]


def _record(run: Run, optimizer: Optimizer, positions: list[float]) -> Scheduler:
    rates = optimizer.rates
    at = next(_assignments(), None)
    record = Scheduler(-1, "the learning rate set by hand", optimizer.number, at, at, calls=list(range(len(rates))))
    record.unplanned, record.born_step = "", 0
    record.peaks, record.built_rates = [max(rates)], [max((g["lr"] for g in optimizer.groups), default=0.0)]
    needed = max(optimizer.planned_steps or 0, round(positions[-1]) + 1)
    measure(record, positions, rates, needed)
    record.complete = run.ended == "finished"
    by_metric = not _changes_within_passes(run, rates)  # by how well it goes, perhaps
    record.conditional = by_metric or len(optimizer.groups) > 1  # other groups may go on
    record.beyond = max(record.built_rates) if max(record.built_rates) > max(rates) else None
    many = min(POINTS, len(rates))
    keep = sorted({round(i * (len(rates) - 1) / max(1, many - 1)) for i in range(many)})
    record.planned = [(positions[i], rates[i]) for i in keep]
    record.shortened = any(p.cut for p in run.passes if p.trains)
    return record


def _changes_within_passes(run: Run, rates: list[float]) -> bool:
    """Whether the rate changes from batch to batch and not only between epochs."""
    changed = [i + 1 for i, (a, b) in enumerate(itertools.pairwise(rates)) if abs(b - a) > VARIES * max(a, b)]
    passes = [p.batches for p in run.passes if p.trains]
    if sum(passes) == len(rates):
        return not set(changed) <= set(itertools.accumulate(passes))
    return len(changed) > 2 * (run.planned_epochs or 1)


def _assignments() -> Iterator[Place]:
    """The lines of the program that assign to an optimiser's rate: `group["lr"] = …`."""
    for file in user_files():
        tree = tree_of(file)
        for node in ast.walk(tree) if tree is not None else ():
            if not isinstance(node, ast.Assign | ast.AugAssign):
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant) and target.slice.value == "lr":
                    at = place((file, node.lineno, ""))
                    if at is not None:
                        yield at
