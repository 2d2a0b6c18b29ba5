from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.evaluation import over_examples, pooled

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run


class MetricNeverReset(Check):
    """The score of an evaluation is that of this evaluation alone.

    What it checks
    --------------
    What is computed from the outputs of each evaluation batch is kept with the batch's size. After the second evaluation of
    one model on one loader: whether the number that the script reports, which after the first was that of the first, is the
    mean over both.

    Why it matters
    --------------
    An object that adds up and is never reset reports the mean over all epochs. The curve is smooth and lags behind: an
    improvement shows late, and so does a divergence; the best epoch is chosen by it, early stopping waits for it, and the
    final score is that of a model that was never there.

    What healthy looks like
    -----------------------
    Counters that start at zero in each evaluation; `metric.reset()` before it.

    What to do
    ----------
    Reset the object at the beginning of each evaluation, or make a new one.

    When it is wrong
    ----------------
    A script that reports only a running mean on purpose, and nowhere the score of the evaluation itself.

    Source
    ------
    Fault catalogue 25; documentation of torchmetrics and Ignite on when metrics are to be reset.
    """

    title = "The score still counts the evaluations before"
    rows = ("S3", "S6")
    faults = (25,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        seen = [e for e in run.evaluated if e.complete and not e.aside]
        pairs = []
        for i, first in enumerate(seen):
            second = next((e for e in seen[i + 1 :] if e.alike(first)), None)
            if second is not None and first.reported and second.reported:
                pairs.append((first, second))
        if not pairs:
            return Evidence(missing="no two evaluations of one model on one loader whose numbers could be traced")
        found = []
        for first, second in pairs:
            shown = pooled(first, second)
            if shown is not None:
                score, earlier, later = shown
                found.append(
                    Evidence(
                        {
                            "name": later.name.strip(),
                            "first": earlier.value,
                            "second": later.value,
                            "proper": over_examples(score),
                        },
                        place=later.place or score.place,
                    )
                )
        return found or Evidence({"name": ""})

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["name"]:
            return Ruling.passed("the numbers that are reported are those of one evaluation")
        return Ruling.found(
            Severity.WARNING,
            "The reported score is the mean over all evaluations so far.",
            expected=f"the score of the second evaluation: {evidence['proper']:.4g}",
            observed=f"{evidence['second']:.4g}, which is the mean over it and the first evaluation ({evidence['first']:.4g})",
            fix="Reset what adds up at the beginning of each evaluation, or make it anew there.",
        )
