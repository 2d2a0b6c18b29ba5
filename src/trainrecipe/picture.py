"""Pictures as data: Vega-Lite specifications and grids of examples, drawn by every view the same way.

A `Picture` is plain JSON. The builders below cover what checks need; their arguments are plain lists of numbers.
Reference: the Vega-Lite 6 specification.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """A chart (`kind="vega-lite"`, `content` is the spec), a grid of examples (`kind="grid"`, `content["tiles"]`) or a table
    (`kind="table"`, `content["columns"]` and `content["rows"]`, all text).

    A tile of a grid is `{"image": data-URI or None, "text": str or None, "values": list or None, "caption": str}`.
    `title` is the headline, `caption` one sentence that says what to look for, `beside` a second picture of the same matter.
    """

    kind: str
    title: str
    caption: str
    content: Mapping[str, Any]
    beside: Picture | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("vega-lite", "grid", "table"):
            raise ValueError(f"a picture is of kind 'vega-lite', 'grid' or 'table', not {self.kind!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain data for the journal."""
        data = {"kind": self.kind, "title": self.title, "caption": self.caption, "content": dict(self.content)}
        return data | ({"beside": self.beside.to_json()} if self.beside is not None else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Picture:
        """Rebuild a picture from `to_json`."""
        beside = cls.from_json(data["beside"]) if data.get("beside") else None
        return cls(data["kind"], data["title"], data["caption"], data["content"], beside)


def lines(
    title: str,
    caption: str,
    series: Mapping[str, Sequence[float | None]],
    *,
    x: Sequence[float] | None = None,
    x_title: str = "step",
    y_title: str = "",
    rules: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
) -> Picture:
    """Curves over a common x, with named horizontal reference lines (`rules`), such as the theoretical floor of a loss."""
    rows = []
    for name, ys in series.items():
        xs: Sequence[float] = x if x is not None else range(len(ys))
        rows += [{"x": a, "y": b, "series": name} for a, b in zip(xs, ys, strict=True) if _drawable(b, log_y)]
    flat = len({row["y"] for row in rows} | set((rules or {}).values())) < 2  # one value alone makes no axis
    y_scale = {"type": "log"} if log_y else {"zero": flat}
    x_scale = {"type": "log"} if log_x else {"zero": False}
    encoding = {
        "x": {"field": "x", "type": "quantitative", "title": x_title, "scale": x_scale},
        "y": {"field": "y", "type": "quantitative", "title": y_title, "scale": y_scale},
        "color": {"field": "series", "type": "nominal", "title": None},
    }
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": rows},
            "mark": {"type": "line", "point": len(rows) <= 60, "tooltip": True},
            "encoding": encoding,
        }
    ]
    for name, value in (rules or {}).items():
        if not _drawable(value, log_y):
            continue
        y_rule = {"field": "y", "type": "quantitative"}
        at: dict[str, Any] = {"data": {"values": [{"y": value, "label": name}]}, "encoding": {"y": y_rule}}
        layers.append({**at, "mark": {"type": "rule", "strokeDash": [5, 4], "color": "#888"}})
        text = {"type": "text", "align": "left", "x": 4, "dy": -6, "color": "#888", "fontSize": 11}
        layers.append({**at, "mark": text, "encoding": {"y": y_rule, "text": {"field": "label"}}})
    return _chart(title, caption, {"layer": layers})


def traces(
    title: str,
    caption: str,
    series: Mapping[str, Sequence[float]],
    *,
    x: Sequence[float],
    targets: Mapping[str, float] | None = None,
    x_title: str = "step",
    y_title: str = "",
    middle: str = "",
) -> Picture:
    """Many thin curves over a common x, named in tooltips only; a few with `targets`, dashed lines in their own colours.

    `middle` names a bold curve of their medians. The axis of x is that of square roots where it is long, as for the steps of
    a run that was looked at more often in its beginning.
    """
    names = list(series)
    rows = [{"x": a, "y": b, "series": n} for n in names for a, b in zip(x, series[n], strict=True) if _drawable(b, False)]
    scale: dict[str, Any] = {"type": "sqrt"} if max(x, default=0) > 100 else {"zero": False}
    y = {"field": "y", "type": "quantitative", "title": y_title, "scale": {"zero": False}}
    across = {"field": "x", "type": "quantitative", "title": x_title, "scale": scale}
    colour = {"field": "series", "type": "nominal", "title": None, "legend": None, "sort": names}
    seen = {
        "tooltip": [{"field": f, "type": t} for f, t in (("series", "nominal"), ("x", "quantitative"), ("y", "quantitative"))]
    }
    own = {"color": colour} if targets else {"detail": {"field": "series", "type": "nominal"}}
    thin = {"type": "line", "strokeWidth": 1.5 if targets else 1, "opacity": 1 if targets else 0.45}
    layers: list[dict[str, Any]] = [
        {"data": {"values": rows}, "mark": thin, "encoding": {"x": across, "y": y, **own}},
        {
            "data": {"values": rows},
            "mark": {"type": "point", "filled": True, "size": 14, "opacity": 0.6},
            "encoding": {"x": across, "y": y, **own, **seen},
        },
    ]
    if targets:
        marks = [{"y": v, "series": n} for n, v in targets.items() if _drawable(v, False)]
        rule = {"type": "rule", "strokeDash": [5, 4], "opacity": 0.8}
        layers.append({"data": {"values": marks}, "mark": rule, "encoding": {"y": y, "color": colour}})
    if middle and rows:
        columns = list(zip(*(series[n] for n in names), strict=True))
        bold = [{"x": a, "y": statistics.median(c), "series": middle} for a, c in zip(x, columns, strict=True)]
        bold = [row for row in bold if _drawable(row["y"], False)]
        mark = {"type": "line", "strokeWidth": 3.5}
        layers.append(
            {"data": {"values": bold}, "mark": mark, "encoding": {"x": across, "y": y, "color": {"value": "var(--c2)"}}}
        )
    return _chart(title, caption, {"layer": layers})


