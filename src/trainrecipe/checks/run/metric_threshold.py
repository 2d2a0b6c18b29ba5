from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.evaluation import by_line

if TYPE_CHECKING:
    from trainrecipe.subjects.evaluation import Comparison, Decision, Evaluation
    from trainrecipe.subjects.run import Run

ENOUGH = 16
"""Decisions from which it counts that none of them, or all of them, came out the same way."""


class MetricThreshold(Check):
    """In evaluation, outputs become classes at the threshold that fits them, before they are compared with labels.

    What it checks
    --------------
    After each evaluation forward, the outputs are followed to the labels. Reported are: a threshold of 0.5 (or `round`) on
    logits, that is on outputs outside 0…1 to which the training's loss applies a sigmoid; a threshold of 0 on probabilities,
    which all of them pass; and unrounded outputs that are compared with class labels by equality, which never holds.

    Why it matters
    --------------
    A logit of 0.5 is a probability of 0.62, so positives are missed and recall falls; at 0 every probability is a positive;
    and equality of a real number with a label is false. The accuracy then says something about the threshold, not the model,
    and the best checkpoint is chosen by it.

    What healthy looks like
    -----------------------
    `logits > 0`, or `torch.sigmoid(logits) > 0.5`.

    What to do
    ----------
    Compare logits with 0, probabilities with 0.5 (or with a threshold that was chosen on validation data).

    When it is wrong
    ----------------
    A threshold of exactly 0.5 that was tuned on logits is reported as well. Other thresholds are taken for chosen ones.
    Decisions that are made in NumPy are not seen.

    Source
    ------
    Fault catalogue 25; Stack Overflow 56841451.
    """

    title = "Outputs become classes at the wrong threshold"
    rows = ("S6",)
    faults = (25,)
    explains = ("imbalance-hidden",)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        seen = [e for e in run.evaluated if not e.aside and (e.decisions or e.comparisons)]
        if not seen:
            return Evidence(missing="outputs were neither decided nor compared in an evaluation that was seen")
        logits = {model for model, loss in run.raw_losses if loss in LOGIT_LOSSES}
        probable = {model for model, loss in run.raw_losses if loss == "binary_cross_entropy"} - logits
        found = [_threshold(items, logits, probable) for items in by_line(seen, "decisions").values()]
        found += [_equality(items) for items in by_line(seen, "comparisons").values()]
        kept = [e for e in found if e is not None]
        return kept or Evidence(missing="no threshold was applied to outputs of an evaluation that was seen")

    def judge(self, evidence: Evidence) -> Ruling:
        what = evidence["what"]
        if not what:
            return Ruling.passed("outputs become classes at a threshold that fits them")
        theirs, proper = evidence["accuracy"], evidence["proper"]
        both = f"; the script's accuracy is {theirs:.1%}" if theirs is not None else ""
        both += f", at the right threshold it is {proper:.1%}" if theirs is not None and proper is not None else ""
        if what == "equality":
            return Ruling.found(
                Severity.ERROR,
                "Outputs that are real numbers are compared with class labels by equality, which never holds.",
                expected="classes: outputs that were rounded, thresholded or decided by argmax",
                observed=f"{evidence['agree']} of {evidence['total']} are equal"
                + (f"; decided first, {proper:.1%} are" if proper else ""),
                fix="Decide first: logits > 0, probabilities > 0.5 or logits.argmax(1); then compare.",
            )
        if what == "logits":
            return Ruling.found(
                Severity.WARNING,
                f"Logits are compared with {evidence['threshold']:g}, a threshold for probabilities.",
                expected="logits compared with 0 (the loss applies the sigmoid itself), or a sigmoid before 0.5",
                observed=f"values from {evidence['low']:.2f} to {evidence['high']:.2f}; {evidence['changed']} of "
                f"{evidence['total']} decisions differ from those at 0{both}",
                fix="Write `logits > 0`, or `torch.sigmoid(logits) > 0.5`.",
            )
        return Ruling.found(
            Severity.ERROR if evidence["squashed"] else Severity.WARNING,
            "Probabilities are compared with 0, which all of them exceed: every example is a positive.",
            expected="probabilities compared with 0.5, or logits with 0",
            observed=f"values from {evidence['low']:.3g} to {evidence['high']:.3g}; {evidence['above']} of {evidence['total']} "
            f"are above 0{both}",
            fix="Compare probabilities with 0.5, or leave the sigmoid out and compare the logits with 0.",
        )


LOGIT_LOSSES = frozenset({"binary_cross_entropy_with_logits", "sigmoid", "logsigmoid", "softplus"})
"""What a training applies to its outputs where they are logits of yes or no."""


def _threshold(items: list[tuple[Evaluation, Decision]], logits: set[int], probable: set[int]) -> Evidence | None:
    used = [(e, d) for e, d in items if d.compared and d.total]
    if not used or used[-1][1].kind not in ("threshold", "round"):
        return None
    decision = used[-1][1]
    comparisons = [c for e, _ in used for c in e.comparisons if c.name in ("eq", "ne") and c.total]
    labels = {value for c in comparisons for value in c.labels}
    low, high = min(d.low for _, d in used), max(d.high for _, d in used)
    total, above, changed = (sum(getattr(d, k) for _, d in used) for k in ("total", "above", "changed"))
    plain = not decision.squashed and decision.raw
    what = ""
    if labels <= {0.0, 1.0} and (not comparisons or len(labels) == 2):
        outside = low < 0 or high > 1
        if decision.threshold == 0.5 and plain and outside and changed and used[-1][0].model in logits:
            what = "logits"
        probabilities = decision.squashed or (plain and 0 < low <= high <= 1 and used[-1][0].model in probable)
        if decision.threshold == 0 and probabilities and above == total >= ENOUGH and comparisons:
            what = "zero"
    return Evidence(
        {
            "what": what,
            "threshold": decision.threshold,
            "squashed": decision.squashed,
            "low": low,
            "high": high,
            "above": above,
            "total": total,
            "changed": changed,
            **_accuracies(comparisons),
        },
        place=decision.place,
    )


def _equality(items: list[tuple[Evaluation, Comparison]]) -> Evidence | None:
    met = [c for _, c in items if c.name in ("eq", "ne") and c.total and c.floating]
    if not met or any(c.whole or not c.other_whole for c in met):
        return None
    labels = {value for c in met for value in c.labels}
    agree, total = sum(c.agree for c in met), sum(c.total for c in met)
    never = agree == 0 and total >= ENOUGH and len(labels) >= 2 and not any(c.squared for c in met)
    return Evidence(
        {"what": "equality" if never else "", "agree": agree, "total": total, **_accuracies(met)},
        place=met[-1].place,
    )


def _accuracies(met: list[Comparison]) -> dict[str, float | None]:
    total, better = sum(c.total for c in met), sum(c.better_total for c in met)
    return {
        "accuracy": sum(c.agree for c in met) / total if total else None,
        "proper": sum(c.better for c in met) / better if better else None,
    }
