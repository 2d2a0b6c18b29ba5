"""Reading examples chunk by chunk, in a loader's own workers: what leaves a worker are rows of the table, not examples.

An example that cannot be read, or is built otherwise than the others, becomes a row that says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xxhash
from torch.utils.data import Dataset, IterableDataset, TensorDataset, get_worker_info

from trainrecipe.scan import views
from trainrecipe.scan.leaves import is_picture, leaves, numbers
from trainrecipe.scan.measures import Measured, Values, measure_of
from trainrecipe.scan.measures.stacked import joined, stacked
from trainrecipe.scan.measures.texts import plain
from trainrecipe.scan.raw import Tracer, stored
from trainrecipe.scan.structure import Layout, Leaf
from trainrecipe.subjects.examples import seed_all

UNREADABLE = "unreadable"
OTHER = "built otherwise"
DRAWS = 3
"""Readings of an example with random transforms that are kept to be looked at."""
LONGEST = 300
"""Characters of an error that the table keeps."""


@dataclasses.dataclass
class Chunk:
    """Rows of the table for some examples, in the order of `columns["index"]`, and how some of them look."""

    columns: dict[str, np.ndarray]
    thumbs: np.ndarray | None
    vectors: np.ndarray | None
    views: list[tuple[int, str]]
    failed: int

    def __len__(self) -> int:
        return len(self.columns["index"])


@dataclasses.dataclass(frozen=True)
class Manner:
    """How examples of a split are read. `raw` tells where the stored example is known from: `transform` (what the first
    transform is given), `storage` (an attribute of the data set with one entry per example) or `item` (the example itself).

    `random`: two readings of one example differ. `shown` are positions of examples whose looks are kept, `drawn` those of them
    that are read several times to be looked at, and `fed` says how a model was given single examples.
    """

    split: str
    layout: Layout
    raw: str
    random: bool
    shown: frozenset[int]
    drawn: frozenset[int] = frozenset()
    fed: Mapping[int, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    seed: int = 0


@dataclasses.dataclass
class Taken:
    """Examples as they were read; in place of an example may be the error that came of reading it.

    `raws` and `paths` are what each was made of, where that is known, `draws` further readings of some. A plain
    `TensorDataset` gives its `columns` instead of items.
    """

    indices: np.ndarray
    items: list[Any] = dataclasses.field(default_factory=list)
    raws: list[Any] = dataclasses.field(default_factory=list)
    paths: list[str] = dataclasses.field(default_factory=list)
    draws: dict[int, list[Any]] = dataclasses.field(default_factory=dict)
    columns: list[torch.Tensor] = dataclasses.field(default_factory=list)


class Reader(Dataset[Chunk]):
    """A data set of chunks: entry k is what was measured of the examples at `chunks[k]`."""

    def __init__(self, dataset: Any, chunks: Sequence[np.ndarray], manner: Manner) -> None:
        self.dataset = dataset
        self.chunks = chunks
        self.manner = manner
        self._source: _Source | None = None

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, k: int) -> Chunk:
        return measured(self.manner, self._taken(k))

    def _taken(self, k: int) -> Taken:
        if self._source is None:  # in the worker
            self._source = _Source(self.dataset, self.manner)
        return self._source.taken(self.chunks[k])

    def taken(self) -> Iterator[Taken]:
        """The examples chunk by chunk, to be measured by somebody else."""
        return map(self._taken, range(len(self.chunks)))

    def __getattr__(self, name: str) -> Any:
        """A worker_init_fn may look for what the data set has."""
        if name.startswith("__") or "dataset" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.__dict__["dataset"], name)


class StreamReader(IterableDataset[Chunk]):
    """The same of a stream: chunks of `size` examples as they come, at most `most` from each worker.

    Examples are numbered by worker and place: with w workers, the i-th of worker k has the number i * w + k.
    """

    def __init__(self, dataset: Any, size: int, most: int, manner: Manner) -> None:
        self.dataset = dataset
        self.size = size
        self.most = most
        self.manner = manner

    def __iter__(self) -> Iterator[Chunk]:
        return (measured(self.manner, taken) for taken in self.taken())

    def taken(self) -> Iterator[Taken]:
        """The examples chunk by chunk, to be measured by somebody else."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        seed_all(self.manner.seed + worker)
        pending: list[Any] = []
        count = 0
        stream = iter(self.dataset)
        while count < self.most:
            try:
                pending.append(next(stream))
            except StopIteration:
                break
            except Exception as error:  # a generator that raised is over
                pending.append(error)
                count = self.most
            count += 1
            if len(pending) == self.size:
                yield _numbered(pending, count, worker, workers)
                pending = []
        if pending:
            yield _numbered(pending, min(count, self.most), worker, workers)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "dataset" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.__dict__["dataset"], name)


