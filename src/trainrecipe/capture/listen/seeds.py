"""Seeds that a program sets, and generators that it makes without one."""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import torch
import xxhash

from trainrecipe.capture.listen.ear import Ear, Put
from trainrecipe.capture.where import Spot, is_user_file, place, spot
from trainrecipe.finding import Place
from trainrecipe.subjects.run import Run

SEEDED_BY = {"numpy.random.seed": "NumPy's", "random.seed": "Python's"}
"""The functions that seed a global generator, and whose it is."""


class Seeds(Ear):
    """What was seeded: the first call of each seeding function, its value and its place."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.given: dict[str, tuple[str, Spot | None]] = {}
        self._before = _states()

    def install(self, put: Put) -> None:
        """Hear `torch.manual_seed`, `numpy.random.seed`, `random.seed`, and generators that are made without a seed."""
        run = self.run
        for owner in (torch, torch.random):
            put(owner, "manual_seed", lambda original: self._seeding("torch.manual_seed", original))
        put(np.random, "seed", lambda original: self._seeding("numpy.random.seed", original))
        put(random, "seed", lambda original: self._seeding("random.seed", original))
        put(np.random, "default_rng", lambda original: _making("numpy.random.default_rng()", original, run))

        def make_init(original: Any) -> Any:
            def __init__(self: Any, x: Any = None) -> None:
                if x is None and type(self) is random.Random:
                    _note(run, "random.Random()", sys._getframe(1))
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
            return original(*args, **kwargs)

        return seed

    def unseeded(self) -> list[tuple[str, Place | None]]:
        """The global generators that were drawn from and never seeded."""
        now = _states()
        drawn = [name for name in SEEDED_BY if name not in self.given and now[name] != self._before[name]]
        return [(f"{SEEDED_BY[name]} global generator, which is never seeded ({name})", None) for name in drawn]


def _making(name: str, original: Any, run: Run) -> Any:
    def make(seed: Any = None, *args: Any, **kwargs: Any) -> Any:
        if seed is None:
            _note(run, name, sys._getframe(1))
        return original(seed, *args, **kwargs)

    return make


def _note(run: Run, name: str, frame: Any) -> None:
    """Keep a generator that the user's own line made without a seed."""
    code = frame.f_code
    if is_user_file(code.co_filename) and len(run.unseeded) < 20:
        entry = (name, place((code.co_filename, frame.f_lineno, code.co_name)))
        if entry not in run.unseeded:
            run.unseeded.append(entry)


def _states() -> dict[str, int]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    numpy_state = xxhash.xxh3_64_intdigest(np.asarray(keys).tobytes() + repr((kind, *rest)).encode())
    return {"numpy.random.seed": numpy_state, "random.seed": hash(random.getstate())}
