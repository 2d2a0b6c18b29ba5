"""Follows every example through the training: what the model predicts for it each time it is fed, and how sure it is.

Only with `recipe run --track-examples`. Which examples a batch holds is told by the loader's sampler, the label by the batch,
and the prediction by what the model returns; nothing of the program's is asked to be computed again.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from trainrecipe.capture import hashing
from trainrecipe.capture.listen.describe import innermost
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.subjects.histories import History, judged

MOST = 20_000_000
"""Examples of a data set up to which they are followed."""


class Tracked(Ear):
    """Histories of examples by data set (its number) and whether they were trained on. Idle unless `wanted`.

    Followed is the first model that is trained on batches with a label for each example: with one number per class, one per
    example, or one logit for two classes.
    """

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.wanted = False
        self.histories: dict[tuple[int, bool], History] = {}
        self.sizes: dict[int, int] = {}
        self._drawn: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()
        self._places: dict[int, tuple[Any, int, np.ndarray | None]] = {}
        self._current: tuple[int, np.ndarray, np.ndarray] | None = None
        self._model: int | None = None

    def install(self, put: Put) -> None:
        """Nothing to replace: others tell."""

    @guarded
    def follow(self, loader: Any, iterator: Any) -> None:
        """A pass over a loader begins: from now on the entries of its sampler are kept until their batch has come."""
        if not self.wanted or isinstance(loader.dataset, IterableDataset) or len(loader.dataset) > MOST:
            return
        held = iterator._sampler_iter
        inside = getattr(held, "__dict__", {}).get("_original")  # the ear for draws wraps it once more
        if not isinstance(held, _Tee) and not isinstance(inside, _Tee):
            entries = self._drawn[iterator] = []
            iterator._sampler_iter = _Tee(held, entries)

    @guarded
    def batch(self, iterator: Any, batch: Any, loader: int, number: int) -> None:
        """The batch of that number has come: which examples it holds, and their labels."""
        self._current = None
        entries = self._drawn.get(iterator)
        if entries is None or number >= len(entries):
            return
        entry, entries[number] = entries[number], None
        indices = np.atleast_1d(np.asarray(entry)) if entry is not None else np.zeros(0)
        if indices.dtype.kind not in "iu" or indices.ndim != 1:
            return
        columns = [c for c in hashing.label_columns(list(tensors_in(batch)), len(indices)) if len(c) == len(indices)]
        known = self.run.loaders[loader].label
        column = columns[-1] if columns else []
        if known is not None:
            every = hashing.label_columns(list(tensors_in(batch)), len(indices))
            column = every[known] if known < len(every) and len(every[known]) == len(indices) else column
        if len(column):
            number, positions = self._within(loader, indices.astype(np.int64))
            self._current = number, positions, np.asarray(column)

    def _within(self, loader: int, indices: np.ndarray) -> tuple[int, np.ndarray]:
        """The number of a loader's innermost data set, and positions in it."""
        dataset = next(held.dataset for held, n in self.listener.loaders.held.values() if n == loader)
        if id(dataset) not in self._places:
            inner, part = innermost(dataset)
            number = self.run.loaders[loader].dataset
            self.sizes[number] = len(inner)
            self._places[id(dataset)] = dataset, number, None if part is None else np.asarray(part, np.int64)
        _, number, positions = self._places[id(dataset)]
        return number, indices if positions is None else positions[indices]

    @guarded
    def called(self, module: Any, out: Any) -> None:
        """A model was called on the batch that came last."""
        if self._current is None:
            return
        training = module.training and torch.is_grad_enabled()
        if self._model is None and training:
            self._model = id(module)
        if id(module) != self._model:
            return
        dataset, positions, labels = self._current
        with torch.no_grad():
            found = judged([t.detach() for t in tensors_in(out, 2)], labels)
        if found is None:
            return
        self._current = None  # of several calls on one batch the first counts
        key = (dataset, training)
        if key not in self.histories:
            self.histories[key] = History(self.sizes[dataset])
        self.histories[key].add(positions, found)


class _Tee:
    """A sampler's iterator that keeps what it gives; everything else about it is the original's."""

    def __init__(self, original: Any, entries: list[Any]) -> None:
        self._original = original
        self._entries = entries

    def __iter__(self) -> _Tee:
        return self

    def __next__(self) -> Any:
        entry = next(self._original)
        self._entries.append(entry)
        return entry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
