"""The data of a training program as it uses it: data sets behind its loaders, and what its models were fed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import TensorDataset

from trainrecipe.capture import hashing
from trainrecipe.capture.describe import innermost
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.subjects.run import Loader, Run


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Content hashes of examples: `inputs[i]` of the first tensor, `whole[i]` of all tensors. `complete`: none left out."""

    inputs: list[int]
    whole: list[int]
    complete: bool


@dataclasses.dataclass
class Data:
    """Data sets and loaders of a program, with the run they were seen in.

    `may_read` tells whether examples may be fetched from the data sets (after a rehearsal; never during a training).
    """

    run: Run
    loaders: Sequence[tuple[Loader, Any]]
    may_read: bool = True
    seconds: float = 3.0

    def loader(self, number: int) -> Any:
        """The script's own loader object."""
        return self.loaders[number][1]

    def indices(self, number: int) -> tuple[int, range | list[int] | None]:
        """Which data set a loader reads (its number) and which indices of it (None: all)."""
        record, loader = self.loaders[number]
        return record.dataset, innermost(loader.dataset)[1]

    def rows(self, number: int, most: int = 100_000) -> Rows | None:
        """Hashes of a loader's examples, as its data set gives them; None when they cannot be read or time is up.

        A `TensorDataset` is read whole and at once; of other data sets as many examples as fit into `seconds`.
        """
        record, loader = self.loaders[number]
        dataset, indices = innermost(loader.dataset)
        if isinstance(dataset, TensorDataset):
            return self._tensor_rows(dataset, indices, most)
        if not self.may_read or record.examples is None or not hasattr(loader.dataset, "__getitem__"):
            return None
        return self._read_rows(loader.dataset, record.examples, most)

    def _tensor_rows(self, dataset: TensorDataset, indices: Any, most: int) -> Rows:
        chosen = torch.arange(len(dataset)) if indices is None else torch.as_tensor(list(indices))
        kept = chosen[:most]
        columns = [hashing.row_hashes(_at_least_2d(t)[kept], most) for t in dataset.tensors]
        whole = [hash(row) for row in zip(*columns, strict=False)] if all(columns) else []
        return Rows(columns[0] if columns else [], whole, len(kept) == len(chosen))

    def _read_rows(self, dataset: Any, examples: int, most: int) -> Rows | None:
        until = time.perf_counter() + self.seconds
        inputs, whole = [], []
        for i in range(min(examples, most)):
            if time.perf_counter() > until:
                return Rows(inputs, whole, False)
            try:
                item = dataset[i]
            except Exception:
                return None
            hashes = [hashing.row_hashes(_at_least_2d(torch.as_tensor(t))[None].flatten(1)) for t in _arrays(item)]
            if not hashes or not hashes[0]:
                return None
            inputs.append(hashes[0][0])
            whole.append(hash(tuple(h[0] for h in hashes if h)))
        return Rows(inputs, whole, examples <= most)


def _arrays(item: Any) -> list[Any]:
    import numpy as np

    found: list[Any] = []
    for part in item if isinstance(item, list | tuple) else item.values() if isinstance(item, Mapping) else [item]:
        if isinstance(part, int | float | bool | np.ndarray | np.generic):
            found.append(torch.as_tensor(np.asarray(part)))
        else:
            found += list(tensors_in(part))
    return found


def _at_least_2d(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.ndim >= 2 else tensor.reshape(-1, 1)
