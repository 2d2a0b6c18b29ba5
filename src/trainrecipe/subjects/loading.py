"""Experiments with a loader's own workers and its own collation, on a few examples, in processes apart."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, get_worker_info

from trainrecipe.subjects.data import Data
from trainrecipe.subjects.examples import PATIENCE, Unreadable, apart, content, forked, numbers, seed_all, take

COLLATED = 4
"""Examples in the batches that are made to see what collation does."""
COLLECTED = 64
"""Examples of a stream that a worker hands over at once."""
WHOLE = 1.5
"""Seconds for reading a stream to its end: no more than other experiments with a data set take."""

# ---- workers


def worker_draws(data: Data, number: int) -> dict[str, Any]:
    """What two workers read, twice over as in two epochs, of the same examples; raises Unreadable.

    `random`: readings of one example in one worker differ. `workers` and `epochs`: both workers, or both epochs, read
    exactly the same, bit by bit; `held`: so they do with PyTorch's, NumPy's and Python's global generators set aside.
    """
    record, loader = data.loaders[number]
    chosen = sorted({i * ((record.examples or 1) - 1) // 3 for i in range(4)})
    plain = [_as_two_workers(data, loader, chosen, epoch, aside=False) for epoch in (1, 2)]
    aside = _as_two_workers(data, loader, chosen, 1, aside=True)
    return {
        "random": _varies(plain[0][0]),
        "workers": plain[0][0] == plain[0][1] and plain[1][0] == plain[1][1],
        "epochs": plain[0] == plain[1],
        "held": _varies(aside[0]) and aside[0] == aside[1],
    }


def _as_two_workers(data: Data, loader: Any, chosen: list[int], epoch: int, aside: bool) -> tuple[list[Any], list[Any]]:
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
    read = take(data, made)
    return read[2::2], read[3::2]


def _content(items: list[Any]) -> list[int]:
    return content(items[0])


def _content_aside(items: list[Any]) -> list[int]:
    found = content(items[0])
    seed_all(5)
    return found


def _varies(read: list[Any]) -> bool:
    return any(len({tuple(r) for r in read[i : i + 3]}) > 1 for i in range(3, len(read) - 2, 4))


def given_by_workers(data: Data, number: int, workers: int) -> list[list[int]] | None:
    """Hashes of the examples that each of so many workers gives in one pass over a stream, in the order of the numbers.

    None where the pass does not end in time; raises Unreadable.
    """
    _, loader = data.loaders[number]
    if not data.may_read:
        raise Unreadable("examples are read again after a rehearsal only")
    if loader.batch_size is None:
        raise Unreadable("the data set makes batches by itself")
    made = forked(
        loader.dataset,
        batch_size=COLLECTED,
        num_workers=workers,
        worker_init_fn=loader.worker_init_fn,
        collate_fn=_of_worker,
        timeout=PATIENCE,
    )
    found: list[list[int]] = [[] for _ in range(workers)]
    for given in take(data, _until(made, time.perf_counter() + min(WHOLE, max(0.0, data.seconds)))):
        if given is None:
            return None
        found[given[0]] += given[1]
    return [sorted(f) for f in found]


def _until(loader: DataLoader[Any], end: float) -> Iterator[Any]:
    """What a loader gives, and None in place of what it has not given in time."""
    for given in loader:
        yield given
        if time.perf_counter() > end:
            yield None
            return


def _of_worker(items: list[Any]) -> tuple[int, list[int]]:
    info = get_worker_info()
    return (info.id if info is not None else 0), [hash(tuple(content(item))) for item in items]


# ---- collation


@dataclasses.dataclass(frozen=True)
class Collated:
    """What became of `items` examples in a batch: on how many of them it depends as a whole (`used`), and, where it is a
    plain collection of tensors, on how many each of these with more than one number depends (`parts`, largest first)."""

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
    found: Collated = apart(data, lambda: _collate(loader.dataset, loader.collate_fn, size))
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
    values = list(whole.values()) if isinstance(whole, Mapping) else list(whole) if isinstance(whole, list | tuple) else [whole]
    flat = all(isinstance(v, torch.Tensor) for v in values)
    parts = sorted(((n, d) for d, n in zip(depends, sizes, strict=True) if n > 1 and d), reverse=True)
    return Collated(size, used, [d for _, d in parts] if flat else [])
