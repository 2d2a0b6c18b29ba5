"""The examples of all splits, as a scan has measured them: what the checks of the data stage examine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from trainrecipe.finding import Place
from trainrecipe.table.manifest import Column, Manifest, Part, Split
from trainrecipe.table.store import Store

NEIGHBOURS = 10
"""Neighbours of each example that are known."""
LONGEST = 600.0
SAMPLE = 100_000
"""Rows by which columns of vectors are brought to one scale."""
T = TypeVar("T")


@dataclasses.dataclass
class Scan:
    """A built table of examples. `places` are lines where the data set of a split is defined or its loader is made.

    Arrays are by row of the table. What is computed once is kept in `memo`, and columns that are worth showing are noted in
    `found` by name, with their descriptions.
    """

    store: Store
    places: Mapping[str, Place] = dataclasses.field(default_factory=dict)
    deadline: float = dataclasses.field(default_factory=lambda: time.perf_counter() + LONGEST)
    memo: dict[str, Any] = dataclasses.field(default_factory=dict)
    found: dict[str, tuple[Column, np.ndarray]] = dataclasses.field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> Scan:
        """The scan in a folder. Raises WrongUse."""
        return cls(Store.open(folder))

    # ---- what it is

    @property
    def manifest(self) -> Manifest:
        """What the table says of itself."""
        return self.store.manifest

    @property
    def splits(self) -> list[Split]:
        """Splits with examples."""
        return [s for s in self.manifest.splits if s.read]

    def place(self, split: str = "") -> Place | None:
        """Where a split comes from in the code, by default the first one."""
        return self.places.get(split or (self.splits[0].name if self.splits else ""))

    def training(self) -> Split | None:
        """The split that is trained on."""
        return next((s for s in self.splits if s.role == "train"), None)

    def trainings(self) -> list[Split]:
        """All splits that are trained on: several where a program has several tasks or stages."""
        return [s for s in self.splits if s.role == "train"]

    def evaluations(self) -> list[Split]:
        """The other splits."""
        train = self.training()
        return [s for s in self.splits if train is not None and s is not train and s.role != "train"]

    @property
    def as_fed(self) -> bool:
        """Whether nothing is known of the examples but what a model was fed, which the program may have made on the way."""
        return any(s.raw == "fed" for s in self.splits)

    def target(self) -> Part | None:
        """What is to be predicted."""
        return self.manifest.target()

    def numeric(self, *, tail: bool = False) -> list[Column]:
        """Described columns of numbers that the table has; only those whose tails deserve a look with `tail`."""
        kept = [c for c in self.manifest.columns if c.kind in ("number", "integer") and c.name in self.names]
        return [c for c in kept if c.tail or not tail]

    # ---- what it holds

    @property
    def names(self) -> frozenset[str]:
        """Names of the columns that there are."""
        return self.once("names", lambda: frozenset(row[0] for row in self._ask("DESCRIBE examples")))

    @property
    def rows(self) -> int:
        """How many examples there are."""
        return self.once("rows", lambda: int(self._ask("SELECT count(*) FROM examples")[0][0]))

    def column(self, name: str) -> np.ndarray:
        """A column by row: floats with NaN where nothing is, or objects with None. Raises KeyError."""
        if name not in self.names:
            raise KeyError(name)
        return self.once(f"column {name}", lambda: self._column(name))

    def where(self, split: str) -> np.ndarray:
        """Which rows are of a split."""
        found: np.ndarray = self.column("split") == split
        return found

    @property
    def sound(self) -> np.ndarray:
        """Which rows could be read and are in order."""
        return self.once("sound", lambda: self.column("status") == "ok")

    def labels(self) -> np.ndarray | None:
        """Classes by row, None where an example has none; None for the whole where there are no classes."""
        part = self.target()
        if part is None or part.kind != "class" or part.name not in self.names:
            return None
        return self.column(part.name)

    def numbers(self) -> np.ndarray | None:
        """The numbers to be predicted, by row; None where there are none."""
        part = self.target()
        if part is None or part.kind != "number" or part.name not in self.names:
            return None
        return self.column(part.name)

    @property
    def has_vectors(self) -> bool:
        """Whether the inputs are of a kind that likeness is told by."""
        found = self.store.array("vectors")
        return found is not None and found.ndim == 2 and bool(len(found))

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """What likeness of these rows is told by (n, d), float32, with columns on one scale.

        Those of texts and tokens have length 1 and stay as they are, pixels are centred, other columns divided by their
        standard deviation as well.
        """
        found = self.store.array("vectors")
        assert found is not None
        middle, spread = self.once("scale of vectors", self._scale)
        values: np.ndarray = (np.asarray(found[rows], np.float32) - middle) / spread
        return values

    @property
    def thumbs(self) -> np.ndarray | None:
        """Grey thumbnails (rows, h, w), where there are images."""
        found = self.store.array("thumbs")
        return found if found is not None and found.ndim == 3 else None

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives, computed at the first time only."""
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]  # type: ignore[no-any-return]

    def note(self, column: Column, values: np.ndarray) -> None:
        """Keep a computed column, so that the page can show it."""
        self.found[column.name] = (column, values)

    def write_found(self) -> None:
        """Add the noted columns to the table."""
        if not self.found:
            return
        known = {c.name: c for c in self.manifest.columns}
        self.manifest.columns = list((known | {c.name: c for c, _ in self.found.values()}).values())
        self.store.add("found", {"row": np.arange(self.rows)} | {name: values for name, (_, values) in self.found.items()})
        self.store.build()
        self.store.save()

    # ---- reading

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.store.connect() as db:
            found: list[tuple[Any, ...]] = db.execute(query, list(values)).fetchall()
        return found

    def _column(self, name: str) -> np.ndarray:
        quoted = name.replace('"', '""')
        with self.store.connect() as db:
            found = db.execute(f'SELECT "{quoted}" AS c FROM examples ORDER BY row').fetchnumpy()["c"]
        if isinstance(found, np.ma.MaskedArray):
            if found.dtype.kind in "iub" and found.dtype != np.uint64:  # hashes: 0 stands for none
                found = found.astype(np.float64)
            empty = None if found.dtype.kind == "O" else np.nan if found.dtype.kind == "f" else 0
            mask, found = np.ma.getmaskarray(found), found.data.copy()
            found[mask] = empty  # `filled(None)` would take NumPy's own filler
        return np.asarray(found)

    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Middle and spread of each column of the vectors, by a sample of the rows."""
        found = self.store.array("vectors")
        assert found is not None
        kind = next((p.kind for p in self.manifest.inputs()), "")
        rows = np.flatnonzero(self.sound)
        sample = np.asarray(found[rows[:: max(1, len(rows) // SAMPLE)]], np.float32)
        none = np.zeros(found.shape[1], np.float32)
        if kind in ("tokens", "text") or not len(sample):
            return none, none + 1
        if kind == "image":
            return sample.mean(0), none + 1
        spread = sample.std(0)
        return np.median(sample, 0), np.where(spread > 0, spread, np.float32(1))
