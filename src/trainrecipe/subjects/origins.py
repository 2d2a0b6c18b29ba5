"""How a value of a step came about, read off the recorded operations: what made it, what it depends on, its feature axis.

Everything here is static; `feature_axis` follows the output features of the last layer through reshapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from trainrecipe.subjects.bounds import bounds
from trainrecipe.subjects.names import LAYERS, PRESERVING, RESHAPING, SOFTMAX, SQUASHING, plain_name

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

_LIMIT = 60
"""Operations followed at most; longer chains are treated as unknown."""
_WRITTEN_OUT = frozenset(
    {"reciprocal", "div", "divide", "true_divide", "truediv", "rtruediv", "rdiv", "add", "mul", "rsub", "sub"}
)
"""Arithmetic that can be the last operation of a sigmoid written by hand."""
_TRIMMING = frozenset({"clamp", "clip", "clamp_", "clip_", "clamp_min", "clamp_max", "nan_to_num"})


def maker(step: Step, number: int, before: int) -> Op | None:
    """The operation that made a value, looking through reshapes, conversions and clamps.

    None when it is not recorded.
    """
    *_, last = (None, *step.back(number, RESHAPING | _TRIMMING, before=before))
    return last


def is_probability(step: Step, number: int, before: int) -> bool:
    """Whether a sigmoid or softmax, by name or written by hand, confines a value to 0…1 whatever the weights."""
    low, high = bounds(step, number, before)
    made = maker(step, number, before)
    if made is None or not (math.isclose(low, 0, abs_tol=1e-3) and math.isclose(high, 1, abs_tol=1e-3)):
        return False
    return plain_name(made) in SQUASHING or plain_name(made) in _WRITTEN_OUT


# ---- dependencies


def cone(step: Step, number: int, stop: Callable[[Op], bool] | None = None) -> Iterator[Op]:
    """The operations that a value came out of, each once; those for which `stop` holds end the search."""
    seen: set[int] = set()
    work: list[tuple[int, int | None]] = [(number, None)]
    while work:
        value, before = work.pop()
        op = step.producer(value, before)
        if op is None or op.index in seen:
            continue
        seen.add(op.index)
        yield op
        if stop is None or not stop(op):
            work += [(n, op.index) for n in op.inputs]


def is_weight(step: Step, number: int, before: int | None = None) -> bool:
    """Whether a value is a parameter, possibly transposed or reshaped."""
    values = step.tape.values
    chain = list(step.back(number, before=before))
    root = chain[-1].inputs[0] if chain and chain[-1].name in PRESERVING and chain[-1].inputs else number
    return root in values and values[root].parameter is not None


def weighs(step: Step, op: Op) -> bool:
    """Whether an operation applies weights: a layer's function, or a product with a parameter."""
    return op.name in LAYERS or (op.name in _PRODUCTS and any(is_weight(step, n, op.index) for n in op.inputs))


_PRODUCTS = frozenset({"matmul", "__matmul__", "mm", "addmm"})


# ---- the feature axis


def normalised_axis(step: Step, op: Op) -> int | None:
    """The axis, counted from the front, that a softmax sums to one along; None for other operations."""
    name, value = plain_name(op), step.tape.values.get(op.inputs[0]) if op.inputs else None
    if name not in SOFTMAX or value is None:
        return None
    size = len(value.shape)
    axis = op.argument(4 if name == "gumbel_softmax" else 1, "dim", -1 if name == "gumbel_softmax" else None)
    if axis is None:  # PyTorch's own choice when no axis is given
        axis = 0 if size in (0, 1, 3) else 1
    return axis % size if isinstance(axis, int) and size else None


def feature_axis(step: Step, number: int, before: int | None = None, depth: int = _LIMIT) -> int | None:
    """The axis along which the output features of the last layer lie; None where it cannot be told."""
    op = step.producer(number, before)
    made = step.tape.values.get(number)
    if op is None or made is None or depth <= 0:
        return None
    size = len(made.shape)
    if op.name in LAYERS:
        back = 1 if op.name in ("linear", "bilinear") else int(op.name.rstrip("d")[-1]) + 1
        return size - back
    if op.name in _PRODUCTS and is_weight(step, op.inputs[-1], op.index):
        return size - 1
    source = _same_shape(step, op, made.shape) if op.name not in _MOVES else op.inputs[0] if op.inputs else None
    if source is None:
        return None
    axis = feature_axis(step, source, op.index, depth - 1)
    given = step.tape.values.get(source)
    if axis is None or given is None:
        return None
    return axis if op.name not in _MOVES else _moved(op, axis, given.shape, made.shape)


_MOVES = frozenset(
    {
        "transpose",
        "swapaxes",
        "permute",
        "movedim",
        "t",
        "T.get",
        "mT.get",
        "squeeze",
        "unsqueeze",
        "flatten",
        "view",
        "reshape",
        "unflatten",
        "view_as",
        "reshape_as",
        "__getitem__",
        "stack",
        "select",
    }
)
_MIXES = frozenset(
    {"matmul", "__matmul__", "mm", "bmm", "cumsum", "sort", "flip", "roll", "gather", "index_select", "einsum", "cdist"}
)


def _same_shape(step: Step, op: Op, shape: tuple[int, ...]) -> int | None:
    if op.name in _MIXES:
        return None
    values = step.tape.values
    if op.name in ("cat", "concat", "chunk", "split", "narrow"):
        return op.inputs[0] if op.inputs else None
    return next((n for n in op.inputs if n in values and tuple(values[n].shape) == tuple(shape)), None)


def _moved(op: Op, axis: int, old: tuple[int, ...], new: tuple[int, ...]) -> int | None:
    size = len(old)
    name = op.name
    first, second = op.argument(1, "dim0", op.argument(1, "dim")), op.argument(2, "dim1")
    if name in ("t", "T.get", "mT.get"):
        first, second = -1, -2
    if name in ("transpose", "swapaxes", "t", "T.get", "mT.get"):
        if size < 2 or not isinstance(first, int) or not isinstance(second, int):
            return None
        a, b = first % size, second % size
        return b if axis == a else a if axis == b else axis
    if name == "permute":
        order = op.argument(1, "dims")
        order = order if isinstance(order, list | tuple) else (op.args[1:] if op.args else ())
        return [o % size for o in order].index(axis) if len(order) == size else None
    if name == "unsqueeze" or name == "stack":
        at = first if isinstance(first, int) else 0
        return axis + (at % (size + 1) <= axis)
    if name == "squeeze":
        gone = [first % size] if isinstance(first, int) and size else [i for i, n in enumerate(old) if n == 1]
        gone = [i for i in gone if old[i] == 1]
        return None if axis in gone else axis - sum(i < axis for i in gone)
    if name in ("__getitem__", "movedim", "select"):
        return len(new) - 1 if axis == size - 1 and new and new[-1] == old[-1] > 1 and _spares_last(op, size) else None
    if axis == size - 1 and new and new[-1] == old[-1] and old[-1] * math.prod(new[:-1]) == math.prod(old):
        return len(new) - 1
    return axis if tuple(new[: axis + 1]) == tuple(old[: axis + 1]) else None


def _spares_last(op: Op, size: int) -> bool:
    """Whether indexing leaves the last axis whole and where it is."""
    index: Any = op.argument(1, "index")
    index = index if isinstance(index, tuple) else (index,)
    return op.name == "__getitem__" and Ellipsis not in index and None not in index and len(index) < size
