from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.evaluation import by_line

if TYPE_CHECKING:
    from trainrecipe.subjects.evaluation import Comparison
    from trainrecipe.subjects.run import Run


class MetricWrongBatch(Check):
    """In evaluation, predictions are compared with the labels of the same batch.

    What it checks
    --------------
    Where predictions meet labels in an evaluation over a loader, the labels must be those of the batch at hand, not those of
    the last batch that was trained on.

    Why it matters
    --------------
    Variables of the training loop are still there in the evaluation. One wrong letter, and each validation batch is compared
    with the labels of one training batch: the accuracy is at chance level, whatever the model has learned.

    What healthy looks like
    -----------------------
    Inputs and labels come out of the same batch.

    What to do
    ----------
    Put the evaluation into a function of its own, so that variables of the training loop are out of reach.

    When it is wrong
    ----------------
    Only batches with at least eight labels, one per example, are compared; batch sizes must agree for the fault to run at all.

    Source
    ------
    Fault catalogue 25 and 92.
    """

    title = "Predictions are compared with the labels of another batch"
    rows = ("S3", "S6")
    faults = (25, 92)
    explains = ("inputs-and-labels-unrelated",)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        seen = [e for e in run.evaluated if e.comparisons and not e.aside and e.loader is not None]
        met = [[c for _, c in items if c.name in ("eq", "ne")] for items in by_line(seen, "comparisons").values()]
        met = [m for m in met if m]
        if not met:
            return Evidence(missing="no predictions met labels in an evaluation over a loader")
        return [self._look(m) for m in met]

    def _look(self, met: list[Comparison]) -> Evidence:
        times = sum(c.told for c in met) or sum(c.times for c in met)
        return Evidence({"stale": sum(c.stale for c in met), "times": times}, place=met[-1].place)

    def judge(self, evidence: Evidence) -> Ruling:
        stale, times = evidence["stale"], evidence["times"]
        if stale < 2 or stale < 0.5 * times:
            return Ruling.passed(f"predictions of {times} batches met labels of their own")
        return Ruling.found(
            Severity.ERROR,
            "Predictions of the evaluation are compared with the labels of the last training batch.",
            expected="the labels of the batch that was predicted",
            observed=f"in {stale} of {times} batches the labels are those of the last batch that was trained on",
            fix="Compare with the labels that came with this batch; put the evaluation into a function of its own.",
        )
