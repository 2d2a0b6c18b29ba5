"""Rows of features: every feature a column, and how many of them are missing."""

from __future__ import annotations

import numpy as np

from trainrecipe.scan.measures import Measured, Values
from trainrecipe.scan.measures.stacked import CONSTANT, by_shape, odd
from trainrecipe.scan.structure import Leaf
from trainrecipe.table.manifest import Column, Part

MOST = 64
"""Features that become columns of their own."""
MOST_NUMBERS = 256
"""Features that neighbours are sought with; of more, sums with random signs."""
_SIGNS = np.array([-1, 1], np.float32)


def columns(part: Part) -> list[Column]:
    """See `measure`."""
    p = part.name
    features = [Column(name, "number", title, p, "a feature", tail=True) for name, title in named(part)]
    return [
        *features,
        Column(f"{p}_missing", "integer", "missing", p, "features that are NaN or infinite", tail=True),
        Column(f"{p}_norm", "number", "norm", p, "Euclidean norm of the features", tail=True, hidden=True),
    ]


def named(part: Part) -> list[tuple[str, str]]:
    """Names of the columns of the first features, with the names that the data give them."""
    count = part.shape[-1] if part.shape else 1
    titles = part.features or tuple(f"{part.name}[{i}]" for i in range(count))
    return [(f"{part.name}_{i}", titles[i]) for i in range(min(count, MOST))]


def measure(leaf: Leaf, values: Values) -> Measured:
    """Features as they are; vectors are the features, unscaled."""
    return by_shape(values, lambda stack: _measure(leaf, stack))


def _measure(leaf: Leaf, stack: np.ndarray) -> Measured:
    p = leaf.part.name
    flat = stack.reshape(len(stack), -1)
    rows = flat.astype(np.float32, copy=False)
    found = {name: rows[:, i] for i, (name, _) in enumerate(named(leaf.part)) if i < rows.shape[1]}
    finite = np.isfinite(rows)
    whole = finite.all()
    found[f"{p}_missing"] = np.zeros(len(rows), np.int32) if whole else (~finite).sum(1).astype(np.int32)
    kept = rows if whole else np.where(finite, rows, 0.0)
    found[f"{p}_norm"] = np.sqrt(np.einsum("ij,ij->i", kept, kept, dtype=np.float64))
    status = {i: s for i, s in odd(flat).items() if s != CONSTANT}  # a row of zeros is a row
    return Measured(found, None, _vectors(kept), status)


def _vectors(rows: np.ndarray) -> np.ndarray:
    if rows.shape[1] <= MOST_NUMBERS:
        return np.ascontiguousarray(rows)
    signs = np.random.default_rng(0).choice(_SIGNS, (rows.shape[1], MOST_NUMBERS))
    projected: np.ndarray = rows @ signs / np.float32(MOST_NUMBERS**0.5)
    return projected
