"""What is to be scanned: data sets by the names of their splits, each with the loader it is read by, where there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset

from trainrecipe.wrong_use import WrongUse


@dataclasses.dataclass
class Source:
    """One split to be read: `positions` are those of the data set that belong to it, None for all.

    `workers` and `worker_init` are a loader's own; `batched` tells that the data set gives batches by itself. `fed` is what a
    model was given of single examples, by position; `as_fed` that nothing else is known of the split than that. `ragged`: the
    loader puts batches together in a way of its own, so that examples may differ in size.
    """

    name: str
    dataset: Any
    role: str = ""
    positions: Sequence[int] | None = None
    workers: int | None = None
    worker_init: Callable[[int], None] | None = None
    context: Any = None
    batched: bool = False
    place: str = ""
    fed: Mapping[int, list[torch.Tensor]] = dataclasses.field(default_factory=dict)
    as_fed: bool = False
    ragged: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether examples come one after the other, and cannot be asked for."""
        return isinstance(self.dataset, IterableDataset) or not hasattr(self.dataset, "__getitem__")

    @property
    def length(self) -> int | None:
        """How many examples there are; None for a stream that does not tell."""
        if self.positions is not None:
            return len(self.positions)
        try:
            return len(self.dataset)
        except (TypeError, NotImplementedError):
            return None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by the convention of torchvision's data sets."""
        inner = self.dataset
        for _ in range(6):
            found = getattr(inner, "classes", None)
            if isinstance(found, list | tuple) and found and all(isinstance(c, str) for c in found):
                return tuple(found)
            inner = getattr(inner, "dataset", None)
            if inner is None:
                break
        return ()


def sources(given: Any) -> list[Source]:
    """The splits that a value stands for: a data set or loader, several by name, or a tuple of up to three in the usual order.

    Raises WrongUse for anything else.
    """
    if isinstance(given, Source):
        return [given]
    if isinstance(given, list) and given and all(isinstance(v, Source) for v in given):
        return list(given)
    if isinstance(given, Mapping):
        return [source(str(name), value) for name, value in given.items()]
    if isinstance(given, tuple | list) and given and all(is_data(v) for v in given) and len(given) <= len(USUAL):
        return [source(name, value) for name, value in zip(USUAL[len(given)], given, strict=True)]
    return [source("train", given)]


USUAL = {1: ("train",), 2: ("train", "validation"), 3: ("train", "validation", "test")}
ROLES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}


def source(name: str, value: Any) -> Source:
    """One split of that name. Raises WrongUse where the value is no data."""
    role = ROLES.get(name.lower(), "")
    if isinstance(value, Source):
        return dataclasses.replace(value, name=name)
    if isinstance(value, DataLoader):
        return of_loader(name, role, value)
    if not is_data(value):
        raise WrongUse(
            f"{name} is a {type(value).__name__}, which is no data set: give a torch Dataset (with __getitem__ and __len__, or "
            "iterable), a DataLoader, or a dictionary of these by the names of the splits"
        )
    return Source(name, value, role)


def of_loader(name: str, role: str, loader: DataLoader[Any]) -> Source:
    """A split as its loader reads it: only the positions that its sampler can draw, with its workers."""
    from torch.utils.data import SubsetRandomSampler

    sampler = getattr(loader.batch_sampler, "sampler", None) or loader.sampler
    chosen = [int(i) for i in sampler.indices] if isinstance(sampler, SubsetRandomSampler) else None
    return Source(
        name,
        loader.dataset,
        role,
        positions=sorted(chosen) if chosen is not None else None,
        workers=loader.num_workers,
        worker_init=loader.worker_init_fn,
        context=loader.multiprocessing_context if loader.num_workers else None,
        batched=loader.batch_size is None and loader.batch_sampler is None,
        ragged=not getattr(loader.collate_fn, "__module__", "").startswith("torch.utils.data"),
    )


def is_data(value: Any) -> bool:
    """Whether examples can be read from it."""
    if isinstance(value, str | bytes | Mapping | type) or value is None:
        return False
    if isinstance(value, DataLoader | IterableDataset | Source):
        return True
    return (hasattr(value, "__getitem__") and hasattr(value, "__len__")) or hasattr(value, "__iter__")


def flattened(one: Source) -> Source:
    """A split without the `Subset`s around its data set, whose positions are taken along instead.

    So examples of splits that are parts of one data set have positions in common, and tensors can be read at once.
    """
    dataset, positions = one.dataset, one.positions
    while type(dataset) is Subset:
        indices = np.asarray(dataset.indices, dtype=np.int64)
        positions = (indices if positions is None else indices[np.asarray(positions, dtype=np.int64)]).tolist()
        dataset = dataset.dataset
    return dataclasses.replace(one, dataset=dataset, positions=positions)
