"""What two executions with the same seed must have in common, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from trainrecipe.capture import members
from trainrecipe.capture.hashing import exact_hash
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.capture.listen.stream import inputs_of
from trainrecipe.capture.tape import Tape
from trainrecipe.capture.where import Spot, place

LOSSES = 200
"""Losses that are compared, beyond the recorded steps."""


def fingerprint(listener: Listener) -> list[tuple[str, str]]:
    """Labelled hashes: seeds, initial parameters, for each recorded step what it consumed and its loss, then all losses.

    No label occurs twice. Fills `run.mark_places`, the user's line behind a label, and completes `run.unseeded`.
    """
    marks: dict[str, str] = {}
    places = listener.run.mark_places
    for label, value, at in _marks(listener):
        unique, n = label, 2
        while unique in marks:
            unique, n = f"{label} [{n}]", n + 1
        marks[unique] = value
        if (where := place(at)) is not None:
            places[unique] = where
    listener.run.on_gpu = any(t.is_cuda for kept in listener.backwards.tapes.values() for tape in kept for t in tape.observed)
    listener.run.unseeded += listener.seeds.unseeded()
    return list(marks.items())


def _marks(listener: Listener) -> Iterator[tuple[str, str, Spot | None]]:
    for name, (value, at) in listener.seeds.given.items():
        yield f"the seed given to {name}", value, at
    tapes = sorted((t for kept in listener.backwards.tapes.values() for t in kept), key=lambda t: (t.step, str(t.at)))
    yield from _initial(listener, [t for t in tapes if t.step == 0])
    for tape in tapes:
        where = f"step {tape.step + 1}"
        yield from ((f"{where}: {what}", mark, at) for what, mark, at in _consumed(tape))
        for tensor in tape.observed:
            yield f"{where}: the loss", exact_hash(tensor), tape.at
    for i, (step, loss) in enumerate(listener.run.losses[:LOSSES]):
        yield f"the loss of backward call {i + 1}, in step {step + 1}", repr(loss), None


def _initial(listener: Listener, tapes: list[Tape]) -> Iterator[tuple[str, str, Spot | None]]:
    """The values that the parameters have in the first step."""
    from trainrecipe.capture.subjects import parameter_names

    names = parameter_names(listener)
    owners = {
        id(p): m for root in listener.models.roots.values() for m in members.modules(root) for p in m._parameters.values()
    }
    seen: set[int] = set()
    for tape in tapes:
        for op in tape.ops:
            for original, frozen in op.memo.pairs() if op.memo is not None else ():
                if not isinstance(original, torch.Tensor) or not original.requires_grad or id(original) in seen:
                    continue
                seen.add(id(original))
                owner = owners.get(id(original))
                at = listener.models.births.get(owner) if owner is not None else None
                name = names.get(id(original), "a parameter")
                yield f"the initial value of {name} {tuple(frozen.shape)}", exact_hash(frozen), at


def _consumed(tape: Tape) -> Iterator[tuple[str, str, Spot | None]]:
    """What a step consumes from outside, named by where it came from and what took it."""
    fed = {id(t) for t in inputs_of(tape)}
    takers: dict[int, Any] = {}
    for op in tape.ops:
        for number in op.inputs:
            takers.setdefault(number, op)
    overwritten = tape.overwritten()
    for number in tape.constants():
        value = tape.values[number]
        if value.parameter is not None or value.constant is None or number in overwritten:
            continue
        taker = takers.get(number)
        source = f", {value.source} of a loader" if value.source.startswith("batch") else ""
        role = "input" if id(value.constant) in fed else "target"
        by = f" of {taker.name}" if taker is not None else ""
        shape = tuple(value.shape)
        yield (
            f"the {role}{by} {shape}{source}",
            exact_hash(value.constant),
            taker.at if taker is not None else None,
        )
