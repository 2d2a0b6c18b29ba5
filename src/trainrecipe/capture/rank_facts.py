"""From what was heard in one rank to what it tells the rank that examines."""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Iterator
from typing import Any

from trainrecipe.capture import members
from trainrecipe.capture.listen.describe import innermost
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.capture.listen.loaders import length_of
from trainrecipe.capture.listen.loops import tree_of
from trainrecipe.capture.listen.replicas import EXCHANGES
from trainrecipe.capture.subjects import parameter_names
from trainrecipe.capture.unused import user_files
from trainrecipe.capture.where import place
from trainrecipe.finding import Place
from trainrecipe.subjects.draws import Draw
from trainrecipe.subjects.ranks import RankFacts, Reading, Snapshot, Weight
from trainrecipe.subjects.run import Pass
from trainrecipe.subjects.stored import first_and_last

MOST_INDICES = 50_000
"""Indices of a pass that are told."""
MOST_BATCHES = 64
MOST_PASSES = 24


def rank_facts(listener: Listener, status: str) -> RankFacts:
    """What this process saw, as one of the ranks that its environment tells of."""
    heard = listener.replicas
    facts = RankFacts(
        rank=int(os.environ.get("RANK", "0")),
        world=int(os.environ.get("WORLD_SIZE", "1")),
        status=status,
        initialized=heard.initialized,
        trained_place=place(heard.trained_at),
        wrappers=heard.wrappers,
        snapshots=_snapshots(listener),
        collectives=heard.exchanges,
        readings=_readings(listener, status),
        batches=_batches(listener),
        sharded=heard.sharded + _sharded(listener),
        ignored=sorted(heard.ignored),
        unseen=_unseen(listener),
        means=[m for m in listener.means.heard.values() if m is not None],
    )
    for snapshot in facts.snapshots:
        snapshot.weights = [w for w in snapshot.weights if w.name.removeprefix("module.") not in heard.ignored]
    return facts


def _sharded(listener: Listener) -> list[str]:
    names = {type(m).__name__ for root in listener.models.roots.values() for m in members.modules(root)}
    return sorted(n for n in names if n.startswith(("FSDP", "FullySharded")))


def _snapshots(listener: Listener) -> list[Snapshot]:
    names = parameter_names(listener)
    found = []
    for number, count, tensors in listener.replicas.taken:
        weights = [
            Weight(names.get(id(p), f"tensor {i}"), list(p.shape), value, gradient, values, gradients)
            for i, (p, value, gradient, values, gradients) in enumerate(tensors)
        ]
        found.append(Snapshot(number, count, weights))
    return found


def _batches(listener: Listener) -> list[int]:
    """Hashes of what models were fed where a backward followed, in order."""
    run = listener.run
    looks: list[tuple[int, int]] = []
    for forward in (f for f in run.forwards if f.fed):
        looks += [(event, batch) for (event, _, _), batch in zip(forward.looks, forward.batches, strict=False)]
    return [batch for _, batch in sorted(looks)][:MOST_BATCHES]


def _readings(listener: Listener, status: str) -> list[Reading]:
    run = listener.run
    draws = {d.in_pass: d for d in run.draws}
    held = {number: loader for loader, number in listener.loaders.held.values()}
    reported = {e.in_pass for e in run.evaluated if e.reported}
    trained = {p.number for p in run.passes if p.trains}
    last = max(trained, default=-1)
    found = []
    for seen in [p for p in run.passes if p.batches][:MOST_PASSES]:
        reading = _reading(listener, seen, held.get(seen.loader), draws.get(seen.number))
        reading.evaluates = not seen.trains and any(f.in_pass == seen.number and not f.fed for f in run.forwards)
        reading.reported = seen.number in reported
        reading.closed = last > seen.number or status == "finished"
        found.append(reading)
    return found


def _reading(listener: Listener, seen: Pass, loader: Any, draw: Draw | None) -> Reading:
    record = listener.run.loaders[seen.loader]
    replicas = listener.replicas
    dataset, chosen = innermost(loader.dataset) if loader is not None else (None, None)
    indices = draw.indices[:MOST_INDICES].tolist() if draw is not None and draw.readable else []
    if chosen is not None:
        indices = [chosen[i] for i in indices if -len(chosen) <= i < len(chosen)]
    return Reading(
        place=record.born or seen.place,
        sampler_place=record.sampler_born,
        dataset=f"{record.dataset_name} of {length_of(dataset)} {first_and_last(dataset)}" if loader is not None else "",
        examples=record.examples,
        distributed=_is_distributed(loader),
        trains=seen.trains,
        evaluates=False,
        first_event=seen.first_event,
        indices=indices,
        complete=draw is not None and draw.complete and len(draw.indices) <= MOST_INDICES,
        hashes=seen.batch_hashes[:MOST_BATCHES],
        states=replicas.states.get(seen.number, []),
        drew=seen.number in replicas.drew,
    )


def _is_distributed(loader: Any) -> bool:
    from torch.utils.data.distributed import DistributedSampler

    batches = getattr(loader, "batch_sampler", None)
    return any(isinstance(s, DistributedSampler) for s in (getattr(loader, "sampler", None), getattr(batches, "sampler", None)))


def _unseen(listener: Listener) -> list[Place]:
    """Lines of the user's source that exchange tensors and were not reached."""
    seen = {(c.place.file, c.place.line) for c in listener.replicas.exchanges if c.place is not None}
    found: list[Place] = []
    for file in user_files():
        for line in _exchanging(file):
            if (os.path.abspath(file), line) not in seen and len(found) < 20:
                at = place((file, line, ""))
                found += [at] if at is not None else []
    return found


@functools.cache
def _exchanging(file: str) -> tuple[int, ...]:
    """The lines of a file that call a function in which ranks exchange tensors."""
    tree = tree_of(file)
    return tuple(sorted(set(_calls(tree)))) if tree is not None else ()


def _calls(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
            if name in EXCHANGES and name not in ("send", "recv", "scatter", "gather"):
                yield node.lineno
