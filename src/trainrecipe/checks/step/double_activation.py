from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

STARVED = 0.25
"""Share of the fall of the loss with ReLU, below which a hidden softmax keeps the layers behind it from learning."""


class DoubleActivation(Check):
    """Softmax makes probabilities at the end; hidden layers have activations that let the signal through, once each.

    What it checks
    --------------
    Softmaxes over features whose only use is as the input of another layer of weights. A copy is trained for a few
    steps as it is, and with ReLU in their place. Also, ReLUs whose input is the result of a ReLU.

    Why it matters
    --------------
    What a softmax gives sums to one, so each of many features is near one over their number and hardly differs from
    example to example: the layer behind it gets a constant, and the gradient in front of it is small. A second ReLU does
    nothing, which is harmless, but the layer that was meant between them may be missing.

    What healthy looks like
    -----------------------
    ReLU, GELU or tanh between layers; softmax in attention, gates and mixtures, where its result weighs other values.

    What to do
    ----------
    Use ReLU or GELU in hidden layers, and leave the softmax at the end to the loss.

    When it is wrong
    ----------------
    A mixture may be meant (topics, soft assignments, codebooks): where the model learns on one batch nearly as well with the
    softmax, the check is unsure. Softmaxes over positions or of images are not looked at.

    Source
    ------
    Fault catalogue 105; NeuraLint.
    """

    title = "A softmax between hidden layers starves those behind it"
    rows = ("S17", "S19")
    faults = (105,)
    price = Price.TRAIN
    explains = (
        "overfit-one-batch",
        "vanishing-gradients",
        "learning-rate-range",
        "input-independent-baseline",
        "unused-inputs",
    )

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.activations import STEPS, compared, hidden_softmaxes

        if step.distrust:
            return Evidence(missing=step.distrust)
        hidden, twice = hidden_softmaxes(step)
        if not hidden:
            return Evidence({"hidden": 0, "twice": len(twice)}, place=twice[0] if twice else None)
        falls = compared(step, hidden) if step.optimizer is not None else None
        if falls is None:
            return Evidence(missing="a softmax lies between two layers, but there was no time, or no optimiser, to try it")
        data = {"hidden": len(hidden), "width": hidden[0].width, "softmax": falls[0], "relu": falls[1], "steps": STEPS}
        return Evidence(data, place=hidden[0].place)

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["hidden"]:
            return self._twice(evidence)
        with_it, without = evidence["softmax"], evidence["relu"]
        if without <= 0 or with_it >= STARVED * without:
            return Ruling.unsure(
                "a softmax lies between two layers of weights, and the model learns with it: a mixture, or a mistake?"
            )
        return Ruling.found(
            Severity.WARNING,
            f"A softmax over {evidence['width']} hidden features keeps the model from learning.",
            expected="an activation between layers that lets the signal through",
            observed=f"in {evidence['steps']} steps on one batch the loss falls by {with_it:.3g}, and by {without:.3g} "
            "with ReLU in the softmax's place",
            fix="Replace the softmax by ReLU or GELU.",
        )

    def _twice(self, evidence: Evidence) -> Ruling:
        if not evidence["twice"]:
            return Ruling.passed("no softmax lies between two layers of weights, and no ReLU follows a ReLU")
        return Ruling.found(
            Severity.NOTE,
            f"A ReLU is applied to what a ReLU gives ({evidence['twice']} times), which changes nothing.",
            expected="one activation between two layers",
            observed="the second ReLU gets values that are zero or more already",
            fix="Remove one of them, or put the layer between them that was meant to be there.",
        )
