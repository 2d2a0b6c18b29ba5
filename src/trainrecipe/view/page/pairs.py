"""Duplicates: groups of alike examples, and two examples side by side with their difference image."""

from __future__ import annotations

import itertools
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from trainrecipe.table.table import Table
from trainrecipe.view.page import looks, pictures
from trainrecipe.view.page.cells import thumb_kind
from trainrecipe.view.page.examples import opened
from trainrecipe.view.page.rendering import page

GROUPS = 60
_EACH = 8


def groups(request: Request) -> Response:
    """Groups of duplicates, in the order of the scan, a page at a time."""
    table, _ = opened(request)
    if "duplicate_group" not in table.columns:
        return page(request, "duplicates", groups=[], total=0, missing=True, offset=0, step=0, kind="")
    text = request.query_params.get("offset", "0")
    offset = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
    found = table.page("not isnull(duplicate_group)", sort="duplicate_group", offset=offset, limit=GROUPS * 4)
    by_group = [(g, list(rows)) for g, rows in itertools.groupby(found.rows, key=lambda r: r["duplicate_group"])]
    if len(by_group) > 1 and offset + len(found.rows) < found.total:
        by_group.pop()  # the last may be cut; the next page begins with it
    step = sum(len(rows) for _, rows in by_group)
    kind = thumb_kind(table)
    drawn = _drawn(table, [r["row"] for _, rows in by_group for r in rows[:_EACH]]) if kind == "image" else {}
    made = [(int(g), [(r, drawn.get(r["row"], "")) for r in rows[:_EACH]], len(rows), _remarks(rows)) for g, rows in by_group]
    return page(request, "duplicates", groups=made, total=found.total, missing=False, offset=offset, step=step, kind=kind)


def pair(request: Request) -> Response:
    """Two examples (`a` and `b`, rows) side by side, and where they differ."""
    table, _ = opened(request)
    rows = [_row(request, name, table.count()) for name in ("a", "b")]
    a, b = (looks.picture(table, row, "raw", "item", "fed") for row in rows)
    gap = pictures.difference(a, b) if a is not None and b is not None else None
    made = looks.looks(table, rows if rows[0] != rows[1] else rows[:1])
    sides = made if len(made) == 2 else made * 2
    values = [table.row(row) for row in rows]
    images = [pictures.png(v) if v is not None else "" for v in (a, b)]
    columns = [name for name in table.columns if name != "row" and any(v.get(name) is not None for v in values)]
    differing = [(n, values[0].get(n), values[1].get(n)) for n in columns]
    return page(request, "pair", sides=list(zip(sides, images, strict=False)), gap=gap, rows=rows, differing=differing)


def _drawn(table: Table, rows: list[int]) -> dict[int, str]:
    """The image of each row that the scan kept, else its thumbnail, as a PNG in base64."""
    views, thumbs = table.views(rows), table.thumbs(rows)
    found = {row: looks.image_of(view, "raw", "item") for row, view in views.items()}
    return {row: pictures.png(thumb) for row, thumb in thumbs.items()} | {
        row: str(image["png"]) for row, image in found.items() if image is not None
    }


def _row(request: Request, name: str, total: int) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) < total):
        raise HTTPException(404, f"a pair needs two rows of the table, `a` and `b`; {name} is {text[:40]!r}")
    return int(text)


def _remarks(rows: list[dict[str, Any]]) -> list[str]:
    """What makes a group worth a look."""
    splits = list(dict.fromkeys(str(r["split"]) for r in rows))
    labels = {r.get("label") for r in rows}
    crossing = [f"across {' and '.join(splits)}"] if len(splits) > 1 else []
    return crossing + (["labels differ"] if len(labels) > 1 else [])
