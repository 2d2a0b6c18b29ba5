"""Hears which indices the samplers of loaders draw, pass by pass."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, IterableDataset, RandomSampler, SubsetRandomSampler, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler

from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.where import Spot, spot
from trainrecipe.subjects.draws import Draw

PASSES = 8
"""Passes over one loader that are followed."""
MOST = 2_000_000
"""Indices kept of one pass, as whole numbers of eight bytes."""
MOST_IN_ALL = 4_000_000
MOST_SLOW = 50_000
"""The same for indices that are tensors, each of which takes a microsecond to read."""


class Draws(Ear):
    """The indices drawn in each loader's first passes. `births` is the line that built a sampler."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.births: weakref.WeakKeyDictionary[Any, Spot | None] = weakref.WeakKeyDictionary()
        self._open: weakref.WeakKeyDictionary[Any, Draw] = weakref.WeakKeyDictionary()
        self._followed: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._room = MOST_IN_ALL

    def install(self, put: Put) -> None:
        """Hear samplers being built; the ear for loaders tells when a pass begins."""
        for kind in (BatchSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler, DistributedSampler):
            put(kind, "__init__", self._wrap_birth)

    def _wrap_birth(self, original: Any) -> Any:
        births = self.births

        def __init__(sampler: Any, /, *args: Any, **kwargs: Any) -> None:
            original(sampler, *args, **kwargs)
            with contextlib.suppress(Exception):
                births[sampler] = spot(2)

        return __init__

    def born(self, *samplers: Any) -> Spot | None:
        """The line that built the first of these samplers that was seen being built; any object may take that place."""
        for sampler in samplers:
            with contextlib.suppress(TypeError):
                if sampler in self.births:
                    return self.births[sampler]
        return None

    @guarded
    def follow(self, loader: Any, iterator: Any) -> None:
        """Keep what the iterator's sampler draws from now on; at most once per pass."""
        held = iterator._sampler_iter
        if isinstance(held, Followed) or isinstance(getattr(held, "sampler", None), Followed):
            return
        if isinstance(loader.dataset, IterableDataset) or self._room <= 0:
            return
        passes = self._followed.get(loader, 0)
        if passes >= PASSES:
            self._open.pop(iterator, None)
            return
        self._followed[loader] = passes + 1
        draw = self._open[iterator] = Draw()
        iterator._sampler_iter = Followed(held, draw, self)

    @guarded
    def begin(self, iterator: Any, loader: int, in_pass: int) -> None:
        """A pass has begun: what its iterator drew so far, and draws later, belongs to it."""
        draw = self._open.get(iterator)
        if draw is not None and draw.in_pass < 0:
            draw.loader, draw.in_pass = loader, in_pass
            self.run.draws.append(draw)

    def note(self, draw: Draw, entry: Any) -> None:
        """One entry of a sampler: the index of an example, or the indices of a batch."""
        before = len(draw.indices)
        given = [entry] if isinstance(entry, int | np.integer) else entry
        if not isinstance(given, list | tuple | range | np.ndarray | torch.Tensor) or before >= MOST or self._room <= 0:
            raise _Unreadable
        if isinstance(given, torch.Tensor | np.ndarray):
            given = given.tolist()
        if before >= MOST_SLOW and len(given) and isinstance(given[0], torch.Tensor):
            raise _Unreadable
        draw.indices.extend(given)
        draw.sizes.append(len(draw.indices) - before)
        self._room -= len(given)


class _Unreadable(Exception):
    """The entries are no indices, or too many of them."""


class Followed:
    """A sampler's iterator that keeps what it gives; everything else about it is the original's."""

    def __init__(self, original: Any, draw: Draw, ear: Draws) -> None:
        self._original = original
        self._draw = draw
        self._ear = ear

    def __iter__(self) -> Followed:
        return self

    def __next__(self) -> Any:
        try:
            entry = next(self._original)
        except StopIteration:
            self._draw.complete = self._draw.readable
            raise
        if self._draw.readable:
            self._note(entry)
        return entry

    def _note(self, entry: Any) -> None:
        try:
            self._ear.note(self._draw, entry)
        except Exception:  # no indices: nothing can be told of this pass
            self._draw.readable = False
            self._draw.indices = type(self._draw.indices)("q")
            self._draw.sizes.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
