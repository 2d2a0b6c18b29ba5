from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import SIGMOIDS, SQUASHING, plain_name
from trainrecipe.subjects.origins import is_probability, maker

if TYPE_CHECKING:
    from trainrecipe.subjects.step import LossCall, Step

SIMPLEX_TOLERANCE = {"torch.float64": 1e-5, "torch.float32": 1e-4}
"""How far from 1 a softmax's sum may be after rounding: 10,000 classes in float32 stay within 1e-5; 1e-2 in half
precision."""


class SoftmaxBeforeCrossEntropy(Check):
    """Cross-entropy gets raw logits, not probabilities.

    What it checks
    --------------
    The tensor given to `cross_entropy` is traced back through reshapes to the operation that made it, and its
    values are looked at. It is a finding when the values lie in 0…1 and either every row sums to one over at least
    two classes (whatever made them, also a softmax written by hand), or a softmax or sigmoid made them.

    Why it matters
    --------------
    Logits that are confined to 0…1 can never be confident after the second softmax: the loss cannot fall below
    ln(e + C − 1) − 1 (1.46 for 10 classes), gradients are small, and learning is slow. Accuracy may still look fine,
    and the loss at initialisation looks perfect, so nothing gives it away.

    What healthy looks like
    -----------------------
    The model's last layer is linear and its output goes straight into `cross_entropy`.

    What to do
    ----------
    Remove the softmax or sigmoid from the model and apply it only where probabilities are needed, such as for display.

    When it is wrong
    ----------------
    `log_softmax`, or the log of a softmax, before `cross_entropy` is harmless, since a second one changes nothing,
    and is not reported. Bounded scores that are meant as logits, such as cosine similarities or probabilities
    divided by a temperature, are not reported either. A cross-entropy that is computed but does not reach the loss
    is left out, and so is one written by hand.

    Source
    ------
    PyTorch documentation of CrossEntropyLoss; fault catalogue 1 and 2; the floor follows from the best case, a one-hot
    vector as logits.
    """

    title = "Probabilities go into cross_entropy, which expects logits"
    rows = ("S18",)
    faults = (1, 2)
    explains = ("overfit-one-batch", "learning-rate-range", "loss-at-init", "update-ratio")

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Look at what each cross-entropy is given."""
        calls = [c for c in step.losses if c.name == "cross_entropy" and c.counts]
        if not calls:
            return Evidence(missing="the step's loss uses no cross_entropy of PyTorch's")
        return [_look(step, call) for call in calls]

    def judge(self, evidence: Evidence) -> Ruling:
        """Bounded values, and either a simplex or a squashing operation."""
        if evidence["classes"] < 2 or evidence["kind"] is None:
            return Ruling.passed(f"cross_entropy gets logits between {evidence['low']:.3g} and {evidence['high']:.3g}")
        kind = evidence["kind"]
        floor = math.log(math.e + evidence["classes"] - 1) - 1
        return Ruling.found(
            Severity.ERROR,
            f"The output of a {kind} goes into cross_entropy, which applies its own softmax.",
            expected="raw logits, of any size",
            observed=f"values between {evidence['low']:.3g} and {evidence['high']:.3g}"
            + (", each row summing to one" if evidence["simplex"] else "")
            + f"; the loss cannot fall below {floor:.3f} for {evidence['classes']} classes",
            fix=f"Remove the {kind}: give cross_entropy the output of the last linear layer.",
        )


def _look(step: Step, call: LossCall) -> Evidence:
    made = maker(step, call.input, call.op.index)
    name = plain_name(made) if made is not None else ""
    axis = 1 if call.prediction.ndim > 1 else 0
    values = call.prediction.detach().double()
    bounded = bool(values.numel()) and bool(((values >= 0) & (values <= 1)).all())
    tolerance = SIMPLEX_TOLERANCE.get(str(call.prediction.dtype), 1e-2)
    simplex = bounded and bool(((values.sum(axis) - 1).abs() < tolerance).all())
    kind = None
    if simplex or (bounded and name in SQUASHING - SIGMOIDS):
        kind = "softmax"
    elif bounded and is_probability(step, call.input, call.op.index):
        kind = "sigmoid"
    return Evidence(
        {
            "maker": name or None,
            "kind": kind,
            "simplex": simplex,
            "classes": call.prediction.shape[axis] if call.prediction.ndim else 1,
            "low": float(values.min()) if values.numel() else 0.0,
            "high": float(values.max()) if values.numel() else 0.0,
        },
        place=step.place_of(made) if kind is not None and made is not None and name in SQUASHING else call.place,
    )
