"""Maps of labels: which classes they show, how much is foreground, and masks that show nothing."""

from __future__ import annotations

import numpy as np

from trainrecipe.scan.measures import Measured, Values
from trainrecipe.scan.measures.stacked import by_shape
from trainrecipe.scan.structure import Leaf
from trainrecipe.table.manifest import Column, Part

IGNORED = 255
"""The label that segmentation losses leave out by custom (Pascal VOC); negative labels count as well."""


def columns(part: Part) -> list[Column]:
    """See `measure`."""
    p = part.name
    return [
        Column(f"{p}_classes", "integer", "classes", p, "how many labels it shows", tail=True),
        Column(f"{p}_foreground", "number", "foreground", p, "share of its pixels that are neither 0 nor ignored", tail=True),
        Column(f"{p}_ignored", "number", "ignored", p, f"share of its pixels labelled {IGNORED} or below 0", tail=True),
        Column(f"{p}_edges", "number", "edges", p, "share of neighbouring pixels with different labels", tail=True),
        Column(f"{p}_highest", "integer", "highest label", p, f"its largest label besides {IGNORED}", hidden=True),
    ]


def measure(leaf: Leaf, values: Values) -> Measured:
    """Statistics of maps (height, width), or of stacks of masks (number, height, width)."""
    return by_shape(values, lambda stack: _measure(leaf, stack))


def _measure(leaf: Leaf, stack: np.ndarray) -> Measured:
    p = leaf.part.name
    flat = stack.reshape(len(stack), -1).astype(np.int64)
    several = int(flat.max(initial=0)) > 1
    ignored = ((flat == IGNORED) & several) | (flat < 0)
    kept = np.where(ignored, 0, flat)
    across = (
        (stack[..., 1:] != stack[..., :-1]).reshape(len(stack), -1).mean(1) if stack.shape[-1] > 1 else np.zeros(len(stack))
    )
    found = {
        f"{p}_classes": np.array([len(np.unique(row[~skip])) for row, skip in zip(flat, ignored, strict=True)], np.int64),
        f"{p}_foreground": (kept > 0).mean(1),
        f"{p}_ignored": ignored.mean(1),
        f"{p}_edges": across,
        f"{p}_highest": kept.max(1),
    }
    return Measured(found)
