"""How a value of a step came about, read off the recorded operations: its bounds, its feature axis, what it depends on.

Everything here is static. `bounds` is interval arithmetic over the operations, so what it returns holds for all weights
and all inputs; `feature_axis` follows the output features of the last layer through reshapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

Interval = tuple[float, float]

ANY: Interval = (-math.inf, math.inf)
SOFTMAX = frozenset({"softmax", "log_softmax", "softmin", "gumbel_softmax", "special_softmax", "special_log_softmax"})
"""Functions that normalise along one axis."""
LAYERS = frozenset(
    {"linear", "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
)
"""Functions that apply weights."""
CREATION = frozenset(
    {
        "arange",
        "linspace",
        "logspace",
        "zeros",
        "ones",
        "full",
        "eye",
        "tensor",
        "empty",
        "range",
        "as_tensor",
        "new_tensor",
    }
)
"""Functions that make a tensor out of numbers."""
SIGMOIDS = frozenset({"sigmoid", "expit", "special_expit", "hardsigmoid"})
SQUASHING = SIGMOIDS | {"softmax", "special_softmax", "softmin", "gumbel_softmax"}
"""Functions whose results are probabilities."""
_LIMIT = 60
"""Operations followed at most; longer chains are treated as unknown."""

_KEEP_SHAPE_AND_VALUE = frozenset(
    {
        "view",
        "reshape",
        "squeeze",
        "unsqueeze",
        "flatten",
        "transpose",
        "permute",
        "swapaxes",
        "t",
        "T.get",
        "mT.get",
        "contiguous",
        "clone",
        "detach",
        "__getitem__",
        "select",
        "narrow",
        "index_select",
        "gather",
        "masked_select",
        "take_along_dim",
        "to",
        "float",
        "double",
        "half",
        "bfloat16",
        "type",
        "type_as",
        "expand",
        "expand_as",
        "repeat",
        "movedim",
        "chunk",
        "split",
        "unbind",
        "unflatten",
        "view_as",
        "reshape_as",
        "cpu",
        "cuda",
        "data.get",
        "mean",
        "max",
        "min",
        "amax",
        "amin",
        "median",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "flip",
        "roll",
        "nan_to_num",
    }
)
_FIXED: dict[str, Interval] = {
    "softmax": (0, 1),
    "special_softmax": (0, 1),
    "gumbel_softmax": (0, 1),
    "softmin": (0, 1),
    "log_softmax": (-math.inf, 0),
    "special_log_softmax": (-math.inf, 0),
    "logsigmoid": (-math.inf, 0),
    "cosine_similarity": (-1, 1),
    "sin": (-1, 1),
    "cos": (-1, 1),
    "normalize": (-1, 1),
    "norm": (0, math.inf),
    "cdist": (0, math.inf),
    "pairwise_distance": (0, math.inf),
    "silu": (-0.2785, math.inf),
    "gelu": (-0.17, math.inf),
    "mish": (-0.3089, math.inf),
    "selu": (-1.7581, math.inf),
    "celu": (-1, math.inf),
    "elu": (-1, math.inf),
    "square": (0, math.inf),
    "abs": (0, math.inf),
    "sqrt": (0, math.inf),
}


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def _hard_sigmoid(x: float) -> float:
    return min(max(x / 6 + 0.5, 0.0), 1.0)


_MONOTONE: dict[str, Callable[[float], float]] = {
    "sigmoid": _sigmoid,
    "expit": _sigmoid,
    "special_expit": _sigmoid,
    "tanh": math.tanh,
    "erf": math.erf,
    "exp": _exp,
    "expm1": lambda x: _exp(x) - 1,
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "softplus": lambda x: x if x > 30 else math.log1p(_exp(x)),
    "hardsigmoid": _hard_sigmoid,
    "softsign": lambda x: x / (1 + abs(x)) if math.isfinite(x) else math.copysign(1.0, x),
    "atan": math.atan,
    "arctan": math.atan,
}


def bounds(step: Step, number: int, before: int | None = None) -> Interval:
    """The interval that a value lies in whatever the weights and inputs are: (-inf, inf) where nothing confines it."""
    return _bounds(step, number, before, _LIMIT, {})


def _bounds(step: Step, number: int, before: int | None, depth: int, known: dict[tuple[int, int], Interval]) -> Interval:
    op = step.producer(number, before)
    if op is None:
        return _constant(step, number)
    key = (number, op.index)
    if key not in known:
        known[key] = ANY  # what a loop or too long a chain comes down to
        known[key] = _of_result(op, lambda n: _bounds(step, n, op.index, depth - 1, known)) if depth else ANY
    return known[key]


def _of_result(op: Op, of: Callable[[int], Interval]) -> Interval:
    """The interval of an operation's result; `of` gives those of its operands."""

    def operand(position: int, name: str = "other") -> Interval:
        given = op.argument(position, name)
        if isinstance(given, bool | int | float):
            return float(given), float(given)
        return of(given.value) if hasattr(given, "value") else ANY

    name = plain_name(op)
    if name in _FIXED:
        return _FIXED[name]
    if not op.inputs:
        return _number(op)
    if name in _ARITHMETIC and op.argument(2, "alpha") in (None, 1):
        return _ARITHMETIC[name](operand(0, "input"), operand(1))
    if name in ("max", "min", "maximum", "minimum") and len(op.inputs) > 1:
        (a, b), (c, d), pick = operand(0, "input"), operand(1), max if name.startswith("max") else min
        return pick(a, c), pick(b, d)
    if name in ("cat", "concat", "stack", "hstack", "vstack"):
        every = [of(n) for n in op.inputs]
        return min(low for low, _ in every), max(high for _, high in every)
    if name == "pow":
        exponent = op.argument(1, "exponent")
        return (0, math.inf) if isinstance(exponent, int | float) and exponent % 2 == 0 else ANY
    if name in _ONE or name in _MONOTONE or name in _KEEP_SHAPE_AND_VALUE or op.name in _KEEP_SHAPE_AND_VALUE:
        return _of_one(op, name, of(op.inputs[0]))
    return ANY


