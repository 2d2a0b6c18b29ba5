"""How many targets the mean of a loss function is taken over, as one step has it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import LossCall, Step

LABELLED = frozenset({"cross_entropy", "nll_loss"})
"""Losses of class numbers, some of which may be ignored."""
ELEMENTWISE = frozenset(
    {
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "soft_margin_loss",
    }
)
"""Losses of two tensors of one shape, element by element."""


@dataclasses.dataclass(frozen=True, slots=True)
class Averaged:
    """A loss that is a mean: the `number` of targets that it is taken over, the `rows` of the batch they come in, and the
    shape of one row's targets where each element is one (`inner`)."""

    call: LossCall
    number: int
    rows: int
    inner: tuple[int, ...] = ()


def averaged(step: Step) -> Averaged | None:
    """The step's only loss function, if it takes a plain mean over its targets; a mean with weights is not plain."""
    calls = [c for c in step.losses if c.counts]
    if len(calls) != 1 or calls[0].target is None:
        return None
    call, target = calls[0], calls[0].target
    if call.settings.get("reduction", "mean") != "mean" or call.settings.get("weight") is not None:
        return None
    if call.name in LABELLED and not target.is_floating_point():
        return Averaged(call, not_ignored(call, target), step.batch_size or 1)
    if call.name in ELEMENTWISE and target.ndim and target.shape == call.prediction.shape:
        return Averaged(call, target.numel(), target.shape[0], tuple(target.shape[1:]))
    return None


def not_ignored(call: LossCall, target: torch.Tensor) -> int:
    """The targets that a loss of class numbers does not ignore."""
    return int((target != call.settings.get("ignore_index", -100)).sum())
