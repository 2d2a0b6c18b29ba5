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
    return joined([(rows, measure(stacked([arrays[i] for i in rows]))) for rows in groups.values()], len(arrays))


def stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one shape as one, contiguous: `np.stack` leaves channels last where they are last in memory, as of decoders."""
    whole = np.empty((len(arrays), *arrays[0].shape), np.result_type(*{a.dtype for a in arrays}))
    return np.stack(arrays, out=whole)


def joined(pieces: Sequence[tuple[Sequence[int] | np.ndarray, Measured]], n: int) -> Measured:
    """Results for parts of a chunk of `n` examples, each with its positions, which ascend, as one; NaN where nothing is."""
    whole = Measured({})
    for rows, piece in pieces:
        at = np.asarray(rows)
        for name, column in piece.columns.items():
            whole.columns[name] = _placed(column, at, n, whole.columns.get(name))
        if piece.thumbs is not None:
            whole.thumbs = _placed(piece.thumbs, at, n, whole.thumbs)
        if piece.vectors is not None:
            whole.vectors = _placed(piece.vectors, at, n, whole.vectors)
        whole.status |= {int(at[i]): text for i, text in piece.status.items()}
    return whole


def _placed(part: np.ndarray, at: np.ndarray, n: int, before: np.ndarray | None) -> np.ndarray:
    """An array of `n` entries with those of `part` in their places, unless they are of another shape than the ones before."""
    if len(at) == n:
        return part
    whole = blank(n, part) if before is None else before
    if whole.shape[1:] == part.shape[1:]:
        whole[at] = part
    return whole


def ends(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest number of each example; NaN where one is NaN."""
    flat = stack.reshape(len(stack), -1)
    return flat.min(1), flat.max(1)


def odd(stack: np.ndarray, known: tuple[np.ndarray, np.ndarray] | None = None) -> dict[int, str]:
    """Which examples of a stack hold numbers that are not finite, or a single number everywhere. `known`: its `ends`."""
    if not stack.size:
        return {}
    low, high = known or ends(stack)
    found: dict[int, str] = {}
    if stack.size >= WIDE * len(stack):
        found |= dict.fromkeys(np.flatnonzero(low == high).tolist(), CONSTANT)
    return found | dict.fromkeys(np.flatnonzero(~(np.isfinite(low) & np.isfinite(high))).tolist(), NOT_FINITE)


def blank(n: int, like: np.ndarray) -> np.ndarray:
    """An array of `n` entries of the type of another, in which nothing is: None, NaN or 0; 0 where entries are arrays."""
    if like.dtype.kind == "O":
        return np.full(n, None, dtype=object)
    nan = like.dtype.kind == "f" and like.ndim == 1
    return np.full(n, np.nan, like.dtype) if nan else np.zeros((n, *like.shape[1:]), like.dtype)


def _array(value: Any) -> np.ndarray:
    array = numbers(value)
    if array is None:
        raise TypeError(f"{type(value).__name__} where numbers were expected")
    return array
