"""Softmaxes between two layers of weights, and activations applied to what they cannot change any more."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F

from trainrecipe.capture.watch import Seen
from trainrecipe.finding import Place
from trainrecipe.subjects.flow import Flow
from trainrecipe.subjects.names import RESHAPING
from trainrecipe.subjects.trials import fall

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Step

STEPS = 40
"""Steps of training that a hidden softmax is tried with."""
_PLAIN = RESHAPING | {"dropout", "batch_norm", "layer_norm"}
_IDEMPOTENT = frozenset({"relu", "relu_", "relu6", "hardtanh"})


@dataclasses.dataclass(frozen=True, slots=True)
class Hidden:
    """A softmax whose only use is as the input of a layer of weights, `width` features wide."""

    index: int
    width: int
    place: Place | None


def hidden_softmaxes(step: Step) -> tuple[list[Hidden], list[Place | None]]:
    """The softmaxes between two layers, and where activations are applied a second time. Raises what a replay raises."""
    flow = Flow.of(step)
    hidden, twice = [], []
    for op in flow.ops:
        if op.index not in flow.reaching or not op.outputs or not op.inputs:
            continue
        if op.name in _IDEMPOTENT:
            before = flow.maker(op.inputs[0], op)
            if before is not None and before.name.rstrip("_") == op.name.rstrip("_"):
                twice.append(op.place)
        if op.name == "softmax" and _over_features(op) and _before(flow, op) and _only_feeds_a_layer(flow, op):
            hidden.append(Hidden(op.index, op.outputs[0].shape[-1], op.place))
    return hidden, twice


def _over_features(op: Seen) -> bool:
    """Whether a softmax normalises the last axis of a table of features."""
    value = op.outputs[0]
    axis = op.kwargs.get("dim", op.args[1] if len(op.args) > 1 else None)
    return value.ndim == 2 and value.shape[1] > 2 and axis in (1, -1)


def _before(flow: Flow, op: Seen) -> bool:
    """Whether a softmax gets what a layer of weights gives."""
    return any(flow.weight_in(made) is not None for made in flow.back(op.inputs[0], op) if made.name not in _PLAIN)


def _only_feeds_a_layer(flow: Flow, op: Seen, tensor: torch.Tensor | None = None, left: int = 6) -> bool:
    """Whether all that uses a value are layers of weights: one, or several heads."""
    value = op.outputs[0] if tensor is None else tensor
    users = flow.users(value, op)
    return bool(users) and all(_is_layer(flow, user, value, left) for user in users)


def _is_layer(flow: Flow, user: Seen, value: torch.Tensor, left: int) -> bool:
    if (weight := flow.weight_in(user)) is not None:
        return user.name == "linear" and weight.is_leaf and user.inputs[0] is value
    plain = user.name in _PLAIN and len(user.outputs) == 1 and left > 0
    return plain and _only_feeds_a_layer(flow, user, user.outputs[0], left - 1)


def compared(step: Step, hidden: list[Hidden]) -> tuple[float, float] | None:
    """How far the loss falls in a short training as it is, and with ReLU in the place of the softmaxes."""
    places = {str(h.place) for h in hidden}

    def rectified(seen: Seen) -> Any:
        return F.relu(seen.inputs[0]) if seen.name == "softmax" and str(seen.place) in places else None

    as_is = fall(step, lambda _: None, lambda _: None, STEPS)
    other = fall(step, rectified, rectified, STEPS)
    return None if as_is is None or other is None else (as_is, other)
