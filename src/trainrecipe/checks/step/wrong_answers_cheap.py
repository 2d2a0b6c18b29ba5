from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, lines

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

FALL = 0.2
"""Share of the loss's whole range by which its gradient drives it down towards wrong answers. Cross-entropy, its smoothed,
weighted and focal forms, hinge losses and those bounded above give 0."""


class WrongAnswersCheap(Check):
    """The more wrong an answer is, the more it costs.

    What it checks
    --------------
    Where predictions are logits of classes: all predictions are replaced by logits that favour the true class by a margin
    from -8 to 8, and the loss and its gradient are followed. A healthy loss drives every margin up. It is a finding when the
    gradient drives wrong answers further away, although right ones cost little.

    Why it matters
    --------------
    Such a loss has two minima: certainly right and certainly wrong. Easy examples are learnt, while hard ones, often the
    rare class, are given up, and the loss looks better for it.

    What healthy looks like
    -----------------------
    The loss falls from left to right, or is level.

    What to do
    ----------
    Look at the weight that depends on the prediction: focal loss takes `(1 - p) ** gamma`, where p is the probability of the
    true class.

    When it is wrong
    ----------------
    Losses that leave out examples beyond a bound have no gradient there, and weights that are detached none of their own:
    both pass. Losses of policies, whose sign depends on the reward, have one direction for all margins, and pass, too.

    Source
    ------
    T.-Y. Lin et al. 2017 (focal loss), equation 4; fault catalogue 16.
    """

    title = "The loss falls as answers become more wrong"
    rows = ("S18", "S3")
    faults = (16,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.margins import MARGINS, margin_curve

        if step.distrust:
            return Evidence(missing=step.distrust)
        curve = margin_curve(step)
        if curve is None:
            return Evidence(missing="the predictions are no logits of classes that the targets name")
        left = [(m, s) for m, s in zip(MARGINS, curve.slopes, strict=True) if m <= 0]
        middle = curve.losses[len(MARGINS) // 2]
        size = max(curve.losses) - min(curve.losses)
        return Evidence(
            {
                "margins": list(MARGINS),
                "losses": curve.losses,
                "driven": sum(max(s, 0.0) for _, s in left) * (MARGINS[1] - MARGINS[0]) / size if size > 0 else 0.0,
                "wrong": curve.losses[0],
                "undecided": middle,
                "right": curve.losses[-1],
            },
            place=step.place_of(curve.op) or step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        wrong, undecided, right = evidence["wrong"], evidence["undecided"], evidence["right"]
        says = f"the loss is {wrong:.3g} for certainly wrong, {undecided:.3g} for undecided, {right:.3g} for right answers"
        if evidence["driven"] <= FALL or not right < undecided or not wrong < max(evidence["losses"]):
            return Ruling.passed(says)
        return Ruling.found(
            Severity.WARNING,
            "Answers that are certainly wrong cost less than those that are a little wrong.",
            expected="a loss that only falls as predictions get better",
            observed=says,
            fix="Turn the weight round: examples that are predicted badly are to weigh more, (1 - p) ** gamma.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence.get("losses"):
            return None
        return lines(
            "The loss, by how right the predictions are",
            "Healthy: it falls from left to right, or is level.",
            {"loss": evidence["losses"]},
            x=evidence["margins"],
            x_title="logit of the true class minus that of the others",
            y_title="loss",
        )