def bars(
    title: str,
    caption: str,
    values: Mapping[str, float],
    *,
    x_title: str = "",
    rules: Mapping[str, float] | None = None,
    log: bool = False,
) -> Picture:
    """Horizontal bars, one per name in the given order, with named reference lines."""
    rows = [{"name": k, "value": v} for k, v in values.items() if _drawable(v, log)]
    scale = {"type": "log"} if log else {}
    mark: dict[str, Any] = {"type": "point", "filled": True, "size": 70} if log else {"type": "bar"}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": rows},
            "mark": {**mark, "tooltip": True},
            "encoding": {
                "y": {"field": "name", "type": "nominal", "title": None, "sort": None},
                "x": {"field": "value", "type": "quantitative", "title": x_title, "scale": scale},
            },
        }
    ]
    for name, value in (rules or {}).items():
        layers.append(
            {
                "data": {"values": [{"x": value, "label": name}]},
                "mark": {"type": "rule", "strokeDash": [5, 4], "color": "#888", "tooltip": {"content": "data"}},
                "encoding": {"x": {"field": "x", "type": "quantitative"}},
            }
        )
    return _chart(title, caption, {"layer": layers}, height={"step": 18})


def heatmap(
    title: str,
    caption: str,
    matrix: Sequence[Sequence[float]],
    *,
    x_title: str = "",
    y_title: str = "",
    value_title: str = "",
) -> Picture:
    """A matrix of values as coloured cells, row 0 on top: dependency charts, confusion matrices."""
    rows = [{"x": j, "y": i, "value": v} for i, row in enumerate(matrix) for j, v in enumerate(row)]
    spec = {
        "data": {"values": rows},
        "mark": {"type": "rect", "tooltip": True},
        "encoding": {
            "x": {"field": "x", "type": "ordinal", "title": x_title},
            "y": {"field": "y", "type": "ordinal", "title": y_title},
            "color": {"field": "value", "type": "quantitative", "title": value_title, "scale": {"scheme": "blues"}},
        },
    }
    return _chart(title, caption, spec)


def points(
    title: str,
    caption: str,
    x: Sequence[float],
    y: Sequence[float],
    *,
    x_title: str = "",
    y_title: str = "",
    groups: Sequence[str] | None = None,
    diagonal: bool = False,
    log_x: bool = False,
) -> Picture:
    """A scatter plot, coloured by `groups`; `diagonal` draws y = x, for predictions against labels."""
    names = groups if groups is not None else [""] * len(x)
    rows = [{"x": a, "y": b, "group": g} for a, b, g in zip(x, y, names, strict=True)]
    scale = {"type": "log"} if log_x else {"zero": False}
    encoding: dict[str, Any] = {
        "x": {"field": "x", "type": "quantitative", "title": x_title, "scale": scale},
        "y": {"field": "y", "type": "quantitative", "title": y_title, "scale": {"zero": False}},
    }
    if groups is not None:
        encoding["color"] = {"field": "group", "type": "nominal", "title": None}
    layers: list[dict[str, Any]] = [
        {"data": {"values": rows}, "mark": {"type": "point", "filled": True, "tooltip": True}, "encoding": encoding}
    ]
    if diagonal and rows:
        ends = [min(min(x), min(y)), max(max(x), max(y))]
        layers.append(
            {
                "data": {"values": [{"x": e, "y": e} for e in ends]},
                "mark": {"type": "line", "strokeDash": [5, 4], "color": "#888"},
                "encoding": {k: {"field": k, "type": "quantitative"} for k in ("x", "y")},
            }
        )
    return _chart(title, caption, {"layer": layers})


