"""Reading single examples of a program's data sets again, after a rehearsal: their labels, and experiments on them.

Experiments run apart, in a forked process, so that nothing of the program is changed and a reading that hangs does no harm.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import xxhash
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from trainrecipe.capture import hashing
from trainrecipe.capture.listen.describe import innermost
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.where import is_user_file, place
from trainrecipe.finding import Place
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.run import Loader

SECONDS = 1.0
"""Time for reading the labels of one loader."""
COLLATED = 4
"""Examples in the batches that are made to see what collation does."""
PATIENCE = 10
"""Seconds after which an experiment apart is given up."""


class Unreadable(Exception):
    """Why examples cannot be read again."""


# ---- labels


def weighted(data: Data) -> Iterator[tuple[Loader, WeightedRandomSampler]]:
    """Loaders that draw by weights, with their samplers."""
    for record, loader in data.loaders:
        sampler = getattr(loader.batch_sampler, "sampler", None) or loader.sampler
        if isinstance(sampler, WeightedRandomSampler) and record.examples:
            yield record, sampler


def labels(data: Data, number: int) -> dict[int, float]:
    """Labels by position in a loader's data set: of all examples, or of as many as can be read in a second.

    Which column is the label is known where the loss takes it, else the last with one number per example that is not a
    row number. Empty where there is none.
    """
    record, loader = data.loaders[number]
    inner, part = innermost(loader.dataset)
    if isinstance(inner, TensorDataset) and type(inner).__getitem__ is TensorDataset.__getitem__:
        column = _label_column([hashing.column(t, len(t)) for t in inner.tensors], record.label)
        chosen = column if part is None or not column else [column[i] for i in part]
        return dict(enumerate(chosen))
    if data.may_read and record.examples and hasattr(loader.dataset, "__getitem__"):
        return _read_labels(data, record, loader.dataset)
    return drawn_labels(data, number)


def drawn_labels(data: Data, number: int) -> dict[int, float]:
    """Labels by position, of the examples in the batches that were looked at."""
    record = data.loaders[number][0]
    known: dict[int, float] = {}
    for draw in data.run.draws:
        if draw.loader != number or not draw.readable:
            continue
        seen = data.run.passes[draw.in_pass]
        batches = list(draw.batches())
        if seen.cut and len(batches) > len(seen.labels):
            batches = [*batches[: len(seen.labels) - 1], batches[-1]] if seen.finished else batches[: len(seen.labels)]
        for indices, columns in zip(batches, seen.labels, strict=False):
            column = _label_column(columns, record.label)
            if len(column) == len(indices):
                known.update(zip(indices, column, strict=True))
    return known


def _read_labels(data: Data, record: Loader, dataset: Any) -> dict[int, float]:
    order = list(range(record.examples or 0))
    random.Random(0).shuffle(order)
    until = time.perf_counter() + min(SECONDS, max(0.0, data.seconds))
    known = {}
    for i in order:
        if time.perf_counter() > until:
            break
        try:
            found = numbers(dataset[i])
        except Exception:
            return {}
        column = _label_column([hashing.column(t.reshape(1, *t.shape)) if t.ndim <= 1 else [] for t in found], record.label)
        if not column:
            return {}
        known[i] = column[0]
    return known


def _label_column(columns: list[list[float]], known: int | None) -> list[float]:
    if known is not None:
        return columns[known] if known < len(columns) else []
    for column in reversed(columns):
        if column and not (len(column) > 1 and all(b - a == 1 for a, b in zip(column, column[1:], strict=False))):
            return column
    return []


# ---- examples


def numbers(item: Any) -> list[torch.Tensor]:
    """Everything numeric in an example, as tensors: tensors, arrays, numbers, lists of numbers, images."""
    found: list[torch.Tensor] = []
    for part in item if isinstance(item, list | tuple) else item.values() if isinstance(item, Mapping) else [item]:
        if isinstance(part, int | float | bool | np.ndarray | np.generic) or hasattr(part, "__array_interface__"):
            array = np.asarray(part)
            if array.dtype.kind in "biuf":
                found.append(torch.as_tensor(np.ascontiguousarray(array)))
        elif isinstance(part, list) and part and all(isinstance(p, int | float) for p in part):
            found.append(torch.as_tensor(part))
        else:
            found += list(tensors_in(part))
    return found


def content(item: Any) -> list[int]:
    """A hash for each numeric part of an example, in order."""
    return [xxhash.xxh3_64_intdigest(hashing._as_bytes(t.reshape(1, -1)).tobytes()) for t in numbers(item)]


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch (in an experiment apart)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


# ---- experiments apart


class _Once(IterableDataset[Any]):
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function

    def __iter__(self) -> Iterator[Any]:
        yield self.function()


def apart(function: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What `function` returns when it is called in a forked process; raises Unreadable when it fails or takes too long."""
    loader = forked(_Once(function), batch_size=None, num_workers=1, timeout=patience, collate_fn=_as_it_is)
    return next(iter(take(loader)))


def forked(dataset: Any, **options: Any) -> DataLoader[Any]:
    """A loader with workers that are forks of this process; raises Unreadable where that is not possible."""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise Unreadable("worker processes cannot be forked on this system")
    own = torch.Generator().manual_seed(1)
    try:
        return DataLoader(dataset, multiprocessing_context="fork", **{"generator": own, **options})
    except Exception as error:
        raise Unreadable(f"no workers: {error}") from error


