"""Which examples of a scan are furthest out, along every axis that was measured and among their neighbours."""

from __future__ import annotations

import numpy as np

from trainrecipe.dataset.neighbours import nearest
from trainrecipe.dataset.tails import ranked
from trainrecipe.subjects.scan import NEIGHBOURS, Scan
from trainrecipe.table.manifest import Column

MOST = 50_000
"""Examples whose distance to their neighbours is measured; of more, the measured columns alone count."""


def rank(scan: Scan) -> None:
    """Note the columns `outlier` (how far out, as a modified z-score), `outlier_axis`, `outlier_rank` (1 is furthest), and
    `alone`, the distance to the nearest neighbours, which shows what is odd on no single axis.

    Each split is ranked by itself; examples that could not be used are left out.
    """
    score, axis = np.full(scan.rows, np.nan), np.full(scan.rows, None, dtype=object)
    place, alone = np.full(scan.rows, np.nan), np.full(scan.rows, np.nan)
    described = scan.numeric(tail=True)
    for split in scan.splits:
        rows = np.flatnonzero(scan.where(split.name) & scan.sound)
        columns = {c.name: scan.column(c.name)[rows] for c in described}
        distances = _distances(scan, rows)
        if not len(rows) or (not columns and distances is None):
            continue
        if distances is not None:
            alone[rows] = distances
        found = ranked(columns, distances=distances)
        score[rows], axis[rows], place[rows] = found.score, found.axis, found.rank
    if np.isfinite(alone).any():
        scan.note(
            Column("alone", "number", "distance to neighbours", about="mean distance to the ten most alike of its split"), alone
        )
    if np.isfinite(score).any():
        scan.note(
            Column("outlier", "number", "outlier", about="how far out it is on its worst axis: a modified z-score"), score
        )
        scan.note(Column("outlier_axis", "category", "outlier along", about="the axis on which it is furthest out"), axis)
        scan.note(Column("outlier_rank", "integer", "outlier rank", about="1 is the furthest out of its split"), place)


def _distances(scan: Scan, rows: np.ndarray) -> np.ndarray | None:
    """Mean distance to the nearest neighbours within the split, on the sphere."""
    if not scan.has_vectors or not NEIGHBOURS < len(rows) <= MOST:
        return None
    found = nearest(scan.vectors(rows), NEIGHBOURS)
    likeness = np.where(np.isfinite(found.similarities), found.similarities, -1.0)
    distances: np.ndarray = np.sqrt(np.maximum(2 - 2 * likeness, 0.0)).mean(1)
    return distances
