"""What is measured of each kind of part, a file for each: `columns(part)` describes, `measure(leaf, values)` measures.

`values` are the parts of one chunk of examples: one array with a row per example where all have the same shape, else a list.
Results are arrays with one entry per example, by the names of the columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from trainrecipe.scan.structure import Leaf
from trainrecipe.table.manifest import Column, Part

Values = np.ndarray | Sequence[Any]


@dataclasses.dataclass
class Measured:
    """Columns of one part for a chunk, thumbnails (n, h, w) uint8 and vectors (n, d) where the kind has them, and which
    examples are out of order: `status` by position."""

    columns: dict[str, np.ndarray]
    thumbs: np.ndarray | None = None
    vectors: np.ndarray | None = None
    status: dict[int, str] = dataclasses.field(default_factory=dict)


class Measure(Protocol):
    """What each file of this folder offers."""

    def columns(self, part: Part) -> list[Column]:
        """The columns that `measure` fills, described."""

    def measure(self, leaf: Leaf, values: Values) -> Measured:
        """Measure a chunk."""


def measure_of(kind: str) -> Measure:
    """The measures for a kind of part."""
    from trainrecipe.scan.measures import boxes, images, masks, series, tables, targets, tensors, texts, tokens

    modules: dict[str, Any] = {
        "image": images,
        "mask": masks,
        "boxes": boxes,
        "series": series,
        "tokens": tokens,
        "text": texts,
        "table": tables,
        "class": targets,
        "number": targets,
        "labels": targets,
        "tensor": tensors,
    }
    found: Measure = modules[kind]
    return found