_ONE = frozenset({"clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "dropout", "neg", "reciprocal"})


def _of_one(op: Op, name: str, inside: Interval) -> Interval:
    """The interval of a function of one operand that lies in `inside`."""
    low, high = inside
    if name in _MONOTONE:
        return _MONOTONE[name](low), _MONOTONE[name](high)
    if name == "neg":
        return -high, -low
    if name == "reciprocal":
        return _divide((1, 1), inside)
    if name == "dropout":
        kept = 1 - float(op.argument(1, "p", 0.5)) if op.argument(2, "training", True) else 1.0
        return (min(low, 0.0) / kept, max(high, 0.0) / kept) if 0 < kept < 1 else inside
    return _clamped(op, name, inside) if name in _ONE else inside


def _constant(step: Step, number: int) -> Interval:
    value = step.tape.values.get(number)
    if value is None or value.parameter is not None or value.requires_grad or value.constant is None or value.shape:
        return ANY
    if value.source or value.constant.is_complex():
        return ANY
    x = float(value.constant)
    return x, x


def _number(op: Op) -> Interval:
    given = op.argument(0, "data")
    return (float(given), float(given)) if op.name in CREATION and isinstance(given, int | float) else ANY


def _clamped(op: Op, name: str, inside: Interval) -> Interval:
    low = op.argument(1, "min_val", -1.0) if name == "hardtanh" else op.argument(1, "min")
    high = op.argument(2, "max_val", 1.0) if name == "hardtanh" else op.argument(2, "max")
    if name == "clamp_max":
        low, high = None, op.argument(1, "max")
    a, b = inside
    low = low if isinstance(low, int | float) else -math.inf
    high = high if isinstance(high, int | float) else math.inf
    return min(max(a, low), high), min(max(b, low), high)


def _add(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def _subtract(a: Interval, b: Interval) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def _multiply(a: Interval, b: Interval) -> Interval:
    ends = [0.0 if 0 in (x, y) else x * y for x in a for y in b]
    return min(ends), max(ends)


def _divide(a: Interval, b: Interval) -> Interval:
    if b[0] < 0 < b[1] or b == (0, 0):
        return ANY
    under = (0.0 if math.isinf(b[1]) else 1 / b[1] if b[1] else -math.inf, math.inf if b[0] == 0 else 1 / b[0])
    return _multiply(a, under)


_ARITHMETIC: dict[str, Callable[[Interval, Interval], Interval]] = {
    "add": _add,
    "radd": _add,
    "sub": _subtract,
    "subtract": _subtract,
    "rsub": lambda a, b: _subtract(b, a),
    "mul": _multiply,
    "multiply": _multiply,
    "rmul": _multiply,
    "div": _divide,
    "divide": _divide,
    "true_divide": _divide,
    "truediv": _divide,
    "rtruediv": lambda a, b: _divide(b, a),
    "rdiv": lambda a, b: _divide(b, a),
}


def plain_name(op: Op) -> str:
    """An operation's name without the marks of operators and of writing in place: `__iadd__` and `add_` are `add`."""
    if op.name.startswith("__"):
        bare = op.name.strip("_")
        return bare[1:] if bare in ("iadd", "isub", "imul", "itruediv", "idiv", "ipow") else bare
    return op.name.rstrip("_")


_WRITTEN_OUT = frozenset(
    {"reciprocal", "div", "divide", "true_divide", "truediv", "rtruediv", "rdiv", "add", "mul", "rsub", "sub"}
)
"""Arithmetic that can be the last operation of a sigmoid written by hand."""
_TRIMMING = frozenset({"clamp", "clip", "clamp_", "clip_", "clamp_min", "clamp_max", "nan_to_num"})


def maker(step: Step, number: int, before: int) -> Op | None:
    """The operation that made a value, looking through reshapes, conversions and clamps.

    None when it is not recorded.
    """
    from trainrecipe.subjects.step import RESHAPING

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
    root = chain[-1].inputs[0] if chain and chain[-1].name in _KEEP_SHAPE_AND_VALUE and chain[-1].inputs else number
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
