"""What the data of a program hold, split by split: examples as the net is fed them, with their labels.

A `Table` begins with the batches that were seen. Where the data set's own items turn out to be the very rows that were fed
(nothing is changed between the data set and the net), it is completed from the data set, within a few seconds and megabytes.
"""

from __future__ import annotations

import dataclasses
import inspect
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from torch.utils.data import SubsetRandomSampler, TensorDataset

from trainrecipe.capture import hashing
from trainrecipe.capture.listen.describe import innermost
from trainrecipe.capture.tensors import size_of
from trainrecipe.capture.where import is_user_file, place
from trainrecipe.finding import Place
from trainrecipe.subjects.data import Data, _arrays
from trainrecipe.subjects.fed import Batch, Held, of_one_kind

SECONDS = 3.0
"""Time for reading examples out of data sets, for all loaders together."""
MOST = 4096
"""Examples read out of one data set."""
BYTES = 32 * 2**20
"""Bytes read out of one data set."""
KNOWN = 0.9
"""Share of the rows fed that the data set must give as they are, so that the rest is taken to be fed like that too."""
APART = 0.5
"""Share of an evaluation's rows that may lie in the training data; more, and it is no split of its own."""


@dataclasses.dataclass(slots=True)
class Examples:
    """Items of a data set: `slots[k][i]` is the k-th tensor of the i-th item that was read, `indices[i]` its position.
    `complete`: no item was left out."""

    slots: list[list[torch.Tensor]]
    indices: list[int]
    complete: bool