def _numbered(items: list[Any], count: int, worker: int, workers: int) -> Taken:
    """The last examples of `count` that a worker read."""
    first = count - len(items)
    indices = np.array([(first + i) * workers + worker for i in range(len(items))], np.int64)
    return Taken(indices, items, [None] * len(items), [""] * len(items))


class _Source:
    """Reads positions of a map-style data set."""

    def __init__(self, dataset: Any, manner: Manner) -> None:
        self.manner = manner
        self.tracer = Tracer(dataset) if manner.raw == "transform" else None
        self.stored = stored(dataset) if manner.raw == "storage" else None
        self.dataset = dataset
        self.columns = tensors_of(dataset)

    def taken(self, indices: np.ndarray) -> Taken:
        if self.columns is not None:
            return Taken(indices, columns=[c[torch.from_numpy(indices)] for c in self.columns])
        seed_all(self.manner.seed + int(indices[0]) if len(indices) else 0)
        taken = Taken(indices)
        for i in indices.tolist():
            raw, path = None, ""
            try:
                if self.tracer is not None:
                    item = self.tracer[i]
                    raw, path = self.tracer.raw, self.tracer.path
                else:
                    item = self.dataset[i]
                    raw = self.stored(i) if self.stored is not None else None
            except Exception as error:
                item = error
            taken.items.append(item)
            taken.raws.append(raw)
            taken.paths.append(path)
        for i, item in zip(indices.tolist(), taken.items, strict=True):
            if i in self.manner.drawn and not isinstance(item, Exception):
                with contextlib.suppress(Exception):
                    taken.draws[i] = [self.dataset[i] for _ in range(DRAWS)]
        return taken


def measured(manner: Manner, taken: Taken) -> Chunk:
    """What is measured of some examples. Reads nothing, so that another thread may do it."""
    with torch.no_grad():  # which each thread has to say for itself
        measurer = _Measurer(manner)
        return measurer.stacks(taken) if taken.columns else measurer.chunk(taken)


class _Measurer:
    """Makes rows of examples."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.leaves = manner.layout.leaves

    def stacks(self, taken: Taken) -> Chunk:
        """Rows of examples that are there as whole tensors."""
        indices, columns = taken.indices, taken.columns
        held = [columns[int(leaf.path[0])] for leaf in self.leaves]
        parts = [list(c) if (array := numbers(c)) is None else array for c in held]
        whole = Rows(len(indices))
        for leaf, values in zip(self.leaves, parts, strict=True):
            self._measure(whole, leaf, values, range(len(indices)))
        hashes = hashed_rows(self._inputs(parts), len(indices))
        shown = [(int(i), tuple(c[n] for c in columns)) for n, i in enumerate(indices.tolist()) if i in self.manner.shown]
        return whole.chunk(self.manner.split, indices, hashes, [""] * len(indices), self._views(shown, {}, {}))

    def chunk(self, read: Taken) -> Chunk:
        """Rows of examples as they were read."""
        indices, items, raws = read.indices, read.items, read.raws
        whole = Rows(len(items))
        taken: dict[int, tuple[list[Any], list[np.ndarray | None]]] = {}
        for n, item in enumerate(items):
            if isinstance(item, Exception):
                whole.fail(n, UNREADABLE, f"{type(item).__name__}: {item}")
                continue
            try:
                values = self.manner.layout.take(item)
            except LookupError as error:
                whole.fail(n, OTHER, str(error))
                continue
            arrays = [numbers(v) for v in values]
            if why := self.manner.layout.fits(values, arrays):
                whole.fail(n, OTHER, why)
                continue
            taken[n] = values, arrays
        good = list(taken)
        as_read = [[values[place] for values, _ in taken.values()] for place in range(len(self.leaves))]
        parts = [
            _stacked([v if a[place] is None else a[place] for v, (_, a) in zip(column, taken.values(), strict=True)])
            for place, column in enumerate(as_read)
        ]
        for leaf, column in zip(self.leaves, parts, strict=True):
            self._measure(whole, leaf, column, good)
        hashes = np.zeros(len(items), np.uint64)
        if any(raws[n] is None for n in good):  # a picture is more than its numbers
            contents = [c if any(map(is_picture, c)) else part for c, part in zip(as_read, parts, strict=True)]
            hashes[good] = hashed_rows(self._inputs(contents), len(good))
        for n in good:
            if raws[n] is not None:
                hashes[n] = hash_of([raws[n]])
        seen = [n for n in good if int(indices[n]) in self.manner.shown]
        drawn = self._views([(int(indices[n]), items[n]) for n in seen], {int(indices[n]): raws[n] for n in seen}, read.draws)
        return whole.chunk(self.manner.split, indices, hashes, read.paths, drawn)

    def _inputs(self, values: Sequence[Any]) -> list[Any]:
        return [v for leaf, v in zip(self.leaves, values, strict=True) if leaf.part.role == "input"]

    def _measure(self, whole: Rows, leaf: Leaf, values: Values, good: Sequence[int]) -> None:
        if not len(values):
            return
        measure = measure_of(leaf.part.kind).measure
        try:
            whole.add(leaf, measure(leaf, values), np.asarray(good))
        except Exception:  # one of them is odd: all the others are measured
            for n, value in zip(good, values, strict=True):
                try:
                    whole.add(leaf, measure(leaf, [value]), np.asarray([n]))
                except Exception as error:
                    whole.fail(n, OTHER, f"{leaf.part.name}: {error}")

    def _views(
        self, items: Sequence[tuple[int, Any]], raws: Mapping[int, Any], draws: Mapping[int, list[Any]]
    ) -> list[tuple[int, str]]:
        made = []
        for index, item in items:
            seen: dict[str, Any] = {"item": views.view(self.manner.layout, item)}
            raw = views.stored_view(raws.get(index))
            if raw is not None and raw != seen["item"]:
                seen["raw"] = raw
            if index in self.manner.fed:
                seen["fed"] = self.manner.fed[index]
            if index in draws:
                seen["draws"] = [views.view(self.manner.layout, item) for item in draws[index]]
            made.append((index, views.dumps(seen)))
        return made


class Rows:
    """Rows in the making: columns of `n` examples, and what is wrong with some of them."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.status = np.full(n, "ok", dtype=object)
        self.error = np.full(n, None, dtype=object)
        self.failed = 0
        self._pieces: list[tuple[np.ndarray, Measured]] = []
        self._shown = ""

    def add(self, leaf: Leaf, measured: Measured, at: np.ndarray) -> None:
        """What was measured of one part, of the examples at these places. Thumbnails and vectors are those of one input."""
        if leaf.part.role != "input" or self._shown not in ("", leaf.part.name):
            measured = Measured(measured.columns, None, None, measured.status)
        elif measured.vectors is not None or measured.thumbs is not None:
            self._shown = leaf.part.name
        self._pieces.append((at, measured))
        for i, text in measured.status.items():
            self.status[at[i]] = text

    def fail(self, n: int, status: str, error: str) -> None:
        """The n-th example could not be used."""
        self.status[n], self.error[n] = status, error.replace("\x00", "")[:LONGEST]
        self.failed += 1

    def chunk(
        self, split: str, indices: np.ndarray, hashes: np.ndarray, paths: Sequence[str], drawn: list[tuple[int, str]]
    ) -> Chunk:
        """All of it."""
        whole = joined(self._pieces, self.n)
        columns = {
            "split": np.full(self.n, split, dtype=object),
            "index": indices.astype(np.int64),
            "status": self.status,
            "error": self.error,
            "hash": hashes,
            **whole.columns,
        }
        if any(paths):
            columns["path"] = np.array([*paths, None], dtype=object)[:-1]
        return Chunk(columns, whole.thumbs, whole.vectors, drawn, self.failed)


