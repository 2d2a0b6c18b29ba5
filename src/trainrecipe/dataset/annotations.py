"""What is odd about the annotations of a scan."""

from __future__ import annotations

import numpy as np

from trainrecipe.finding import Evidence
from trainrecipe.subjects.scan import Scan

BEYOND = 0.05
"""Share of a side by which a box may reach beyond it."""


def boxes(scan: Scan) -> Evidence:
    """Examples with boxes outside, empty or twice."""
    part = next((p for p in scan.manifest.parts if p.kind == "boxes"), None)
    if part is None or f"{part.name}_count" not in scan.names:
        return Evidence(missing="the examples have no boxes")
    sound = scan.sound
    empty = (scan.column(f"{part.name}_empty") > 0) & sound
    twins = (scan.column(f"{part.name}_twins") > 0) & sound
    outside = np.zeros(scan.rows, bool)
    size = _sizes(scan)
    right, bottom = scan.column(f"{part.name}_right"), scan.column(f"{part.name}_bottom")
    with np.errstate(invalid="ignore"):
        shares = bool(np.nanmax(np.concatenate([right, bottom, [0.0]])) <= 1.5)
        size = (np.ones(scan.rows), np.ones(scan.rows)) if shares else size
        if size is not None:
            width, height = size
            left, top = scan.column(f"{part.name}_left"), scan.column(f"{part.name}_top")
            outside = (right > (1 + BEYOND) * width) | (bottom > (1 + BEYOND) * height)
            outside |= (left < -BEYOND * width) | (top < -BEYOND * height)
            outside &= sound
    bad = np.flatnonzero(empty | twins | outside)
    beyond = "" if not outside.any() else _expression(scan, part.name, shares)
    split, index = scan.column("split"), scan.column("index")
    return Evidence(
        {
            "rows": int(sound.sum()),
            "empty": int(empty.sum()),
            "twins": int(twins.sum()),
            "outside": int(outside.sum()),
            "sample": [f"{split[i]} {int(index[i])}" for i in bad[:6]],
            "where": f"{part.name}_empty > 0 or {part.name}_twins > 0{beyond}",
        },
        place=scan.place(),
    )


def _expression(scan: Scan, boxes: str, shares: bool) -> str:
    """The part of an expression that selects examples with boxes outside."""
    image = next((p.name for p in scan.manifest.parts if p.kind == "image"), "")
    sizes = ("1", "1") if shares else (f"{image}_width", f"{image}_height")
    if not shares and sizes[0] not in scan.names:
        known = _sizes(scan)
        assert known is not None
        sizes = (f"{known[0][0]:g}", f"{known[1][0]:g}")
    ends = (("right", "left", sizes[0]), ("bottom", "top", sizes[1]))
    return "".join(
        f" or {boxes}_{far} > {1 + BEYOND} * {size} or {boxes}_{near} < -{BEYOND} * {size}" for far, near, size in ends
    )


def _sizes(scan: Scan) -> tuple[np.ndarray, np.ndarray] | None:
    """Widths and heights of the pictures."""
    part = next((p for p in scan.manifest.parts if p.kind == "image"), None)
    if part is None:
        return None
    if f"{part.name}_width" in scan.names:
        return scan.column(f"{part.name}_width"), scan.column(f"{part.name}_height")
    if len(part.shape) < 2:
        return None
    last = len(part.shape) == 3 and part.shape[-1] in (1, 3, 4) and part.shape[0] not in (1, 3, 4)
    height, width = part.shape[:2] if last or len(part.shape) == 2 else part.shape[-2:]
    return np.full(scan.rows, float(width)), np.full(scan.rows, float(height))
