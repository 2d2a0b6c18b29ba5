"""The scan: one pass over every split, as the program would read it, into a table on disk.

    store = scan({"train": train_set, "validation": val_loader}, folder)

Rows are written in shards, so that a scan that was interrupted goes on where it was. Where reading everything would take
longer than the budget, a random sample is read, and the table says so.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from trainrecipe.capture.tape import RandomState
from trainrecipe.scan.leaves import leaves, numbers
from trainrecipe.scan.measures import measure_of
from trainrecipe.scan.measures.stacked import blank
from trainrecipe.scan.raw import Tracer, stored
from trainrecipe.scan.reading import Chunk, Manner, Reader, StreamReader, hash_of, measured, tensors_of
from trainrecipe.scan.splits import Source, flattened, sources
from trainrecipe.scan.structure import Layout, layout_of
from trainrecipe.scan.views import fed_view
from trainrecipe.subjects.examples import seed_all
from trainrecipe.table.manifest import Column, Manifest, Part, Split
from trainrecipe.table.store import Store
from trainrecipe.wrong_use import WrongUse

BUDGET = 300.0
"""Seconds that a scan may take before a sample is read instead."""
LEAST = 1000
"""Examples of a split that are read whatever the budget."""
FIRST = 64
"""Examples from which the layout is told."""
HEAD = 12
"""The same for a stream, whose first examples are then read twice."""
TIMED = 1.0
"""Seconds for finding out how fast a split can be read."""
CHUNK = 256
"""Examples that a worker measures at once; fewer of large ones."""
SHARD = 16
"""Chunks of a shard."""
LARGE = 2**24
"""Bytes of examples that a worker holds at once, about."""
SLOW = 3e-4
"""Seconds to read an example from which on two workers beat none, where no loader says how many."""
SHOWN = 1000
"""Examples of a split whose looks are kept, drawn at random; all of a split with at most twice as many. Of splits below fifty
times as many it is one in fifty, but at least a fifth of this number: drawing them takes longer than measuring them."""
DRAWN = 200
"""Of these, examples that are read several times where readings differ."""
SEED = 0

Tell = Callable[[str, int, int | None, float | None], None]
"""Told the split, rows read, rows planned, and seconds left."""
Elsewhere = Callable[[str, list[np.ndarray], Manner], Iterable[Chunk]]
"""Reads the examples of a split at given positions, chunk by chunk, and gives what was measured in their order."""


def scan(
    given: Any,
    folder: Path,
    *,
    name: str = "",
    origin: Mapping[str, Any] | None = None,
    budget: float = BUDGET,
    tell: Tell | None = None,
    shown: int = SHOWN,
    elsewhere: Elsewhere | None = None,
) -> Store:
    """Read data sets into a table in `folder`, and go on with a scan of the same data that was interrupted there.

    `given` is a torch Dataset, an iterable one, a DataLoader, a mapping of these by names of splits, or a tuple in the order
    train, validation, test. `origin` says how they are made again (see `Manifest.source`); two scans with equal origins and
    lengths are of the same data. `elsewhere` reads chunks of map-style data sets in place of the loaders' workers, such as on a
    cluster. The random state of the caller is left as it was. Raises WrongUse for what is no data.
    """
    splits = [flattened(s) for s in sources(given)]
    if not splits:
        raise WrongUse("there is no split to read: give at least one data set")
    with _random_state_kept():
        made_by = dict(origin or {"kind": "python"})
        return _Scan(splits, folder, name or folder.name, made_by, budget, tell, shown, elsewhere).run()


def looks(source: Source, positions: Sequence[int]) -> list[tuple[int, str]]:
    """How the examples at some positions of a split look: pairs of a position and the JSON of its views.

    Raises LookupError where examples cannot be understood, and what reading raises.
    """
    with _random_state_kept():
        look = _Look(source)
        if look.layout is None:
            raise LookupError(f"{source.name}: " + "; ".join(look.notes))
        drawn = frozenset(positions[:DRAWN] if look.random else ())
        manner = dataclasses.replace(look.manner(0, 0), shown=frozenset(positions), drawn=drawn)
        chunks = [np.array(positions[i : i + look.chunk], np.int64) for i in range(0, len(positions), look.chunk)]
        reader = Reader(source.dataset, chunks, manner)
        return [view for k in range(len(chunks)) for view in reader[k].views]


class _Scan:
    def __init__(
        self,
        splits: list[Source],
        folder: Path,
        name: str,
        origin: dict[str, Any],
        budget: float,
        tell: Tell | None,
        shown: int,
        elsewhere: Elsewhere | None,
    ) -> None:
        self.splits = splits
        self.folder = folder
        self.name = name
        self.origin = origin
        self.budget = budget
        self.tell = tell or (lambda *_: None)
        self.shown = shown
        self.elsewhere = elsewhere

    def run(self) -> Store:
        layouts: dict[str, _Look] = {}
        for source in self.splits:
            known = next((look.layout for look in layouts.values() if look.layout is not None), None)
            layouts[source.name] = _Look(source, known)
        store = self._opened(layouts)
        for source in self.splits:
            look = layouts[source.name]
            if look.layout is not None and not store.manifest.split(source.name).complete:
                self._read(store, source, look)
        store.build()
        store.manifest.finished = True
        store.save()
        return store

    # ---- plan

    def _opened(self, looks: Mapping[str, _Look]) -> Store:
        """The table of an interrupted scan of the same data, or a new one."""
        manifest = self._planned(looks)
        with contextlib.suppress(WrongUse):
            before = Store.open(self.folder)
            if _same(before.manifest, manifest) and not before.manifest.finished:
                return before
        return Store.create(self.folder, manifest)

    def _planned(self, looks: Mapping[str, _Look]) -> Manifest:
        manifest = Manifest(self.name, self.origin, datetime.datetime.now().isoformat(timespec="seconds"))
        expected = {s.name: (s.length or 0) * looks[s.name].seconds for s in self.splits}
        share = min(1.0, self.budget / max(1e-9, sum(expected.values())))
        parts: dict[str, Part] = {}
        datasets: dict[int, int] = {}
        for source in self.splits:
            look = looks[source.name]
            split = Split(source.name, source.length, source.role, place=source.place)
            split.dataset = datasets.setdefault(id(source.dataset), len(datasets))
            manifest.splits.append(split)
            manifest.notes += look.notes
            if look.layout is None:
                split.complete, split.planned = True, 0
                continue
            split.random, split.raw = look.random, look.raw
            split.planned = source.length
            if source.length is not None and share < 1:
                split.planned = min(source.length, max(LEAST, int(share * source.length)))
                split.sampled = split.planned < source.length
            parts |= {part.name: part for part in look.layout.parts}
        manifest.parts = list(parts.values())
        described = [c for part in manifest.parts for c in measure_of(part.kind).columns(part)]
        manifest.columns = [*described, Column("path", "text", "file", about="the file it was read from")]
        return manifest

    # ---- read

    def _read(self, store: Store, source: Source, look: _Look) -> None:
        split = store.manifest.split(source.name)
        began = time.perf_counter()
        read = 0
        done: set[int] = set()
        if not source.is_stream:  # which cannot be entered in its middle
            done.update(store.written(source.name))
        for number, chunks in self._shards(source, look, split, done):
            columns, views, thumbs, vectors = _together(chunks)
            store.write_shard(source.name, number, columns, views=views, thumbs=thumbs, vectors=vectors)
            read += sum(len(c) for c in chunks)
        split.seconds += time.perf_counter() - began
        split.read, split.failed = store.counted(source.name)
        split.complete = True
        if source.is_stream:
            split.sampled = split.sampled or read >= (look.most or read + 1)
            split.planned = split.read
        store.save()

    def _shards(self, source: Source, look: _Look, split: Split, done: set[int]) -> Iterator[tuple[int, list[Chunk]]]:
        """Shards that are not written yet, each as its chunks."""
        reading = self._chunks(source, look, split, done)
        pending: list[Chunk] = []
        numbers_left = (n for n in itertools.count() if n not in done)
        progress = _Progress(self.tell, source.name, split.planned, len(done) * SHARD * look.chunk)
        for chunk in _told(reading, source):
            pending.append(chunk)
            progress.add(len(chunk))
            if len(pending) == SHARD:
                yield next(numbers_left), pending
                pending = []
        if pending:
            yield next(numbers_left), pending

    def _chunks(self, source: Source, look: _Look, split: Split, done: set[int]) -> Iterable[Chunk]:
        """What is measured of the chunks of those shards, in order: by a loader's workers, or elsewhere."""
        manner = look.manner(self.shown, split.planned)
        if source.is_stream:
            workers = source.workers or 0
            most = look.stream_limit(self.budget, workers)
            return self._loader(source, StreamReader(source.dataset, look.chunk, most, manner), workers)
        left = [c for n, c in enumerate(look.chunks(split.planned or 0)) if n // SHARD not in done]
        if self.elsewhere is not None:
            return self.elsewhere(source.name, left, manner)
        workers = look.workers if source.workers is None else source.workers
        return self._loader(source, Reader(source.dataset, left, manner), workers)

    def _loader(self, source: Source, dataset: Reader | StreamReader, workers: int) -> Iterable[Chunk]:
        if not workers:
            return _beside(dataset)
        return DataLoader(
            dataset,
            batch_size=None,
            shuffle=None if isinstance(dataset, IterableDataset) else False,
            num_workers=workers,
            worker_init_fn=source.worker_init,
            multiprocessing_context=source.context,
            collate_fn=_as_it_is,
        )


class _Look:
    """A first look at a split: how its examples are built, how fast they are read, whether readings differ.

    `known` is the layout of the splits before it.
    """

    def __init__(self, source: Source, known: Layout | None = None) -> None:
        self.source = source
        self.known = known
        self.notes: list[str] = []
        self.layout: Layout | None = None
        self.random = False
        self.raw = "fed" if source.as_fed else "item"
        self.seconds = 1e-6
        self.chunk = CHUNK
        self.workers = 0
        self.most = 0
        if source.batched:
            self.notes.append(f"{source.name}: the data set gives batches by itself, so that each row is one of its batches")
        length = source.length
        if length == 0 or (length is None and not source.is_stream):
            self.notes.append(
                f"{source.name}: " + ("there is no example in it" if length == 0 else "it does not tell its length")
            )
            return
        items = self._stream_head() if source.is_stream else self._some(length or 0)
        if items:
            self._understand(items)

    def _understand(self, items: list[Any]) -> None:
        try:
            self.layout = self._as_known(items) or layout_of(items, self.source.classes, ragged=self.source.ragged)
        except ValueError as error:
            self.notes.append(f"{self.source.name}: {error}")
            return
        size = max(sum(a.nbytes for _, v in leaves(item) if (a := numbers(v)) is not None) for item in items)
        self.chunk = int(np.clip(LARGE // max(1, size), 1, CHUNK))
        if self.source.is_stream or tensors_of(self.source.dataset) is not None:
            return
        self.random = self._differs()
        tracer = Tracer(self.source.dataset)
        if tracer.traced and self._traces(tracer):
            self.raw = "transform"
        elif self.random and stored(self.source.dataset) is not None:
            self.raw = "storage"
        elif self.random:
            self.notes.append(
                f"{self.source.name}: readings of an example differ, and what is stored could not be told apart from what is "
                "made of it: copies of an example are found only where nothing random was done to them"
            )

    def _as_known(self, items: list[Any]) -> Layout | None:
        """The layout of the splits before, where the examples of this one are built alike."""
        if self.known is None:
            return None
        try:
            taken = [self.known.take(item) for item in items]
            return None if any(self.known.fits(values, [numbers(v) for v in values]) for values in taken) else self.known
        except LookupError:
            return None

    def _some(self, length: int) -> list[Any]:
        """Examples from all over the split, as many as can be read in a second; those that cannot be read are left out."""
        seed_all(SEED)
        began, items, tried = time.perf_counter(), [], 0
        rng = np.random.default_rng(SEED)
        for i in rng.permutation(length)[:FIRST] if length < 10**7 else rng.integers(0, length, FIRST):
            tried += 1
            with contextlib.suppress(Exception):
                items.append(self.source.dataset[self.position(int(i))])
            if time.perf_counter() - began > TIMED and len(items) >= 2:
                break
        if not items:
            self.notes.append(f"{self.source.name}: none of {tried} examples could be read")
        self.seconds = (time.perf_counter() - began) / tried
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers = min(4, cores) if self.seconds > SLOW and cores > 1 and length > 8 * CHUNK else 0
        if tensors_of(self.source.dataset) is not None:
            self.seconds, self.workers = 2e-6, 0
        workers = self.source.workers if self.source.workers is not None else self.workers
        self.seconds /= max(1, min(workers, cores))
        return items[:FIRST]

    def _stream_head(self) -> list[Any]:
        items = []
        try:
            for item in self.source.dataset:
                items.append(item)
                if len(items) == HEAD:
                    break
        except Exception as error:
            self.notes.append(f"{self.source.name}: the stream ended with {type(error).__name__}: {error}")
        return items

    def position(self, i: int) -> int:
        """The position in the data set of the i-th example of the split."""
        return int(self.source.positions[i]) if self.source.positions is not None else i

    def _differs(self) -> bool:
        """Whether readings of one example differ in its inputs."""
        assert self.layout is not None
        for i in (0, (self.source.length or 1) // 2):
            found = set()
            for seed in range(3):
                seed_all(SEED + seed)
                with contextlib.suppress(Exception):
                    values = self.layout.take(self.source.dataset[self.position(i)])
                    found.add(
                        hash_of([v for leaf, v in zip(self.layout.leaves, values, strict=True) if leaf.part.role == "input"])
                    )
            if len(found) > 1:
                return True
        return False

    def _traces(self, tracer: Tracer) -> bool:
        """Whether what the first transform is given is the same in each reading."""
        found = []
        for seed in range(2):
            seed_all(SEED + seed)
            try:
                tracer[self.position(0)]
            except Exception:
                return False
            found.append(tracer.raw)
        return found[0] is not None and hash_of([found[0]]) == hash_of([found[1]])

    def manner(self, shown: int, planned: int | None) -> Manner:
        """How examples are read."""
        assert self.layout is not None
        if self.source.is_stream:
            return Manner(self.source.name, self.layout, self.raw, self.random, frozenset(range(shown)), seed=SEED)
        every = np.concatenate(self.chunks(planned or 0)) if planned else np.zeros(0, np.int64)
        some = min(shown, max(shown // 5, len(every) // 50)) if len(every) > 2 * shown else len(every)
        order = np.random.default_rng(SEED + 1).permutation(every)[:some].tolist()
        drawn = frozenset(order[:DRAWN] if self.random else ())
        fed = {i: fed_view(tensors) for i, tensors in self.source.fed.items()} if shown else {}
        return Manner(self.source.name, self.layout, self.raw, self.random, frozenset(order) | fed.keys(), drawn, fed, SEED)

    def chunks(self, planned: int) -> list[np.ndarray]:
        """Positions in the data set, chunk by chunk, in order; a random sample of them where not all are planned."""
        length = self.source.length or 0
        every = np.arange(length) if self.source.positions is None else np.asarray(self.source.positions, np.int64)
        if planned < length:
            every = np.sort(np.random.default_rng(SEED).choice(every, planned, replace=False))
        return [every[i : i + self.chunk] for i in range(0, len(every), self.chunk)]

    def stream_limit(self, budget: float, workers: int) -> int:
        """Examples of a stream that each worker reads at most: its length is not known, so that its time is not either."""
        self.most = int(max(LEAST, min(10**7, budget * 1000)))
        return -(-self.most // max(1, workers))


class _Progress:
    """Tells how far a split is, a few times a second."""

    def __init__(self, tell: Tell, name: str, planned: int | None, done: int) -> None:
        self.tell, self.name, self.planned = tell, name, planned
        self.done, self.here = done, 0
        self.began = self.last = time.perf_counter()

    def add(self, rows: int) -> None:
        self.here += rows
        now = time.perf_counter()
        if now - self.last < 0.2:
            return
        self.last = now
        left = None
        if self.planned is not None:
            left = max(0.0, (self.planned - self.done - self.here) * (now - self.began) / self.here)
        self.tell(self.name, self.done + self.here, self.planned, left)


def _told(reading: Iterable[Chunk], source: Source) -> Iterator[Chunk]:
    """The chunks; a worker that died is told as what it is. Raises WrongUse."""
    try:
        yield from reading
    except RuntimeError as error:
        if "worker" not in str(error):
            raise
        why = "native code crashed, or memory ran out; read it with num_workers=0 to see more. What was read is kept"
        raise WrongUse(f"a worker process died while it read {source.name} ({str(error).splitlines()[0]}): {why}") from error


def _beside(reader: Reader | StreamReader) -> Iterator[Chunk]:
    """What is measured of each chunk, by a thread while the next one is read: decoding and arithmetic run at once."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        coming: concurrent.futures.Future[Chunk] | None = None
        for taken in reader.taken():
            before, coming = coming, thread.submit(measured, reader.manner, taken)
            if before is not None:
                yield before.result()
        if coming is not None:
            yield coming.result()


def _as_it_is(chunk: Any) -> Any:
    return chunk


def _together(chunks: list[Chunk]) -> tuple[dict[str, np.ndarray], list[tuple[int, str]], np.ndarray | None, np.ndarray | None]:
    names = list(dict.fromkeys(name for chunk in chunks for name in chunk.columns))
    columns = {}
    for name in names:
        like = next(c.columns[name] for c in chunks if name in c.columns)
        columns[name] = np.concatenate([c.columns[name] if name in c.columns else blank(len(c), like) for c in chunks])
    views = [v for c in chunks for v in c.views]
    return columns, views, _stacked([c.thumbs for c in chunks], chunks), _stacked([c.vectors for c in chunks], chunks)


def _stacked(found: list[np.ndarray | None], chunks: list[Chunk]) -> np.ndarray | None:
    """Arrays of chunks one after the other; zeros for chunks without, or of another shape."""
    like = next((f for f in found if f is not None), None)
    if like is None:
        return None
    shape = like.shape[1:]
    kept = [f if f is not None and f.shape[1:] == shape else blank(len(c), like) for f, c in zip(found, chunks, strict=True)]
    return np.concatenate(kept)


def _same(before: Manifest, now: Manifest) -> bool:
    """Whether two manifests are of the same data, read in the same way."""
    if before.source != now.source or before.parts != now.parts:
        return False
    return [(s.name, s.length) for s in before.splits] == [(s.name, s.length) for s in now.splits]


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    state, grad = RandomState.now(), torch.is_grad_enabled()
    try:
        with torch.no_grad():
            yield
    finally:
        state.restore()
        torch.set_grad_enabled(grad)
