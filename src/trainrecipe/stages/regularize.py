"""Stage 4 of the recipe, regularise: one change at a time against the same baseline over the same seeds, winners again on
fresh seeds, stacked step by step; and what more data would buy.

    report = regularize(run, Experiment("train.py"), changes=DEFAULT, seeds=5)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from trainrecipe.lab.experiment import Experiment
from trainrecipe.lab.noise import LEVEL, Effect, paired
from trainrecipe.stages.comparison import Comparison, Run, Verdict, compare
from trainrecipe.wrong_use import WrongUse

DEFAULT = (
    "dropout=0.2",
    "dropout=0.5",
    "weight_decay=0.001",
    "weight_decay=0.05",
    "label_smoothing=0.1",
    "batch_size=x0.5",
    "clip=1.0",
    "schedule=off",
)
"""What is tried where nothing else is named: R5 of the recipe, as far as a script can be changed from outside."""
FRACTIONS = (0.25, 0.5, 1.0)
"""Shares of the training data of a learning curve: two doublings."""
STEEPEST = 2.0
"""Ratio of successive gains that is believed at most: gains shrink, and noise alone makes more of it."""
FRESH = 1000
"""Offset of the seeds that winners are run again under."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """A metric over shares of the training data: means over seeds, and what twice the data would buy, with its interval.

    `more` extrapolates the gain of the last doubling by the ratio of the last two, as a power law does; None where the script's
    training data cannot be cut from outside (`why`).
    """

    fractions: tuple[float, ...]
    means: tuple[float, ...]
    more: Effect | None
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """What the stage found. `confirmed` are winners that helped again under fresh seeds, `kept` what the stack consists of, and
    `stacked` its effect against the baseline under fresh seeds."""

    comparison: Comparison
    confirmed: tuple[Verdict, ...]
    kept: tuple[str, ...]
    stacked: Effect | None
    curve: Curve | None


def planned(changes: Sequence[str], seeds: int, curve: bool) -> int:
    """How many trainings the first round takes; winners take 2 × seeds more each."""
    return seeds * (1 + len(changes) + (len(FRACTIONS) - 1 if curve else 0))


def regularize(
    run: Run,
    baseline: Experiment,
    *,
    changes: Sequence[str] = DEFAULT,
    seeds: int = 5,
    metric: str = "",
    curve: bool = True,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """The whole stage. Raises WrongUse where the script fails, or tells no number to judge by, or with fewer than two seeds."""
    if seeds < 2:
        raise WrongUse(f"--seeds {seeds}: noise is told from two seeds on; five are usual")
    every = range(seeds)
    tell(f"{len(changes)} changes, one at a time, under {seeds} seeds each")
    found = compare(run, baseline, changes, every, metric)
    confirmed = _confirmed(run, baseline, found, seeds, tell)
    kept, stacked = _stacked(run, baseline, found, confirmed, seeds, tell)
    learnt = _curve(run, baseline, found, seeds, tell) if curve else None
    return Report(found, confirmed, kept, stacked, learnt)


def _fresh(seeds: int) -> range:
    return range(FRESH, FRESH + seeds)


def _confirmed(
    run: Run, baseline: Experiment, found: Comparison, seeds: int, tell: Callable[[str], None]
) -> tuple[Verdict, ...]:
    """Winners under seeds that did not choose them: the best of many is partly luck."""
    if not found.helps:
        return ()
    tell(f"{len(found.helps)} helped; once more under fresh seeds")
    again = compare(run, baseline, [v.change for v in found.helps], _fresh(seeds), found.wish)
    return again.helps


def _stacked(
    run: Run, baseline: Experiment, found: Comparison, confirmed: Sequence[Verdict], seeds: int, tell: Callable[[str], None]
) -> tuple[tuple[str, ...], Effect | None]:
    """Winners on top of each other, the best first, as long as each helps beyond the noise; one value for each name."""
    kept: tuple[str, ...] = ()
    for verdict in confirmed:
        if any(k.partition("=")[0] == verdict.change.partition("=")[0] for k in kept):
            continue
        if not kept:
            kept = (verdict.change,)
            continue
        tell(f"{verdict.change} on top of {' + '.join(kept)}")
        top = dataclasses.replace(baseline, changes=kept)
        on_top = compare(run, top, [verdict.change], _fresh(seeds), found.wish)
        kept = (*kept, verdict.change) if on_top.helps else kept
    if len(kept) < 2:
        return kept, confirmed[0].effect if kept else None
    plain = [dataclasses.replace(baseline, seed=s) for s in _fresh(seeds)]
    both = [dataclasses.replace(e, changes=kept) for e in plain]
    results = {r.experiment: r for r in run([*plain, *both])}
    before, after = ([found.better * results[e].value(found.metric) for e in es] for es in (plain, both))
    return kept, paired(before, after)


def _curve(run: Run, baseline: Experiment, found: Comparison, seeds: int, tell: Callable[[str], None]) -> Curve | None:
    """The metric over shares of the training data."""
    tell(f"learning curve over {', '.join(f'{f:.0%}' for f in FRACTIONS)} of the training data")
    points: list[list[float]] = []
    for fraction in FRACTIONS[:-1]:
        change = f"train_fraction={fraction:g}"
        row = [dataclasses.replace(baseline, seed=s, changes=(*baseline.changes, change)) for s in range(seeds)]
        results = {r.experiment: r for r in run(row)}
        told = [e for r in results.values() for e in r.effects if e.said == change]
        if told and not any(e.took for e in told):
            return Curve((), (), None, told[0].says)
        values = [results[e].value(found.metric) for e in row]
        if any(not math.isfinite(v) for v in values):
            return Curve((), (), None, f"with {fraction:.0%} of the data the script tells no finite {found.metric!r}")
        points.append(values)
    points.append(list(found.values))
    means = tuple(math.fsum(p) / len(p) for p in points)
    return Curve(FRACTIONS, means, _twice(points, found.better))


def _twice(points: Sequence[Sequence[float]], better: int) -> Effect:
    """The gain of one more doubling: the last one's times the ratio of the last two, as a power law has it.

    The interval is that of the jackknife over seeds (J. Tukey 1958), since the ratio is uncertain, too.
    """
    rows = [tuple(better * v for v in row) for row in zip(*points, strict=True)]
    n, whole = len(rows), _next_gain(rows)
    pseudo = [n * whole - (n - 1) * _next_gain([*rows[:i], *rows[i + 1 :]]) for i in range(n)]
    return paired([0.0] * n, pseudo, LEVEL)


def _next_gain(rows: Sequence[tuple[float, ...]]) -> float:
    before, last = (math.fsum(r[i + 1] - r[i] for r in rows) / len(rows) for i in (0, 1))
    return last * (min(STEEPEST, max(0.0, last / before)) if before > 0 else 1.0)
