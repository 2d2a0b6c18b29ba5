"""Which labels of a scan to review first, and what share of them is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainrecipe.dataset.label_noise import rate, suspects
from trainrecipe.dataset.neighbours import nearest
from trainrecipe.subjects.scan import NEIGHBOURS, Scan
from trainrecipe.table.manifest import Column

MOST = 50_000
"""Labels that are judged; of more, these many drawn at random."""


def review(scan: Scan) -> dict[str, Any] | str:
    """The estimate for the training split (the first one, where nothing is known of roles), or why there is none.

    Notes the columns `suspect` (log-odds of the best other class) and `suggested`.
    """
    labels = scan.labels()
    if labels is None:
        return "the examples bear no classes"
    if not scan.has_vectors:
        return "the inputs are of a kind that neighbours are not told by"
    if len(scan.manifest.inputs()) > 1:
        return "an example has several inputs, and neighbours are told by one of them"
    split = (scan.training() or scan.splits[0]).name
    rows = np.flatnonzero(scan.where(split) & scan.sound & np.array([v is not None for v in labels]))
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
    if len(rows) < 2:
        return f"{len(rows)} labels are too few"
    given = np.array([str(v) for v in labels[rows]])
    x = scan.vectors(rows)
    near = nearest(x, NEIGHBOURS)
    found = suspects(x, given, near.rows, near.similarities)
    told = rate(found)
    score, suggested = np.full(scan.rows, np.nan), np.full(scan.rows, None, dtype=object)
    score[rows], suggested[rows] = found.score, found.suggested
    scan.note(Column("suspect", "number", "suspect label", about="log-odds of the best other class against the label"), score)
    scan.note(
        Column("suggested", "category", "suggested label", about="the class that its neighbours and a linear model expect"),
        suggested,
    )
    index = scan.column("index")
    sample = [f"{split} {int(index[rows[i]])}: {given[i]}, rather {found.suggested[i]}" for i in found.order[:4]]
    share = told.share
    return {
        "split": split,
        "rows": len(rows),
        "share": share.value if share is not None else None,
        "low": share.low if share is not None else None,
        "high": share.high if share is not None else None,
        "accuracy": told.accuracy.value,
        "reason": told.reason,
        "sample": sample,
        "fed": scan.as_fed,
        "where": f"split == '{split}' and suspect > 0",
    }
