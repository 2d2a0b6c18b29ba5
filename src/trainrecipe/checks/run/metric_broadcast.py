from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.evaluation import by_line

if TYPE_CHECKING:
    from trainrecipe.subjects.evaluation import Comparison
    from trainrecipe.subjects.run import Run


class MetricBroadcast(Check):
    """In evaluation, each prediction is compared with its own label only.

    What it checks
    --------------
    Where something computed from a model's outputs meets the labels after an evaluation forward (`==`, `-`, `&`), their
    shapes: a column (n, 1) against a row (n,) makes PyTorch compare every prediction with every label.

    Why it matters
    --------------
    The n×n result says how often labels agree with predictions of other examples: an accuracy near the chance level, or far
    above 100 % where the sum is divided by n, and an error near the spread of the targets. The training may be fine.

    What healthy looks like
    -----------------------
    Predictions and labels of the same shape when they meet.

    What to do
    ----------
    Bring both to one shape first: `outputs.squeeze(1)`, or `labels.unsqueeze(1)`.

    When it is wrong
    ----------------
    Comparisons of all pairs on purpose write both axes out (`a[:, None] == b[None, :]`) and are not reported.

    Source
    ------
    Fault catalogue 25 and 12; pytorch/pytorch#16045.
    """

    title = "Every prediction is compared with every label"
    rows = ("S6", "S3")
    faults = (25, 12)
    explains = ("metric-on-wrong-axis", "metric-threshold", "metric-wrong-count", "ragged-batch-mean")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        seen = [e for e in run.evaluated if e.comparisons and not e.aside]
        if not seen:
            return Evidence(missing="no outputs met labels in an evaluation that was seen")
        return [_look([c for _, c in items]) for items in by_line(seen, "comparisons").values()]

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["squared"]:
            return Ruling.passed("predictions and labels meet example by example")
        n = evidence["shape"][0]
        proper = (
            f"; compared example by example they agree in {evidence['proper']:.1%}" if evidence["proper"] is not None else ""
        )
        theirs = f", {evidence['agree']:.1%} of its elements equal" if evidence["agree"] is not None else ""
        return Ruling.found(
            Severity.ERROR,
            f"Predictions of shape {_shape(evidence['shape'])} meet labels of shape {_shape(evidence['other'])}: all pairs.",
            expected=f"{n} results for {n} examples",
            observed=f"a result of shape {_shape(evidence['result'])}{theirs}{proper}",
            fix="Bring predictions and labels to the same shape before they meet, for example with outputs.squeeze(1).",
        )


def _look(met: list[Comparison]) -> Evidence:
    last = next((c for c in reversed(met) if c.squared), met[-1])
    total, better = sum(c.total for c in met), sum(c.better_total for c in met)
    return Evidence(
        {
            "operation": last.name,
            "squared": sum(c.squared for c in met),
            "times": sum(c.times for c in met),
            "shape": last.shape,
            "other": last.other_shape,
            "result": last.result_shape,
            "agree": sum(c.agree for c in met) / total if total else None,
            "proper": sum(c.better for c in met) / better if better else None,
        },
        place=last.place,
    )


def _shape(sizes: list[int]) -> str:
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"
