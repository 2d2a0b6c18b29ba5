"""Measuring examples of different shapes as if they had one: all of a shape are stacked, and measured together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trainrecipe.scan.leaves import numbers
from trainrecipe.scan.measures import Measured, Values

NOT_FINITE = "not finite"
CONSTANT = "constant"
WIDE = 16
"""Numbers from which an example without any variation holds nothing."""


def by_shape(values: Values, measure: Callable[[np.ndarray], Measured]) -> Measured:
    """Measure stacks of equal shape and put the results in the order of the examples. Raises TypeError for no numbers."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return measure(values)
    groups: dict[tuple[int, ...], list[int]] = {}
    arrays = [_array(v) for v in values]
    for i, array in enumerate(arrays):
        groups.setdefault(array.shape, []).append(i)
    return joined([(rows, measure(np.stack([arrays[i] for i in rows]))) for rows in groups.values()], len(arrays))


def joined(pieces: Sequence[tuple[Sequence[int] | np.ndarray, Measured]], n: int) -> Measured:
    """Results for parts of a chunk of `n` examples, each with the positions it is of, as one; NaN where nothing is."""
    whole = Measured({})
    for rows, piece in pieces:
        at = np.asarray(rows)
        for name, column in piece.columns.items():
            if name not in whole.columns:
                whole.columns[name] = blank(n, column)
            whole.columns[name][at] = column
        for kind in ("thumbs", "vectors"):
            part = getattr(piece, kind)
            if part is None:
                continue
            if getattr(whole, kind) is None:
                setattr(whole, kind, np.zeros((n, *part.shape[1:]), part.dtype))
            if getattr(whole, kind).shape[1:] == part.shape[1:]:
                getattr(whole, kind)[at] = part
        whole.status |= {int(at[i]): text for i, text in piece.status.items()}
    return whole


def odd(stack: np.ndarray) -> dict[int, str]:
    """Which examples of a stack hold numbers that are not finite, or a single number everywhere."""
    flat = stack.reshape(len(stack), -1)
    found: dict[int, str] = {}
    if flat.shape[1] >= WIDE:
        found |= dict.fromkeys(np.flatnonzero((flat == flat[:, :1]).all(1)).tolist(), CONSTANT)
    if flat.dtype.kind == "f":
        total = flat.sum(1, dtype=np.float64)  # quick: only where the sum is not finite need all be looked at
        for i in np.flatnonzero(~np.isfinite(total)).tolist():
            if not np.isfinite(flat[i]).all():
                found[i] = NOT_FINITE
    return found


def blank(n: int, like: np.ndarray) -> np.ndarray:
    """A column of `n` entries of the type of another, in which nothing is: None, NaN or 0."""
    if like.dtype.kind == "O":
        return np.full(n, None, dtype=object)
    return np.full(n, np.nan, like.dtype) if like.dtype.kind == "f" else np.zeros(n, like.dtype)


def _array(value: Any) -> np.ndarray:
    array = numbers(value)
    if array is None:
        raise TypeError(f"{type(value).__name__} where numbers were expected")
    return array
