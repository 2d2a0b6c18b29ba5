"""The examples most like one example, found among all vectors when they are asked for: a pass over a mapped file."""

from __future__ import annotations

import numpy as np

BLOCK = 65_536
"""Rows that are compared at once."""
SAMPLE = 20_000
"""Rows by which columns are put on one scale."""


class Alike:
    """Cosine similarity of vectors (N, d) with centred columns, each divided by its standard deviation.

    Vectors of length 1, as those of texts are, are compared as they are. A million vectors of 64 numbers take about a tenth of
    a second on one core.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors
        step = max(1, len(vectors) // SAMPLE)
        sample = np.nan_to_num(np.asarray(vectors[::step][:SAMPLE], np.float32))
        lengths = np.linalg.norm(sample, axis=1)
        whole = bool(len(sample)) and bool((np.abs(lengths[lengths > 0] - 1) < 0.01).all())
        spread = sample.std(0) if len(sample) else np.ones(vectors.shape[1], np.float32)
        self.middle = np.zeros(vectors.shape[1], np.float32) if whole else sample.mean(0)
        self.scale = np.ones_like(spread) if whole else np.where(spread > 0, spread, 1.0)

    def to(self, row: int, k: int) -> list[tuple[int, float]]:
        """The `k` other rows most like this one, with their similarities, the most similar first."""
        query = self._unit(self.vectors[row : row + 1])[0]
        found: list[tuple[float, int]] = []
        for start in range(0, len(self.vectors), BLOCK):
            likeness = self._unit(self.vectors[start : start + BLOCK]) @ query
            if start <= row < start + BLOCK:
                likeness[row - start] = -np.inf
            best = np.argpartition(-likeness, min(k, len(likeness) - 1))[:k]
            found += [(float(likeness[i]), start + int(i)) for i in best if np.isfinite(likeness[i])]
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        return [(row, similarity) for similarity, row in found[:k]]

    def _unit(self, rows: np.ndarray) -> np.ndarray:
        x = (np.nan_to_num(np.asarray(rows, np.float32)) - self.middle) / self.scale
        unit: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        return unit
