"""Where dropout lies in a step, and what becomes of learning with strong dropout."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F

from trainrecipe.capture.tape import LOSSES
from trainrecipe.capture.watch import Seen
from trainrecipe.finding import Place
from trainrecipe.subjects.flow import Flow
from trainrecipe.subjects.masks import RandomMasks
from trainrecipe.subjects.names import RESHAPING
from trainrecipe.subjects.trials import fall

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Step

DROPOUTS = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"})
STEPS = 40
"""Steps of training that strong dropout is tried with."""
_FEWEST = 64
"""Elements of a mask below which its share of zeros says little."""
_WEIGHTED = frozenset({"linear", "conv1d", "conv2d", "conv3d"})
_POOLING = frozenset({"relu", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "gelu", "leaky_relu", "silu", "tanh"})


@dataclasses.dataclass(frozen=True, slots=True)
class Dropped:
    """A dropout that is active in training: its probability, the width of what it drops, the loss function that gets its
    result as prediction (empty: none), whether batch norm follows with at most one weighted layer between; for one that is
    written by hand its position."""

    rate: float
    width: int
    loss: str
    norm: bool
    place: Place | None
    by_hand: int | None = None


def rate_of(seen: Seen) -> float:
    """The probability of a dropout call; 0 where it is switched off."""
    given = dict(zip(("input", "p", "training"), seen.args, strict=False)) | dict(seen.kwargs)
    return float(given.get("p", 0.5)) if given.get("training", True) else 0.0


def dropouts(step: Step) -> list[Dropped]:
    """The active dropouts that the loss depends on. Raises what a replay raises."""
    flow = Flow.of(step)
    rates = _rates(flow)
    last = _on_predictions(flow, rates)
    normed = {
        id(before)
        for op in flow.ops
        if op.name == "batch_norm" and (before := _behind(flow, op, RESHAPING | _POOLING, rates, weighted=1)) is not None
    }
    return [
        Dropped(
            rates[op.index],
            op.outputs[0].shape[-1] if op.outputs[0].ndim else 1,
            last.get(id(op), ""),
            id(op) in normed,
            op.place,
            op.index if op.name not in DROPOUTS else None,
        )
        for op in flow.ops
        if op.index in rates and op.index in flow.reaching and op.grad
    ]


def _rates(flow: Flow) -> dict[int, float]:
    """The probabilities of all active dropouts by position; of those written by hand, the share of zeros in their masks."""
    found = {op.index: rate_of(op) for op in flow.ops if op.name in DROPOUTS and rate_of(op) > 0}
    masks = RandomMasks()
    for op in flow.ops:
        masks.see(op)
    for op in masks.dropping():
        mask = _mask_in(op)
        if mask is not None and mask.numel() >= _FEWEST and mask.shape == op.outputs[0].shape:
            found[op.index] = float((mask == 0).double().mean())
    return found


def _mask_in(op: Seen) -> torch.Tensor | None:
    masks = [t for t in op.inputs if not t.requires_grad]
    return masks[0] if len(masks) == 1 and len(op.inputs) == 2 else None


def _behind(flow: Flow, op: Seen, through: frozenset[str], rates: dict[int, float], weighted: int = 0) -> Seen | None:
    """The dropout whose result an operation takes first, looking through others, and so many layers with weights."""
    tensor, before = op.inputs[0], op
    for _ in range(12):
        made = flow.maker(tensor, before)
        if made is None or made.index in rates:
            return made
        weighted -= made.name in _WEIGHTED
        if not made.inputs or weighted < 0 or made.name not in through | _WEIGHTED:
            return None
        tensor, before = made.inputs[0], made
    return None


def _on_predictions(flow: Flow, rates: dict[int, float]) -> dict[int, str]:
    """Dropouts whose result is compared with targets, by identity, with the name of what compares them."""
    found = {}
    predictions = {id(flow.env[n]) for n in flow.step.predictions if n in flow.env}
    for op in flow.ops:
        if op.index not in flow.reaching:
            continue
        compares = op.name in LOSSES or (
            op.name in ("sub", "__sub__", "__rsub__") and any(id(t) in predictions for t in op.inputs)
        )
        if not compares or len(op.inputs) < 2:
            continue
        ours = [t for t in op.inputs[:2] if t.requires_grad]
        if len(ours) == 1 and ours[0].is_floating_point():
            made = _behind(flow, dataclasses.replace(op, inputs=ours), RESHAPING, rates)
            if made is not None:
                found[id(made)] = op.name
    return found


def weakened(step: Step, strong: float, found: list[Dropped]) -> tuple[float, float] | None:
    """How far the loss without dropout falls in a short training with strong dropouts as they are, and with the share that
    they keep dropped instead. None where the time is up."""
    by_hand = {d.by_hand: d.rate for d in found if d.by_hand is not None}

    def off(seen: Seen) -> Any:
        mask = _mask_in(seen) if seen.index in by_hand else None
        if mask is not None:
            return _other(seen, mask) * mask.to(seen.outputs[0].dtype).mean()
        return seen.inputs[0] if _replaceable(seen) else None

    def inverted(seen: Seen) -> Any:
        mask = _mask_in(seen) if by_hand.get(seen.index, 0.0) >= strong else None
        if mask is not None:
            features, size = _other(seen, mask), mask.to(seen.outputs[0].dtype).mean()
            return F.dropout(features, 1 - by_hand[seen.index]) * size
        turned = _replaceable(seen) and rate_of(seen) >= strong
        return F.dropout(seen.inputs[0], 1 - rate_of(seen)) if turned else None

    as_is, other = fall(step, lambda _: None, off, STEPS), fall(step, inverted, off, STEPS)
    return None if as_is is None or other is None else (as_is, other)


def _other(seen: Seen, mask: torch.Tensor) -> torch.Tensor:
    """The operand of a product that is not the mask."""
    return next(t for t in seen.inputs if t is not mask)


def _replaceable(seen: Seen) -> bool:
    return seen.name in DROPOUTS and rate_of(seen) > 0 and not seen.kwargs.get("inplace")
