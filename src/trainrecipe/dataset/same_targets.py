"""Rows that are told as copies by their targets: noise was added to the inputs, the number to predict stayed the same."""

from __future__ import annotations

import numpy as np

from trainrecipe.dataset.near_duplicates import Pairs

VALUES = 50
"""Different targets from which they are measurements, where an equal one is a coincidence."""
LARGEST = 32
"""Rows that share a target at most: more are a value that is common, such as zero."""
NEARER = (0.5, 0.4, 0.3, 0.2)
"""Distance to the nearest row of the same target over that to the nearest one of as many rows of the targets next to it; the
largest of these counts at which copies stand out."""
CLEAR = 10
"""Times as many rows must be nearer by that as are further by the same factor, which chance makes equally many."""
LEAST = 20
"""Such rows at least."""
COLUMNS = 3
"""Columns from which rows of equal targets lie no nearer than rows of neighbouring ones by themselves."""
ROWS = 50_000
"""Rows looked at, at most: those of some targets, drawn at random."""


def near_by_target(vectors: np.ndarray, targets: np.ndarray, *, seed: int = 0) -> Pairs:
    """Pairs of rows of the very same target that lie much nearer together than rows of neighbouring targets do.

    vectors: (N, d), columns on one scale. targets: (N,) numbers, NaN for none. A function of the inputs gives neighbouring
    targets to rows about as near as those of equal ones, so each row's nearest partner of the same target is compared with the
    nearest of as many rows of the next targets: a healthy set has as many rows on one side of this as on the other. Where the
    rows of the next targets are so much nearer than those of the targets after them, too, likeness is a matter of the target.
    """
    rows = np.flatnonzero(np.isfinite(targets) & np.isfinite(vectors).all(1))
    if len(rows) > ROWS:
        kinds = np.unique(targets[rows])
        kept = np.random.default_rng(seed).choice(kinds, max(1, len(kinds) * ROWS // len(rows)), replace=False)
        rows = rows[np.isin(targets[rows], kept)]
    rows = rows[np.argsort(targets[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(targets[rows], prepend=np.nan) != 0)
    if len(starts) < VALUES or vectors.shape[1] < COLUMNS:
        return Pairs.none()
    here, there, ratio, further = [], [], [], []
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        size = end - start
        around = np.r_[max(0, start - 2 * size) : start, end : min(len(rows), end + 2 * size)]
        if not 2 <= size <= LARGEST or len(around) < 2 * size:
            continue
        order = np.argsort(np.abs(targets[rows[around]] - targets[rows[start]]), kind="stable")
        own, ring = _points(vectors, rows[start:end]), _points(vectors, rows[around[order[: 2 * size - 2]]])
        inside = _apart(own, own)
        np.fill_diagonal(inside, np.inf)
        first, second = _apart(own, ring[: size - 1]).min(1), _apart(own, ring[size - 1 :]).min(1)
        here.append(rows[start:end])
        there.append(rows[start + inside.argmin(1)])
        ratio.append(inside.min(1) / np.maximum(first, 1e-12))
        further.append(first / np.maximum(second, 1e-12))
    if not here:
        return Pairs.none()
    a, b, r = np.concatenate(here), np.concatenate(there), np.concatenate(ratio)
    beyond = np.concatenate(further)
    for limit in NEARER:
        near, far = r <= limit, max((r >= 1 / limit).sum(), (beyond <= limit).sum())
        if near.sum() >= max(LEAST, CLEAR * far):
            return Pairs.of(a[near], b[near], (1 - r[near]).astype(np.float32))
    return Pairs.none()


def _points(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.asarray(vectors[rows], np.float64)


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distances of all rows of one from all rows of the other."""
    return np.asarray(np.linalg.norm(one[:, None] - other[None], axis=2))
