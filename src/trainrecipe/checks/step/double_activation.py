from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

STARVED = 0.25
"""Share of the fall of the loss with ReLU, below which a hidden softmax keeps the layers behind it from learning."""
FLAT = 0.05
"""Spread over the examples, relative to the values, up to which what a softmax gives is a constant. Measured: 0.002 after 70
steps in a starved encoder, 1.1 where the layers in front of it had learned."""
MATTERS = 0.005
"""Share of the fall with ReLU that must need the hidden features; the rest is the bias of the output."""


class DoubleActivation(Check):
    """Softmax makes probabilities at the end; hidden layers have activations that let the signal through, once each.

    What it checks
    --------------
    Softmaxes over features whose only use is as the input of another layer of weights. A copy is trained for a few
    steps as it is, with ReLU in their place, and with their mean over the batch, which tells nothing about the example. It is
    a finding when the loss falls far less than with ReLU, or, where the output's bias alone makes most of the fall, hardly
    more than with the mean while the softmax is a constant in the latest step too. Also, ReLUs whose input is the result of a
    ReLU.

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
    softmax, the check is unsure. A single softmax that is no more than constant yet is a note; one behind another is no
    mixture, and a warning. Softmaxes over positions or of images are not looked at.

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
        from trainrecipe.subjects.activations import STEPS, compared, hidden_softmaxes, spread_of, with_means

        if step.distrust:
            return Evidence(missing=step.distrust)
        hidden, twice = hidden_softmaxes(step)
        if not hidden:
            return Evidence({"hidden": 0, "twice": len(twice)}, place=twice[0] if twice else None)
        falls = compared(step, hidden) if step.optimizer is not None else None
        if falls is None:
            return Evidence(missing="a softmax lies between two layers, but there was no time, or no optimiser, to try it")
        data: dict[str, Any] = {
            "hidden": len(hidden),
            "width": hidden[0].width,
            "softmax": falls[0],
            "relu": falls[1],
            "steps": STEPS,
        }
        constant = None
        if falls[0] >= STARVED * falls[1] and spread_of(step, hidden) <= FLAT:
            constant = with_means(step, hidden)
        data |= {"constant": constant, "series": any(h.behind for h in hidden)}
        return Evidence(data, place=hidden[0].place)

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["hidden"]:
            return self._twice(evidence)
        with_it, without, constant = evidence["softmax"], evidence["relu"], evidence["constant"]
        gain = 0.0 if constant is None else without - constant
        idle = gain > MATTERS * without and with_it - constant < STARVED * gain
        if without <= 0 or (with_it >= STARVED * without and not idle):
            return Ruling.unsure(
                "a softmax lies between two layers of weights, and the model learns with it: a mixture, or a mistake?"
            )
        sure = with_it < STARVED * without or evidence["series"]
        return Ruling.found(
            Severity.WARNING if sure else Severity.NOTE,
            f"A softmax over {evidence['width']} hidden features keeps the model from learning.",
            expected="an activation between layers that lets the signal through",
            observed=f"in {evidence['steps']} steps on one batch the loss falls by {with_it:.4g}, by {without:.4g} with ReLU "
            "in the softmax's place" + ("" if constant is None else f", by {constant:.4g} with a constant there"),
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
