"""The loss of a step as a function of how right its predictions are: predictions are replaced by logits of a given margin."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from trainrecipe.subjects.names import SIGMOIDS, SOFTMAX

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

MARGINS = tuple(float(m) for m in range(-8, 9))
"""Logit of the true class minus that of every other: -8 is a probability of 0.0003, 8 one of 0.9997."""
MOST = 4_000_000
"""Numbers in a prediction, beyond which the loss is not evaluated so often."""


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """The loss at each of `MARGINS`, its derivative in the margin of all examples, and the operation that takes the logits."""

    losses: list[float]
    slopes: list[float]
    op: Op


def margin_curve(step: Step) -> Curve | None:
    """The curve of a step whose one prediction are logits for classes that its targets name; None for other steps."""
    numbers = [n for n in step.predictions if step.tape.values[n].requires_grad]
    if len(numbers) != 1:
        return None
    number = _logits(step, numbers[0])
    twin = step.twin()
    with torch.no_grad():
        prediction = twin.run(until=[number]).get(number)
    taker = next((op for op in step.tape.ops if number in op.inputs), None)
    if (
        taker is None
        or prediction is None
        or not prediction.is_floating_point()
        or prediction.numel() > MOST
        or _squashed(prediction)
    ):
        return None
    way = next((w for t in step.targets if (w := _way(prediction, t.tensor)) is not None), None)
    if way is None:
        return None
    losses, slopes = [], []
    for margin in MARGINS:
        logits = (margin * way).detach().requires_grad_()
        with torch.enable_grad():
            loss = twin.loss({number: logits})
        if loss.numel() != 1 or not loss.requires_grad:
            return None
        (gradient,) = torch.autograd.grad(loss.sum(), [logits], allow_unused=True)
        if gradient is None:
            return None
        losses.append(float(loss.detach()))
        slopes.append(float((gradient.double() * way.double()).sum()))
    return Curve(losses, slopes, taker)


def _logits(step: Step, number: int) -> int:
    """What a prediction was before a softmax or sigmoid that the loop applies to it; else the prediction itself."""
    made = {n for op in step.tape.ops for n in op.outputs}
    for op in step.back(number):
        squashes = op.name in SOFTMAX | SIGMOIDS | {"logsigmoid"} and op.kind == "function"
        if squashes and op.inputs and op.inputs[0] in made:
            return op.inputs[0]
    return number


def _squashed(prediction: torch.Tensor) -> bool:
    """Whether predictions look like probabilities, or logarithms of them, and not like logits."""
    return bool(((prediction >= 0) & (prediction <= 1)).all()) or bool((prediction <= 0).all())


def _way(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor | None:
    """What one unit of margin adds to each logit: towards the true class. None where the targets are no classes of these."""
    binary = target.numel() == prediction.numel() and target.numel() > 1
    if binary:
        values = target.double()
        if not bool(((values == 0) | (values == 1)).all()) or not 0 < float(values.mean()) < 1:
            return None
        return (values.reshape(prediction.shape) - 0.5).to(prediction.dtype) * 2
    if target.dtype not in (torch.int64, torch.int32) or prediction.ndim < 2:
        return None
    for axis in (1, prediction.ndim - 1):
        if target.ndim == prediction.ndim and target.shape[axis] == 1:  # as `gather` takes them
            target = target.squeeze(axis)
        if prediction.shape[:axis] + prediction.shape[axis + 1 :] == target.shape:
            classes = prediction.shape[axis]
            known = (target >= 0) & (target < classes)
            if not bool(known.any()) or bool((target[known] == target[known][0]).all()) or int(target.max()) >= classes:
                return None
            onehot = torch.nn.functional.one_hot(target.clamp(0, classes - 1).long(), classes).movedim(-1, axis)
            return (onehot.to(prediction.dtype) - 0.5) * known.unsqueeze(axis)
    return None
