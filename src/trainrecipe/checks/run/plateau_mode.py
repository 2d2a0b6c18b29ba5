from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.better import better

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run, Scheduler


class PlateauMode(Check):
    """A schedule that waits for a plateau looks for it in the right direction.

    What it checks
    --------------
    What `ReduceLROnPlateau` is given at each call, by the name and the values of the argument: a quantity that is better
    when it is higher (accuracy, F1, AUC, IoU, R² …) with mode `min`, which is the default, or a loss with mode `max`. A name
    that says nothing, such as `score`, is followed back to what it was computed from.

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
    these is found, or the values do not fit the word, nothing is said. `-accuracy` and `1 - accuracy` are better when lower.

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
        return [self._look(s) for s in waiting]

    def _look(self, scheduler: Scheduler) -> Evidence:
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
            },
            place=scheduler.place or scheduler.step_place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        metric, mode = evidence["metric"], evidence["mode"]
        higher, lower = evidence["better"] > 0, evidence["better"] < 0
        finite = isinstance(evidence["lowest"], float) and isinstance(evidence["highest"], float)
        share = finite and (0 <= evidence["lowest"] <= evidence["highest"] <= 100 or evidence["highest"] <= 1)
        wrong = (higher and mode == "min" and share) or (lower and mode == "max")
        if not wrong:
            return Ruling.passed(f"a plateau of `{metric or 'its metric'}` is looked for with mode {mode!r}")
        side = "higher" if higher else "lower"
        return Ruling.found(
            Severity.WARNING,
            f"The scheduler waits for `{metric}` with mode {mode!r}, but it is better when it is {side}.",
            expected=f"mode={'max' if higher else 'min'!r}",
            observed=f"mode {mode!r}; the values went from {evidence['first']:.4g} to {evidence['last']:.4g} in "
            f"{evidence['calls']} calls",
            fix=f"Build it with ReduceLROnPlateau(optimizer, mode={'max' if higher else 'min'!r}).",
        )
