"""Hears data loaders: where they are built, each pass over one, and what its batches hold."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

import torch
from torch.utils.data import DataLoader, SequentialSampler
from torch.utils.data import dataloader as loading

from trainrecipe.capture import hashing
from trainrecipe.capture.listen.clock import now
from trainrecipe.capture.listen.describe import innermost
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.subjects.run import Loader, Pass

_BATCHES = 64
"""Batches of a pass that are hashed."""


class Loaders(Ear):
    """The program's loaders and the passes over them.

    `held` are the loaders with the numbers of their records, by id; `open` is the pass that gave the last batch, `serial`
    the number of batches so far, `mark` the number of operations that were recorded when the last batch came.
    """

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.held: dict[int, tuple[Any, int]] = {}
        self.open: Pass | None = None
        self.serial = 0
        self.mark = 0
        self._iterator: Any = lambda: None
        self._datasets: dict[int, tuple[int, Any]] = {}
        self._births: weakref.WeakKeyDictionary[Any, Spot | None] = weakref.WeakKeyDictionary()
        self._passes: weakref.WeakKeyDictionary[Any, Pass] = weakref.WeakKeyDictionary()

    def install(self, put: Put) -> None:
        """Hear loaders being built and read."""
        put(DataLoader, "__init__", self._wrap_birth)
        put(DataLoader, "__iter__", self._wrap_iter)
        put(loading._BaseDataLoaderIter, "__next__", self._wrap_next)
        put(loading._BaseDataLoaderIter, "_reset", self._wrap_reset)

    def _wrap_birth(self, original: Any) -> Any:
        ear = self

        def __init__(loader: DataLoader[Any], /, *args: Any, **kwargs: Any) -> None:
            original(loader, *args, **kwargs)
            with contextlib.suppress(Exception):
                ear.run.loaders_built += 1
                ear._births[loader] = spot(2)

        return __init__

    def _wrap_iter(self, original: Any) -> Any:
        ear = self

        def __iter__(loader: DataLoader[Any]) -> Any:
            ear.listener.evaluations.boundary()
            with ear.recorder.pause():
                iterator = original(loader)
            ear._start_pass(loader, iterator, spot(2))
            return iterator

        return __iter__

    @guarded
    def _start_pass(self, loader: DataLoader[Any], iterator: Any, at: Spot | None) -> None:
        if iterator in self._passes and self._passes[iterator].batches == 0:
            return
        number = self._record(loader, at)
        record = self.run.loaders[number]
        new = Pass(len(self.run.passes), number, place(at), self.listener.event(), self.run.steps, record.length)
        self.run.passes.append(new)
        self._passes[iterator] = new
        self.listener.horizon.open_pass(new.number)
        self.listener.tracked.follow(loader, iterator)
        self.listener.draws.follow(loader, iterator)
        self.listener.draws.begin(iterator, number, new.number)
        if self.listener.limit_batches is not None:
            new.cut = bool(self.listener.limit_batches(loader, iterator))

    def _record(self, loader: Any, at: Spot | None) -> int:
        """The number of this loader's record; makes one for a loader that is new."""
        known = self.held.get(id(loader))
        if known is not None and known[0] is loader:
            return known[1]
        dataset, _ = innermost(loader.dataset)
        number, _ = self._datasets.setdefault(id(dataset), (len(self._datasets), dataset))
        batches = getattr(loader, "batch_sampler", None)
        sampler = loader.sampler if batches is None else batches
        inner = getattr(sampler, "sampler", sampler)
        record = Loader(
            number=len(self.run.loaders),
            place=place(at),
            dataset=number,
            dataset_name=type(dataset).__name__,
            examples=length_of(loader.dataset),
            batch_size=loader.batch_size,
            sampler=type(inner).__name__,
            shuffled=bool(getattr(inner, "shuffle", True))
            and not isinstance(inner, SequentialSampler)
            and type(inner).__name__ != "_InfiniteConstantSampler",
            drop_last=bool(loader.drop_last),
            workers=int(loader.num_workers),
            length=length_of(loader),
            born=place(self._births.get(loader)),
            sampler_born=place(self.listener.draws.born(inner, sampler)),
        )
        self.run.loaders.append(record)
        self.held[id(loader)] = (loader, record.number)
        return record.number

    def _wrap_reset(self, original: Any) -> Any:
        listener = self.listener

        def _reset(iterator: Any, loader: Any, first_iter: bool = False) -> None:
            original(iterator, loader, first_iter)
            listener.tracked.follow(loader, iterator)
            listener.draws.follow(loader, iterator)
            if listener.limit_batches is not None:
                listener.limit_batches(loader, iterator)

        return _reset

    def _wrap_next(self, original: Any) -> Any:
        ear = self

        def __next__(iterator: Any) -> Any:
            ear.listener.evaluations.close()
            ear.listener.tell("batch")
            states = ear.listener.replicas.before_batch(ear._passes.get(iterator))
            begun = now()
            try:
                with ear.recorder.pause():
                    batch = original(iterator)
            except StopIteration:
                ear._end_pass(iterator)
                raise
            ear.listener.stopwatch.loading += now() - begun
            if states:
                ear.listener.replicas.after_batch(ear._passes.get(iterator), states)
            ear._note_batch(iterator, batch)
            return batch

        return __next__

    @guarded
    def _note_batch(self, iterator: Any, batch: Any) -> None:
        current = self._passes.get(iterator)
        if current is None:
            return
        first = self.open is not current and current.batches == 0
        self.open = current
        self._iterator = weakref.ref(iterator)
        current.batches += 1
        current.fetched += 1
        current.last_event = self.listener.event()
        self.serial += 1
        self.mark = len(self.recorder.ops)
        if self.listener.tracked.wanted:
            self.listener.tracked.batch(iterator, batch, current.loader, current.batches - 1)
        self.listener.models.new_batch(first)
        if not current.backwards:
            self.listener.evaluations.new_batch(batch)
        if (self.listener.detail or self._may_be_heeded(current)) and current.batches <= _BATCHES:
            with self.recorder.pause(), torch.no_grad():
                given = list(tensors_in(batch))
                current.batch_hashes.append(hashing.batch_hash(given))
                current.labels.append(hashing.label_columns(given))
                if _workers_iterate(iterator):
                    current.rows.append(hashing.example_hashes(given))
                self.listener.fed.batch(given, current.labels[-1])
        self.recorder.wake()
        if self.recorder.active:
            self.recorder.mark_batch(batch, "batch")

    def _may_be_heeded(self, current: Pass) -> bool:
        """Whether this is the first batch of what may be an evaluation that is looked at, on the way to the end."""
        if not self.run.hurried or current.batches > 1:
            return False
        return not any(p.trains and p.loader == current.loader for p in self.run.passes)

    @guarded
    def _end_pass(self, iterator: Any) -> None:
        current = self._passes.get(iterator)
        if current is not None:
            current.finished = True
            current.last_event = self.listener.event()
            self.listener.evaluations.end_of_pass()

    def at_end_of_cut(self) -> bool:
        """Whether the batch that the training was given last is the last one of a pass that is cut short."""
        return self._cut_at_end() is not None

    def end_cut(self) -> bool:
        """At the end of a cut pass a framework goes on to the next without asking for a batch more: whether it is there."""
        iterator = self._cut_at_end()
        if iterator is not None and not self._passes[iterator].finished:
            self._end_pass(iterator)
        return iterator is not None

    def _cut_at_end(self) -> Any:
        """The iterator of the latest pass that trains, if it is cut short and has given its last batch."""
        trains = [(p.number, i, p) for i, p in self._passes.items() if p.cut and p.trains]
        if not trains:
            return None
        _, iterator, latest = max(trains, key=lambda t: t[0])
        sampler = iterator._sampler_iter
        return iterator if getattr(sampler, "over", False) and latest.batches >= sampler.given else None

    def backward(self) -> None:
        """The program called backward: the open pass trains, and so do loaders that are read side by side with it.

        Those gave exactly one batch since the last backward, twice.
        """
        if self.open is not None:
            self.open.backwards += 1
            self.open.inside += self._iterator() is not None
        for other in self.run.passes[-4:]:
            if other is not self.open and other.fetched == 1:
                other.shared += 1
                other.backwards = other.shared if other.shared >= 2 else other.backwards
            other.fetched = 0


def _workers_iterate(iterator: Any) -> bool:
    """Whether several workers iterate over one data set, and their batches come in turn."""
    stream = getattr(iterator, "_dataset_kind", None) == loading._DatasetKind.Iterable
    return stream and getattr(iterator, "_num_workers", 0) >= 2 and getattr(iterator, "_in_order", True)


def length_of(thing: Any) -> int | None:
    """The length of a data set or loader; None where it has none."""
    try:
        return len(thing)
    except Exception:
        return None
