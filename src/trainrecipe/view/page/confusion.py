"""Labels against predictions: each cell of the matrix, and each frequent mistake, leads to its examples."""

from __future__ import annotations

import dataclasses

from starlette.requests import Request
from starlette.responses import Response

from trainrecipe.table.table import Confusion
from trainrecipe.view.page.examples import expression, opened
from trainrecipe.view.page.rendering import page
from trainrecipe.view.page.selection import Selection

MISTAKES = 12
LEVELS = 5
"""Shades of a cell; the darkest is the most frequent mistake."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell: how many examples, how dark it is, whether label and prediction agree, and the address of its examples."""

    count: int
    level: int
    same: bool
    query: str


def confusion(request: Request) -> Response:
    """The confusion matrix of the selection; a cell opens its examples, the largest loss first."""
    table, selection = opened(request)
    missing = [n for n in ("label", "predicted") if n not in table.columns]
    if missing:
        return page(request, "confusion", missing=missing, selection=selection, total=0, splits=[])
    found = table.confusion(expression(request, table, selection))
    by_loss = dataclasses.replace(selection, sort="loss", descending=True) if "loss" in table.columns else selection
    rows = _rows(found, by_loss)
    return page(
        request,
        "confusion",
        missing=[],
        labels=found.labels,
        rows=rows,
        worst=[(a, b, n, _cell(by_loss, a, b)) for a, b, n in found.pairs[:MISTAKES]],
        others=found.others,
        total=sum(count for _, _, count in rows) + found.others,
        splits=[split.name for split in table.manifest.splits],
        selection=selection,
    )


def _rows(found: Confusion, selection: Selection) -> list[tuple[str, list[Cell], int]]:
    """Label, cells and number of examples of each row of the matrix."""
    most = max((n for i, row in enumerate(found.counts) for j, n in enumerate(row) if i != j), default=0)
    rows = []
    for i, label in enumerate(found.labels):
        cells = [
            Cell(
                n,
                1 + min(LEVELS * n // (most + 1), LEVELS - 1) if n and i != j else 0,
                i == j,
                _cell(selection, label, predicted),
            )
            for j, (predicted, n) in enumerate(zip(found.labels, found.counts[i], strict=True))
        ]
        rows.append((label, cells, sum(found.counts[i])))
    return rows


def _cell(selection: Selection, label: str, predicted: str) -> str:
    brushes = {**selection.brushes, "label": (label,), "predicted": (predicted,)}
    return dataclasses.replace(selection, brushes=brushes).query()
