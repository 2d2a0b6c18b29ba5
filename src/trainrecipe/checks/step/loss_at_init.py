"""The loss of the first step against the value that theory gives for an untrained net."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    from trainrecipe.subjects.step import LossCall, Step
    from trainrecipe.subjects.theory import Theory

ABSURD = 5.0
"""Times the theoretical value. Healthy He-initialised nets start at up to 3.4 times ln C (fault catalogue 8.2)."""
NOTABLE = 2.5
"""Times the theoretical value from where a note is worth reading: 1.0 to 1.8 is usual for all but He-initialised
CNNs."""
NATS = 1.0
"""Excess below which a high multiple of a tiny theoretical value says nothing (a divergence from a smooth teacher)."""
REGRESSION = frozenset({"squared", "absolute", "huber"})
LOUD = 10.0
"""Spread of untrained regression outputs above which they are too large whatever the targets: 0.1 to 3 is usual."""
BY_DESIGN = 0.8
"""Share of the spread that is left with all weights halved. A linear head keeps at most 0.5; cosines keep all of it."""
LARGE_GAIN = 4.0
"""Standard deviation times the root of the fan-in of an output layer; 0.6 in PyTorch, 1.4 for He."""


class LossAtInit(Check):
    """The first loss is what theory gives for a net that knows nothing yet.

    What it checks
    --------------
    The loss of the very first step is compared with the loss of the neutral prediction (all classes alike, one half,
    zero) and of the best constant (label frequencies, mean, median), computed with the script's own class weights,
    label smoothing and ignored labels. Where it is far higher, all weights are halved on a twin to tell logits that
    are large by design from those that are large because of the weights, and the output layer's scale is put right.

    Why it matters
    --------------
    A net that starts far above ln C is confidently wrong: its first hundreds of steps only shrink its weights,
    saturated units may never recover, and a wrong reduction, head or input scale often shows here first.

    What healthy looks like
    -----------------------
    Cross-entropy starts between 1 and 2 times the logarithm of the number of classes, a squared error near the
    variance of the targets.

    What to do
    ----------
    Start the last layer small (PyTorch's default, or a standard deviation of 0.01 to 0.05), and normalise the inputs.

    When it is wrong
    ----------------
    He-initialised nets without normalisation start at 1.1 to 3.4 times ln C. Margin losses over scaled cosines start
    high on purpose, which the halved weights show. Softmax before the loss, and a signal that vanished in a deep net,
    give exactly ln C: a good value proves little. In a sum each of PyTorch's loss functions is looked at on its own. A
    loss written by hand is looked at where it equals one of them.

    Source
    ------
    A. Karpathy, A Recipe for Training Neural Networks ("verify loss @ init"); fault catalogue 107 and 8.2.
    """

    title = "The loss starts far above the value for an untrained net"
    rows = ("S4",)
    faults = (107,)
    price = Price.FORWARD
    explains = ("overfit-one-batch",)

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        from trainrecipe.subjects.theory import theories_of_terms

        if not step.first:
            return Evidence(missing="this line is first reached after optimiser steps, so its net is not untrained")
        found = theories_of_terms(step)
        if isinstance(found, str):
            return Evidence(missing=found)
        return [_look(step, call, theory) for call, theory in found]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        text = f"{e['loss']} starts at {e['measured']:.3g}; theory gives {_theory(e)}"
        if e["start"] < 1e-6 or not isinstance(e["measured"], float):
            return Ruling.unsure(f"{text}, too small a value to compare with")
        ratio = e["measured"] / e["start"]
        if e["kind"] == "hinge" or (e["kind"] not in REGRESSION and e["measured"] - e["start"] < NATS):
            ratio = min(ratio, 1.0)
        if e["kind"] == "squared":
            ratio = math.sqrt(ratio)
        if e["kind"] in REGRESSION and e["spread"] < LOUD:
            return Ruling.passed(text)
        if ratio < NOTABLE:
            low = e["kind"] == "softmax" and e["prior"] and e["measured"] < 0.5 * e["prior"]
            known = ": this net is pretrained or resumed, or the label reaches the loss's input" if low else ""
            return Ruling.unsure(text + known) if low else Ruling.passed(text)
        left = e.get("left")
        if left is None:
            return Ruling.unsure(f"{text}; whether that is by design could not be tried on a twin")
        if left > BY_DESIGN:
            return Ruling.passed(f"{text}; the size of the predictions is by design, it does not come from the weights")
        return Ruling.found(
            Severity.WARNING if ratio >= ABSURD else Severity.NOTE,
            f"The first loss is {e['measured']:.3g}, {e['measured'] / e['start']:.3g} times the {e['start']:.3g} of "
            "a net that "
            "prefers nothing: its predictions are large and wrong before any training.",
            expected=f"{e['loss']} near {_theory(e)}",
            observed=f"{e['measured']:.4g}; the {'logits' if e['kind'] != 'squared' else 'predictions'} spread by "
            f"{e['spread']:.3g}{_about_head(e)}",
            fix="Initialise the output layer small: PyTorch's default, or nn.init.normal_(weight, std=0.02)."
            if e.get("gain", 0.0) > LARGE_GAIN
            else "Find what makes the predictions large: unscaled inputs, hidden layers without normalisation, or "
            "a large "
            "initialisation.",
            causes=_causes(e),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        values = {"measured": evidence["measured"], "neutral prediction": evidence["neutral"]}
        if evidence["prior"] is not None:
            values["best constant prediction"] = evidence["prior"]
        if evidence.get("repaired") is not None:
            values["with the output layer scaled down"] = evidence["repaired"]
        caption = "The first bar should lie near the others."
        return bars("Loss before any training", caption, values, x_title=evidence["loss"])


def _look(step: Step, call: LossCall, theory: Theory) -> Evidence:
    data: dict[str, Any] = {
        "loss": call.name,
        "kind": theory.kind,
        "measured": theory.measured,
        "neutral": theory.neutral,
        "prior": theory.prior,
        "start": theory.start,
        "classes": theory.classes,
        "targets": theory.targets,
        "spread": theory.spread,
    }
    place = call.place
    if theory.measured > NOTABLE * theory.start and not step.distrust:
        data["left"] = _left_with_half_weights(step, call, theory.spread)
        head = _head(step, call)
        data.update(head)
        if head:
            weight = step.parameter(head["number"])
            place = (step.place_of_parameter(weight) if weight is not None else None) or place
    return Evidence(data, place=place)


def _theory(e: Evidence) -> str:
    prior = f"{e['prior']:.3g} for the best constant and " if e["prior"] is not None else ""
    classes = f" (ln {e['classes']})" if e["kind"] == "softmax" else ""
    return f"{prior}{e['neutral']:.3g}{classes} for the neutral prediction"


def _about_head(e: Evidence) -> str:
    if e.get("gain", 0.0) <= LARGE_GAIN:
        return ""
    return (
        f"; {e['name']} has a standard deviation of {e['std']:.3g} where its {e['fan_in']} inputs call for about "
        f"{1 / math.sqrt(e['fan_in']):.2g}, and scaled to that the loss is {e['repaired']:.3g}"
    )


def _causes(e: Evidence) -> tuple[str, ...]:
    if e.get("gain", 0.0) > LARGE_GAIN:
        return ()
    return (
        "the inputs are not normalised (look at their mean and standard deviation)",
        "the layers before the output are initialised too large (print each layer's output standard deviation)",
    )


def _left_with_half_weights(step: Step, call: LossCall, spread: float) -> float | None:
    """The share of the predictions' spread that remains with all trained weights halved."""
    import torch

    twin = step.twin()
    with torch.no_grad():
        for weight in step.trained(twin):
            weight.mul_(0.5)
    out = twin.run().get(call.input)
    if out is None or not spread:
        return None
    p = out.detach().double()
    if call.name != "binary_cross_entropy_with_logits" and p.ndim > 1 and p.shape[1] > 1:
        p = p - p.mean(1, keepdim=True)
    return float(p.std(correction=0)) / spread


def _head(step: Step, call: LossCall) -> dict[str, Any]:
    """The output layer's weight, if the predictions come straight from one: its scale, and the loss at a standard
    scale."""
    import torch

    from trainrecipe.subjects.theory import of_call

    maker = [*step.back(call.input)][-1:]
    if not maker or maker[0].name not in ("linear", "conv1d", "conv2d", "conv3d") or len(maker[0].inputs) < 2:
        return {}
    number = maker[0].inputs[1]
    weight = step.parameter(number)
    twin = step.twin()
    working = None if weight is None else twin.working(weight)
    if weight is None or working is None:
        return {}
    fan_in = working[0].numel()
    std = float(working.detach().std(correction=0))
    gain = std * math.sqrt(fan_in)
    found = {"number": number, "name": step.name(weight), "std": std, "fan_in": fan_in, "gain": gain, "repaired": None}
    if gain > LARGE_GAIN:
        with torch.no_grad():
            working.div_(gain)
        out = twin.run().get(call.input)
        if out is not None:
            import dataclasses

            again = of_call(dataclasses.replace(call, prediction=out.detach()))
            found["repaired"] = None if isinstance(again, str) else again.measured
    return found
