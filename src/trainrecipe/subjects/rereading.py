"""What happens when the examples of a data set are read again, under known random states: one experiment apart per data set.

It tells whether reading is random, whether it resets the global generators, whether it changes the stored examples.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, Subset, TensorDataset

from trainrecipe.capture.listen.seeds import hash_of
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.examples import Unreadable, apart, content, numbers, seed_all

PROBES = 8
SECONDS = 3.0
_PYTHON, _LEGACY = random.Random, np.random.RandomState  # these names stand for others while examples are read
_GENERATORS = (_PYTHON, _LEGACY, np.random.Generator, torch.Generator)
STORE = 16
"""Rows of a container, from which it can hold one per example."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """What was seen on a few `indices` of a data set.

    `random`: for each numeric part of an example, at how many indices it differs between readings; `single`: whether that
    part is one number. `resets`: global generators (python, numpy, torch) that are in the same state after each reading,
    whatever it was before: `always` for all examples, `index` by example. `made`: generators that are made while reading,
    with the same arguments for each example. `drifts`: indices at which the same random state no longer gives the same
    example once others were drawn from it; `rewritten`: those at which reading changed what is stored of the example, and
    of no other. `kept`: whether what the example is made of is stored, as one row or file of it.
    """

    indices: list[int]
    random: list[int]
    single: list[bool]
    resets: dict[str, str]
    made: list[str]
    drifts: list[int]
    rewritten: list[int]
    kept: bool


def reading(data: Data, number: int) -> Reading | str:
    """Read a few examples of a loader's data set again; a text that says why, where that is not possible."""
    found: Reading | str = read_apart(data, number, "reading", _read)
    return found


def read_apart(data: Data, number: int, name: str, look: Callable[[Any, int], Any]) -> Any:
    """What `look` sees in a loader's data set of so many examples, in a process of its own; a text that says why, where it
    may not or cannot. The answer is remembered under `name`."""
    dataset = data.loader(number).dataset
    if not data.may_read:
        return "examples are read again after a rehearsal only"
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__") or not data.loaders[number][0].examples:
        return "the data set cannot be read by index"
    if is_plain(dataset):
        return "the data set holds tensors and does nothing to them when they are read"
    key = f"{name} {id(dataset)}"
    if key not in data.memo:
        length = int(data.loaders[number][0].examples or 0)
        try:
            data.memo[key] = apart(data, lambda: look(dataset, length), patience=8)
        except Unreadable as error:
            data.memo[key] = str(error)
    return data.memo[key]


def is_plain(dataset: Any) -> bool:
    """Whether a data set is PyTorch's own around tensors, so that no code of the user's runs when an example is read."""
    while isinstance(dataset, Subset) and type(dataset).__module__.startswith("torch."):
        dataset = dataset.dataset
    return type(dataset) is TensorDataset


