"""One state of a table's DuckDB file, opened for questions by several threads, and its columns as arrays where that is faster.

Histograms that follow a slider are counted from arrays, five times faster than by the database; for pages, filters and groups
the database is as fast and needs no memory. Arrays are kept up to a number of bytes, the least recently used leave first.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainrecipe.table.manifest import Column, Manifest
from trainrecipe.table.missing import MISSING
from trainrecipe.table.query import compiled
from trainrecipe.table.recent import Recent
from trainrecipe.table.store import Store
from trainrecipe.table.terms import quoted
from trainrecipe.wrong_use import WrongUse, nearest

MEMORY = 1 << 30
"""Bytes that DuckDB may use before it goes to the disk."""
CACHE = 1 << 30
"""Bytes of columns that are kept as arrays: 10,000,000 rows with 6 histograms and 12 numbers fit."""
MOST_VALUES = 100_000
"""Different texts of a column that is counted by codes; others are counted by the database."""

Stamp = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A column of numbers by row, and where it is missing (None: nowhere)."""

    values: np.ndarray
    missing: np.ndarray | None

    @property
    def present(self) -> np.ndarray:
        """The values that are not missing."""
        return self.values if self.missing is None else self.values.take(np.flatnonzero(~self.missing))

    def at(self, rows: np.ndarray) -> Numbers:
        """Those of some rows."""
        return Numbers(self.values.take(rows), None if self.missing is None else self.missing.take(rows))

    @property
    def nbytes(self) -> int:
        """Of memory."""
        return self.values.nbytes + (self.missing.nbytes if self.missing is not None else 0)


@dataclasses.dataclass(frozen=True)
class Categories:
    """A column of few values by row: `codes` count into `names`, which are in order; `len(names)` is missing."""

    names: list[Any]
    codes: np.ndarray

    @property
    def nbytes(self) -> int:
        """Of memory, about."""
        return self.codes.nbytes + 64 * len(self.names)


def stamp(folder: Path) -> Stamp | None:
    """By which another file in the place of the built one is noticed; None where there is none."""
    try:
        state = (folder / "examples.duckdb").stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


