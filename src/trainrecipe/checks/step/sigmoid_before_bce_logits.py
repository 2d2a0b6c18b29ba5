from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import SQUASHING, plain_name
from trainrecipe.subjects.origins import is_probability, maker

if TYPE_CHECKING:
    from trainrecipe.subjects.step import LossCall, Step

LOSSES = ("binary_cross_entropy_with_logits", "soft_margin_loss", "multilabel_soft_margin_loss")
"""The losses that apply a sigmoid themselves."""


class SigmoidBeforeBceLogits(Check):
    """Binary cross-entropy with logits gets raw logits, not probabilities.

    What it checks
    --------------
    The bounds of the tensor given to `binary_cross_entropy_with_logits` (or to `soft_margin_loss` and
    `multilabel_soft_margin_loss`) are derived from the recorded operations by interval arithmetic, so they hold for all
    weights. Bounds of exactly 0…1 mean that a sigmoid or softmax was already applied, by name or written by hand.

    Why it matters
    --------------
    The loss applies its own sigmoid, so the probability it sees lies between 0.5 and 0.73. No example can be called
    negative: the loss cannot fall below 0.69 for negatives and 0.31 for positives, gradients are small, and a threshold
    of 0.5 predicts one class only.

    What healthy looks like
    -----------------------
    The model's last layer is linear and its output goes straight into the loss; the sigmoid is applied where
    probabilities are shown.

    What to do
    ----------
    Remove the sigmoid from the model, or use `BCELoss` with it (the version with logits is numerically safer).

    When it is wrong
    ----------------
    Scores in 0…1 that are rescaled before the loss, by a constant or a learned factor, have other bounds and are not
    reported. A sigmoid inside a compiled or custom function is not seen.

    Source
    ------
    PyTorch documentation of BCEWithLogitsLoss; fault catalogue 3.
    """

    title = "Probabilities go into a loss that applies the sigmoid itself"
    rows = ("S18",)
    faults = (3,)
    explains = (
        "overfit-one-batch",
        "learning-rate-range",
        "loss-at-init",
        "output-bias-at-init",
        "clipped-logits",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Bound what each such loss is given."""
        calls = [c for c in step.losses if c.name in LOSSES and c.counts]
        if not calls:
            return Evidence(missing="the step's loss uses no binary cross-entropy with logits of PyTorch's")
        return [_look(step, call) for call in calls]

    def judge(self, evidence: Evidence) -> Ruling:
        """Bounds of 0…1 are those of a probability."""
        low, high = evidence["low"], evidence["high"]
        if not evidence["probabilities"]:
            return Ruling.passed(f"{evidence['loss']} gets logits between {low:.3g} and {high:.3g}")
        kind = evidence["maker"] if evidence["maker"] in SQUASHING else "sigmoid"
        return Ruling.found(
            Severity.ERROR,
            f"The output of a {kind} goes into {evidence['loss']}, which applies its own sigmoid.",
            expected="raw logits, of any size",
            observed=f"values between {low:.3g} and {high:.3g}, confined to 0…1 whatever the weights; the loss cannot "
            f"fall below {math.log(2):.2f} for a negative and {math.log1p(math.exp(-1)):.2f} for a positive",
            fix=f"Remove the {kind}: give {evidence['loss']} the output of the last linear layer "
            "(or keep it and use binary_cross_entropy).",
        )


def _look(step: Step, call: LossCall) -> Evidence:
    made = maker(step, call.input, call.op.index)
    name = plain_name(made) if made is not None else ""
    values = call.prediction.detach().double()
    inside = bool(values.numel()) and bool(((values >= 0) & (values <= 1)).all())
    found = inside and is_probability(step, call.input, call.op.index)
    return Evidence(
        {
            "loss": call.name,
            "maker": name or None,
            "probabilities": found,
            "low": float(values.min()) if values.numel() else 0.0,
            "high": float(values.max()) if values.numel() else 0.0,
        },
        place=step.place_of(made) if found and made is not None and name in SQUASHING else call.place,
    )
