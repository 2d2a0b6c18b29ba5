"""How columns are distributed over the rows that an expression selects: numbers are counted from arrays, texts from codes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainrecipe.table.database import Database, Numbers
from trainrecipe.table.histograms import Counts, Density, Histogram, binned, codes_of, histogram, ranked, span, tally
from trainrecipe.table.query import spelled
from trainrecipe.table.terms import NUMBERS

Brush = tuple[float | None, float | None] | Sequence[Any]
"""Of a column of numbers both ends of a range, which count, None for no limit; of others the values that are chosen."""


@dataclasses.dataclass(frozen=True)
class Bars:
    """The bar of each row, and the edges of the bars."""

    edges: np.ndarray
    whole: bool
    codes: np.ndarray

    @property
    def nbytes(self) -> int:
        """Of memory."""
        return self.codes.nbytes

    def counted(self, keep: np.ndarray | None = None) -> Histogram:
        """The histogram of the rows that are kept."""
        return histogram(tally(self.codes, codes_of(self.edges), keep), self.edges, self.whole)


def bars(db: Database, column: str, bins: int) -> Bars:
    """The bars of a column over all rows: kept, for they stay while a brush is dragged."""
    made: Bars = db.recent.get(("bars", column, bins), lambda: _bars(db.numbers(column), bins))
    return made


def _bars(numbers: Numbers, bins: int, low: float | None = None, high: float | None = None) -> Bars:
    edges, whole = span(numbers.present, bins, low, high)
    return Bars(edges, whole, binned(numbers.values, numbers.missing, edges))


def _selected(db: Database, column: str, where: str, bins: int, low: float | None = None, high: float | None = None) -> Bars:
    """The bars of a column over the rows of an expression, in their order."""
    mask = db.mask(where)
    if mask is None and low is None and high is None:
        return bars(db, column, bins)
    numbers = db.numbers(column)
    return _bars(numbers if mask is None else numbers.at(np.flatnonzero(mask)), bins, low, high)


def one(db: Database, column: str, where: str, bins: int, low: float | None, high: float | None) -> Histogram:
    """The histogram of a column of numbers."""
    return _selected(db, column, where, bins, low, high).counted()


def counts(db: Database, column: str, where: str, most: int) -> Counts:
    """How often each value of a column occurs."""
    return _grouped(db, column, *db.condition(where), most)


def _grouped(db: Database, column: str, sql: str, values: Sequence[Any], most: int) -> Counts:
    name = db.named(column)
    found = db.ask(
        f"WITH g AS (SELECT {name} AS v, count(*) AS n FROM data.examples WHERE {sql} GROUP BY v) "
        "SELECT v, n, count(v) OVER (), sum(n) OVER () FROM g ORDER BY v IS NULL DESC, n DESC, v LIMIT ?",
        [*values, most + 1],
    )
    if not found:
        return Counts([])
    missing = int(found[0][1]) if found[0][0] is None else 0
    shown = [(v, int(n)) for v, n, _, _ in found if v is not None][:most]
    return Counts(shown, int(found[0][3]) - missing - sum(n for _, n in shown), int(found[0][2]), missing)


def cross(
    db: Database, columns: Sequence[str], where: str, brushes: Mapping[str, Brush], bins: int, most: int
) -> dict[str, Histogram | Counts]:
    """Every column under the expression and all brushes but its own. Bars do not move while a brush is dragged."""
    failed = {column: ~_brushed(db, column, brush) for column, brush in brushes.items()}
    mask = db.mask(where)
    failures = np.zeros(db.total, dtype=np.uint16)  # how many conditions a row fails
    for fails in [*failed.values(), *([] if mask is None else [~mask])]:
        np.add(failures, fails, out=failures)
    passed = failures == 0
    found: dict[str, Histogram | Counts] = {}
    for column in columns:
        keep = failures == failed[column] if column in failed else passed
        drawn = _drawn(db, column, keep, bins, most)
        others = {c: b for c, b in brushes.items() if c != column}
        found[column] = drawn if drawn is not None else counts(db, column, _all(db, where, others), most)
    return found


def _drawn(db: Database, column: str, keep: np.ndarray, bins: int, most: int) -> Histogram | Counts | None:
    """The distribution of a column in some rows; None for texts that are too many for codes."""
    db.named(column)
    if db.kinds[column] in NUMBERS:
        return bars(db, column, bins).counted(keep)
    values = db.categories(column)
    if values is None:
        return None
    return ranked(values.names, tally(values.codes, len(values.names) + 1, keep), most)


def _brushed(db: Database, column: str, brush: Brush) -> np.ndarray:
    """The rows within a brush; NaN and what is missing are in none."""
    db.named(column)
    if db.kinds[column] in NUMBERS:
        numbers, (low, high) = db.numbers(column), _ends(brush)
        held: np.ndarray = (numbers.values >= low) & (numbers.values <= high)
        return held if numbers.missing is None else held & ~numbers.missing
    values = db.categories(column)
    if values is None:
        mask = db.mask(_expression(db, column, brush))
        return mask if mask is not None else np.ones(db.total, dtype=bool)
    chosen = set(brush)
    return np.array([*(name in chosen for name in values.names), False]).take(values.codes)


def _ends(brush: Brush) -> tuple[float, float]:
    low, high = brush
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def _expression(db: Database, column: str, brush: Brush) -> str:
    """A brush in the table's language."""
    if db.kinds[column] not in NUMBERS:
        return f"{spelled(column)} in {list(brush)!r}"
    low, high = _ends(brush)  # 1e999 is how infinity is written
    return f"{low!r} <= {spelled(column)} <= {high!r}".replace("inf", "1e999")


