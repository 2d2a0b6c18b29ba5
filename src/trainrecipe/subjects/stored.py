"""Which stored rows a data set reads for an example: tried on a shallow copy whose lists and arrays note what is asked.

Only a data set of the user's own class is looked at, whose attributes hold its examples in lists, tuples, arrays or tensors.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xxhash
from torch.utils.data import Dataset, IterableDataset

from trainrecipe.capture.hashing import exact_hash
from trainrecipe.capture.listen.describe import innermost
from trainrecipe.capture.where import is_user_file
from trainrecipe.finding import Place
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.examples import Unreadable, apart, method_place, numbers, seed_all

FEWEST = 16
"""Rows of a container, from which it can be the store of examples."""
PROBES = 24
READS = 4000
SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Touched:
    """What reading told: for each container of the data set (its name), its length and the row read for each index.

    A row is None where an index did not read exactly one row of it, or not the same each time. `beyond`: reading at and
    behind the end of the data set, up to the last row, works, and fails after that. `looked_up`: containers whose row is
    what another one holds at the index, such as a list of chosen rows. `windows`: containers of which example i reads a
    window that begins at row i, and how many whole windows they hold, if so many can be read and no more.
    """

    lengths: dict[str, int]
    rows: dict[str, list[int | None]]
    indices: list[int]
    beyond: dict[str, bool]
    looked_up: list[str]
    windows: dict[str, int]


def user_datasets(data: Data) -> Iterator[tuple[int, Any]]:
    """Data sets of the user's own class that were read through `__getitem__`, each once, with the number of a loader."""
    seen: set[int] = set()
    for record, loader in data.loaders:
        inner, _ = innermost(loader.dataset)
        code = getattr(getattr(type(inner), "__getitem__", None), "__code__", None)
        own = code is not None and is_user_file(code.co_filename)
        if own and isinstance(inner, Dataset) and not isinstance(inner, IterableDataset) and id(inner) not in seen:
            seen.add(id(inner))
            yield record.number, inner


def unread(data: Data) -> Iterator[tuple[dict[str, Any], Place | None]]:
    """Data sets that hold more examples than their length says: what was found, and the line of `__len__`."""
    for number, dataset in user_datasets(data):
        touched = touched_by(data, number, dataset)
        if touched is None:
            continue
        length = len(dataset)
        for name, stored in touched.lengths.items():
            own = all(row == i for row, i in zip(touched.rows[name], touched.indices, strict=True))
            held = touched.windows.get(name, 0)
            stored, own = (held, True) if held else (stored, own and touched.beyond[name])
            if stored > length and own and not _read_elsewhere(data, dataset, name):
                chosen = _is_limited(dataset, length) or data.run.loaders_built > len(data.run.loaders)
                found = {"stored": stored, "length": length, "name": name, "chosen": chosen, "windows": bool(held)}
                yield found, method_place(dataset, "__len__")
                break


def _is_limited(dataset: Any, length: int) -> bool:
    """Whether the length is a number that the data set keeps, or the difference of two, as of an end and a beginning."""
    kept = [int(v) for v in vars(dataset).values() if isinstance(v, int | np.integer) and not isinstance(v, bool)]
    return length in kept or any(a - b == length for a in kept for b in kept)


def touched_by(data: Data, number: int, dataset: Any, every: bool = False) -> Touched | None:
    """Read a few examples, or `every` one that time allows, from a copy of a data set; None where that tells nothing."""
    if not data.may_read or not _stores(dataset):
        return None
    if every:  # a data set whose example i is row i, wherever one looks, need not be read as a whole
        few = touched_by(data, number, dataset)
        if few is None or all(rows == few.indices or None in rows for rows in few.rows.values()):
            return few
    try:
        length = len(dataset)
        found: Touched = apart(data, lambda: _touch(dataset, length, every), patience=6)
        return found
    except (Unreadable, TypeError):
        return None


def first_and_last(dataset: Any) -> str:
    """A hash of the first and the last row of all that a data set stores, which tells files of its own from common ones."""
    whole = xxhash.xxh3_64()
    for name, _, _, store in _stores(dataset) if hasattr(dataset, "__dict__") else ():
        whole.update(f"{name} {_ends(store)}".encode())
    return whole.hexdigest()


