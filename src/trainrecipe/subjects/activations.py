"""Softmaxes between two layers of weights, activations applied to what they cannot change any more, and those by hand."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from trainrecipe.capture import members
from trainrecipe.capture.watch import Seen, run_watched, watching
from trainrecipe.finding import Place
from trainrecipe.subjects.flow import Flow
from trainrecipe.subjects.layers import SECONDS
from trainrecipe.subjects.names import RESHAPING, plain_name
from trainrecipe.subjects.trials import fall

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

STEPS = 40
"""Steps of training that a hidden softmax is tried with."""
_PLAIN = RESHAPING | {"dropout", "batch_norm", "layer_norm"}
_IDEMPOTENT = frozenset({"relu", "relu_", "relu6", "hardtanh"})


@dataclasses.dataclass(frozen=True, slots=True)
class Hidden:
    """A softmax whose only use is as the input of a layer of weights, `width` features wide. `behind` another softmax."""

    index: int
    width: int
    place: Place | None
    behind: bool = False


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
            behind = any(made.name == "softmax" for made in flow.back(op.inputs[0], op))
            hidden.append(Hidden(op.index, op.outputs[0].shape[-1], op.place, behind))
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


def with_means(step: Step, hidden: list[Hidden]) -> float | None:
    """How far the loss falls in it with each softmax's mean over the batch, which tells nothing about the example."""
    places = {str(h.place) for h in hidden}

    def averaged(seen: Seen) -> Any:
        out = seen.outputs[0] if seen.name == "softmax" and str(seen.place) in places else None
        return None if out is None else out.mean(0, keepdim=True).expand_as(out)

    return fall(step, averaged, averaged, STEPS)


def spread_of(step: Step, hidden: list[Hidden]) -> float:
    """How much a softmax differs between the latest examples, relative to its values; of the one that does so least."""
    places = {str(h.place) for h in hidden}
    found: list[float] = []

    def look(seen: Seen) -> None:
        if seen.name == "softmax" and str(seen.place) in places and seen.outputs[0].ndim == 2:
            out = seen.outputs[0].detach().float()
            found.append(float(out.std(0, correction=0).mean() / out.mean()))

    run_watched(step.latest, step.latest.twin(), look)
    return min(found, default=1.0)


# ---- written by hand


class HandWritten:
    """Follows exponentials through one execution, to tell when a division of them is a sigmoid. Holds what it follows."""

    def __init__(self) -> None:
        self.raised: dict[int, torch.Tensor] = {}
        self.sums: dict[int, torch.Tensor] = {}

    def clear(self) -> None:
        """Forget everything, as a new execution begins."""
        self.raised.clear()
        self.sums.clear()

    def sigmoid(self, seen: Seen) -> bool:
        """Whether an operation is the last of 1 / (1 + exp(-z)) or of exp(z) / (1 + exp(z)). Show it every operation."""
        name, out = plain_name(seen), seen.outputs[0]
        if name == "exp":
            self.raised[id(out)] = out
        elif name in ("add", "radd") and any(id(t) in self.raised for t in seen.inputs) and 1 in _numbers(seen):
            self.sums[id(out)] = out
        elif name == "reciprocal" or (name in ("rdiv", "rtruediv") and 1 in _numbers(seen)):
            return id(seen.inputs[0]) in self.sums
        elif name in ("div", "divide", "true_divide", "truediv") and len(seen.inputs) == 2:
            return id(seen.inputs[0]) in self.raised and id(seen.inputs[1]) in self.sums
        return False


def _numbers(seen: Seen) -> list[float]:
    """The plain numbers, and tensors of one, among what an operation was given."""
    given = seen.args if isinstance(seen.args, list | tuple) else ()
    tensors = [a for a in given if isinstance(a, torch.Tensor) and a.numel() == 1 and not (a.requires_grad or a.is_complex())]
    return [float(a) for a in (*tensors, *(a for a in given if isinstance(a, int | float)))]


def without_modules(step: Step) -> bool:
    """Whether no module with parameters takes part in a step: a network of plain tensors."""
    return not any(next(members.parameters(op.call), None) is not None for op in step.tape.modules())


def over_feeds(step: Step, see: Callable[[Any, Seen, int], Any], most: int = 48) -> None:
    """Run a step without modules on every batch that was kept, and show each operation with the batch's number.

    As `over_batches` does for modules. Stops early when the time is up. Raises what a replay raises.
    """
    twin, until = step.twin(), time.perf_counter() + SECONDS
    first = step.tape.ops[0]
    for number, overrides in enumerate(_feeds(step)[:most]):
        if number and (step.seconds_left() < 0 or time.perf_counter() > until):
            return
        with watching(step, twin, functools.partial(_shown, see, first, number)), torch.enable_grad():
            twin.run(overrides=overrides)


def _feeds(step: Step) -> list[dict[int, torch.Tensor]]:
    """The batches that were seen, the step's own first. As `Step.feeds`, but weights may be written to between steps."""
    values = step.tape.values
    if any(values[n].storage in step.tape.written for n in step.tape.constants() if values[n].parameter is None):
        return [{}]
    return [{}, *(given for batch in step.batches_seen if (given := batch.on(step.tape)) is not None)]


def _shown(see: Callable[[Any, Seen, int], Any], op: Any, number: int, seen: Seen) -> Any:
    return see(op, seen, number)
