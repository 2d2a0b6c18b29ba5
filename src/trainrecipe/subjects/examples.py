"""Reading single examples of a program's data sets again, after a rehearsal: their labels, and experiments on them.

Experiments run apart, in a forked process, so that nothing of the program is changed and a reading that hangs does no harm.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
        if column and not (len(column) > 1 and all(b - a == 1 for a, b in itertools.pairwise(column))):
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


def apart(data: Data, function: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What `function` returns when it is called in a forked process; raises Unreadable when it fails or takes too long."""
    loader = forked(_Once(function), batch_size=None, num_workers=1, timeout=patience, collate_fn=_as_it_is)
    return next(iter(take(data, loader)))


def forked(dataset: Any, **options: Any) -> DataLoader[Any]:
    """A loader with workers that are forks of this process; raises Unreadable where that is not possible."""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise Unreadable("worker processes cannot be forked on this system")
    own = torch.Generator().manual_seed(1)
    try:
        return DataLoader(dataset, multiprocessing_context="fork", **{"generator": own, **options})
    except Exception as error:
        raise Unreadable(f"no workers: {error}") from error


def take(data: Data, loader: Iterable[Any]) -> list[Any]:
    """Everything that a loader gives; raises Unreadable when its workers fail, or an earlier one's took too long."""
    if "stuck" in data.memo:
        raise Unreadable("examples are read too slowly in a process apart")
    try:
        with _calm():
            return list(loader)
    except Exception as error:
        if "timed out" in str(error):
            data.memo["stuck"] = True
        text = str(error).strip().splitlines()
        raise Unreadable(f"examples cannot be read again: {text[-1] if text else type(error).__name__}") from error


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Tokenizers of Hugging Face's print a warning when a process is forked, unless they are told to be calm."""
    name = "TOKENIZERS_PARALLELISM"
    added = name not in os.environ
    os.environ.setdefault(name, "false")
    try:
        yield
    finally:
        if added:
            os.environ.pop(name, None)


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