def _ends(store: Any) -> list[Any]:
    """What tells the first and the last row."""
    told: list[Any] = []
    for row in (store[0], store[-1]):
        numbers = isinstance(row, torch.Tensor | np.ndarray | np.generic)
        told.append(exact_hash(torch.as_tensor(row)) if numbers else re.sub(r" at 0x[0-9a-f]+", "", repr(row)[:999]))
    return told


def _touch(dataset: Any, length: int, every: bool) -> Touched:
    spied = copy.copy(dataset)
    notes: dict[str, list[Any]] = {}
    for name, holder, key, store in _stores(dataset):
        notes[name] = []
        spy = _spy(store, notes[name])
        if holder is None:
            vars(spied)[key] = spy
        else:
            inner = copy.copy(vars(spied)[holder])
            changed = list(inner) if isinstance(inner, tuple) else inner
            changed[key] = spy
            vars(spied)[holder] = tuple(changed) if isinstance(inner, tuple) else changed
    lengths = {name: len(store) for name, _, _, store in _stores(dataset)}
    indices = list(range(min(length, READS))) if every else sorted({i * (length - 1) // PROBES for i in range(PROBES + 1)})
    rows: dict[str, list[int | None]] = {name: [] for name in notes}
    spans: dict[str, set[tuple[int, int] | None]] = {name: set() for name in notes}
    until = time.perf_counter() + SECONDS
    read: list[int] = []
    for i in indices:
        if time.perf_counter() > until:
            break
        first = _rows_of(spied, i, 1, notes)
        for name in notes:
            spans[name].add(_span(notes[name], i))
        second = _rows_of(spied, i, 2, notes) if len(read) < PROBES else first
        read.append(i)
        for name in notes:
            same = first[name] == second[name] and len(first[name]) == 1
            rows[name].append(first[name][0] if same else None)
    beyond = {name: _goes_on(dataset, length, n) for name, n in lengths.items()}
    stores = {name: store for name, _, _, store in _stores(dataset)}
    looked_up = [n for n in rows if any(_holds(s, read, rows[n]) for m, s in stores.items() if m != n)]
    windows = {name: _windows(dataset, length, lengths[name], found) for name, found in spans.items()}
    return Touched(lengths, rows, read, beyond, looked_up, {name: n for name, n in windows.items() if n})


def _span(noted: list[Any], i: int) -> tuple[int, int] | None:
    """Where the rows begin and end that were read, relative to the index; None unless they are known and more than one."""
    if not any(isinstance(n, range) for n in noted) or not all(isinstance(n, int | range) for n in noted):
        return None
    first = min(n.start if isinstance(n, range) else n for n in noted)
    last = max(n.stop if isinstance(n, range) else n + 1 for n in noted)
    return first - i, last - i


def _windows(dataset: Any, length: int, stored: int, spans: set[tuple[int, int] | None]) -> int:
    """How many windows a container holds, if example i is the window that begins at row i and all can be read; else 0."""
    span = next(iter(spans), None)
    if len(spans) != 1 or span is None or span[0] != 0:
        return 0
    count = stored - span[1] + 1
    shapes = [_shapes(dataset, i) for i in (0, length, (length + count) // 2, count - 1, count)] if count > length else []
    return count if shapes and shapes[0] and len({*shapes[:4]}) == 1 and shapes[4] != shapes[0] else 0


def _shapes(dataset: Any, i: int) -> tuple[tuple[int, ...], ...]:
    try:
        return tuple(tuple(t.shape) for t in numbers(dataset[i]))
    except Exception:
        return ()


def _holds(store: Any, indices: list[int], rows: list[int | None]) -> bool:
    """Whether a container holds at each index the number of the row that was read."""
    try:
        return len(store) > max(indices) and all(int(store[i]) == row for i, row in zip(indices, rows, strict=True))
    except (TypeError, ValueError):
        return False


def _rows_of(spied: Any, i: int, seed: int, notes: dict[str, list[Any]]) -> dict[str, list[int]]:
    for noted in notes.values():
        noted.clear()
    seed_all(seed)
    spied[i]
    return {name: sorted(set(noted)) if all(isinstance(n, int) for n in noted) else [] for name, noted in notes.items()}


def _goes_on(dataset: Any, length: int, stored: int) -> bool:
    """Whether examples can be read up to the number stored, and not beyond."""
    if stored <= length:
        return False
    try:
        for i in (length, (length + stored) // 2, stored - 1):
            dataset[i]
    except Exception:
        return False
    try:
        dataset[stored]
    except (IndexError, KeyError):
        return True
    except Exception:
        return False
    return False


def _stores(dataset: Any) -> list[tuple[str, str | None, Any, Any]]:
    """Containers that may hold one row per example: (name, attribute that holds it or None, its key there, the container)."""
    found: list[tuple[str, str | None, Any, Any]] = []
    for name, held in list(vars(dataset).items())[:60]:
        if _is_store(held):
            found.append((f"self.{name}", None, name, held))
        elif type(held) in (list, tuple, dict) and len(held) < FEWEST:
            for key, inner in held.items() if isinstance(held, dict) else enumerate(held):
                if _is_store(inner):
                    found.append((f"self.{name}[{key!r}]", name, key, inner))
    return found[:8]


def _is_store(held: Any) -> bool:
    if type(held) in (list, tuple) or type(held) is np.ndarray:
        return getattr(held, "ndim", 1) > 0 and len(held) >= FEWEST
    return type(held) is torch.Tensor and held.ndim > 0 and held.shape[0] >= FEWEST and held.layout == torch.strided


def _read_elsewhere(data: Data, dataset: Any, name: str) -> bool:
    """Whether another data set of the program holds the same container, or one of the same length and ends."""
    mine = next(store for n, _, _, store in _stores(dataset) if n == name)
    for _, loader in data.loaders:
        other, _ = innermost(loader.dataset)
        if other is dataset or not hasattr(other, "__dict__"):
            continue
        theirs = [store for _, _, _, store in _stores(other)]
        if any(_address(s) == _address(mine) or (len(s) == len(mine) and _ends(s) == _ends(mine)) for s in theirs):
            return True
    return False


def _address(store: Any) -> int:
    if isinstance(store, torch.Tensor):
        return store.untyped_storage().data_ptr()
    return store.__array_interface__["data"][0] if isinstance(store, np.ndarray) else id(store)


# ---- containers that note which rows are asked for


def _spy(store: Any, noted: list[Any]) -> Any:
    spied: Any
    if isinstance(store, torch.Tensor):
        spied = store.as_subclass(_Tensor)
    elif isinstance(store, np.ndarray):
        spied = store.view(_Array)
    else:
        spied = (_List if isinstance(store, list) else _Tuple)(store)
    spied.noted = noted
    return spied


def _note(noted: list[Any], key: Any) -> None:
    if isinstance(key, tuple):
        key = key[0] if key else None
    if isinstance(key, torch.Tensor | np.ndarray) and key.ndim == 0 and key.dtype != torch.bool:
        key = key.item()
    if isinstance(key, slice) and all(isinstance(v, int | np.integer) for v in (key.start, key.stop)) and key.step in (None, 1):
        noted.append(range(int(key.start), int(key.stop)))
    else:
        noted.append(int(key) if isinstance(key, int | np.integer) and not isinstance(key, bool) else "many")


class _List(list[Any]):
    noted: list[Any]

    def __getitem__(self, key: Any) -> Any:
        _note(self.noted, key)
        return list.__getitem__(self, key)


class _Tuple(tuple[Any, ...]):
    noted: list[Any]

    def __getitem__(self, key: Any) -> Any:
        _note(self.noted, key)
        return tuple.__getitem__(self, key)


class _Array(np.ndarray[Any, Any]):
    noted: list[Any]

    def __getitem__(self, key: Any) -> Any:
        _note(self.noted, key)
        return self.view(np.ndarray)[key]


class _Tensor(torch.Tensor):
    noted: list[Any]

    def __getitem__(self, key: Any) -> Any:
        _note(self.noted, key)
        return self.as_subclass(torch.Tensor)[key]
