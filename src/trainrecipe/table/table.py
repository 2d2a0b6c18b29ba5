"""A table of examples that is asked questions: pages, histograms that filter each other, confusion, neighbours, code to keep.

    table = Table.open(folder)
    table.page("split == 'val' and loss > 2", sort="loss", descending=True).rows
    table.cross(["loss", "image_mean", "label"], "split == 'val'", brushes={"loss": (2.0, 5.0), "label": ["3", "8"]})

Conditions are written in the language of `query.py`; all of them raise WrongUse that points at the spot. Several threads may
ask at once. When a scan has put another file in the place of the one that is open, the next question is answered from that.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainrecipe.table import distributions
from trainrecipe.table.alike import Alike
from trainrecipe.table.confusion import confusion
from trainrecipe.table.database import CACHE, MEMORY, Database, stamp
from trainrecipe.table.distributions import Brush
from trainrecipe.table.export import subset_code
from trainrecipe.table.histograms import Confusion, Counts, Density, Histogram
from trainrecipe.table.manifest import Column, Manifest
from trainrecipe.wrong_use import WrongUse

__all__ = ["Brush", "Confusion", "Counts", "Density", "Histogram", "Page", "Table"]

_DEEP = 5_000
"""Rows after which a page is taken from the whole order, which is then kept: the next pages cost a look-up each."""
_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclasses.dataclass(frozen=True)
class Page:
    """Some rows of those that match, in order, each with its columns by name; `total` rows match."""

    total: int
    rows: list[dict[str, Any]]


class Table:
    """The table of a folder. Bounded in memory: `memory` bytes for DuckDB, `cache` bytes for columns as arrays."""

    def __init__(self, folder: Path, *, memory: int = MEMORY, cache: int = CACHE) -> None:
        self.folder = folder
        self._budgets = {"memory": memory, "cache": cache}
        self._lock = threading.Lock()
        self._state = Database(folder, **self._budgets)

    @classmethod
    def open(cls, folder: Path) -> Table:
        """The table that a scan left in a folder. Raises WrongUse where there is none that can be read."""
        return cls(folder)

    def close(self) -> None:
        """Let go of the file."""
        self._state.close()

    @property
    def _db(self) -> Database:
        """The state of the file; another one once the file was replaced. Threads that still ask the old one may end."""
        if stamp(self.folder) not in (self._state.stamp, None):
            with self._lock:
                if stamp(self.folder) not in (self._state.stamp, None):
                    self._state = Database(self.folder, **self._budgets)
        return self._state

    @property
    def manifest(self) -> Manifest:
        """What the table says of itself."""
        return self._db.manifest

    @property
    def columns(self) -> dict[str, Column]:
        """All columns by name, in order, also those that the manifest does not name."""
        return self._db.columns

    @property
    def kinds(self) -> dict[str, str]:
        """The kinds of the columns as expressions are checked against them: see `query.compiled`."""
        return self._db.kinds

    # ---- examples

    def count(self, where: str = "") -> int:
        """How many rows match."""
        return self._db.count(where)

    def page(
        self,
        where: str = "",
        sort: str = "row",
        descending: bool = False,
        offset: int = 0,
        limit: int = 60,
        columns: Sequence[str] | None = None,
    ) -> Page:
        """Rows that match, in the order of a column: missing ones last, NaN as the greatest number, equal ones by row.

        `columns` are those that the rows hold (None: all); `row` is always among them.
        """
        db, offset, limit = self._db, max(offset, 0), max(limit, 0)
        names = list(db.kinds) if columns is None else list(dict.fromkeys(["row", *columns]))
        rows = _ordered(db, where, sort, descending, offset, limit)
        return Page(db.count(where), _looked_up(db, rows, names))

    def row(self, n: int) -> dict[str, Any]:
        """All columns of one row. Raises WrongUse where there is none of that number."""
        db = self._db
        found = _looked_up(db, [n], list(db.kinds))
        if not found:
            raise WrongUse(f"there is no row {n}; the table has {db.total:,} rows, from 0")
        return found[0]

    def rows(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """All columns of rows with these numbers, in this order; numbers that the table does not have are left out."""
        db = self._db
        found = {row["row"]: row for row in _looked_up(db, list(numbers), list(db.kinds))}
        return [found[n] for n in numbers if n in found]

    def viewed(self, where: str = "") -> np.ndarray:
        """The rows that match of which the scan kept how they look, in order."""
        kept = np.sort(self._db.arrays("SELECT row FROM data.views", [])["row"].astype(np.int64))
        mask = self._db.mask(where)
        return kept if mask is None else kept[mask[kept]]

    def rows_of(self, keys: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The rows of examples by split and index; those that the table does not hold are left out."""
        by_split: dict[str, list[int]] = {}
        for split, index in keys:
            by_split.setdefault(split, []).append(index)
        found: dict[tuple[str, int], int] = {}
        for split, indices in by_split.items():
            query = f"SELECT index, row FROM data.examples WHERE split = ? AND index IN ({_marks(indices)})"
            found |= {(split, index): row for index, row in self._db.ask(query, [split, *indices])}
        return found

    def views(self, rows: Iterable[int]) -> dict[int, dict[str, Any]]:
        """How examples look, of those rows for which that was kept."""
        wanted = list(rows)
        query = f"SELECT row, view FROM data.views WHERE row IN ({_marks(wanted)})"
        return {row: json.loads(view) for row, view in self._db.ask(query, wanted)}

    def thumbs(self, rows: Iterable[int]) -> dict[int, np.ndarray]:
        """Grey thumbnails (h, w) or sparklines (64,), uint8, where the table has them."""
        array = self._db.store.array("thumbs")
        return {} if array is None else {r: np.array(array[r]) for r in rows if 0 <= r < len(array)}

    def neighbours(self, row: int, k: int = 12) -> list[tuple[int, float]]:
        """The most similar rows with their cosine similarity, nearest first; empty where the table has no vectors."""
        store = self._db.store
        near, how = store.array("neighbours"), store.array("similarities")
        if near is None or how is None or not 0 <= row < min(len(near), len(how)):
            return self._alike(row, k)
        found = [(int(n), float(s)) for n, s in zip(near[row], how[row], strict=True) if n >= 0 and n != row]
        return found[:k]

    def _alike(self, row: int, k: int) -> list[tuple[int, float]]:
        db = self._db
        vectors = db.store.array("vectors")
        if vectors is None or vectors.ndim != 2 or not 0 <= row < len(vectors):
            return []
        alike: Alike = db.recent.get(("alike",), lambda: Alike(vectors))
        return alike.to(row, k)

    def random(self, where: str = "", n: int = 60, seed: int = 0) -> list[int]:
        """Some of the rows that match, in random order, without repetition; the same for the same seed."""
        rows = self._db.rows(where)
        chosen = np.random.default_rng(seed).choice(len(rows), min(n, len(rows)), replace=False)
        return [int(rows[i]) for i in chosen]

    def export(self, where: str = "") -> str:
        """Python code that makes a `torch.utils.data.Subset` of the examples that match, for each split."""
        return subset_code(self._db, where)

    # ---- distributions

    def histogram(
        self, column: str, where: str = "", bins: int = 50, low: float | None = None, high: float | None = None
    ) -> Histogram:
        """A column of numbers. Few integers get a bar each; see `histograms.span` for the range."""
        return distributions.one(self._db, column, where, bins, low, high)

    def counts(self, column: str, where: str = "", most: int = 50) -> Counts:
        """How often each value of a column occurs, the most frequent first."""
        return distributions.counts(self._db, column, where, most)

    def cross(
        self,
        columns: Sequence[str],
        where: str = "",
        brushes: Mapping[str, Brush] | None = None,
        bins: int = 50,
        most: int = 50,
    ) -> dict[str, Histogram | Counts]:
        """Every column under the expression and all brushes but its own.

        A brush is the two ends of a range of numbers (both count, None for no limit) or the values that are chosen. The edges
        are those of all rows, so bars stay in their places while a brush is dragged.
        """
        return distributions.cross(self._db, columns, where, brushes or {}, bins, most)

    def confusion(self, where: str = "", most: int = 12) -> Confusion:
        """Labels against predictions, of the classes with most mistakes. Raises WrongUse without such columns."""
        return confusion(self._db, where, most)

    def quantiles(self, column: str, where: str = "", shares: Sequence[float] = _QUANTILES) -> dict[float, float]:
        """The values below which these shares of the finite values lie; empty where there are none."""
        return distributions.quantiles(self._db, column, where, shares)

    def density(self, x: str, y: str, where: str = "", bins: tuple[int, int] = (64, 64)) -> Density:
        """How two columns of numbers are distributed together."""
        return distributions.density(self._db, x, y, where, bins)

    def by_split(
        self, column: str, where: str = "", bins: int = 50, most: int = 50
    ) -> dict[str, Histogram] | dict[str, Counts]:
        """A column in each split, comparable: the same edges, or the same values in the same order."""
        return distributions.by_split(self._db, column, where, bins, most)