def ranges(
    title: str,
    caption: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    x_title: str = "",
    log: bool = False,
) -> Picture:
    """One bar from `low` to `high` with a dot at `middle` per row `{"name", "low", "middle", "high"}`, in the given order.

    On a logarithmic axis, values of zero lie at its left end.
    """
    parts = ("low", "middle", "high")
    kept = [dict(r) for r in rows if all(_drawable(r[k], False) for k in parts) and _drawable(r["high"], log)]
    if log:
        least = min((r[k] for r in kept for k in parts if r[k] > 0), default=1.0)
        kept = [{**r, **{k: max(r[k], least) for k in parts}} for r in kept]
    scale = {"type": "log"} if log else {}
    y = {"field": "name", "type": "nominal", "title": None, "sort": None}
    x = {"field": "low", "type": "quantitative", "title": x_title, "scale": scale}
    layers = [
        {"mark": {"type": "bar", "height": 6, "opacity": 0.5}, "encoding": {"y": y, "x": x, "x2": {"field": "high"}}},
        {
            "mark": {"type": "point", "filled": True, "size": 50, "tooltip": {"content": "data"}},
            "encoding": {"y": y, "x": {**x, "field": "middle"}},
        },
    ]
    return _chart(title, caption, {"data": {"values": kept}, "layer": layers}, height={"step": 18})


def timeline(title: str, caption: str, spans: Sequence[Mapping[str, Any]], *, x_title: str = "seconds") -> Picture:
    """Coloured spans `{"row", "start", "end", "kind"}` on rows: the phases of a run."""
    spec = {
        "data": {"values": [dict(s) for s in spans]},
        "mark": {"type": "bar", "tooltip": {"content": "data"}},
        "encoding": {
            "y": {"field": "row", "type": "nominal", "title": None, "sort": None},
            "x": {"field": "start", "type": "quantitative", "title": x_title},
            "x2": {"field": "end"},
            "color": {"field": "kind", "type": "nominal", "title": None},
        },
    }
    return _chart(title, caption, spec, height={"step": 26})


def grid(title: str, caption: str, tiles: Sequence[Mapping[str, Any]], *, size: str = "") -> Picture:
    """A grid of examples; each tile has a `caption` and one of `image` (data URI), `text`, `values`.

    `size` is that of the tiles: `small` for many, `wide` for pictures broader than high.
    """
    whole = [{"image": None, "text": None, "values": None, "caption": "", **tile} for tile in tiles]
    return Picture("grid", title, caption, {"tiles": whole, "size": size})


def table(
    title: str,
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    brief: Sequence[int] = (),
    total: bool = False,
) -> Picture:
    """Rows of text under named columns; blanks at the start of a cell indent it. Raises ValueError for a row of another length.

    `numbers` are columns set flush right; `brief` those that a narrow view shows (by default all); with `total` the last
    row sums up the others.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row of the table {title!r} has {len(row)} cells for {len(columns)} columns: {row!r}")
    content: dict[str, Any] = {"columns": list(columns), "rows": [list(r) for r in rows]}
    content |= {"numbers": list(numbers), "brief": list(brief) or list(range(len(columns))), "total": total}
    return Picture("table", title, caption, content)


def png(rows: Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]) -> str:
    """A grey (H, W) or colour (H, W, 3) picture with values in 0..1 as the data URI of a PNG, enlarged to ≥ 64 pixels."""
    first = rows[0][0]
    colour = not isinstance(first, int | float)
    flat: Any = [v for row in rows for px in row for v in px] if colour else [v for row in rows for v in row]  # type: ignore[union-attr]
    return pixels(bytes(map(_byte, flat)), len(rows[0]), len(rows), colour=colour)


def pixels(data: bytes, width: int, height: int, *, colour: bool) -> str:
    """The same from bytes, row by row, three for each pixel of a picture in colour."""
    from PIL import Image

    image = Image.frombytes("RGB" if colour else "L", (width, height), data)
    scale = max(1, 64 // max(height, width))
    image = image.resize((width * scale, height * scale), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _byte(value: float) -> int:
    return round(255 * min(max(value, 0.0), 1.0))


def _chart(title: str, caption: str, body: Mapping[str, Any], height: Any = 220) -> Picture:
    spec = {"$schema": _SCHEMA, "width": "container", "height": height, **body}
    return Picture("vega-lite", title, caption, spec)


def _drawable(value: Any, log: bool) -> bool:
    if value is None or isinstance(value, str) or value != value or value in (float("inf"), float("-inf")):
        return False
    return not log or value > 0
