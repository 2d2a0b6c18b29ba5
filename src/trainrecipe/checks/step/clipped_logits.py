from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.bounds import bounds
from trainrecipe.subjects.names import plain_name

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import LossCall, Step

BINARY = ("binary_cross_entropy_with_logits", "soft_margin_loss", "multilabel_soft_margin_loss")
FLAT = frozenset({"relu", "relu6", "clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "threshold"})
"""Activations without a gradient on part of their range."""
ACTIVATIONS = FLAT | {
    "tanh",
    "softsign",
    "erf",
    "softplus",
    "silu",
    "gelu",
    "elu",
    "selu",
    "celu",
    "mish",
    "exp",
    "abs",
    "square",
    "atan",
}
EXCESS = 0.05
"""Nats of loss that the bounds cost on the batch's own labels, above which they matter: a clamp at ±10 costs
1e-8, soft-capping at 30 nothing; tanh costs 0.80 for 10 classes, ReLU 0.69 for a negative label."""
CLIPPED = 0.01
"""Share of logits at the bound itself, where the gradient is zero: 0 for a linear head, about 0.5 for ReLU at the
start."""


class ClippedLogits(Check):
    """Logits reach the loss unbounded: no activation cuts them off.

    What it checks
    --------------
    The tensor given to `cross_entropy` or `binary_cross_entropy_with_logits` is traced back through reshapes and
    dropout. If an activation made it, its bounds (from the operations, so for all weights) and the batch's own
    labels give the smallest loss it allows, and the share of logits that sit exactly on the bound, without a
    gradient, is counted.

    Why it matters
    --------------
    With a ReLU the logits of half of the classes are zero and get no gradient: a class whose logit is zero for its own
    examples cannot recover. In binary cross-entropy a logit that cannot be negative means a probability of at least 0.5
    for every example.

    What healthy looks like
    -----------------------
    The last layer is linear and nothing follows it but the loss.

    What to do
    ----------
    Remove the activation after the last layer.

    When it is wrong
    ----------------
    Clamping far out, such as to ±20, costs nothing and is not reported, nor is a scaled tanh (soft-capping). A ReLU
    before a global pooling that gives the logits (SqueezeNet) is an old and working design and is not looked at.

    Source
    ------
    Fault catalogue 7; the floors follow from the formulas of the two losses at the bounds.
    """

    title = "An activation cuts off the logits"
    rows = ("S18",)
    faults = (7,)
    explains = (
        "overfit-one-batch",
        "learning-rate-range",
        "dead-units",
        "loss-at-init",
        "saturation",
        "output-bias-at-init",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Look at what each of these losses is given."""
        calls = [c for c in step.losses if c.name in ("cross_entropy", *BINARY) and c.counts and c.prediction.numel()]
        if not calls:
            return Evidence(missing="the step's loss takes no logits: no cross_entropy or binary cross-entropy with logits")
        return [_look(step, call) for call in calls]

    def judge(self, evidence: Evidence) -> Ruling:
        """An activation whose bounds cost loss, or that is flat where logits lie."""
        name, excess, clipped = evidence["maker"], evidence["excess"], evidence["clipped"]
        if evidence["probability"] or name not in ACTIVATIONS:
            return Ruling.passed(f"nothing cuts off the logits before {evidence['loss']}")
        if excess < EXCESS and clipped < CLIPPED:
            return Ruling.passed(
                f"{name} makes the logits, but its bounds cost {excess:.2g} nats and {clipped:.1%} sit on them"
            )
        low, high = (float(v) for v in (evidence["low"], evidence["high"]))
        observed = f"logits confined to {low:.3g}…{high:.3g} by {name}"
        if clipped >= CLIPPED:
            observed += f"; {clipped:.0%} of them sit exactly on the bound and get no gradient"
        if excess >= EXCESS:
            observed += f"; the loss on these labels cannot come within {excess:.2f} of its minimum"
        return Ruling.found(
            Severity.WARNING,
            f"{name} is applied to the logits before {evidence['loss']}.",
            expected="logits of either sign and any size, straight from a linear layer",
            observed=observed,
            fix=f"Remove the {name} after the last layer.",
        )


def _look(step: Step, call: LossCall) -> Evidence:
    from trainrecipe.subjects.names import RESHAPING

    *_, made = (None, *step.back(call.input, RESHAPING | {"dropout"}, before=call.op.index))
    name = plain_name(made) if made is not None else ""
    low, high = bounds(step, call.input, call.op.index)
    values = call.prediction.detach().double()
    on_bound = ((values == low) | (values == high)).double().mean() if name in FLAT else 0.0
    floor = _binary(call, low, high) if call.name in BINARY else _categorical(call, high - low)
    return Evidence(
        {
            "loss": call.name,
            "maker": name,
            "low": low,
            "high": high,
            "probability": math.isclose(low, 0, abs_tol=1e-3) and math.isclose(high, 1, abs_tol=1e-3) and name not in FLAT,
            "clipped": float(on_bound),
            "excess": floor,
        },
        place=step.place_of(made) if made is not None and name in ACTIVATIONS else call.place,
    )


def _categorical(call: LossCall, width: float) -> float:
    """The least cross-entropy of a one-hot label (smoothed as in the call) at this width, above its minimum."""
    classes = call.prediction.shape[1 if call.prediction.ndim > 1 else 0]
    if classes < 2 or math.isinf(width) or call.target is None or call.target.is_floating_point():
        return 0.0
    rest = float(call.settings.get("label_smoothing") or 0.0) / classes
    peak = 1 - rest * (classes - 1)
    best = math.log(peak / rest) if rest else 700.0

    def loss(gap: float) -> float:
        return gap + math.log1p((classes - 1) * math.exp(-gap)) - peak * gap

    return loss(min(width, best)) - loss(best)


def _binary(call: LossCall, low: float, high: float) -> float:
    """The same for binary labels: the mean over the batch's own labels."""
    if call.target is None or (math.isinf(low) and math.isinf(high)):
        return 0.0
    labels = call.target.detach().double()
    labels = (labels + 1) / 2 if call.name == "soft_margin_loss" else labels
    labels = labels.clamp(0, 1)
    best = labels.logit().clamp(-700, 700)
    return float((_bce(best.clamp(low, high), labels) - _bce(best, labels)).mean())


def _bce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return logits.clamp(min=0) - logits * labels + (-logits.abs()).exp().log1p()
