"""A selection of examples: an expression, a search, brushed ranges, tags and an order; each has an address of its own.

selection = Selection.of(request.query_params)
selection.expression(columns)     # one expression for the table
selection.query()                 # the part of the address after the question mark
"""

from __future__ import annotations

import ast
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from trainrecipe.table.query import spelled
from trainrecipe.wrong_use import WrongUse

Brush = tuple[float, float] | tuple[str, ...]
"""A range of numbers with both ends, or a choice of values."""
SEARCHED = ("text", "label", "labels", "predicted", "error")
"""The columns that the search box looks into, where they exist."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """One removable part of a selection: what it says, and the selection without it."""

    text: str
    without: Selection


@dataclasses.dataclass(frozen=True)
class Selection:
    """What is selected and in which order. Frozen; `dataclasses.replace` makes another one."""

    where: str = ""
    search: str = ""
    brushes: Mapping[str, Brush] = dataclasses.field(default_factory=dict)
    tag: str = ""
    sort: str = "row"
    descending: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Selection:
        """Read from an address. Raises WrongUse for brushes that no page of ours writes."""
        return cls(
            where=query.get("where", "").strip(),
            search=query.get("search", "").strip(),
            brushes=_brushes(query.get("brush", "")),
            tag=query.get("tag", ""),
            sort=query.get("sort", "") or "row",
            descending=query.get("desc", "") == "1",
        )

    def query(self, **more: str | int) -> str:
        """As the part of an address after the question mark, with more parameters; empty values are left out."""
        brush = json.dumps({k: list(v) for k, v in self.brushes.items()}) if self.brushes else ""
        pairs = {"where": self.where, "search": self.search, "brush": brush, "tag": self.tag}
        if (self.sort, self.descending) != ("row", False):
            pairs |= {"sort": self.sort, "desc": "1" if self.descending else ""}
        return urlencode([(k, v) for k, v in {**pairs, **more}.items() if v != ""])

    def conditions(self, columns: Mapping[str, Any], *, brushed: bool = True) -> list[str]:
        """The parts that an example must satisfy, in the table's language; without the brushes for a cross-filter."""
        parts = [f"({self.where})"] if self.where else []
        if self.search:
            word = repr(self.search.lower())
            found = [f"contains(lower({name}), {word})" for name in SEARCHED if name in columns]
            parts.append(f"({' or '.join(found)})")
        if brushed:
            parts += [condition(n, b, flag=columns[n].kind == "flag") for n, b in self.brushes.items()]
        return parts

    def expression(self, columns: Mapping[str, Any], *, brushed: bool = True) -> str:
        """All conditions as one expression; empty when everything is selected."""
        return " and ".join(self.conditions(columns, brushed=brushed))

    def chips(self) -> Iterator[Chip]:
        """The parts of the selection, each with the selection that remains without it."""
        terms = _terms(self.where)
        for i, term in enumerate(terms):
            rest = " and ".join(terms[:i] + terms[i + 1 :])
            yield Chip(term, dataclasses.replace(self, where=rest))
        if self.search:
            yield Chip(f"search: {self.search}", dataclasses.replace(self, search=""))
        if self.tag:
            yield Chip(f"tag: {self.tag}", dataclasses.replace(self, tag=""))
        for name, brush in self.brushes.items():
            others = {k: v for k, v in self.brushes.items() if k != name}
            yield Chip(_says(name, brush), dataclasses.replace(self, brushes=others))


def condition(name: str, brush: Brush, *, flag: bool = False) -> str:
    """A brush in the table's language; a column of flags stands alone there."""
    column = spelled(name)
    if flag:
        return f"({' or '.join(column if v == str(True) else f'not {column}' for v in brush)})"
    if brush and isinstance(brush[0], str):
        chosen = [v for v in brush if isinstance(v, str)]
        return f"{column} == {chosen[0]!r}" if len(chosen) == 1 else f"{column} in {chosen!r}"
    low, high = brush
    return f"{low!r} <= {column} <= {high!r}"


def _says(name: str, brush: Brush) -> str:
    if isinstance(brush[0], str):
        return f"{name}: {', '.join(map(str, brush))}"
    return f"{_number(brush[0])} ≤ {name} ≤ {_number(brush[1])}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 or value != int(value) else f"{int(value)}"


def _brushes(text: str) -> dict[str, Brush]:
    if not text:
        return {}
    try:
        return {name: _brush(values) for name, values in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise WrongUse(f"the brushes in the address cannot be read: {text[:200]!r}; remove `brush=...` from it") from None


def _brush(values: Sequence[Any]) -> Brush:
    if values and all(isinstance(v, str) for v in values):
        return tuple(values)
    low, high = map(float, values)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError
    return low, high


def _terms(where: str) -> list[str]:
    """The operands of an expression's outermost `and`; the whole where there is none or it cannot be read."""
    try:
        body = ast.parse(where, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [where] if where else []
    if not isinstance(body, ast.BoolOp) or not isinstance(body.op, ast.And):
        return [where]
    parts = [ast.get_source_segment(where, v) or "" for v in body.values]
    # The brackets of an operand are not part of its segment.
    return [f"({p})" if isinstance(v, ast.BoolOp) else p for p, v in zip(parts, body.values, strict=True)]
