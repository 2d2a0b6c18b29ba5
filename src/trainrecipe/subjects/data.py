"""The data of a training program as it uses it: data sets behind its loaders, and what its models were fed."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xxhash
from torch.utils.data import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from trainrecipe.capture import hashing
from trainrecipe.capture.listen.describe import innermost
from trainrecipe.capture.listen.stream import is_series
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.subjects.fed import Batch, Held
from trainrecipe.subjects.run import Loader, Run

SECONDS = 3.0
"""Time for reading examples, for all loaders of a program together."""
_MEASURED = 512
_COLUMNS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Content hashes of examples: `inputs[i]` of what the model gets of it. `complete`: none was left out.

    `bits` is a rough upper bound of the information in an example's inputs, from the entropy of each of its numbers: low
    where equal examples occur by chance (few categories, short contexts), and 0 where inputs are whole numbers only.
    """

    inputs: list[int]
    complete: bool
    bits: float = 0.0


@dataclasses.dataclass
class Data:
    """Data sets and loaders of a program, with the run they were seen in.

    `may_read` tells whether examples may be fetched from the data sets (after a rehearsal; never during a training).
    `fed` are batches as the trained models were given them, for training and for evaluation, `arrays` what the script's
    variables held at the first step; see subjects/contents.py for what is made of them (`memo` keeps it).
    """

    run: Run
    loaders: Sequence[tuple[Loader, Any]]
    may_read: bool = True
    seconds: float = SECONDS
    fed: Sequence[Batch] = ()
    arrays: Sequence[Held] = ()
    memo: dict[str, Any] = dataclasses.field(default_factory=dict)
    _known: dict[tuple[int, tuple[int, ...] | None], Rows | None] = dataclasses.field(default_factory=dict)

    def loader(self, number: int) -> Any:
        """The script's own loader object."""
        return self.loaders[number][1]

    def positions(self, number: int) -> tuple[int, set[int] | None]:
        """Which data set a loader reads (its number) and which positions of it; None when its sampler cannot tell."""
        record, loader = self.loaders[number]
        dataset, part = innermost(loader.dataset)
        sampler = loader.sampler
        own = getattr(loader.batch_sampler, "sampler", None)
        if isinstance(own, SubsetRandomSampler):
            sampler = own
        if isinstance(sampler, SubsetRandomSampler):
            chosen = [int(i) for i in sampler.indices]
            return record.dataset, set(chosen if part is None else (part[i] for i in chosen))
        if record.examples is None:
            return record.dataset, None
        drawn = self._drawn(number)
        if drawn is not None:
            return record.dataset, set(drawn if part is None else (part[i] for i in drawn))
        if not _reads_all(loader):
            return record.dataset, None
        return record.dataset, set(range(len(dataset)) if part is None else part)

    def rows(self, number: int, share: float = 1.0) -> Rows | None:
        """Hashes of a loader's examples, as its data set gives them; None when they cannot be read.

        A `TensorDataset` is read directly, of other data sets as many examples as fit into `share` of the time that is
        left, in random order.
        """
        record, loader = self.loaders[number]
        sampler = getattr(loader.batch_sampler, "sampler", None) or loader.sampler
        chosen = tuple(int(i) for i in sampler.indices) if isinstance(sampler, SubsetRandomSampler) else self._drawn(number)
        key = (id(loader.dataset), chosen)
        if key not in self._known:
            started = time.perf_counter()
            self._known[key] = self._read(record, loader.dataset, chosen, started + share * max(0.0, self.seconds))
            self.seconds -= time.perf_counter() - started
        return self._known[key]

    def _drawn(self, number: int) -> tuple[int, ...] | None:
        """The positions that a sampler of the script's own was seen to draw; None for PyTorch's, and where nothing is known."""
        draws = [d for d in self.run.draws if d.loader == number and d.readable]
        if _reads_all(self.loaders[number][1]) or not any(d.complete for d in draws):
            return None
        return tuple(sorted({i for d in draws for i in d.indices}))

    def is_series(self, number: int) -> bool:
        """Whether a loader's examples are overlapping windows in their order, as of a time series."""
        dataset = self.loaders[number][1].dataset
        plain = isinstance(innermost(dataset)[0], TensorDataset)
        if not (plain or self.may_read) or not hasattr(dataset, "__getitem__"):
            return False
        try:
            first = [_arrays(dataset[i]) for i in range(4)]
            return any(is_series(torch.stack(list(column))) for column in zip(*first, strict=True))
        except Exception:
            return False

    def _read(self, record: Loader, dataset: Any, chosen: tuple[int, ...] | None, until: float) -> Rows | None:
        inner, part = innermost(dataset)
        if record.examples is None or not hasattr(dataset, "__getitem__"):
            return None
        order = list(chosen if chosen is not None else range(record.examples))
        random.Random(0).shuffle(order)
        if isinstance(inner, TensorDataset):
            indices = order if part is None else [part[i] for i in order]
            return _tensor_rows(_inputs(list(inner.tensors), 1), indices, until)
        return self._fetch(dataset, order, until) if self.may_read else None

    def _fetch(self, dataset: Any, order: list[int], until: float) -> Rows | None:
        hashes: list[int] = []
        sample: list[np.ndarray] = []
        for i in order:
            if time.perf_counter() > until:
                break
            try:
                given = _inputs(_arrays(dataset[i]), 0)
            except Exception:
                return None
            if not given:
                return None
            hashes.append(_hash([t.detach().cpu() for t in given]))
            if len(sample) < _MEASURED:
                sample.append(_flat(given))
        return Rows(hashes, len(hashes) == len(order), _bits(sample))


