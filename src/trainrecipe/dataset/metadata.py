"""Measurements that should say nothing about the label, and what they say."""

from __future__ import annotations

import numpy as np

from trainrecipe.dataset.shortcuts import baseline
from trainrecipe.finding import Evidence
from trainrecipe.subjects.scan import Scan

SIZES = ("width", "height")
FORMS = (*SIZES, "border", "length", "padding", "clipped", "quiet", "words", "missing", "size")
"""Ends of the names of columns that measure how an example was made; `border` of pictures only where they are large."""
LARGE = 16
"""Pixels on a side from which the border of a picture is no part of what it shows."""


def told(scan: Scan) -> Evidence:
    """What each such measurement tells of the label, over the training split."""
    labels = scan.labels()
    if labels is None:
        return Evidence(missing="the examples bear no classes")
    split = (scan.training() or scan.splits[0]).name
    rows = np.flatnonzero(scan.where(split) & scan.sound & np.array([v is not None for v in labels]))
    columns = {}
    for column in scan.numeric():
        form = column.name.removeprefix(f"{column.part}_")
        if form in FORMS and column.part in {p.name for p in scan.manifest.inputs()} and _apart(scan, column.part, form):
            columns[column.name] = scan.column(column.name)[rows]
    columns = {name: values for name, values in columns.items() if len(np.unique(values[:10_000])) > 1}
    if not columns:
        return Evidence(missing="nothing that is no content varies between the examples")
    found = baseline(columns, np.array([str(v) for v in labels[rows]]))
    if found.together is None or not found.alone:
        return Evidence({"best": None, "reason": found.reason, "rows": len(rows)}, place=scan.place(split))
    best = found.alone[0]
    described = next(c for c in scan.manifest.columns if c.name == best.name)
    return Evidence(
        {
            "best": {
                "name": best.name,
                "title": described.title or best.name,
                "size": best.name.removeprefix(f"{described.part}_") in SIZES,
                "gain": best.gain.value,
                "low": best.gain.low,
                "high": best.gain.high,
                "score": best.score,
                "majority": best.majority,
                "p": best.p_value,
            },
            "all": {t.name: t.gain.value for t in found.alone},
            "together": found.together.gain.value,
            "rows": found.rows,
            "reason": "",
        },
        place=scan.place(split),
    )


def _apart(scan: Scan, part: str, form: str) -> bool:
    if form != "border":
        return True
    shape = next((p.shape for p in scan.manifest.parts if p.name == part), ())
    return len(shape) >= 2 and sorted(shape)[-2] >= LARGE
