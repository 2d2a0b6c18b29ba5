"""The grid of examples: rows on demand, linked histograms, the state of the selection, and its code for training."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from trainrecipe.table.query import compiled
from trainrecipe.table.table import Counts, Histogram, Table
from trainrecipe.table.terms import NUMBERS
from trainrecipe.view.page.cells import IDENTITY, cells, listed, thumb_kind
from trainrecipe.view.page.marking import tagged
from trainrecipe.view.page.pictures import legible
from trainrecipe.view.page.rendering import page
from trainrecipe.view.page.selection import Selection
from trainrecipe.wrong_use import WrongUse, nearest

LARGEST_BLOCK = 240
MOST_HISTOGRAMS = 12
_FIRST = ("split", "label", "target", "loss", "confidence", "suspect", "status")


def opened(request: Request) -> tuple[Table, Selection]:
    """The table and the selection that an address names."""
    table: Table = request.app.state.project.table(request.path_params["table"])
    return table, Selection.of(request.query_params)


def expression(request: Request, table: Table, selection: Selection, *, brushed: bool = True) -> str:
    """The selection in the table's language. Raises WrongUse that quotes only what the person typed."""
    if selection.where:
        compiled(selection.where, table.kinds)
    for name in (selection.sort, *selection.brushes):
        if name not in table.columns:
            raise WrongUse(f"there is no column {name!r}; {nearest(name, table.columns)}".rstrip("; "))
    parts = selection.conditions(table.columns, brushed=brushed)
    if selection.tag:
        parts.append(tagged(request, selection.tag))
    return " and ".join(parts)


def version(request: Request) -> str:
    """What changes when the table is built anew."""
    folder = request.app.state.project.folders()[request.path_params["table"]]
    return str((folder / "examples.duckdb").stat().st_mtime_ns)


def shell(request: Request) -> Response:
    """The page without its rows; a script asks for what is visible."""
    table, selection = opened(request)
    default = "grid" if thumb_kind(table) or "text" in table.columns else "list"
    return page(
        request,
        "examples",
        selection=selection,
        columns=table.columns,
        shown=histograms(table, request.query_params.get("columns", "")),
        view=request.query_params.get("view") or default,
        default_view=default,
        version=version(request),
        hint=_hint(table),
    )


def rows(request: Request) -> Response:
    """A block of rows of the selection as JSON: `offset` and `limit` as in the address."""
    table, selection = opened(request)
    where = expression(request, table, selection)
    as_list = request.query_params.get("view") == "list"
    columns = listed(table) if as_list else []
    wanted = [n for n in dict.fromkeys((*IDENTITY, *columns, selection.sort)) if n in table.columns]
    found = table.page(
        where,
        sort=selection.sort,
        descending=selection.descending,
        offset=_whole(request, "offset", 0),
        limit=min(_whole(request, "limit", 60), LARGEST_BLOCK),
        columns=wanted,
    )
    return JSONResponse(
        {
            "total": found.total,
            "columns": columns,
            "numbers": [table.kinds[name] in NUMBERS for name in columns],
            "kind": thumb_kind(table),
            "version": version(request),
            "rows": cells(table, found.rows, columns, selection.sort),
        }
    )


def state(request: Request) -> Response:
    """How many examples are selected, what selects them, and, where none is, what would widen the selection."""
    table, selection = opened(request)
    where = expression(request, table, selection)
    total = table.count(where)
    chips = list(selection.chips())
    wider = [] if total else [(c, table.count(expression(request, table, c.without))) for c in chips]
    return page(request, "state", selection=selection, chips=chips, total=total, every=table.count(), wider=wider)


def cross(request: Request) -> Response:
    """The histograms that are shown, each under all brushes but its own; `all=1` without any condition."""
    table, selection = opened(request)
    names = histograms(table, request.query_params.get("columns", ""))
    if request.query_params.get("all") == "1":
        drawn = table.cross(names)
    else:
        brushes = {n: [v == str(True) for v in b] if table.kinds[n] == "flag" else b for n, b in selection.brushes.items()}
        drawn = table.cross(names, expression(request, table, selection, brushed=False), brushes)
    return JSONResponse({"version": version(request), "columns": {name: _plain(drawn[name]) for name in names}})


def export(request: Request) -> Response:
    """Python code that makes the selection a `torch.utils.data.Subset` for each split."""
    table, selection = opened(request)
    code = table.export(expression(request, table, selection))
    return PlainTextResponse(code, headers={"Content-Disposition": 'attachment; filename="selection.py"'})


def histograms(table: Table, asked: str) -> list[str]:
    """The columns whose histograms are shown: those asked for, else the most telling ones."""
    names = [n for n in asked.split(",") if n in table.columns][:MOST_HISTOGRAMS]
    if names:
        return names
    known = [n for n in _FIRST if n in table.columns and not (n == "status" and table.count("status != 'ok'") == 0)]
    tails = [n for n, c in table.columns.items() if c.tail and not c.hidden and n not in _FIRST]
    numbers = [n for n, c in table.columns.items() if table.kinds[n] in NUMBERS and not c.hidden]
    others = [n for n in numbers if n not in ("row", "index", "hash", "duplicate_group")]
    return list(dict.fromkeys([*known, *tails, *others]))[:7]


def _hint(table: Table) -> str:
    """An expression that this table can answer, as an example of the language."""
    first = f"split == {table.manifest.splits[0].name!r}" if table.manifest.splits else "row < 100"
    if "loss" in table.columns:
        return f"{first} and loss > 2"
    label = table.counts("label", most=1).values if "label" in table.columns else []
    return f"{first} and label in [{str(label[0][0])[:20]!r}]" if label else f"{first} and row < 100"


def _plain(drawn: Histogram | Counts) -> dict[str, Any]:
    if isinstance(drawn, Histogram):
        missing = drawn.missing + drawn.nan + drawn.infinite
        return {"kind": "range", "edges": drawn.edges, "counts": drawn.counts, "missing": missing}
    values = [{"value": str(v), "text": legible(v, 60), "n": int(n)} for v, n in drawn.values]
    return {"kind": "values", "values": values, "others": drawn.others, "distinct": drawn.distinct, "missing": drawn.missing}


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else default
