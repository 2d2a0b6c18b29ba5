"""Boxes around things: how many, how large, outside the picture, empty, twice."""

from __future__ import annotations

import numpy as np

from trainrecipe.scan.leaves import numbers
from trainrecipe.scan.measures import Measured, Values
from trainrecipe.scan.structure import Leaf, corners
from trainrecipe.table.manifest import Column, Part

MOST = 200
"""Boxes of an example that are compared with each other."""


def columns(part: Part) -> list[Column]:
    """See `measure`."""
    p = part.name
    return [
        Column(f"{p}_count", "integer", "boxes", p, "how many boxes", tail=True),
        Column(
            f"{p}_smallest", "number", "smallest box", p, "area of the smallest box that is none of the empty ones", tail=True
        ),
        Column(f"{p}_largest", "number", "largest box", p, "area of the largest box", tail=True),
        Column(f"{p}_empty", "integer", "empty boxes", p, "boxes without any area, or with ends exchanged", tail=True),
        Column(f"{p}_right", "number", "right end", p, "the largest coordinate across", hidden=True),
        Column(f"{p}_bottom", "number", "lower end", p, "the largest coordinate down", hidden=True),
        Column(f"{p}_left", "number", "left end", p, "the smallest coordinate across", hidden=True),
        Column(f"{p}_top", "number", "upper end", p, "the smallest coordinate down", hidden=True),
        Column(f"{p}_twins", "integer", "equal boxes", p, "boxes that are there twice", tail=True),
    ]


def measure(leaf: Leaf, values: Values) -> Measured:
    """Statistics of boxes, brought to two corners, in whatever unit they have."""
    p = leaf.part.name
    n = len(values)
    names = ("count", "smallest", "largest", "empty", "right", "bottom", "left", "top", "twins")
    counted = ("count", "empty", "twins")
    found = {f"{p}_{k}": np.zeros(n, np.int64) if k in counted else np.full(n, np.nan) for k in names}
    status: dict[int, str] = {}
    for i, value in enumerate(values):
        boxes = numbers(value)
        if boxes is None:
            raise TypeError(f"{type(value).__name__} where boxes were expected")
        boxes = corners(boxes.reshape(-1, 4).astype(np.float64), leaf.form) if boxes.size else np.zeros((0, 4))
        found[f"{p}_count"][i] = len(boxes)
        if not len(boxes):
            continue
        if not np.isfinite(boxes).all():
            status[i] = "not finite"
            continue
        sides = boxes[:, 2:] - boxes[:, :2]
        area = sides.prod(1)
        full = (sides > 0).all(1)
        found[f"{p}_empty"][i] = (~full).sum()
        found[f"{p}_smallest"][i] = area[full].min() if full.any() else np.nan
        found[f"{p}_largest"][i] = area[full].max() if full.any() else np.nan
        found[f"{p}_left"][i], found[f"{p}_top"][i] = boxes[:, :2].min(0)
        found[f"{p}_right"][i], found[f"{p}_bottom"][i] = boxes[:, 2:].max(0)
        found[f"{p}_twins"][i] = len(boxes[:MOST]) - len(np.unique(boxes[:MOST], axis=0))
    return Measured(found, None, None, status)