def take(loader: DataLoader[Any]) -> list[Any]:
    """Everything that a loader gives; raises Unreadable when its workers fail."""
    try:
        return list(loader)
    except Exception as error:
        text = str(error).strip().splitlines()
        raise Unreadable(f"examples cannot be read again: {text[-1] if text else type(error).__name__}") from error


def _as_it_is(value: Any) -> Any:
    return value


# ---- places


def streams(data: Data) -> Iterator[tuple[Loader, Place | None]]:
    """Loaders with several workers over a data set that is iterated, with the line where its iteration begins."""
    for record, loader in data.loaders:
        if isinstance(loader.dataset, IterableDataset) and record.workers >= 2:
            yield record, method_place(loader.dataset, "__iter__") or record.born or record.place


def method_place(thing: Any, name: str) -> Place | None:
    """The line where the user's own class defines a method; None when it does not."""
    code = getattr(getattr(type(thing), name, None), "__code__", None)
    if code is None or not is_user_file(code.co_filename):
        return None
    return place((code.co_filename, code.co_firstlineno, code.co_name))


def read_place(dataset: Any) -> Place | None:
    """The line where the user's own class reads an example, the outermost of the data sets that wrap each other."""
    for _ in range(6):
        if dataset is None or (at := method_place(dataset, "__getitem__")) is not None:
            return None if dataset is None else at
        dataset = getattr(dataset, "dataset", None)
    return None


# ---- workers


def worker_draws(data: Data, number: int) -> dict[str, Any]:
    """What two workers read, twice over as in two epochs, of the same examples; raises Unreadable.

    `random`: readings of one example in one worker differ. `workers` and `epochs`: both workers, or both epochs, read
    exactly the same, bit by bit; `held`: so they do with PyTorch's, NumPy's and Python's global generators set aside.
    """
    record, loader = data.loaders[number]
    chosen = sorted({i * ((record.examples or 1) - 1) // 3 for i in range(4)})
    plain = [_as_two_workers(loader, chosen, epoch, aside=False) for epoch in (1, 2)]
    aside = _as_two_workers(loader, chosen, 1, aside=True)
    return {
        "random": _varies(plain[0][0]),
        "workers": plain[0][0] == plain[0][1] and plain[1][0] == plain[1][1],
        "epochs": plain[0] == plain[1],
        "held": _varies(aside[0]) and aside[0] == aside[1],
    }


def _as_two_workers(loader: Any, chosen: list[int], epoch: int, aside: bool) -> tuple[list[Any], list[Any]]:
    """What each of two workers reads: every chosen example four times."""
    order = [[i] for i in chosen for _ in range(4) for _ in range(2)]
    made = forked(
        loader.dataset,
        batch_sampler=order,
        num_workers=2,
        worker_init_fn=loader.worker_init_fn,
        collate_fn=_content_aside if aside else _content,
        generator=torch.Generator().manual_seed(epoch),
        timeout=PATIENCE,
    )
    read = take(made)
    return read[2::2], read[3::2]


def _content(items: list[Any]) -> list[int]:
    return content(items[0])


def _content_aside(items: list[Any]) -> list[int]:
    found = content(items[0])
    seed_all(5)
    return found


def _varies(read: list[Any]) -> bool:
    return any(len({tuple(r) for r in read[i : i + 3]}) > 1 for i in range(3, len(read) - 2, 4))


# ---- collation


@dataclasses.dataclass(frozen=True)
class Collated:
    """What became of `items` examples in a batch: on how many of them it depends as a whole (`used`), and, where it has as
    many numeric parts as an example, on how many each part with more than one number depends (`parts`)."""

    items: int
    used: int
    parts: list[int]


def collated(data: Data, number: int) -> Collated:
    """Make small batches with a loader's own `collate_fn`, exchanging one example at a time; raises Unreadable."""
    record, loader = data.loaders[number]
    size = min(record.batch_size or 1, COLLATED)
    if not data.may_read:
        raise Unreadable("examples are read again after a rehearsal only")
    if (record.examples or 0) < 2 * size:
        raise Unreadable("there are too few examples to exchange")
    found: Collated = apart(lambda: _collate(loader.dataset, loader.collate_fn, size))
    return found


def _collate(dataset: Any, collate: Callable[[list[Any]], Any], size: int) -> Collated:
    def batch(indices: list[int]) -> Any:
        items = []
        for i in indices:
            seed_all(i)
            items.append(dataset[i])
        seed_all(0)
        return collate(items)

    first, others = list(range(size)), list(range(size, 2 * size))
    whole = batch(first)
    hashes = content(whole)
    sizes = [t.numel() for t in numbers(whole)]
    depends = [0] * len(hashes)
    used = 0
    for k in range(size):
        changed = content(batch([*first[:k], others[k], *first[k + 1 :]]))
        used += changed != hashes
        for j, (a, b) in enumerate(zip(hashes, changed, strict=False)):
            depends[j] += a != b
    alike = len(hashes) == len(content(dataset[0]))
    return Collated(size, used, [d for d, n in zip(depends, sizes, strict=True) if n > 1 and d] if alike else [])


def own_collation(loader: Any) -> bool:
    """Whether a loader puts batches together by a function that is not PyTorch's."""
    return not getattr(loader.collate_fn, "__module__", "").startswith("torch.utils.data")


def function_place(function: Any) -> Place | None:
    """The line where the user's own function, or callable object, begins."""
    function = getattr(function, "func", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return method_place(function, "__call__")
    return place((code.co_filename, code.co_firstlineno, code.co_name)) if is_user_file(code.co_filename) else None
