"""Which weights of a convolution ever meet data: the others only see padding."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence

import torch

from trainrecipe.capture.watch import LAYER_KINDS, Seen
from trainrecipe.capture.where import is_user_file
from trainrecipe.finding import Place
from trainrecipe.subjects.flow import Flow
from trainrecipe.subjects.step import Step

CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3}


@dataclasses.dataclass(slots=True)
class Kernel:
    """A convolution: `weights` in its kernels, the share that is `dead` in every call, the largest map that it got
    (`size`); `own` tells that it was built in the user's code."""

    name: str
    weights: int
    dead: float
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    own: bool
    place: Place | None


def kernels(step: Step) -> tuple[list[Kernel], int]:
    """The convolutions of a step, in order, and the number of weights of all layers. Raises what a replay raises."""
    flow = Flow.of(step)
    names = {id(w): step.name(o) for o, w in flow.twin.leaves}
    found: dict[int, Kernel] = {}
    for op in flow.ops:
        weight = flow.weight_in(op)
        if weight is None or op.name not in CONVOLUTIONS or op.index not in flow.reaching:
            continue
        size = tuple(flow.data_in(op)[0].shape[-CONVOLUTIONS[op.name] :])
        kernel = tuple(weight.shape[2:])
        alive = alive_share(op)
        name = names.get(id(weight)) or (op.path and f"{op.path}.weight") or op.name
        known = found.get(id(weight))
        if known is None:
            found[id(weight)] = Kernel(name, weight.numel(), 1 - alive, size, kernel, _own(step, op), op.place)
        elif 1 - alive < known.dead:
            known.dead, known.size = 1 - alive, size
    return list(found.values()), sum(w.numel() for _, w in flow.twin.leaves)


def alive_share(op: Seen) -> float:
    """The share of a convolution's weights that meet data for some position of the output, in this call."""
    size, kernel = op.inputs[0].shape[-CONVOLUTIONS[op.name] :], op.inputs[1].shape[2:]
    taps = [_alive(*axis) for axis in zip(size, kernel, *_settings(op), strict=True)]
    return math.prod(taps) / math.prod(kernel)


def _own(step: Step, op: Seen) -> bool:
    """Whether the class that holds a layer is the user's, rather than one that a library brings."""
    called = next((o.call for o in step.tape.ops if o.index == op.top and o.kind == "module"), None)
    path = op.path
    while called is not None:
        kind = type(called.get_submodule(path))
        if not kind.__module__.startswith(LAYER_KINDS):
            file = getattr(sys.modules.get(kind.__module__), "__file__", None)
            return file is None or is_user_file(file)
        if not path:
            break
        path = path.rpartition(".")[0]
    return True


def _settings(op: Seen) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Stride, padding and dilation of a call, one number per axis; padding in front."""
    rank = CONVOLUTIONS[op.name]
    given = dict(zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), op.args, strict=False))
    given |= dict(op.kwargs)

    def each(name: str, default: int) -> list[int]:
        value = given.get(name, default)
        return [int(value)] * rank if isinstance(value, int) else [int(v) for v in value]

    dilation = each("dilation", 1)
    padding = given.get("padding", 0)
    if isinstance(padding, str):
        weight = next(t for t in op.inputs[1:] if isinstance(t, torch.Tensor))
        spans = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        return each("stride", 1), [s // 2 if padding == "same" else 0 for s in spans], dilation
    return each("stride", 1), each("padding", 0), dilation


def _alive(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many of the taps along one axis meet data for some position of the output."""
    outputs = max(1, (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
    return sum(any(0 <= o * stride + k * dilation - padding < size for o in range(outputs)) for k in range(kernel))