def _all(db: Database, where: str, brushes: Mapping[str, Brush]) -> str:
    parts = [f"({where})"] if where.strip() else []
    return " and ".join([*parts, *(_expression(db, c, b) for c, b in brushes.items())])


def by_split(db: Database, column: str, where: str, bins: int, most: int) -> dict[str, Histogram] | dict[str, Counts]:
    """A column in each split: histograms with the same edges, or counts of the same values in the same order."""
    splits = [s for s, _ in counts(db, "split", where, 1000).values]
    order = [s.name for s in db.manifest.splits if s.name in splits]
    order += sorted(set(splits) - set(order))
    if db.kinds[column] in NUMBERS:
        return _numbers_by_split(db, column, where, bins, order)
    shown = [v for v, _ in counts(db, column, where, most).values]
    return {split: _aligned(db, column, _all(db, where, {"split": [split]}), shown) for split in order}


def _numbers_by_split(db: Database, column: str, where: str, bins: int, order: Sequence[str]) -> dict[str, Histogram]:
    drawn, splits, mask = _selected(db, column, where, bins), db.categories("split"), db.mask(where)
    assert splits is not None  # a table has few splits
    codes = splits.codes if mask is None else splits.codes[mask]
    return {split: drawn.counted(codes == splits.names.index(split)) for split in order}


def _aligned(db: Database, column: str, where: str, shown: Sequence[Any]) -> Counts:
    """The counts of given values, in their order."""
    (sql, values), every = db.condition(where), counts(db, column, where, 1)
    chosen = f"({sql}) AND {db.named(column)} IN ({', '.join(['?'] * len(shown)) or 'NULL'})"
    known = dict(_grouped(db, column, chosen, [*values, *shown], len(shown)).values)
    others = sum(n for _, n in every.values) + every.others - sum(known.values())
    return Counts([(v, known.get(v, 0)) for v in shown], others, every.distinct, every.missing)


def quantiles(db: Database, column: str, where: str, shares: Sequence[float]) -> dict[float, float]:
    """The values below which these shares of the finite values lie, interpolated; none of an empty selection."""
    mask, numbers = db.mask(where), db.numbers(column)
    values = (numbers if mask is None else numbers.at(np.flatnonzero(mask))).present
    finite = values[np.isfinite(values)].astype(np.float64)
    return dict(zip(shares, np.quantile(finite, shares).tolist(), strict=True)) if len(finite) else {}


def density(db: Database, x: str, y: str, where: str, bins: tuple[int, int]) -> Density:
    """How two columns of numbers are distributed together."""
    across, up = _selected(db, x, where, bins[0]), _selected(db, y, where, bins[1])
    width, height = codes_of(across.edges), codes_of(up.edges)
    both = up.codes.astype(np.uint32) * np.uint32(width) + across.codes
    table = tally(both, width * height).reshape(height, width)
    inside = table[: len(up.edges) - 1, : len(across.edges) - 1]
    return Density(across.edges.tolist(), up.edges.tolist(), inside.tolist(), int(table.sum() - inside.sum()))
