"""Whether the examples of a split are on one scale."""

from __future__ import annotations

import numpy as np

from trainrecipe.finding import Evidence
from trainrecipe.subjects.scan import Scan
from trainrecipe.table.manifest import Split

LIVELY = 0.25
"""Spread over the largest number that the smaller group has at least, as a share of what the larger group has."""
ALONE = 0.5
"""Share of the examples from which a group is not the odd one."""


def scales(scan: Scan, split: Split) -> Evidence | None:
    """The widest gap in the largest absolute numbers of the examples, on a logarithmic scale; None for other kinds."""
    part = next((p for p in scan.manifest.inputs() if p.kind in ("image", "series")), None)
    names = {"image": ("low", "high", "std"), "series": ("peak", "peak", "std")}
    if part is None or any(f"{part.name}_{n}" not in scan.names for n in names[part.kind]):
        return None
    rows = np.flatnonzero(scan.where(split.name) & scan.sound)
    low, high, std = (scan.column(f"{part.name}_{n}")[rows].astype(float) for n in names[part.kind])
    largest = np.maximum(np.abs(low), np.abs(high))
    kept = np.isfinite(largest) & (largest > 0)
    rows, largest, std = rows[kept], largest[kept], std[kept]
    told = {
        "split": split.name,
        "rows": len(rows),
        "apart": 0,
        "times": 1.0,
        "larger": False,
        "theirs": 0.0,
        "others": 0.0,
        "sample": [],
    }
    if len(rows) < 10:
        return Evidence(told, place=scan.place(split.name))
    order = np.argsort(largest)
    logs = np.log(largest[order])
    cut = int(np.argmax(np.diff(logs)))
    small, large = order[: cut + 1], order[cut + 1 :]
    lively = float(np.median(std[small] / largest[small])) >= LIVELY * float(np.median(std[large] / largest[large]))
    if lively:
        few, many = (small, large) if len(small) < ALONE * len(rows) else (large, small)
        theirs, others = float(np.median(largest[few])), float(np.median(largest[many]))
        index, middle = scan.column("index")[rows[few]], (theirs * others) ** 0.5 / 4
        told |= {
            "apart": len(few),
            "times": float(np.exp(logs[cut + 1] - logs[cut])),
            "larger": theirs > others,
            "theirs": theirs,
            "others": others,
            "sample": np.sort(index)[:6].astype(int).tolist(),
            "where": f"split == '{split.name}' and {part.name}_std {'>' if theirs > others else '<'} {middle:.4g}",
        }
    return Evidence(told, place=scan.place(split.name))
