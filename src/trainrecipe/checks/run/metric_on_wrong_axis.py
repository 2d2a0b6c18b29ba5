from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.evaluation import by_line

if TYPE_CHECKING:
    from trainrecipe.subjects.evaluation import Comparison, Decision, Evaluation
    from trainrecipe.subjects.run import Run


class MetricOnWrongAxis(Check):
    """In evaluation, classes are chosen along the axis of the classes.

    What it checks
    --------------
    After each evaluation forward, the operations on the model's outputs are followed. An argmax (or `max(dim)`, `topk`) whose
    result meets labels must not go along an axis with one entry, along the examples, or over everything at once; a softmax
    before it must not normalise over the examples. From the same outputs and labels the accuracy along the right axis is
    worked out.

    Why it matters
    --------------
    The argmax of a single logit is 0 for every example, and a softmax over the batch lets each prediction depend on the
    others in its batch. Nothing fails: the accuracy is a number like any other, but not the model's.

    What healthy looks like
    -----------------------
    `logits.argmax(1)` for outputs (examples, classes) with at least two classes; a threshold for a single logit.

    What to do
    ----------
    Give the class axis explicitly. For one output per example compare with a threshold instead: 0 for logits, 0.5 for
    probabilities.

    When it is wrong
    ----------------
    Similarity matrices of a batch with itself, where both axes count examples and the labels are the positions, are not
    reported, nor is an argmax whose result never meets labels (actions, generated tokens). Predictions that are compared in
    NumPy or scikit-learn are seen up to the argmax only.

    Source
    ------
    Fault catalogue 25; Stack Overflow 62354952, PyTorch forum thread 97954.
    """

    title = "The metric is computed along the wrong axis"
    rows = ("S6", "S3")
    faults = (25,)
    explains = ("metric-threshold", "imbalance-hidden", "metric-wrong-count")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        seen = [e for e in run.evaluated if e.decisions and not e.aside]
        if not seen:
            return Evidence(missing="no classes were chosen from a model's outputs in an evaluation that was seen")
        found = [_look(items) for items in by_line(seen, "decisions").values()]
        decided = [e for e in found if e is not None]
        return decided or Evidence(missing="no class that was chosen from a model's outputs met a label in PyTorch")

    def judge(self, evidence: Evidence) -> Ruling:
        what, n, theirs, proper = evidence["what"], evidence["batch"], evidence["accuracy"], evidence["proper"]
        shape = "×".join(map(str, evidence["shape"]))
        if not what:
            return Ruling.passed(f"classes are chosen along axis {evidence['axis']} of outputs {shape}")
        says = {
            "single": f"The class is the argmax over an axis with a single entry (outputs {shape}): always 0.",
            "all": f"The argmax goes over all {shape} outputs of a batch at once: one number is compared with {n} labels.",
            "batch": f"The argmax goes over the {n} examples of the batch, not over the classes (outputs {shape}).",
            "softmax": f"The softmax normalises over the {n} examples of the batch, not over the classes (outputs {shape}).",
        }[what]
        told = f"the script's accuracy is {theirs:.1%}" if theirs is not None else "the predictions left PyTorch as an array"
        if proper is not None and what != "single":
            told += f"; along the class axis the same outputs give {proper:.1%}"
        return Ruling.found(
            Severity.ERROR if theirs is not None else Severity.WARNING,
            says,
            expected="an argmax over the class axis, with two or more classes",
            observed=told,
            fix="With one output per example, compare with a threshold: logits > 0, or probabilities > 0.5."
            if what == "single"
            else "Use the class axis: argmax(dim=1) and softmax(dim=1) for outputs (examples, classes).",
        )


def _look(items: list[tuple[Evaluation, Decision]]) -> Evidence | None:
    evaluation, decision = items[-1]
    used = [(e, d) for e, d in items if d.compared or d.left]
    if decision.kind not in ("argmax", "softmax") or not used:
        return None
    comparisons = [c for e, _ in used for c in e.comparisons if c.name in ("eq", "ne") and c.total]
    last = comparisons[-1] if comparisons else None
    what = _fault(used, last)
    total = sum(c.total for c in comparisons)
    better = sum(c.better_total for c in comparisons)
    return Evidence(
        {
            "what": what,
            "kind": decision.kind,
            "axis": decision.axis,
            "shape": decision.shape,
            "batch": decision.batch,
            "accuracy": sum(c.agree for c in comparisons) / total if total else None,
            "proper": sum(c.better for c in comparisons) / better if better else None,
            "evaluation": evaluation.number,
        },
        place=decision.place,
    )


def _fault(used: list[tuple[Evaluation, Decision]], met: Comparison | None) -> str:
    decisions = [d for _, d in used]
    sizes = [s for d in decisions for s in d.axis_sizes]
    last = decisions[-1]
    n = max(d.batch for d in decisions)
    if n < 2 or (met is not None and len(met.labels) < 2):
        return ""
    whole = last.raw or last.squashed
    if sizes and max(sizes) == 1 and whole and (met is not None or last.axis == len(last.shape) - 1):
        per_example = len(last.shape) == 2 and last.shape[0] == last.batch
        return "single" if met is not None or per_example else ""
    if met is None or not any(d.compared for d in decisions) or not met.repeated or not met.other_whole:
        return ""
    labelled = met.other_shape[:1] == last.shape[:1] and len(last.shape) == 2 and len(met.other_shape) == 1
    if last.kind == "argmax" and last.axis is None and not met.shape and last.raw and len(last.shape) >= 2:
        return "all"
    if last.axis == 0 and last.raw and labelled and last.shape[1] >= 2:
        return "softmax" if last.kind == "softmax" else "batch"
    return ""