def _reads_all(loader: Any) -> bool:
    """Whether PyTorch's own sampler reads, or may read, all of a loader's data set."""
    if loader.batch_sampler is not None and type(loader.batch_sampler) is not BatchSampler:
        return False  # the sampler beside it is never asked
    sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler.sampler
    return isinstance(sampler, RandomSampler | SequentialSampler | WeightedRandomSampler)


def _tensor_rows(tensors: list[torch.Tensor], indices: list[int], until: float) -> Rows | None:
    """Rows of whole tensors, a thousand at a time."""
    if not tensors or any(t.layout != torch.strided for t in tensors):
        return None
    hashes: list[int] = []
    for start in range(0, len(indices), 1024):
        if time.perf_counter() > until:
            break
        part = [t.detach()[torch.as_tensor(indices[start : start + 1024])].cpu() for t in tensors]
        hashes += [_hash(list(row)) for row in zip(*part, strict=True)]
    sample = [t.detach()[torch.as_tensor(indices[:_MEASURED])].cpu() for t in tensors]
    return Rows(hashes, len(hashes) == len(indices), _bits([_flat(list(row)) for row in zip(*sample, strict=True)]))


def _inputs(tensors: list[torch.Tensor], batched: int) -> list[torch.Tensor]:
    """What of an example goes into the model, most likely: all that is more than one number, else all but the last."""
    wide = [t for t in tensors if t.ndim > batched and t.numel() > (t.shape[0] if batched and t.ndim else 1)]
    return wide or tensors[: max(1, len(tensors) - 1)]


def _hash(tensors: list[torch.Tensor]) -> int:
    whole = xxhash.xxh3_64()
    for t in tensors:
        whole.update(hashing._as_bytes(t.reshape(1, -1)).tobytes())
    return whole.intdigest()


def _flat(tensors: list[torch.Tensor]) -> np.ndarray:
    numbers = [t.detach().cpu().reshape(-1)[:_COLUMNS] for t in tensors if t.is_floating_point()]
    return torch.cat([n.double() for n in numbers]).numpy() if numbers else np.zeros(0)


def _bits(sample: list[np.ndarray]) -> float:
    """The sum over columns of the entropy of their values; 32 for a column whose values are mostly different."""
    if not sample or len({len(s) for s in sample}) != 1 or not len(sample[0]):
        return 0.0
    distinct = np.unique(np.stack(sample), axis=0)
    total = 0.0
    for values in distinct.T[:_COLUMNS]:
        _, counts = np.unique(values, return_counts=True)
        shares = counts / counts.sum()
        total += 32.0 if len(counts) > 0.5 * len(values) and len(values) > 16 else float(-(shares * np.log2(shares)).sum())
    return total


def _arrays(item: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for part in item if isinstance(item, list | tuple) else item.values() if isinstance(item, Mapping) else [item]:
        if isinstance(part, int | float | bool | np.ndarray | np.generic):
            found.append(torch.as_tensor(np.asarray(part)))
        elif isinstance(part, list) and part and all(isinstance(p, int | float) for p in part):
            found.append(torch.as_tensor(part))
        else:
            found += list(tensors_in(part))
    return found
