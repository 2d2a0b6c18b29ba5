"""Whether the examples of a batch bear the labels that the data set gives them: collating may move only one of both."""

from __future__ import annotations

import dataclasses
import inspect

import torch
import xxhash

from trainrecipe.capture import hashing
from trainrecipe.capture.where import is_user_file, place
from trainrecipe.finding import Place
from trainrecipe.subjects.contents import Examples, examples
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.fed import Batch

FEWEST = 5
"""Batches all of whose examples must be known from the data set, with the labels in another order."""
LEAST = 8
"""Examples of such a batch: of fewer the labels may be those of another column by chance."""
MOST = 48
"""Batches of a loader that are looked at."""
NEARLY_ALL = 0.9
EQUAL = 1e-4
"""Difference of labels, relative to their range, that is rounding."""

Pair = tuple[list[float], list[float]]


@dataclasses.dataclass(frozen=True, slots=True)
class Misplaced:
    """Training batches that hold the labels of their own examples in another order: `batches` of `known`; `rows` of `of`
    examples stand beside another's label. `place` is where the batches are put together."""

    batches: int
    known: int
    rows: int
    of: int
    place: Place | None


def misplaced(data: Data) -> Misplaced | None:
    """Compare batches with what the data set gives for each example; None where they agree or cannot be compared."""
    for number in dict.fromkeys(data.run.passes[b.in_pass].loader for b in data.fed if b.trains and b.in_pass is not None):
        own = [b for b in data.fed if b.trains and b.in_pass is not None and data.run.passes[b.in_pass].loader == number]
        found = examples(data, number)
        if found is None:
            continue
        slots = [_pairs(own[:MOST], found, slot) for slot in _single(found)]
        if any(p and not any(_differ(g, e) for g, e in p) for p in slots):
            continue
        for pairs in slots:
            moved = [(g, e) for g, e in pairs if _differ(g, e) and not _differ(sorted(g), sorted(e))]
            same = sum(not _differ(g, e) for g, e in pairs)
            if len(moved) >= FEWEST and len(moved) + same >= NEARLY_ALL * len(pairs):
                rows = sum(_differ(g, e) for g, e in moved)
                return Misplaced(len(moved), len(pairs), rows, sum(len(g) for g, _ in pairs), _collated(data, number))
    return None


def _differ(some: list[float], others: list[float]) -> int:
    """How many numbers differ, each from the one at its place."""
    return sum(abs(a - b) > EQUAL for a, b in zip(some, others, strict=True))


def _scaled(labels: list[float]) -> list[float]:
    """Labels between 0 and 1: a batch may have them in another unit than the data set."""
    low, high = min(labels), max(labels)
    return [(v - low) / (high - low) if high > low else 0.0 for v in labels]


def _single(found: Examples) -> list[int]:
    """The parts of an example that are one number."""
    return [k for k, slot in enumerate(found.slots) if all(t.numel() == 1 and not t.is_complex() for t in slot)]


def _pairs(batches: list[Batch], found: Examples, slot: int) -> list[Pair]:
    """Labels as fed and as the data set gives them, of each batch whose examples are all known."""
    made: list[Pair] = []
    books: dict[tuple[int, float], dict[int, float | None]] = {}
    for batch in batches:
        rows = batch.inputs[0] if batch.inputs else None
        if rows is None or batch.target is None or rows.ndim < 2 or not rows.numel() or not batch.target.ndim:
            continue
        n = batch.target.shape[0]
        rows = rows if rows.shape[0] == n else rows.transpose(0, 1)  # positions may come first
        labels = hashing.column(batch.target, n) if rows.shape[0] == n else []
        if len(labels) != n or n < LEAST:
            continue
        flat = rows.reshape(n, -1).double().cpu()
        fill = float(flat[:, -1].mode().values)
        for k in range(len(found.slots)):
            if k in _single(found) or found.slots[k][0].is_complex():
                continue
            book = books.setdefault((k, fill), _book(found, k, slot, fill))
            known = [book.get(_key(row, fill)) for row in flat]
            told = [v for v in known if v is not None]
            if len(told) == n:
                made.append((_scaled(labels), _scaled(told)))
                break
    return made


def _book(found: Examples, k: int, slot: int, fill: float) -> dict[int, float | None]:
    """The label of each example by its content; None where equal examples bear different ones."""
    book: dict[int, float | None] = {}
    for example, label in zip(found.slots[k], found.slots[slot], strict=True):
        key, value = _key(example.reshape(-1).double(), fill), float(label)
        book[key] = value if book.get(key, value) == value else None
    return book


def _key(row: torch.Tensor, fill: float) -> int:
    """A hash of an example without what it is filled up with at its end."""
    real = (row != fill).nonzero()
    return xxhash.xxh3_64_intdigest(row[: int(real[-1]) + 1].numpy().tobytes() if len(real) else b"")


def _collated(data: Data, number: int) -> Place | None:
    """The function that puts batches together, else the line that built the loader."""
    record, loader = data.loaders[number]
    code = getattr(inspect.unwrap(loader.collate_fn), "__code__", None)
    if code is not None and is_user_file(code.co_filename):
        return place((code.co_filename, code.co_firstlineno, code.co_name))
    return record.born or record.place
