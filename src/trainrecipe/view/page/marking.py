"""Tags, notes and judgements of examples, kept by split and index, so that they survive a new scan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from trainrecipe.table.marks import VERDICTS, Key, Marks
from trainrecipe.table.table import Table
from trainrecipe.view.page.rendering import page

LONGEST_TAG, LONGEST_NOTE = 60, 4000


def posted(work: Callable[[Request, dict[str, str]], Response]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that reads a posted form, whose size the guard bounds, and works on it in a thread."""

    async def endpoint(request: Request) -> Response:
        fields = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        return await run_in_threadpool(work, request, fields)

    return endpoint


def mark(request: Request, fields: dict[str, str]) -> Response:
    """Add or remove a tag, keep a note, or judge a label; answers with the marks as they are then."""
    name, row = request.path_params["table"], request.path_params["row"]
    table: Table = request.app.state.project.table(name)
    marks: Marks = request.app.state.project.marks(name)
    key = place(table, row)
    if tag := fields.get("tag", "").strip()[:LONGEST_TAG]:
        marks.tag([key], tag)
    if tag := fields.get("untag", ""):
        marks.untag([key], tag)
    if "note" in fields:
        marks.note(key, fields["note"].replace("\r\n", "\n").strip()[:LONGEST_NOTE])
    if fields.get("judgement") in VERDICTS:
        marks.judge(key, fields["judgement"])
    return page(request, "marks", row=row, **shown(marks, key))


def tags(request: Request) -> Response:
    """Every tag with the number of its examples."""
    marks: Marks = request.app.state.project.marks(request.path_params["table"])
    return page(request, "tags", tags=list(marks.tags().items()))


def place(table: Table, row: int) -> Key:
    """The split and index of a row: the key that lasts. Raises HTTPException 404 where there is no such row."""
    if not 0 <= row < table.count():
        raise HTTPException(404, f"the table has no row {row}")
    found = table.row(row)
    return found["split"], int(found["index"])


def shown(marks: Marks, key: Key) -> dict[str, Any]:
    """What the piece of the page about one example's marks shows."""
    judged = [j.verdict for j in marks.judgements() if j.key == key]
    return {
        "own_tags": marks.tags_of([key]).get(key, []),
        "note": marks.notes_of([key]).get(key, ""),
        "judgement": judged[-1] if judged else "",
        "known": list(marks.tags()),
    }


def tagged(request: Request, tag: str) -> str:
    """The examples with a tag, as an expression. Raises WrongUse where it would grow too long."""
    project, name = request.app.state.project, request.path_params["table"]
    rows = sorted(project.table(name).rows_of(project.marks(name).tagged(tag)).values())
    return f"row in {rows!r}" if rows else "row < 0"
