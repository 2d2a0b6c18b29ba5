"""One example large: every stage side by side, its columns, its neighbours, its marks, its history over epochs."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from trainrecipe.table.table import Table
from trainrecipe.view.page import looks, pictures
from trainrecipe.view.page.cells import thumb_kind
from trainrecipe.view.page.examples import expression, opened
from trainrecipe.view.page.marking import place, shown
from trainrecipe.view.page.rendering import page
from trainrecipe.view.page.selection import Selection

NEIGHBOURS = 12
_EPOCH = re.compile(r"(.+?)_(?:epoch_?|e)(\d+)")


def example(request: Request) -> Response:
    """The page of one example; `at` is its position in the selection, by which the arrows go on."""
    table, selection = opened(request)
    row = request.path_params["row"]
    key = place(table, row)
    values = table.row(row)
    at = request.query_params.get("at", "")
    position = int(at) if at.isascii() and at.isdigit() and len(at) < 12 else None
    before, after, total = _beside(request, table, selection, position)
    names = {part.name: part.features for part in table.manifest.parts}
    made = looks.stages(table.views([row]).get(row), names)
    return page(
        request,
        "example",
        row=row,
        key=key,
        values=values,
        stages=made or _thumb_only(table, row),
        facts=_facts(table, values),
        history=history(values),
        selection=selection,
        at=position,
        before=before,
        after=after,
        total=total,
        same=_group(table, values),
        **shown(request.app.state.project.marks(request.path_params["table"]), key),
    )


def neighbours(request: Request) -> Response:
    """The most alike examples; asked for by the page once it is there."""
    table, _ = opened(request)
    row = request.path_params["row"]
    if not 0 <= row < table.count():
        raise HTTPException(404, f"the table has no row {row}")
    near = [(int(r), float(s)) for r, s in table.neighbours(row, k=NEIGHBOURS)]
    rows = looks.values(table, [r for r, _ in near])
    thumbs, kind = table.thumbs([r for r, _ in near]), thumb_kind(table)
    found = [(rows[r], similarity, _thumb(thumbs.get(r), kind)) for r, similarity in near if r in rows]
    return page(request, "neighbours", near=found, row=row, own=table.row(row))


def picture(request: Request) -> Response:
    """The image of an example as the data set gives it, in its own colours: the grid asks for what is visible."""
    table, _ = opened(request)
    found = looks.image(table, request.path_params["row"], "item", "raw")
    if found is not None:
        headers = {"Cache-Control": "private, max-age=600"}
        return Response(base64.b64decode(found["png"]), media_type="image/png", headers=headers)
    raise HTTPException(404, "the scan kept no image of this example")


def history(values: Mapping[str, Any]) -> list[tuple[str, list[tuple[int, float]], str]]:
    """Columns that hold one quantity by epoch (`loss_e0`, `loss_epoch_1`): its name, its values, and points to draw."""
    found: dict[str, list[tuple[int, float]]] = {}
    for name, value in values.items():
        match = _EPOCH.fullmatch(name)
        if match and isinstance(value, int | float) and math.isfinite(value):
            found.setdefault(match[1], []).append((int(match[2]), float(value)))
    series = {name: sorted(pairs) for name, pairs in found.items() if len(pairs) > 1}
    return [(name, pairs, pictures.lines([[v for _, v in pairs]], 220, 48)[0]) for name, pairs in series.items()]


def _beside(
    request: Request, table: Table, selection: Selection, at: int | None
) -> tuple[tuple[int, int] | None, tuple[int, int] | None, int]:
    """Row and position of the examples before and after, and how many there are; nothing where no position is known."""
    if at is None:
        return None, None, 0
    first = max(at - 1, 0)
    found = table.page(
        expression(request, table, selection),
        sort=selection.sort,
        descending=selection.descending,
        offset=first,
        limit=3,
        columns=["row"],
    )
    rows = [r["row"] for r in found.rows]
    here = at - first
    before = (rows[here - 1], at - 1) if here else None
    after = (rows[here + 1], at + 1) if here + 1 < len(rows) else None
    return before, after, found.total


def _facts(table: Table, values: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Title, value, unit and explanation of each column that has a value and is not shown elsewhere."""
    facts = []
    for name, column in table.columns.items():
        value = values.get(name)
        if value is None or name in ("row", "split", "index", "text") or _EPOCH.fullmatch(name):
            continue
        text = str(value) if name in ("hash", "duplicate_group") else pictures.number(value)
        facts.append((name, text, column.unit, column.about or column.title))
    return facts


def _group(table: Table, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The other members of its group of duplicates."""
    group = values.get("duplicate_group")
    if group is None:
        return []
    rows = table.page(f"duplicate_group == {group!r}", limit=13).rows
    return [r for r in rows if r["row"] != values["row"]]


def _thumb_only(table: Table, row: int) -> list[looks.Stage]:
    """The thumbnail, where the scan kept nothing larger of this example."""
    source = _thumb(table.thumbs([row]).get(row), thumb_kind(table))
    if not source:
        return []
    kind = {"png": {"kind": "image", "png": source[1]}, "line": {"kind": "series", "values": [source[1]]}}[source[0]]
    return [looks.Stage("thumb", "Thumbnail", "the scan kept nothing larger of this one", [looks.Piece("", kind)])]


def _thumb(thumb: Any, kind: str) -> tuple[str, Any] | None:
    """How a thumbnail is drawn in a page: a PNG as text, or the values of a line."""
    if thumb is None:
        return None
    if kind == "line":
        return "line", [int(v) for v in thumb.reshape(-1)]
    return "png", pictures.png(thumb)