# ---- hashes


def hash_of(values: Sequence[Any]) -> int:
    """64 bits of the contents of some values (xxh3), their shapes and types included; 0 never comes out.

    Two of ten million different examples collide with a probability of about 3e-6.
    """
    whole = xxhash.xxh3_64()
    for value in values:
        if is_picture(value):
            whole.update(f"{value.mode}{value.size}".encode())
            whole.update(value.tobytes())
            continue
        array = numbers(value)
        if array is None:
            for _, leaf in leaves(value):
                whole.update(plain(leaf).encode("utf-8", "replace"))
            continue
        whole.update(_mark(array))
        whole.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
    return whole.intdigest() or 1


def hashed_rows(values: Sequence[Values], n: int) -> np.ndarray:
    """`hash_of` for each of `n` examples, given as columns."""
    if len(values) == 1 and isinstance(values[0], np.ndarray):
        array = np.ascontiguousarray(values[0])
        begun = xxhash.xxh3_64(_mark(array[0]) if len(array) else b"")
        return np.array([_continued(begun, row) for row in array.reshape(n, -1).view(np.uint8)], np.uint64)
    return np.array([hash_of([v[i] for v in values]) for i in range(n)], np.uint64)


def _continued(begun: Any, row: np.ndarray) -> int:
    whole = begun.copy()
    whole.update(row)
    return int(whole.intdigest()) or 1


def _mark(array: np.ndarray) -> bytes:
    return f"{array.dtype.str}{array.shape}".encode()


# ---- data sets


def _stacked(values: list[Any]) -> Values:
    """One array of all, where they are arrays of one shape and type."""
    alike = {(v.shape, v.dtype) if isinstance(v, np.ndarray) else None for v in values}
    return stacked(values) if len(alike) == 1 and None not in alike else values


def tensors_of(dataset: Any) -> list[torch.Tensor] | None:
    """The tensors of a plain `TensorDataset`, from which many examples can be taken at once; None for others."""
    if type(dataset) is not TensorDataset or any(t.layout != torch.strided for t in dataset.tensors):
        return None
    return [t.detach().cpu() for t in dataset.tensors]
