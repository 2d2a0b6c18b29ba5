"""How the scalar that backward starts from is put together: its terms, and the weight of each batch mean in it.

A mean over the batch has weight 1, divided by k it has 1/k, a sum over n examples has n. Read off the recorded operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trainrecipe.capture.tape import LOSSES, Ref
from trainrecipe.subjects.names import JOINING, PRESERVING, plain_name

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

Term = tuple["Op | None", float]
"""The operation that takes a mean or sum, and its weight in the loss."""
_DEPTH = 40
_SUMS = frozenset({"add", "radd", "sub", "rsub", "subtract"})


def weight_of_mean(step: Step) -> float | None:
    """The weight of the largest batch mean in the loss that backward started from; None where it cannot be told."""
    return max((abs(weight) for _, weight in _weighed(step) if math.isfinite(weight)), default=None)


def weight_of(step: Step, op: Op) -> float | None:
    """The weight of one call of a loss function in the loss that backward started from; None where it cannot be told."""
    found = [weight for term, weight in _weighed(step) if term is op]
    return found[0] if len(found) == 1 and math.isfinite(found[0]) else None


def summed(step: Step) -> float:
    """How many times as large the step's loss is as the mean of its values: 32 for a sum over 32 tokens and a mean over the
    batch. 1 where there is more than one loss function, or none of PyTorch's. Raises what a replay raises.
    """
    import torch

    calls = [c for c in step.losses if c.counts]
    if len(calls) != 1 or calls[0].target is None:
        return 1.0
    op, target = calls[0].op, calls[0].target
    twin = step.twin()
    env = twin.run()
    value, loss = env[op.outputs[0]], twin.total(env)
    (weights,) = torch.autograd.grad(loss, value)
    total = float(weights.sum())
    return total * target.numel() if calls[0].settings.get("reduction") == "sum" else total


def _weighed(step: Step) -> list[Term]:
    """The terms of everything that backward started from; none where it was given a gradient for each element."""
    found: list[Term] = []
    for number, given in zip(step.tape.roots, step.tape.weights, strict=True):
        if given is not None and given.numel() != 1:
            return []
        found += _terms(step, number, 1.0 if given is None else float(given), None, _DEPTH)
    return found


def _terms(step: Step, number: int, factor: float, before: int | None, depth: int) -> Iterator[Term]:
    """The means and sums that a scalar consists of, with their weights; NaN for a term that is something else."""
    op = step.producer(number, before)
    value = step.tape.values.get(number)
    if op is None or value is None or depth <= 0:
        yield None, math.nan
    elif op.name in LOSSES:
        yield op, _of_loss(op, factor)
    elif plain_name(op) in ("mean", "nanmean"):
        yield from _of_reduction(step, op, factor, depth, mean=True)
    elif plain_name(op) in ("sum", "nansum"):
        yield from _of_reduction(step, op, factor, depth, mean=False)
    elif math.prod(value.shape) != 1:
        yield None, math.nan
    elif plain_name(op) in _SUMS or plain_name(op) == "neg" or plain_name(op) in PRESERVING:
        for child in op.inputs:
            if _has_gradient(step, child):
                yield from _terms(step, child, factor, op.index, depth - 1)
    elif plain_name(op) in ("mul", "multiply", "rmul", "div", "truediv", "divide", "true_divide"):
        yield from _of_product(step, op, factor, depth)
    else:
        yield None, math.nan


def _has_gradient(step: Step, number: int) -> bool:
    value = step.tape.values.get(number)
    return value is not None and value.requires_grad


def _of_loss(op: Op, factor: float) -> float:
    reduction = (op.kwargs or {}).get("reduction", "mean") if isinstance(op.kwargs, dict) else "mean"
    if reduction in ("mean", "batchmean"):
        return factor
    if reduction == "sum" and op.kept and op.kept[0].ndim:
        return factor * (op.kept[1].numel() if len(op.kept) > 1 and op.kept[1].ndim == 1 else op.kept[0].shape[0])
    return math.nan


def _of_reduction(step: Step, op: Op, factor: float, depth: int, *, mean: bool) -> Iterator[Term]:
    source = op.inputs[0] if op.inputs else None
    given = step.tape.values.get(source) if source is not None else None
    if source is None or given is None:
        yield None, math.nan
        return
    size = math.prod(given.shape)
    maker = step.producer(source, op.index)
    if size == 1 or (maker is not None and maker.name in JOINING):
        for child in (source,) if size == 1 or maker is None else maker.inputs:
            yield from _terms(step, child, factor / size if mean else factor, op.index, depth - 1)
    else:
        yield op, factor if mean else factor * size


def _of_product(step: Step, op: Op, factor: float, depth: int) -> Iterator[Term]:
    scalars: list[Any] = [a for a in op.args or () if isinstance(a, int | float) and not isinstance(a, bool)]
    varying = [n for n in dict.fromkeys(op.inputs) if _has_gradient(step, n)]
    for number in (a.value for a in op.args or () if isinstance(a, Ref) and a.value not in varying):
        scalars.append(_constant(step, number))
    if len(varying) != 1 or len(scalars) != 1 or not scalars[0]:
        yield None, math.nan
        return
    times = plain_name(op) in ("mul", "multiply", "rmul")
    yield from _terms(step, varying[0], factor * scalars[0] if times else factor / scalars[0], op.index, depth - 1)


def _constant(step: Step, number: int) -> float:
    """The value of a tensor with one element that depends on no parameter; NaN for others."""
    value = step.tape.values.get(number)
    held = value.constant if value is not None else None
    return float(held) if held is not None and held.numel() == 1 else math.nan
