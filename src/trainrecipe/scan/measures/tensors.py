"""Anything else that is made of numbers: their size, spread, ends, and how many are zero."""

from __future__ import annotations

import numpy as np

from trainrecipe.scan.measures import Measured, Values
from trainrecipe.scan.measures.stacked import by_shape, odd
from trainrecipe.scan.structure import Leaf
from trainrecipe.table.manifest import Column, Part

PROJECTED = 64
"""Numbers that neighbours are sought with: sums of all with random signs (Johnson-Lindenstrauss)."""
MOST = 4096
"""Numbers of an example that go into these sums, evenly chosen."""
_SIGNS = np.array([-1, 1], np.float32)


def columns(part: Part) -> list[Column]:
    """See `measure`."""
    p = part.name
    return [
        *([Column(f"{p}_size", "integer", "size", p, "how many numbers it holds", tail=True)] if part.ragged else []),
        Column(f"{p}_mean", "number", "mean", p, "mean of its numbers", tail=True),
        Column(f"{p}_std", "number", "spread", p, "standard deviation of its numbers", tail=True),
        Column(f"{p}_low", "number", "lowest", p, "its lowest number", tail=True),
        Column(f"{p}_high", "number", "highest", p, "its highest number", tail=True),
        Column(f"{p}_zeros", "number", "zeros", p, "share of its numbers that are zero", tail=True),
    ]


def measure(leaf: Leaf, values: Values) -> Measured:
    """Statistics of tensors of any shape, and vectors (n, 64)."""
    return by_shape(values, lambda stack: _measure(leaf, stack))


def _measure(leaf: Leaf, stack: np.ndarray) -> Measured:
    p = leaf.part.name
    flat = stack.reshape(len(stack), -1)
    rows = flat.astype(np.float32, copy=False)
    if not rows.shape[1]:
        empty = np.full(len(rows), np.nan)
        return Measured({f"{p}_{name}": empty for name in ("mean", "std", "low", "high", "zeros")} | _size(leaf, rows))
    with np.errstate(all="ignore"):
        found = {
            f"{p}_mean": rows.mean(1),
            f"{p}_std": rows.std(1),
            f"{p}_low": rows.min(1),
            f"{p}_high": rows.max(1),
            f"{p}_zeros": (rows == 0).mean(1),
        }
        step = -(-rows.shape[1] // MOST)
        thinned = np.nan_to_num(rows[:, ::step], posinf=0.0, neginf=0.0)
        signs = np.random.default_rng(0).choice(_SIGNS, (thinned.shape[1], PROJECTED))
        vectors = thinned @ signs / np.float32(thinned.shape[1] ** 0.5)
    return Measured(found | _size(leaf, rows), None, vectors, odd(flat))


def _size(leaf: Leaf, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{leaf.part.name}_size": np.full(len(rows), rows.shape[1])} if leaf.part.ragged else {}
