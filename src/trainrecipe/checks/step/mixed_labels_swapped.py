from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

APART = 0.1
"""Difference of the two weights from which on it can be told which label got which."""
CLOSE = 0.02
"""Weights of inputs and labels that differ by less are the same, up to rounding."""


class MixedLabelsSwapped(Check):
    """Where examples are mixed, their labels are mixed in the same proportion, and of the same pairs.

    What it checks
    --------------
    Inputs that the loop makes as `a * x + b * x[order]`: the weights of the two labels in the loss, as its gradient tells
    them, or in soft labels, against a and b; and whether inputs and labels use one and the same order.

    Why it matters
    --------------
    With the weights the other way round the network learns to name the fainter of the two examples. With labels of other
    examples half of what it is told is noise. The loss of mixup is high in any case, so that nobody sees it.

    What healthy looks like
    -----------------------
    `x = lam * x + (1 - lam) * x[order]` with `lam * loss(out, y) + (1 - lam) * loss(out, y[order])`.

    What to do
    ----------
    Give each label the weight of its example, and draw the order once.

    When it is wrong
    ----------------
    Only mixtures are judged that are made in the recorded steps with plain numbers as weights. Labels that are mixed in
    another proportion than the inputs on purpose are neither swapped nor the same: nothing is said.

    Source
    ------
    H. Zhang et al. 2018 (mixup), equation 1; fault catalogue 129.
    """

    title = "The labels of mixed examples are weighed the wrong way round"
    rows = ("S4",)
    faults = (129,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.blends import mixed

        if step.distrust:
            return Evidence(missing=step.distrust)
        seen = [m for one in step.each() if (m := mixed(one)) is not None]
        if not seen:
            return Evidence(missing="no examples are mixed with others of their batch, labels included, in the recorded steps")
        telling = [m for m in seen if abs(2 * m.example - 1) > APART]
        swapped = [m for m in telling if abs(m.label - (1 - m.example)) < CLOSE]
        shown = (telling or seen)[0]
        return Evidence(
            {
                "steps": len(seen),
                "telling": len(telling),
                "swapped": len(swapped),
                "foreign": sum(m.foreign for m in seen),
                "example": shown.example,
                "label": shown.label,
            },
            place=step.place_of(shown.op) or step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence["foreign"] == evidence["steps"]:
            return Ruling.found(
                Severity.ERROR,
                "Examples are mixed with one order of the batch, their labels with another.",
                expected="one order for inputs and labels",
                observed=f"two orders are drawn apart in {evidence['steps']} of {evidence['steps']} recorded steps",
                fix="Draw the order once, and index inputs and labels with it.",
            )
        if not evidence["telling"] or evidence["swapped"] < evidence["telling"]:
            return Ruling.passed("labels are mixed as their examples are")
        return Ruling.found(
            Severity.ERROR,
            "The loss gives each of two mixed labels the weight of the other example.",
            expected=f"weight {evidence['example']:.2f} for the label of the example with weight {evidence['example']:.2f}",
            observed=f"weight {evidence['label']:.2f}, in {evidence['swapped']} of {evidence['telling']} recorded steps alike",
            fix="Swap the two weights: lam * loss(out, y) + (1 - lam) * loss(out, y[order]).",
        )
