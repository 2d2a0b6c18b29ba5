from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.evaluation import averagings

if TYPE_CHECKING:
    from trainrecipe.subjects.evaluation import Averaging
    from trainrecipe.subjects.run import Run

MATERIAL = 0.01
"""Relative difference of a score from which a wrong divisor is more than a rounding matter."""


class MetricWrongCount(Check):
    """The score of an evaluation is divided by the number of what was added up.

    What it checks
    --------------
    What is computed from the outputs of each evaluation batch is kept with the batch's size. From it the mean over the
    examples is worked out, and what results from a wrong divisor: a count over the number of batches, over batches times the
    batch size, or over the size of another data set, and a sum of batch means over the number of examples. The script's own
    variables and what it prints tell which it reports.

    Why it matters
    --------------
    An accuracy above 100 % is noticed; one that is divided by the larger training set, or a loss that is smaller by the batch
    size than the training's, is not. Comparisons with other runs, or with the training loss, are then wrong.

    What healthy looks like
    -----------------------
    Counts and sums over examples divided by the number of examples; means of batches divided by the number of batches.

    What to do
    ----------
    Count the examples next to the score (`seen += len(labels)`) and divide by that.

    When it is wrong
    ----------------
    A number that is meant per batch, such as the right predictions per batch, is reported all the same. With batches of one
    example all these agree and nothing can be told. A finding needs two evaluations whose numbers fit, else it is a note.

    Source
    ------
    Fault catalogue 25; PyTorch forum thread 97954.
    """

    title = "The score is divided by the wrong count"
    rows = ("S3", "S6")
    faults = (25, 91)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        seen = [e for e in run.evaluated if len(e.sizes) > 1 and e.complete]
        found = [_look(a) for a in averagings(seen) if a.right or a.how != "the mean of batch means"]
        return found or Evidence(missing="none of the script's numbers could be traced to an evaluation with several batches")

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence["right"]:
            return Ruling.passed(f"the score of line {evidence['line']} is divided by the number of examples")
        value, proper = evidence["value"], evidence["proper"]
        if evidence["times"] < 2 and not evidence["exact"]:
            return Ruling.unsure(f"one number agrees with {evidence['how']}, which could be chance")
        off = min(abs(value - proper), abs(value / 100 - proper)) / abs(proper) if proper else 0.0
        return Ruling.found(
            Severity.WARNING if off >= MATERIAL and evidence["times"] > 1 else Severity.NOTE,
            f"The reported score is {evidence['how']}.",
            expected=f"the mean over the {evidence['examples']} examples: {proper:.4g}",
            observed=f"{value:.4g} in {evidence['name'] or 'the output'}, in {evidence['times']} evaluations",
            fix="Count the examples next to the score (seen += len(labels)) and divide by that.",
        )


def _look(found: Averaging) -> Evidence:
    return Evidence(
        {
            "right": found.right,
            "how": found.how,
            "line": found.score.place.line if found.score.place else 0,
            "name": found.name.strip(),
            "times": found.times,
            "exact": found.exact,
            "value": found.value,
            "proper": found.proper,
            "examples": sum(found.score.sizes),
            "sizes": found.score.sizes[:20],
        },
        place=found.score.place,
    )
