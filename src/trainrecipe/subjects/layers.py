"""What happens inside the layers of a step: signals and gradients by depth, and activations over many batches.

Measured on a twin by watching its operations, so that functional code (`F.relu`, `x @ w`) is seen like modules.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture.watch import Seen, watching
from trainrecipe.finding import Place

if TYPE_CHECKING:
    from trainrecipe.capture.replay import Twin
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

WEIGHTED = frozenset(
    {
        *("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        *("matmul", "__matmul__", "mm", "addmm"),
    }
)
"""Operations that multiply a signal with a weight."""
SECONDS = 4.0
"""Time that running a model on many batches may take."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """The 5th, 50th and 95th percentile of absolute values."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Spread:
        """The spread of a tensor's elements, of at most about 4,096 evenly chosen ones."""
        size = tensor.detach().abs().float().flatten()
        size = size[:: max(1, len(size) // 4096)]
        return cls(*(float(v) for v in size.quantile(size.new_tensor([0.05, 0.5, 0.95]))))


@dataclasses.dataclass(slots=True)
class Depth:
    """One multiplication with a weight, in the order of execution. `signal` is the root mean square of its result,
    `results` the spread of its elements, `delta` the norm of the loss's gradient in it, `gradients` the spread of the
    weight's gradient, `weight` the norm of the weight, `gradient` that of its gradient."""

    name: str
    signal: float
    results: Spread
    delta: float
    gradients: Spread
    weight: float
    gradient: float
    key: int
    place: Place | None


def depths(step: Step, twin: Twin | None = None) -> list[Depth]:
    """Signal and gradient at every trained weight of a step, from first to last. Raises what a replay raises."""
    twin = twin or step.twin()
    names = {id(w): step.name(o) for o, w in twin.leaves}
    found: list[tuple[Seen, torch.Tensor, torch.Tensor]] = []

    def look(seen: Seen) -> None:
        if seen.name not in WEIGHTED or not seen.outputs or not seen.grad:
            return
        weight = next((w for w in seen.weights if w.ndim >= 2 and id(w) in names), None)
        if weight is not None and seen.outputs[0].requires_grad:
            seen.outputs[0].retain_grad()
            found.append((seen, weight, seen.outputs[0]))

    with watching(step, twin, look):
        loss = twin.total(twin.run())
        weights = list({id(w): w for _, w, _ in found}.values())
        outs = [o for _, _, o in found]
        grads = torch.autograd.grad(loss, [*outs, *weights], allow_unused=True) if found else ()
    by_weight = {id(w): g for w, g in zip(weights, grads[len(outs) :], strict=True)}
    return [
        _depth(names[id(w)], seen, w, o, delta, by_weight[id(w)])
        for (seen, w, o), delta in zip(found, grads, strict=False)
        if delta is not None and by_weight[id(w)] is not None
    ]


def _depth(name: str, seen: Seen, weight: torch.Tensor, out: torch.Tensor, delta: torch.Tensor, grad: Any) -> Depth:
    return Depth(
        name,
        float(out.detach().float().pow(2).mean().sqrt()),
        Spread.of(out),
        float(delta.float().norm()),
        Spread.of(grad),
        float(weight.detach().float().norm()),
        float(grad.float().norm()),
        id(weight),
        seen.place,
    )


def rising(values: list[float]) -> float:
    """How steadily a list rises: the rank correlation with its order, from -1 to 1."""
    count = len(values)
    if count < 2:
        return 0.0
    ranks = sorted(range(count), key=lambda i: values[i])
    place_of = [0] * count
    for rank, i in enumerate(ranks):
        place_of[i] = rank
    gap = sum((place_of[i] - i) ** 2 for i in range(count))
    return 1 - 6 * gap / (count * (count * count - 1))


def label(op: Op, seen: Seen) -> str:
    """A name for an operation that a person finds again: its layer, or the line of a functional call."""
    own = seen.layer is not None and type(seen.layer).__module__.startswith("torch.")
    line = f"line {seen.at[1]}" if seen.at is not None else op.name
    return f"{seen.path} ({seen.name})" if own and seen.path else f"{seen.name} at {line}"


def over_batches(step: Step, see: Callable[[Op, Seen, int], Any], most: int = 48) -> int:
    """Run each called module of a step on every batch that was kept, and show each operation with the batch's number.

    A module that is called several times in the step is run at its first call. Returns the largest number of batches that
    a module was run on. Stops early after `SECONDS`, or when the time for experiments is up.
    """
    twin = step.twin()
    count = 0
    until = time.perf_counter() + SECONDS
    first = {id(op.call): op for op in reversed(step.tape.modules()) if op.grad}
    for op in reversed(first.values()):
        for number, overrides in enumerate(_batches(step, op, most)):
            if number and (step.seconds_left() < 0 or time.perf_counter() > until):
                break
            with watching(step, twin, functools.partial(_show, see, op, number)), torch.enable_grad():
                if number:
                    twin.call(op, overrides)
                else:
                    twin.run(until=op.outputs)
            count = max(count, number + 1)
    return count


def _show(see: Callable[[Op, Seen, int], Any], op: Op, number: int, seen: Seen) -> Any:
    return see(op, seen, number)


def _batches(step: Step, op: Op, most: int) -> Iterator[dict[int, torch.Tensor]]:
    from trainrecipe.capture.tape import sizes_in
    from trainrecipe.capture.tensors import tensors_in

    yield {}
    own = list(sizes_in((op.args, op.kwargs)))
    for given in step.batches(op)[:most]:
        if list(sizes_in(given)) != own:
            continue  # such as sequences of other lengths, which come as a list
        tensors = list(tensors_in(given))
        if len(tensors) == len(op.inputs):
            yield dict(zip(op.inputs, tensors, strict=True))
