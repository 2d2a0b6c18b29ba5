from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Place, Ruling, Severity
from trainrecipe.picture import Picture, ranges
from trainrecipe.subjects.bounds import Interval, bounds
from trainrecipe.subjects.names import plain_name

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

DISTANCES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "gaussian_nll_loss")
SIZES = frozenset({"pow", "square", "abs", "norm", "__pow__"})
"""What a hand-written regression loss does to a difference."""
OUTSIDE = 0.01
"""Share of targets beyond the bounds below which a head may cut off outliers on purpose."""
UNREACHABLE = 0.01
"""Part of the targets' variance that lies beyond the bounds: 0.15 for tanh on standardised targets, 4e-4 for 3·tanh."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A prediction met by a target: the number and bounds of the one, the values of the other that count."""

    op: Op
    prediction: int
    limits: Interval
    target: torch.Tensor
    place: Place | None
    sure: bool = True


class BoundedHead(Check):
    """A regression head can reach its targets.

    What it checks
    --------------
    Wherever the step takes a distance between a prediction and a target that comes from outside (`mse_loss`,
    `l1_loss`, `huber_loss`, … or a difference that is squared or made absolute), the prediction's bounds are
    derived from the recorded operations by interval arithmetic: sigmoid, tanh, softmax, ReLU, exp, clamps and
    scaling by constants. They hold for all weights. The targets of every recorded batch are compared with them.

    Why it matters
    --------------
    No training can bring the prediction beyond the bounds. The loss keeps a floor, and the head saturates at its
    end, where its gradient vanishes.

    What healthy looks like
    -----------------------
    A linear last layer; or an activation whose range holds the targets, such as exp or softplus for positive quantities
    and tanh for targets scaled to −1…1.

    What to do
    ----------
    Remove the activation, or scale the targets into its range and the predictions back.

    When it is wrong
    ----------------
    A head that deliberately cuts off rare outliers is not reported while the targets beyond it hold less than 1 %
    of the variance. Targets that a mask takes out of the loss are left out where the step can be replayed. Bounds
    that a learned or per-feature scale widens are not known and never reported.

    Source
    ------
    Fault catalogue 10; the floor of the squared error is the mean squared distance of the targets from the interval.
    """

    title = "The head cannot reach the targets"
    rows = ("S18", "S19")
    faults = (10, 7)
    explains = (
        "overfit-one-batch",
        "learning-rate-range",
        "saturation",
        "dead-units",
        "output-bias-at-init",
        "loss-at-init",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Compare bounds with targets, over every recorded batch."""
        found = _comparisons(step)
        if not found:
            return Evidence(missing="no distance between a prediction and a target from outside is part of the loss")
        later = [_comparisons(other) for other in step.each()[1:]]
        later = [c for c in later if [x.op.at for x in c] == [x.op.at for x in found]]
        return [_look(step, [comparison, *(c[i] for c in later)]) for i, comparison in enumerate(found)]

    def judge(self, evidence: Evidence) -> Ruling:
        """Targets beyond the bounds, in number and in variance."""
        low, high = float(evidence["low"]), float(evidence["high"])
        if math.isinf(low) and math.isinf(high):
            return Ruling.passed("nothing bounds the predictions")
        span = f"{evidence['target_low']:.4g}…{evidence['target_high']:.4g}"
        if evidence["outside"] < OUTSIDE or float(evidence["unreachable"]) < UNREACHABLE:
            return Ruling.passed(f"predictions are confined to {low:.4g}…{high:.4g}, which holds the targets ({span})")
        if not evidence["sure"]:
            return Ruling.unsure(
                f"predictions are confined to {low:.4g}…{high:.4g} and targets span {span}, but whether those outside "
                "count in the loss cannot be told, since the step cannot be replayed"
            )
        return Ruling.found(
            Severity.ERROR,
            f"Predictions are confined to {low:.4g}…{high:.4g} by {evidence['maker']}, but targets span {span}.",
            expected=f"targets within {low:.4g}…{high:.4g}, or a head without bounds",
            observed=f"{evidence['outside']:.0%} of {evidence['count']} targets lie outside; they hold "
            f"{min(1.0, float(evidence['unreachable'])):.0%} of the targets' variance, which no training can explain",
            fix=f"Remove {evidence['maker']} after the last layer, or scale the targets into its range.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        """The two intervals, one above the other."""
        low, high = float(evidence["low"]), float(evidence["high"])
        a, b, middle = evidence["target_low"], evidence["target_high"], evidence["target_middle"]
        if evidence["outside"] < OUTSIDE or (math.isinf(low) and math.isinf(high)):
            return None
        low, high = max(low, min(a, high) - abs(b - a)), min(high, max(b, low) + abs(b - a))
        rows = [
            {"name": "head can give", "low": low, "middle": (low + high) / 2, "high": high},
            {"name": "targets", "low": a, "middle": middle, "high": b},
        ]
        return ranges("Range of the head and of the targets", "Targets outside the upper bar can never be reached.", rows)


def _comparisons(step: Step) -> list[Comparison]:
    found = []
    for call in step.losses:
        if call.name in DISTANCES and call.counts and call.target is not None:
            first, second = call.op.inputs[:2]
            pairs = [(first, second, call.target), (second, first, call.prediction)]
            for prediction, other, target in pairs:
                if prediction in step.derived and other not in step.derived:
                    every = call.settings.get("reduction") != "none"
                    found.append(_comparison(step, call.op, prediction, target, every, call.place))
    return found + _by_hand(step)


def _by_hand(step: Step) -> list[Comparison]:
    """Differences between a prediction and a target that are squared or made absolute."""
    values, found = step.tape.values, []
    for op in step.tape.ops:
        if plain_name(op) not in ("sub", "rsub", "subtract") or len(op.inputs) != 2 or not step.reaches(op):
            continue
        sized = [
            o for o in step.consumers.get(op.outputs[0], ()) if o.name in SIZES or (o.name == "mul" and len(set(o.inputs)) == 1)
        ]
        for prediction, other in (op.inputs, op.inputs[::-1]):
            target = values[other].constant if other in values and values[other].parameter is None else None
            if not sized or target is None or target.numel() < 2 or other in step.derived:
                continue
            if prediction in step.derived:
                from trainrecipe.capture.where import place

                found.append(_comparison(step, op, prediction, target, False, place(op.at)))
    return found


def _comparison(step: Step, op: Op, prediction: int, target: torch.Tensor, every: bool, at: Place | None) -> Comparison:
    """`every`: all targets count in the loss; else those whose difference gets a gradient in a replay."""
    limits = bounds(step, prediction, op.index)
    target = target.detach().double()
    if every or (math.isinf(limits[0]) and math.isinf(limits[1])):
        return Comparison(op, prediction, limits, target.flatten(), at)
    replayed = None if step.distrust or op.parent is not None else step.value_and_gradient(op.outputs[0])
    if replayed is None or replayed[1].shape != target.shape:
        return Comparison(op, prediction, limits, target.flatten(), at, sure=False)
    return Comparison(op, prediction, limits, target[replayed[1] != 0], at)


def _look(step: Step, seen: list[Comparison]) -> Evidence:
    import torch

    low, high = seen[0].limits
    target = torch.cat([c.target for c in seen])
    target = target[target.isfinite()]
    if not target.numel():
        return Evidence(missing="no finite target counts in the loss")
    slack = 1e-3 * (high - low if math.isfinite(high - low) else 1.0)
    beyond = (low - target).clamp(min=0) + (target - high).clamp(min=0)
    variance = float(target.var(correction=0)) or float(target.square().mean())
    maker = _confining(step, seen[0])
    return Evidence(
        {
            "maker": plain_name(maker) if maker is not None else "",
            "low": low,
            "high": high,
            "target_low": float(target.min()),
            "target_middle": float(target.median()),
            "target_high": float(target.max()),
            "count": target.numel(),
            "outside": float((beyond > slack).double().mean()),
            "unreachable": float(beyond.square().mean()) / variance if variance else 0.0,
            "sure": all(c.sure for c in seen),
        },
        place=step.place_of(maker) if maker is not None else seen[0].place,
    )


def _confining(step: Step, seen: Comparison) -> Op | None:
    """The operation that confines the prediction.

    The first one backwards whose own first operand is unbounded on a bounded side.
    """
    number, before = seen.prediction, seen.op.index
    for _ in range(40):
        op = step.producer(number, before)
        if op is None or not op.inputs:
            return None
        inner = bounds(step, op.inputs[0], op.index)
        if [math.isinf(b) for b in inner] != [math.isinf(b) for b in bounds(step, number, before)]:
            return op
        number, before = op.inputs[0], op.index
    return None
