"""Rows of a table as a grid or a list shows them: text that is safe to show, and thumbnails as bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainrecipe.table.table import Table
from trainrecipe.view.page import pictures
from trainrecipe.view.page.looks import kept

IDENTITY = ("row", "split", "index", "status", "label", "target", "labels", "text", "predicted", "suspect", "suggested")
"""What a cell of the grid is made from, where the table has it."""
WIDEST_LIST = 14
_PLAIN = ("row", "hash", "error", "text", "duplicate_group")


def thumb_kind(table: Table) -> str:
    """How a thumbnail is drawn: `image` as grey levels, `line` as a curve; empty where there are none."""
    kinds = {part.kind for part in table.manifest.inputs()}
    sample = table.thumbs([0])
    if not sample:
        return ""
    return "image" if next(iter(sample.values())).ndim == 2 and "series" not in kinds else "line"


def listed(table: Table) -> list[str]:
    """The columns of the list, those that a person looks for first."""
    first = ["split", "index", "label", "target", "labels", "predicted", "loss", "confidence", "suspect", "suggested"]
    shown = [n for n, c in table.columns.items() if not c.hidden and n not in (*_PLAIN, *first)]
    if table.count("status != 'ok'") == 0:
        shown = [n for n in shown if n != "status"]
    return [n for n in first if n in table.columns] + shown[: WIDEST_LIST - len(first)]


def cells(table: Table, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], sort: str) -> list[dict[str, Any]]:
    """Plain data for the browser; `columns` are those of a list, `sort` is shown in the grid too."""
    numbers = [row["row"] for row in rows]
    thumbs = table.thumbs(numbers)
    better = kept(table, numbers) if lacking(table, thumbs) else set()
    return [_cell(row, columns, sort, thumbs.get(row["row"])) | {"kept": row["row"] in better} for row in rows]


def lacking(table: Table, thumbs: Mapping[int, np.ndarray]) -> bool:
    """Whether thumbnails, which are grey and small, lack colours or details of the examples."""
    images = [part.shape for part in table.manifest.inputs() if part.kind == "image"]
    side = max((max(thumb.shape) for thumb in thumbs.values()), default=0)
    return any(3 in (*shape[:1], *shape[-1:]) or not shape or max(shape) > side for shape in images)


def _cell(row: Mapping[str, Any], columns: Sequence[str], sort: str, thumb: np.ndarray | None) -> dict[str, Any]:
    label = next((row[n] for n in ("label", "labels", "target") if row.get(n) is not None), None)
    doubted = (row.get("suspect") or 0) > 0 and row.get("suggested") != row.get("label")
    wrong = row.get("predicted") is not None and row.get("label") is not None and row["predicted"] != row["label"]
    return {
        "row": row["row"],
        "key": f"{pictures.legible(row['split'], 40)} {row['index']}",
        "label": pictures.number(label) if label is not None else "",
        "predicted": pictures.legible(row["predicted"], 40) if wrong else "",
        "suggested": pictures.legible(row["suggested"], 40) if doubted else "",
        "status": "" if row["status"] == "ok" else pictures.legible(row["status"], 40),
        "text": pictures.legible(row.get("text")),
        "sorted": "" if sort in IDENTITY else f"{sort} {pictures.number(row.get(sort))}",
        "cells": [pictures.number(row.get(name)) for name in columns],
        "thumb": thumb_text(thumb),
    }


def thumb_text(thumb: np.ndarray | None) -> list[Any] | None:
    """Height, width and base64 of the bytes of a thumbnail; a line has height 1."""
    if thumb is None:
        return None
    flat = np.ascontiguousarray(np.atleast_2d(thumb), dtype=np.uint8)
    return [flat.shape[0], flat.shape[1], base64.b64encode(flat.tobytes()).decode()]