def _read(dataset: Any, length: int) -> Reading:
    until = time.perf_counter() + SECONDS
    held = list(generators_in(dataset))
    states = [_state(g) for g in held]
    probes = sorted({i * (length - 1) // max(1, PROBES - 1) for i in range(min(PROBES, length))})
    differ, single, resets = [0] * 64, [False], []
    indices: list[int] = []
    drifts: list[int] = []
    rewritten: list[int] = []
    with _noting() as noted:
        for i in probes:
            if time.perf_counter() > until and len(indices) >= 2:
                break
            noted.append([])
            first, after_first = _once(dataset, i, 11)
            second, after_second = _once(dataset, i, 12)
            resets.append({n: a for n, a in after_first.items() if a == after_second[n] and a is not None})
            single = [t.numel() == 1 for t in numbers(dataset[i])]
            third, _ = _once(dataset, i, 13)
            for k, hashes in enumerate(zip(first, second, third, strict=False)):
                differ[k] += len(set(hashes)) > 1
            rows, others = stored_rows(dataset, i, length)
            if not _returns(dataset, i, held, states):
                drifts.append(i)
            rows_after, others_after = stored_rows(dataset, i, length)
            if rows != rows_after and others == others_after:
                rewritten.append(i)
            indices.append(i)
    kept = bool(stored_rows(dataset, indices[0], length)[0])
    return Reading(indices, differ[: len(single)], single, _resets(resets), _made(noted), drifts, rewritten, kept)


def _once(dataset: Any, i: int, seed: int) -> tuple[list[int], dict[str, int | None]]:
    """An example's hashes, read after seeding, and the states of the global generators that this moved."""
    seed_all(seed)
    before = _global_states()
    found = content(dataset[i])
    return found, {n: s if s != before[n] else None for n, s in _global_states().items()}


def _returns(dataset: Any, i: int, held: list[Any], states: list[Any]) -> bool:
    """Whether the same random state gives the same example after one and after three other readings."""
    seen = []
    for seed in (1, 2, 1, 3, 4, 1):
        seed_all(seed)
        for generator, state in zip(held, states, strict=True):
            _restore(generator, state if seed == 1 else None)
        found = content(dataset[i])
        if seed == 1:
            seen.append(found)
    return seen[0] == seen[1] == seen[2]


def _resets(by_index: list[dict[str, int]]) -> dict[str, str]:
    names = set.intersection(*(set(r) for r in by_index)) if by_index else set()
    return {n: "always" if len({r[n] for r in by_index}) == 1 else "index" for n in names if len(by_index) > 1}


def _made(noted: list[list[str]]) -> list[str]:
    if len(noted) < 2 or not all(noted):
        return []
    return sorted(set.intersection(*(set(n) for n in noted))) if all(set(n) == set(noted[0]) for n in noted) else []


# ---- random generators


def _global_states() -> dict[str, int]:
    return {"python": hash_of("random"), "numpy": hash_of("numpy"), "torch": hash_of("torch")}


def generators_in(thing: Any, depth: int = 4, seen: set[int] | None = None) -> Iterator[Any]:
    """The random generators that an object holds in its attributes, lists, tuples and dicts."""
    seen = set() if seen is None else seen
    if id(thing) in seen or depth < 0 or len(seen) > 2000:
        return
    seen.add(id(thing))
    if isinstance(thing, _GENERATORS):
        yield thing
        return
    if isinstance(thing, dict):
        held = list(thing.values())
    elif isinstance(thing, list | tuple):
        held = list(thing[:20])
    else:
        held = list(vars(thing).values()) if hasattr(thing, "__dict__") and not isinstance(thing, type) else []
    for value in held[:100]:
        if not isinstance(value, str | int | float | torch.Tensor | np.ndarray):
            yield from generators_in(value, depth - 1, seen)


def _state(generator: Any) -> Any:
    if isinstance(generator, _PYTHON):
        return generator.getstate()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state()


def _restore(generator: Any, state: Any) -> None:
    """Put a generator into a state; without one, draw from it, so that it is in another."""
    if isinstance(generator, _PYTHON):
        generator.random() if state is None else generator.setstate(state)
    elif isinstance(generator, np.random.Generator):
        if state is None:
            generator.random()
        else:
            generator.bit_generator.state = state
    elif isinstance(generator, _LEGACY):
        generator.random_sample() if state is None else generator.set_state(state)
    elif state is None:
        torch.rand(1, generator=generator)
    else:
        generator.set_state(state)


@contextlib.contextmanager
def _noting() -> Iterator[list[list[str]]]:
    """Note which generators are made with a seed, in the last of the lists that are yielded."""
    noted: list[list[str]] = []

    def note(name: str, arguments: Any) -> None:
        if noted and arguments and arguments[0] is not None:
            noted[-1].append(f"{name}({', '.join(map(repr, arguments))[:60]})")

    made = np.random.default_rng

    def default_rng(*args: Any, **kwargs: Any) -> Any:
        note("numpy.random.default_rng", (*args, *kwargs.values()))
        return made(*args, **kwargs)

    class RandomState(np.random.RandomState):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            note("numpy.random.RandomState", (*args, *kwargs.values()))
            super().__init__(*args, **kwargs)

    class Random(random.Random):
        def __init__(self, *args: Any) -> None:
            note("random.Random", args)
            super().__init__(*args)

    olds = np.random.default_rng, np.random.RandomState, random.Random
    np.random.default_rng, np.random.RandomState, random.Random = default_rng, RandomState, Random  # type: ignore
    try:
        yield noted
    finally:
        np.random.default_rng, np.random.RandomState, random.Random = olds  # type: ignore


# ---- what is stored of an example


def stored_rows(dataset: Any, i: int, length: int) -> tuple[list[Any], list[Any]]:
    """Hashes of row `i` in every container with a row per example, and of a few other rows of them."""
    mine: list[Any] = []
    others: list[Any] = []
    for store, row in _containers(dataset, i):
        keys = list(store) if isinstance(store, dict) else range(len(store))
        size = len(keys)
        mine.append(_hash_row(store[row]))
        others += [_hash_row(store[keys[j]]) for j in {0, size // 3, size // 2, size - 1, (row + 1) % size} if keys[j] != row]
    return mine, others


def _containers(thing: Any, row: int, depth: int = 3, seen: set[int] | None = None) -> Iterator[tuple[Any, int]]:
    """Each container with one entry per example, or by the example's number, and where in it the example is."""
    seen = set() if seen is None else seen
    if id(thing) in seen or depth < 0:
        return
    seen.add(id(thing))
    if isinstance(thing, Subset):
        yield from _containers(thing.dataset, int(thing.indices[row]), depth, seen)
        return
    for held in list(vars(thing).values())[:60] if hasattr(thing, "__dict__") else []:
        inner = list(held.values()) if isinstance(held, dict) else list(held) if type(held) in (list, tuple) else []
        for store in [held, *(inner if len(inner) < STORE else [])]:
            if (isinstance(store, dict) and row in store) or (_is_rows(store) and len(store) > row):
                yield store, row
            elif hasattr(store, "__getitem__") and hasattr(store, "__dict__") and not isinstance(store, type):
                yield from _containers(store, row, depth - 1, seen)


def _is_rows(held: Any) -> bool:
    if isinstance(held, np.ndarray | torch.Tensor):
        return held.ndim > 0 and len(held) >= STORE
    return type(held) in (list, tuple) and len(held) >= STORE


def _hash_row(row: Any) -> Any:
    return (content(row), row if isinstance(row, str) else "")
