from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.better import better

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run, Scheduler

FEW = 5
"""Calls below which values may have fallen by chance."""
STEADY = 0.9
"""Share of the pairs of values, of which the later is lower, from which a fall is no noise: by chance it is one half."""
HALF = 0.5
"""Last over first value below which a fall is that of a loss: overfitting costs an accuracy less."""
LEARNS = 0.8
"""Last over first training loss below which the model learns."""


class PlateauMode(Check):
    """A schedule that waits for a plateau looks for it in the right direction.

    What it checks
    --------------
    What `ReduceLROnPlateau` is given at each call, by the name and the values of the argument: a quantity that is better
    when it is higher (accuracy, F1, AUC, IoU, R² …) with mode `min`, which is the default, or a loss with mode `max`. A name
    that says nothing, such as `score`, is followed back to what it was computed from. Where that tells nothing either, a
    positive quantity that falls steadily to less than half, together with the training loss, is taken for a loss.

    Why it matters
    --------------
    With the wrong mode every improvement counts as none. After `patience` epochs the rate is divided, again and again,
    while the model is still learning well; the training ends early without a word.

    What healthy looks like
    -----------------------
    `mode="max"` for accuracy and the like, `mode="min"` for losses and errors.

    What to do
    ----------
    Give the scheduler the mode that fits what it is stepped with.

    When it is wrong
    ----------------
    It goes by the words of the field, by functions such as `f1_score`, and by comparisons that are counted; where none of
    these is found, or the values do not fit the word, nothing is said but of such a fall with mode `max`. Values that rise
    with mode `min` prove nothing, since validation losses rise by overfitting. `-accuracy` and `1 - accuracy` are better when
    lower. A score that the run is meant to bring down, with mode `max`, would be taken for a loss.

    Source
    ------
    Fault catalogue 72; documentation of torch.optim.lr_scheduler.ReduceLROnPlateau.
    """

    title = "The plateau is looked for in the wrong direction"
    rows = ("S24", "O4")
    faults = (72,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        waiting = [s for s in run.schedulers if s.metrics]
        if not waiting:
            return Evidence(missing="no ReduceLROnPlateau was stepped while the script was observed")
        learns = _learns([loss for _, loss in run.losses])
        return [self._look(s, learns) for s in waiting]

    def _look(self, scheduler: Scheduler, learns: bool) -> Evidence:
        values = scheduler.metrics
        return Evidence(
            {
                "metric": scheduler.metric,
                "better": better(scheduler.metric, scheduler.step_place),
                "mode": scheduler.mode,
                "first": values[0],
                "last": values[-1],
                "lowest": min(values),
                "highest": max(values),
                "calls": len(values),
                "falls": learns and _falls(values),
            },
            place=scheduler.place or scheduler.step_place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        metric, mode = evidence["metric"], evidence["mode"]
        higher, lower = evidence["better"] > 0, evidence["better"] < 0
        finite = isinstance(evidence["lowest"], float) and isinstance(evidence["highest"], float)
        share = finite and (0 <= evidence["lowest"] <= evidence["highest"] <= 100 or evidence["highest"] <= 1)
        falls = mode == "max" and not (higher or lower) and bool(evidence.get("falls"))
        wrong = (higher and mode == "min" and share) or (lower and mode == "max")
        if not (wrong or falls):
            return Ruling.passed(f"a plateau of `{metric or 'its metric'}` is looked for with mode {mode!r}")
        side = "higher" if higher else "lower"
        return Ruling.found(
            Severity.WARNING,
            f"The scheduler waits for `{metric or 'its metric'}` with mode {mode!r}, but it "
            + ("falls as a loss does." if falls else f"is better when it is {side}."),
            expected=f"mode={'max' if higher else 'min'!r}",
            observed=f"mode {mode!r}; the values went from {evidence['first']:.4g} to {evidence['last']:.4g} in "
            f"{evidence['calls']} calls" + (", and the training loss fell with them" if falls else ""),
            fix=f"Build it with ReduceLROnPlateau(optimizer, mode={'max' if higher else 'min'!r}).",
        )


def _falls(values: list[float]) -> bool:
    """Whether positive values fall steadily, to less than half."""
    if len(values) < FEW or not min(values) >= 0 or not values[-1] < HALF * values[0]:
        return False
    return statistics.fmean(later < earlier for earlier, later in itertools.combinations(values, 2)) >= STEADY


def _learns(losses: list[float]) -> bool:
    """Whether the training loss falls, of the first to the last fifth of the steps."""
    fifth = len(losses) // 5
    if not fifth:
        return False
    first, last = statistics.fmean(losses[:fifth]), statistics.fmean(losses[-fifth:])
    return last < first - (1 - LEARNS) * abs(first)
