"""Seeds that a program sets, and generators that it makes without one."""

from __future__ import annotations

import dataclasses
import random
import sys
import weakref
from typing import Any

import numpy as np
import torch
import xxhash

from trainrecipe.capture import hashing
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.where import Spot, is_user_file, place, spot
from trainrecipe.finding import Place
from trainrecipe.subjects.run import Reseed, Run

_STREAMS = {"torch.manual_seed": "torch", "numpy.random.seed": "numpy", "random.seed": "python"}
_RESEEDS = 2000
_OWN = "a generator of the script's own, line "
"""Stream of a generator that is made from a number; its state is not followed, only what the training is fed with."""
SEEDED_BY = {"numpy.random.seed": "NumPy's", "random.seed": "Python's"}
"""The functions that seed a global generator, and whose it is."""


class Seeds(Ear):
    """What was seeded: the first call of each seeding function, its value and its place."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.given: dict[str, tuple[str, Spot | None]] = {}
        self._before = _states()
        self.pending: dict[str, _Pending] = {}
        self._last: dict[tuple[str, int], Reseed] = {}
        self._fed: dict[str, weakref.ref[torch.Tensor] | None] = {}

    def install(self, put: Put) -> None:
        """Hear `torch.manual_seed`, `numpy.random.seed`, `random.seed`, and generators that are made without a seed."""
        run, ear = self.run, self
        for owner in (torch, torch.random):
            put(owner, "manual_seed", lambda original: self._seeding("torch.manual_seed", original))
        put(np.random, "seed", lambda original: self._seeding("numpy.random.seed", original))
        put(random, "seed", lambda original: self._seeding("random.seed", original))
        put(np.random, "default_rng", self._making)

        def make_init(original: Any) -> Any:
            def __init__(self: Any, x: Any = None) -> None:
                if type(self) is random.Random:
                    if x is None:
                        _note(run, "random.Random()", sys._getframe(1))
                    else:
                        ear._note_made(x, spot(2))
                original(self, x)

            return __init__

        put(random.Random, "__init__", make_init)

    def _seeding(self, name: str, original: Any) -> Any:
        run = self.run

        def seed(*args: Any, **kwargs: Any) -> Any:
            value = args[0] if args else next(iter(kwargs.values()), None)
            at = spot(2)
            if name == "torch.manual_seed" and run.seeded is None:
                run.seeded = place(at)
            if value is None:
                _note(run, f"{name}()", sys._getframe(1))
            elif name not in self.given:
                self.given[name] = (repr(value), at)
            result = original(*args, **kwargs)
            if len(run.reseeds) < _RESEEDS:
                self._note_seeded(_STREAMS[name], repr(value), at)
            return result

        return seed

    def _making(self, original: Any) -> Any:
        ear = self

        def make(*args: Any, **kwargs: Any) -> Any:
            value = args[0] if args else kwargs.get("seed")
            if value is None:
                _note(ear.run, "numpy.random.default_rng()", sys._getframe(1))
            else:
                ear._note_made(value, spot(2))
            return original(*args, **kwargs)

        return make

    # ---- what follows a seeding

    @guarded
    def _note_made(self, seed: Any, at: Spot | None) -> None:
        """A generator of the program's own is made from a number, while an optimiser trains."""
        if isinstance(seed, int) and at is not None and self.run.steps and len(self.run.reseeds) < _RESEEDS:
            self.pending[f"{_OWN}{at[1]}"] = _Pending(repr(seed), at, 0, self.run.events)

    @guarded
    def _note_seeded(self, stream: str, value: str, at: Spot | None) -> None:
        self.pending[stream] = _Pending(value, at, hash_of(stream), self.run.events)

    @guarded
    def forward(self, given: Any) -> None:
        """A model is called, for the first time since a stream was seeded."""
        for stream, pending in self.pending.items():
            if pending.forward is None:
                own = stream.startswith(_OWN)
                pending.forward, pending.trains = (1 if own else hash_of(stream)), torch.is_grad_enabled()
                first = next(iter(tensors_in(given)), None)
                known = self._fed.get(stream)
                self._fed[stream] = None if first is None else weakref.ref(first)
                if first is None or (own and known is not None and known() is first):
                    continue  # one tensor for every step is no draw
                with self.recorder.pause(), torch.no_grad():
                    pending.batch = hashing.batch_hash([first])

    @property
    def awaits(self) -> bool:
        """Whether the next step is waited for: the first after a seeding, or the one after that."""
        return bool(self.pending or self._last)

    @guarded
    def step(self, optimizer: int) -> None:
        """An optimiser has stepped: keep the state of what was seeded before, and of what was seeded before the last step."""
        for (stream, number), entry in list(self._last.items()):
            if number == optimizer:
                if stream not in self.pending and not stream.startswith(_OWN):
                    entry.later = hash_of(stream)
                del self._last[stream, number]
        current = self.listener.loaders.open
        for stream, pending in self.pending.items():
            evaluated = any(not f.grad and f.last_event > pending.event for f in self.run.forwards)
            entry = Reseed(
                stream=stream,
                seed=pending.value,
                place=place(pending.at),
                optimizer=optimizer,
                step=self.run.steps,
                in_pass=current.number if current is not None else None,
                seeded=pending.seeded,
                forward=pending.forward,
                trains=pending.trains,
                batch=pending.batch,
                evaluated=evaluated,
                state=hash(pending.value) if stream.startswith(_OWN) else hash_of(stream),
            )
            self.run.reseeds.append(entry)
            self._last[stream, optimizer] = entry
        self.pending.clear()

    def unseeded(self) -> list[tuple[str, Place | None]]:
        """The global generators that were drawn from and never seeded."""
        now = _states()
        drawn = [name for name in SEEDED_BY if name not in self.given and now[name] != self._before[name]]
        return [(f"{SEEDED_BY[name]} global generator, which is never seeded ({name})", None) for name in drawn]


@dataclasses.dataclass(slots=True)
class _Pending:
    """A stream that was seeded, and what was seen of it since."""

    value: str
    at: Spot | None
    seeded: int
    event: int
    forward: int | None = None
    trains: bool = False
    batch: int | None = None


def hash_of(stream: str) -> int:
    """A hash of the present state of a global random stream (torch, numpy or random), equal in all processes."""
    if stream == "torch":
        return xxhash.xxh3_64_intdigest(torch.get_rng_state().numpy().tobytes())
    if stream == "numpy":
        kind, keys, *rest = np.random.get_state(legacy=True)
        return xxhash.xxh3_64_intdigest(np.asarray(keys).tobytes() + repr((kind, *rest)).encode())
    return xxhash.xxh3_64_intdigest(repr(random.getstate()).encode())


def _note(run: Run, name: str, frame: Any) -> None:
    """Keep a generator that the user's own line made without a seed."""
    code = frame.f_code
    if is_user_file(code.co_filename) and len(run.unseeded) < 20:
        entry = (name, place((code.co_filename, frame.f_lineno, code.co_name)))
        if entry not in run.unseeded:
            run.unseeded.append(entry)


def _states() -> dict[str, int]:
    return {"numpy.random.seed": hash_of("numpy"), "random.seed": hash_of("random")}
