"""Whether a script moves its weights against the gradient of its loss, or along it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

UPHILL = 0.3
"""Cosine between update and gradient from which an update made by hand goes uphill: 1 for plain ascent."""


def goes_up(step: Step) -> bool | None:
    """Whether the weights are moved along the gradient; None when that cannot be told."""
    optimizer: Any = step.optimizer
    if isinstance(optimizer, torch.optim.Optimizer) and type(optimizer).__module__.startswith("torch.optim"):
        signs = {bool(g.get("maximize", False)) != (float(g.get("lr") or 0.0) < 0) for g in optimizer.param_groups}
        return signs.pop() if len(signs) == 1 else None
    cosine = _cosine(step)
    return None if cosine is None or abs(cosine) < UPHILL else cosine > 0


def _cosine(step: Step) -> float | None:
    """The cosine between the first update that was seen and the gradient before it."""
    after = next((t for t in step.later if t.step > step.tape.step or step.optimizer is None), None)
    if after is None:
        return None
    new = {id(o): f for o, f in after.first_values() if isinstance(f, torch.Tensor)}
    twin = step.twin()
    pairs = [(o, w) for o, w in twin.leaves if id(o) in new]
    if not pairs:
        return None
    grads = torch.autograd.grad(twin.loss(), [w for _, w in pairs], allow_unused=True)
    dot = size = length = 0.0
    for (original, working), gradient in zip(pairs, grads, strict=True):
        if gradient is None or gradient.is_sparse:
            continue
        moved = (new[id(original)].detach() - working.detach()).double()
        dot += float((moved * gradient).sum())
        size += float(moved.square().sum())
        length += float(gradient.double().square().sum())
    return dot / math.sqrt(size * length) if size and length else None
