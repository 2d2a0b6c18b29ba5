"""Weights whose initial scale is far above what their fan-in calls for, and what that does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Step

LARGE_GAIN = 4.0
"""Standard deviation times the root of the fan-in. PyTorch's default has 0.58, Xavier 1, He 1.4, orthogonal 1, the gain
of 5/3 for tanh included; N(0, 1) has 8 at a fan-in of 64."""
HARM = 3.0
"""How many times higher the first loss is than with these weights at a gain of one. A healthy He net would be at 3.4
with a gain of 1.4; here the gain is above four as well."""
START = 2.0
"""Times the theoretical loss that the first loss must exceed too."""
LAYERS = frozenset(
    {
        "Linear",
        "Conv1d",
        "Conv2d",
        "Conv3d",
        "Bilinear",
        "LSTM",
        "GRU",
        "RNN",
        "LSTMCell",
        "GRUCell",
        "RNNCell",
        "MultiheadAttention",
    }
)


class InitScale(Check):
    """The weights start at a scale that fits their number of inputs.

    What it checks
    --------------
    For the weights of linear, convolutional, recurrent and attention layers at the first step, the standard deviation
    times the root of the fan-in (the gain). Where hidden layers have a gain above four, they are scaled down to one
    on a twin and the loss of the same batch is computed again: only if the first loss falls to a third is anything
    reported.

    Why it matters
    --------------
    Each layer then multiplies the signal by its gain. After a few layers activations and logits are hundreds of times
    too large: tanh and sigmoid saturate, the first loss is thousands of times ln C, and training spends itself on
    shrinking weights.

    What healthy looks like
    -----------------------
    A gain of 0.6 (PyTorch's default) to 1.4 (He); 5/3 before tanh.

    What to do
    ----------
    Remove the custom initialisation, or use one that divides by the fan-in: kaiming_normal_, xavier_uniform_.

    When it is wrong
    ----------------
    Nets with normalisation behind every layer do not mind, and the measured loss shows it. Embeddings, random Fourier
    features and scales by design (SIREN) are no linear layers with a gain above four. Scales that are too small are not
    looked at here: see vanishing-gradients.

    Source
    ------
    X. Glorot and Y. Bengio 2010; K. He et al. 2015; fault catalogue 107 (N(0, 1) starts at 1,200 to 2,600 times ln C).
    """

    title = "Weights are initialised far too large"
    rows = ("S17", "S4")
    faults = (107, 109)
    price = Price.FORWARD
    explains = (
        "loss-at-init",
        "exploding-gradients",
        "saturation",
        "dead-units",
        "overfit-one-batch",
        "learning-rate-range",
        "output-bias-at-init",
        "update-ratio",
    )

    def measure(self, step: Step) -> Evidence:
        if not step.first:
            return Evidence(missing="this line is first reached after optimiser steps: its weights are not the initial ones")
        if step.distrust:
            return Evidence(missing=step.distrust)
        twin = step.twin()
        held = {id(w) for w in step.trained(twin)}
        layers = [(o, w, gain) for o, w in twin.leaves if id(w) in held and (gain := _gain(step, o, w)) is not None]
        if not layers:
            return Evidence(missing="the step trains no weights of linear, convolutional or recurrent layers")
        large = [(o, w, gain) for o, w, gain in layers if gain > LARGE_GAIN]
        data: dict[str, Any] = {"gains": {step.name(o): gain for o, _, gain in layers}, "first": step.observed}
        place = None
        if large:
            data["worst"] = step.name(large[0][0])
            data["std"] = float(large[0][1].detach().std(correction=0))
            data["large"] = [step.name(o) for o, _, _ in large]
            data["hidden"] = any(o is not _output_weight(step) for o, _, _ in large)
            data["start"] = _start(step)
            data["repaired"] = _repaired(twin, [(w, gain) for _, w, gain in large])
            place = step.place_of_parameter(large[0][0])
        return Evidence(data, place=place)

    def judge(self, evidence: Evidence) -> Ruling:
        gains: dict[str, float] = evidence["gains"]
        values = sorted(gains.values())
        if not evidence.get("large"):
            return Ruling.passed(f"the gains of {len(gains)} weights lie between {values[0]:.2g} and {values[-1]:.2g}")
        names = evidence["large"]
        first, repaired, start = evidence["first"], evidence["repaired"], evidence["start"]
        text = f"{len(names)} of {len(gains)} weights have a gain above {LARGE_GAIN:g}"
        if not evidence["hidden"]:
            return Ruling.passed(f"{text}, the output layer only: see loss-at-init")
        finite = isinstance(first, float)
        if not isinstance(repaired, float) or start is None:
            return Ruling.unsure(f"{text}; what that does to this loss cannot be compared with theory")
        if finite and (first < HARM * repaired or first < START * start):
            return Ruling.passed(f"{text}, but the loss minds little: {first:.3g}, and {repaired:.3g} with a gain of one")
        shown = f"{first:.4g}" if finite else "not finite"
        return Ruling.found(
            Severity.WARNING,
            f"{len(names)} weights start {gains[evidence['worst']]:.3g} times as large as their number of inputs "
            "calls for, or "
            f"thereabouts: the first loss is {shown} instead of {repaired:.3g}.",
            expected="a standard deviation of about 1 / √(number of inputs), times 0.6 to 1.7",
            observed=f"{evidence['worst']} has a standard deviation of {evidence['std']:.3g}, "
            f"{gains[evidence['worst']]:.3g} / √(number of inputs); the first loss is {shown}, and {repaired:.4g} "
            "with these "
            "weights scaled down",
            fix="Initialise with kaiming_normal_ or xavier_uniform_, or leave PyTorch's default.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence.get("large"):
            return None
        caption = "Standard deviation of each weight times the root of its number of inputs; between 0.6 and 1.7 is usual."
        values = dict(list(evidence["gains"].items())[:40])
        rules = {"He": math.sqrt(2), "limit": LARGE_GAIN}
        return bars("Initial scale of the weights", caption, values, x_title="gain", rules=rules, log=True)


def _gain(step: Step, original: torch.Tensor, working: torch.Tensor) -> float | None:
    """Standard deviation times root of the fan-in, for the matrices of layers that have a fan-in."""
    owner = step.owner(original)
    if working.ndim < 2 or owner is None or type(owner).__name__ not in LAYERS or working[0].numel() < 2:
        return None
    return float(working.detach().float().std(correction=0)) * math.sqrt(working[0].numel())


def _output_weight(step: Step) -> torch.Tensor | None:
    """The weight of the layer that makes the step's only prediction."""
    numbers = step.predictions
    chain = [*step.back(numbers[0])][-1:] if len(numbers) == 1 else []
    return step.parameter(chain[0].inputs[1]) if chain and len(chain[0].inputs) > 1 else None


def _start(step: Step) -> float | None:
    """The theoretical first loss in units of the step's own loss."""
    from trainrecipe.subjects.theory import theory_of

    found = theory_of(step)
    return None if isinstance(found, str) else found[1].start * abs(found[1].factor)


def _repaired(twin: Any, large: list[tuple[torch.Tensor, float]]) -> float:
    """The loss with the large weights scaled to a gain of one."""
    import torch

    with torch.no_grad():
        for weight, gain in large:
            weight.div_(gain)
    return float(twin.loss().detach())