def _ordered(db: Database, where: str, sort: str, descending: bool, offset: int, limit: int) -> list[int]:
    """The rows of a page, in order."""
    ordering = f"{db.named(sort)} {'DESC' if descending else 'ASC'} NULLS LAST, row"
    if sort == "row":
        return [int(row) for row in db.rows(where)[:: -1 if descending else 1][offset : offset + limit]]
    if offset >= _DEEP:
        return [int(row) for row in db.order(where, ordering)[offset : offset + limit]]
    sql, values = db.condition(where)
    query = f"SELECT row FROM data.examples WHERE {sql} ORDER BY {ordering} LIMIT ? OFFSET ?"
    return [row for (row,) in db.ask(query, [*values, limit, offset])]


def _looked_up(db: Database, rows: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows by number, in the order they were asked in.

    Joined to a list rather than filtered by it: DuckDB then reads the other columns at these rows only, six times faster.
    """
    listed = ", ".join(db.named(n) for n in names)
    wanted = "SELECT unnest(CAST(? AS BIGINT[]))"
    found = db.ask(f"SELECT {listed} FROM data.examples WHERE row IN ({wanted})", [list(rows)])
    by_row = {r[names.index("row")]: dict(zip(names, r, strict=True)) for r in found}
    return [by_row[r] for r in rows if r in by_row]


def _marks(values: Sequence[Any]) -> str:
    return ", ".join(["?"] * len(values)) or "NULL"