@dataclasses.dataclass(slots=True)
class Table:
    """Examples of one split as they are fed: `x` the first real-valued input (else the first), one row per example, `y` one
    number per example where the target is that, `others` the further inputs of the batches that were seen.

    `seen` is how many rows were really fed; the others are known from the data set. `complete`: the split has no others.
    `repeats` counts rows that were fed a second time, bit by bit; `loader` numbers the loader, `place` is where the data
    set is defined, else its loader, else the line of the call.
    """

    x: torch.Tensor
    y: torch.Tensor | None
    seen: int
    complete: bool
    batches: list[Batch]
    loader: int | None = None
    place: Place | None = None
    repeats: int = 0

    @property
    def rows(self) -> int:
        """How many examples there are."""
        return self.x.shape[0]

    @property
    def classes(self) -> list[int]:
        """The labels, where they are a few whole numbers; empty where they are measurements."""
        if self.y is None or not len(self.y) or not bool((self.y == self.y.round()).all()):
            return []
        kinds = torch.unique(self.y)
        return [int(k) for k in kinds] if len(kinds) <= max(2, len(self.y) // 5) else []


# ---- reading data sets


def examples(data: Data, number: int) -> Examples | None:
    """Items of the data set that a loader reads, as many as fit into the time, at random; None where it cannot be read."""
    return _once(data, f"examples {number}", lambda: _read(data, number))  # type: ignore[no-any-return]


def _once(data: Data, key: str, make: Callable[[], Any]) -> Any:
    if key not in data.memo:
        data.memo[key] = make()
    return data.memo[key]


def _read(data: Data, number: int) -> Examples | None:
    record, loader = data.loaders[number]
    dataset = loader.dataset
    plain = isinstance(innermost(dataset)[0], TensorDataset)
    if record.examples is None or not hasattr(dataset, "__getitem__") or not (data.may_read or plain):
        return None
    sampler = getattr(loader.batch_sampler, "sampler", None) or loader.sampler
    order = [int(i) for i in sampler.indices] if isinstance(sampler, SubsetRandomSampler) else list(range(record.examples))
    random.Random(0).shuffle(order)
    left = data.memo.setdefault("seconds", SECONDS)
    started = time.perf_counter()
    try:
        return _items(dataset, order, started + left / 2)
    except Exception:
        return None
    finally:
        data.memo["seconds"] = left - (time.perf_counter() - started)


def _items(dataset: Any, order: list[int], until: float) -> Examples | None:
    slots: list[list[torch.Tensor]] = []
    taken: list[int] = []
    room = BYTES
    for i in order[:MOST]:
        if time.perf_counter() > until or room < 0:
            break
        item = [t.detach().cpu() for t in _arrays(dataset[i])]
        if not item or (slots and len(item) != len(slots)):
            return None
        slots = slots or [[] for _ in item]
        for slot, tensor in zip(slots, item, strict=True):
            slot.append(tensor)
        taken.append(i)
        room -= sum(map(size_of, item))
    return Examples(slots, taken, len(taken) == len(order)) if taken else None


# ---- tables


def training(data: Data) -> Table | None:
    """The training examples; None where none were seen."""
    return _once(  # type: ignore[no-any-return]
        data, "training", lambda: _table(data, of_one_kind([b for b in data.fed if b.trains]))
    )


def evaluations(data: Data) -> list[Table]:
    """The examples of each loader, or line, that the trained model is evaluated on, less those that it is trained on."""
    return _once(data, "evaluations", lambda: _evaluations(data))  # type: ignore[no-any-return]


def _evaluations(data: Data) -> list[Table]:
    train = training(data)
    if train is None:
        return []
    wanted = {b.signature[:1] for b in train.batches}
    groups: dict[Any, list[Batch]] = {}
    known = set(hashes(train.x))
    for batch in data.fed:
        if not batch.trains and batch.signature[:1] in wanted:
            again = batch.in_pass is None and _repeats(batch, known)  # one function may judge several splits
            groups.setdefault((_source(data, batch), again), []).append(batch)
    tables = [t for group in groups.values() if (t := _table(data, group)) is not None]
    apart = [t for t in tables if sum(h in known for h in hashes(t.x)) <= APART * t.rows]
    return [t for t in apart if t.loader is None or _source(data, t.batches[0]) != _source(data, train.batches[0])]


def _repeats(batch: Batch, known: set[int]) -> bool:
    """Whether a batch consists of training examples."""
    given = hashes(batch.inputs[_main(batch)].detach().cpu())
    return sum(h in known for h in given) > 0.5 * min(len(given), len(known))


def _main(batch: Batch) -> int:
    """The input that holds the examples: the first of real numbers, else the first."""
    return next((i for i, t in enumerate(batch.inputs) if t.is_floating_point() and t.ndim > 1), 0)


def _source(data: Data, batch: Batch) -> Any:
    """What batches of one split have in common: the data set that their loader reads, else the line of the call."""
    if batch.in_pass is None:
        return str(batch.place)
    return id(data.loader(data.run.passes[batch.in_pass].loader).dataset)


def _labelled(rows: list[torch.Tensor], labels: list[Any]) -> tuple[list[torch.Tensor], list[Any]]:
    """The examples that have a label, where -1 or -100 stands beside classes that are counted from 0: it is none."""
    values = set(labels)
    if None in values or not values & {-1, -100} or 0 not in values or len(values) < 3 or min(values - {-1, -100}) < 0:
        return rows, labels
    kept = [i for i, v in enumerate(labels) if v >= 0]
    return [rows[i] for i in kept], [labels[i] for i in kept]


def _table(data: Data, batches: Sequence[Batch]) -> Table | None:
    batches = [b for b in batches if b.rows]
    if not batches:
        return None
    chosen = _main(batches[0])
    rows, labels = _labelled(*_distinct(data, batches, chosen))
    if not rows:
        return None
    loaders = [data.run.passes[b.in_pass].loader for b in batches if b.in_pass is not None]
    loader = loaders[0] if len({_source(data, b) for b in batches}) == 1 and loaders else None
    y = torch.tensor(labels, dtype=torch.double) if all(v is not None for v in labels) else None
    made = Table(torch.stack(rows), y, len(rows), False, list(batches), loader, place_of(data, loader) or batches[0].place)
    made.repeats = sum(b.rows for b in batches) - len(rows)
    return _completed(data, made) if loader is not None else made


def _distinct(data: Data, batches: Sequence[Batch], chosen: int) -> tuple[list[torch.Tensor], list[float | None]]:
    """The rows of one input over all batches with their labels, each pair once."""
    rows: list[torch.Tensor] = []
    labels: list[float | None] = []
    seen: set[Any] = set()
    given = [(b.inputs[chosen], labels_of(data, b)) for b in batches]
    labelled = any(own for _, own in given)
    for x, own in given:
        if not own and labelled:
            continue
        for i, h in enumerate(hashes(x)):
            label = own[i] if i < len(own) else None
            if (h, label) not in seen:
                seen.add((h, label))
                rows.append(x[i].detach().cpu())
                labels.append(label)
    return rows, labels


def labels_of(data: Data, batch: Batch) -> list[float]:
    """One number per row: the target of the loss, what predictions were compared with, or the loader's label; else empty."""
    own = batch.labels()
    if own or batch.trains or batch.in_pass is None:
        return own
    seen = data.run.passes[batch.in_pass]
    slot = label_slot(data, seen.loader)
    if slot is None or batch.number >= len(seen.labels) or slot >= len(seen.labels[batch.number]):
        return []
    column = seen.labels[batch.number][slot]
    return column if len(column) == batch.rows else []


def label_slot(data: Data, loader: int) -> int | None:
    """Which tensor of a loader's batches is the label: seen in the loss, or that of the other loaders."""
    own = data.run.loaders[loader].label
    return own if own is not None else next((r.label for r in data.run.loaders if r.label is not None), None)


def hashes(x: torch.Tensor) -> list[int]:
    """A content hash per row."""
    if not x.ndim or not x.shape[0]:
        return []
    rows = hashing._as_bytes(x if x.ndim > 1 else x[:, None])
    return [xxhash.xxh3_64_intdigest(row.tobytes()) for row in rows]


def _completed(data: Data, table: Table) -> Table:
    """The table with the rest of the data set, if the data set's items are what is fed."""
    assert table.loader is not None
    found = examples(data, table.loader)
    if found is None or (len(found.indices) < table.rows and not found.complete):
        return table
    fed = hashes(table.x)
    for slot in found.slots:
        if any(t.numel() != table.x[0].numel() or t.is_complex() for t in slot[:1]):
            continue
        try:
            x = torch.stack(slot).to(table.x.dtype).reshape(len(slot), *table.x.shape[1:])
        except RuntimeError:
            continue
        if not _is_fed(fed, hashes(x), found, data.run.loaders[table.loader].examples or 1):
            continue
        y = _labels(data, table, found, x)
        if table.y is None or y is not None:
            return dataclasses.replace(table, x=x, y=y, complete=found.complete)
    return table


def _is_fed(fed: list[int], known: list[int], found: Examples, total: int) -> bool:
    same = sum(h in set_ for set_ in (set(known),) for h in fed)
    share = 1.0 if found.complete else len(found.indices) / max(1, total)
    return same >= KNOWN * len(fed) * share - 2 and same >= min(3, len(fed))


def _labels(data: Data, table: Table, found: Examples, x: torch.Tensor) -> torch.Tensor | None:
    """The labels of the items, if those of the rows that were fed are among them."""
    slot = label_slot(data, table.loader or 0)
    if slot is None or slot >= len(found.slots) or table.y is None:
        return None
    try:
        column = hashing.column(torch.stack(found.slots[slot]), len(found.indices))
    except RuntimeError:
        return None
    if len(column) != len(found.indices):
        return None
    known: dict[int, set[float]] = {}
    for h, label in zip(hashes(x), column, strict=True):
        known.setdefault(h, set()).add(label)
    both = [(known[h], float(v)) for h, v in zip(hashes(table.x), table.y, strict=True) if h in known]
    agree = sum(any(abs(v - k) <= 1e-5 * max(1.0, abs(k)) for k in kinds) for kinds, v in both)
    return torch.tensor(column, dtype=torch.double) if both and agree >= KNOWN * len(both) else None


# ---- places


def place_of(data: Data, loader: int | None) -> Place | None:
    """Where a data set of the user's own gives its items, else the line that built its loader."""
    if loader is None:
        return None
    record, held = data.loaders[loader]
    inner, _ = innermost(held.dataset)
    return _definition(inner) or record.born or record.place


def _definition(dataset: Any) -> Place | None:
    for name in ("__getitem__", "__init__"):
        code = getattr(inspect.unwrap(getattr(type(dataset), name, None) or _definition), "__code__", None)
        if code is not None and is_user_file(code.co_filename) and Path(code.co_filename).exists():
            return place((code.co_filename, code.co_firstlineno, code.co_name))
    return None


def held_arrays(data: Data) -> list[tuple[str, torch.Tensor]]:
    """The tables of numbers that the script's variables and data sets held at the first step: (name in the code, values)."""
    return _once(data, "arrays", lambda: list(_held(data)))  # type: ignore[no-any-return]


def stored_together(data: Data, table: Table) -> bool:
    """Whether arrays that the script holds have the examples and, row by row, their labels: so no step draws a label."""
    if table.y is None:
        return False
    fed = set(zip(hashes(table.x), table.y.tolist(), strict=True))
    arrays = [a for _, a in held_arrays(data) if len(a) >= KNOWN * len(fed)]
    columns = [a.reshape(-1).double().tolist() for a in arrays if a.numel() == len(a)]
    for x in (a for a in arrays if a[0].numel() == table.x[0].numel()):
        rows = hashes(x.to(table.x.dtype))
        pairs = (set(zip(rows, y, strict=True)) for y in columns if len(y) == len(rows))
        if any(len(fed & known) >= KNOWN * len(fed) for known in pairs):
            return True
    return False


def held_columns(data: Data, rows: int) -> Iterator[tuple[str, np.ndarray]]:
    """What those variables hold one of for each of so many rows, whole numbers or texts (rows,): (name in the code, values)."""
    for held in _given(data):
        if held.rows == rows:
            yield from held.columns()


def _held(data: Data) -> Iterator[tuple[str, torch.Tensor]]:
    for held in _given(data):
        found = held.tensor() if held.nbytes <= BYTES else None
        if found is not None and found.ndim and len(found) and not found.is_complex():
            yield held.name, found


def _given(data: Data) -> list[Held]:
    """Arrays of the script's variables, and those of the data sets behind its loaders."""
    given = list(data.arrays)
    for _, loader in data.loaders if data.may_read else ():
        inner, _ = innermost(loader.dataset)
        for name, value in list(vars(inner).items()) if hasattr(inner, "__dict__") else ():
            for part in value if isinstance(value, tuple) else (value,):
                if hasattr(part, "shape") and not isinstance(part, type) and not any(part is h.array for h in given):
                    given.append(Held(f"{type(inner).__name__}.{name}", part))
    return given