class Database:
    """The file as it was when it was opened. Raises WrongUse where there is no table, or its scan has not ended."""

    def __init__(self, folder: Path, *, memory: int = MEMORY, cache: int = CACHE) -> None:
        self.store = Store.open(folder)
        self.stamp = stamp(folder)
        if self.stamp is None:
            raise WrongUse(f"the scan in {folder} has not ended; go on with it by `recipe data`")
        self._db = _connected(folder / "examples.duckdb", memory)
        described = [(name, _kind(sql_type)) for name, sql_type, *_ in self.ask("DESCRIBE data.examples")]
        self.kinds = {name: kind for name, kind in described if kind}
        self.columns = _columns(self.store.manifest, self.kinds)
        self.total: int = self.ask("SELECT count(*) FROM data.examples")[0][0]
        self.recent = Recent(cache)
        self._names = itertools.count()

    @property
    def manifest(self) -> Manifest:
        """What the table says of itself."""
        return self.store.manifest

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # ---- questions

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        rows: list[tuple[Any, ...]] = self._run(sql, values, "fetchall")
        return rows

    def arrays(self, sql: str, values: Sequence[Any] = ()) -> dict[str, np.ndarray]:
        """The columns of the answer as arrays, masked where something is missing."""
        arrays: dict[str, np.ndarray] = self._run(sql, values, "fetchnumpy")
        return arrays

    def _run(self, sql: str, values: Sequence[Any], fetch: str) -> Any:
        import duckdb

        try:
            with self._db.cursor() as cursor:  # a connection of its own: several threads ask at once
                return getattr(cursor.execute(sql, list(values)), fetch)()
        except (duckdb.InvalidInputException, duckdb.OutOfRangeException, duckdb.ConversionException) as error:
            raise WrongUse(f"the table cannot be asked for this: {_first_line(error)}") from None
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            raise WrongUse(f"{self.store.folder / 'examples.duckdb'} cannot be read: {_first_line(error)}") from None

    def condition(self, where: str) -> tuple[str, list[Any]]:
        """An expression as SQL with its values. Raises WrongUse, also for a regular expression that is none."""
        sql, values = compiled(where, self.kinds)
        if "regexp_matches" in sql:  # which DuckDB alone can tell
            try:
                self.ask(f"SELECT {sql} FROM data.examples LIMIT 0", values)
            except WrongUse as error:
                raise WrongUse(f"{error}\n    {where}") from None
        return sql, values

    def named(self, column: str) -> str:
        """A column as an identifier of SQL. Raises WrongUse for one that is not there."""
        if column not in self.kinds:
            raise WrongUse(
                f"there is no column {column!r}; {nearest(column, self.kinds) or 'columns are ' + ', '.join(self.kinds)}"
            )
        return quoted(column)

    # ---- arrays

    def count(self, where: str) -> int:
        """How many rows match."""
        if not where.strip():
            return self.total
        sql, values = self.condition(where)
        query = f"SELECT count(*) FROM data.examples WHERE {sql}"
        return int(self.recent.get(("count", where), lambda: self.ask(query, values)[0][0]))

    def mask(self, where: str) -> np.ndarray | None:
        """Which rows match; None for all."""
        if not where.strip():
            return None
        sql, values = self.condition(where)
        mask: np.ndarray = self.recent.get(("mask", where), lambda: self._mask(sql, values))
        return mask

    def _mask(self, sql: str, values: list[Any]) -> np.ndarray:
        # By row numbers: a list with five or more values becomes a join, which does not keep the order of a million rows.
        mask = np.zeros(self.total, dtype=bool)
        mask[self.arrays(f"SELECT row FROM data.examples WHERE {sql}", values)["row"]] = True
        return mask

    def rows(self, where: str) -> Sequence[int]:
        """The rows that match, in order."""
        mask = self.mask(where)
        return range(self.total) if mask is None else np.flatnonzero(mask)  # type: ignore[return-value]

    def order(self, where: str, ordering: str) -> np.ndarray:
        """The rows that match in the order of an ORDER BY, for pages far down."""
        sql, values = self.condition(where)
        query = f"SELECT row FROM data.examples WHERE {sql} ORDER BY {ordering}"
        small = np.min_scalar_type(self.total)  # half the bytes, or less
        rows: np.ndarray = self.recent.get(("order", where, ordering), lambda: self.arrays(query, values)["row"].astype(small))
        return rows

    def numbers(self, column: str) -> Numbers:
        """A column of numbers. Raises WrongUse for one of text."""
        name = self.named(column)
        if self.kinds[column] not in ("number", "integer"):
            raise WrongUse(f"column {column!r} is of kind {self.columns[column].kind!r}; a column of numbers is needed here")
        numbers: Numbers = self.recent.get(("numbers", column), lambda: self._numbers(name))
        return numbers

    def _numbers(self, name: str) -> Numbers:
        values = self.arrays(f"SELECT {name} AS v FROM data.examples")["v"]
        missing = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else None
        return Numbers(np.ma.getdata(values), missing if missing is not None and missing.any() else None)

    def categories(self, column: str) -> Categories | None:
        """A column of few values as codes; None where it has too many."""
        self.named(column)
        categories: Categories | None = self.recent.get(("categories", column), lambda: self._categories(column))
        return categories

    def _categories(self, column: str) -> Categories | None:
        name = quoted(column)
        found = f"SELECT DISTINCT CAST({name} AS VARCHAR) AS v FROM data.examples WHERE {name} IS NOT NULL"
        distinct = self.ask(f"SELECT count(*) FROM ({found} LIMIT {MOST_VALUES + 1})")[0][0]
        if distinct > MOST_VALUES or not distinct:
            return None if distinct else Categories([], np.zeros(self.total, dtype=np.uint8))
        kind = f"values_{next(self._names)}"
        self.ask(f"CREATE TYPE {kind} AS ENUM (SELECT v FROM ({found}) ORDER BY v)")
        names = self.ask(f"SELECT enum_range(NULL::{kind})")[0][0]
        codes = self.arrays(f"SELECT enum_code(CAST(CAST({name} AS VARCHAR) AS {kind})) AS c FROM data.examples")["c"]
        self.ask(f"DROP TYPE {kind}")
        codes = codes.astype(np.min_scalar_type(len(names)), copy=False)  # one more code than the type has: missing
        known = [n == "true" for n in names] if self.kinds[column] == "flag" else names
        return Categories(known, np.ma.filled(codes, len(names)))


def _connected(path: Path, memory: int) -> Any:
    """A database in memory to which the file is attached, read-only and without any other access to files.

    Not a connection to the file itself: DuckDB would give the state that another connection of this process holds, also after
    the file was replaced.
    """
    try:
        import duckdb
    except ImportError:
        raise WrongUse(MISSING) from None
    spill = os.path.join(tempfile.gettempdir(), f"trainrecipe-{os.getpid()}")
    settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    db = duckdb.connect(config={**settings, "memory_limit": f"{memory}B", "temp_directory": spill})
    try:
        db.execute("ATTACH '" + str(path).replace("'", "''") + "' AS data (READ_ONLY)")
    except duckdb.Error as error:
        db.close()
        raise WrongUse(f"{path} cannot be read ({_first_line(error)}); scan the data anew with `recipe data`") from None
    db.execute("SET enable_external_access = false")
    db.execute("SET lock_configuration = true")
    return db


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _kind(sql_type: str) -> str:
    """The kind of a column by what DuckDB holds; empty for lists and other things that no scan writes."""
    if sql_type == "BOOLEAN":
        return "flag"
    if sql_type.endswith(("INT", "INTEGER")):
        return "integer"
    if sql_type in ("FLOAT", "DOUBLE"):
        return "number"
    return "text" if sql_type in ("VARCHAR", '"NULL"') else ""


def _columns(manifest: Manifest, kinds: dict[str, str]) -> dict[str, Column]:
    """The columns that are there, described by the manifest where it knows them and agrees with what is stored."""
    described = {c.name: c for c in manifest.columns}
    columns = {}
    for name, kind in kinds.items():
        known = described.get(name, Column(name, kind))
        columns[name] = known if _agree(known.kind, kind) else dataclasses.replace(known, kind=kind)
    return columns


def _agree(said: str, stored: str) -> bool:
    return said == stored or (said == "category" and stored != "number") or {said, stored} == {"number", "integer"}
