"""The interval that a value of a step lies in: arithmetic over the recorded operations.

Everything here is static, so what it returns holds for all weights and all inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from trainrecipe.subjects.names import CREATION, JOINING, PRESERVING, plain_name

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

Interval = tuple[float, float]

ANY: Interval = (-math.inf, math.inf)
_LIMIT = 60
"""Operations followed at most; longer chains are treated as unknown."""
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
    if name in JOINING or name in ("hstack", "vstack"):
        every = [of(n) for n in op.inputs]
        return min(low for low, _ in every), max(high for _, high in every)
    if name == "pow":
        exponent = op.argument(1, "exponent")
        return (0, math.inf) if isinstance(exponent, int | float) and exponent % 2 == 0 else ANY
    if name in _ONE or name in _MONOTONE or name in PRESERVING or op.name in PRESERVING:
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
