"""Batch-norm layers: how many values they normalise over, and whether their statistics were ever updated."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.where import place
from trainrecipe.capture.windows import tapes_of
from trainrecipe.subjects.run import Forward
from trainrecipe.subjects.weights import Norm, Untouched

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener

_NORM = nn.modules.batchnorm._BatchNorm
_KEPT = 32
_ELEMENTS = 64


def layers(module: nn.Module) -> list[tuple[str, Any]]:
    """The batch-norm layers of a module that keep running statistics."""
    every = [(n, m) for n, m in members.named_modules(module) if isinstance(m, _NORM)]
    return [(n, m) for n, m in every if m.track_running_stats and m.running_mean is not None]


def untouched(module: nn.Module) -> list[str]:
    """Names of the batch-norm layers whose running statistics are what they were built with: mean 0, variance 1."""
    found = []
    for name, layer in layers(module):
        if not bool(layer.running_mean.any()) and bool((layer.running_var == 1).all()):
            found.append(name)
    return found


def adapting(module: nn.Module) -> tuple[str, ...]:
    """Names of frozen batch-norm layers whose statistics, not those they were built with, a forward changes now.

    Only where other parameters of the module are trained: a network that is frozen as a whole is somebody's reference.
    """
    found = [
        name
        for name, layer in layers(module)
        if layer.affine
        and layer.training
        and layer.momentum != 0
        and not layer.weight.requires_grad
        and bool(layer.running_mean.any())
    ]
    return tuple(found) if found and any(p.requires_grad for p in members.parameters(module)) else ()


@dataclasses.dataclass(slots=True)
class HollowForward:
    """A forward in eval mode, after training began, through batch-norm layers that never saw a batch."""

    module: weakref.ref[nn.Module]
    forward: Forward
    names: list[str]
    twin_of: int | None
    like: int | None
    sample: torch.Tensor


def look(listener: Listener, module: nn.Module, forward: Forward) -> HollowForward | None:
    """Look at the batch-norm layers of a module that is about to be called in eval mode, after training began."""
    if forward.training or listener.run.steps == 0:
        return None
    with listener.recorder.pause(), torch.no_grad():
        names = untouched(module)
        if not names:
            return None
        others = [(n, m) for n, m in enumerate(listener.models.roots.values()) if m is not module and _alike(m, module)]
        twin = next((n for n, m in others if _equal(m, module)), None)
        like = next((n for n, _ in others), None)
        values = [p.detach().reshape(-1)[:_ELEMENTS] for p in members.parameters(module)][:_KEPT]
        sample = torch.cat([v.float() for v in values]) if values else torch.empty(0)
    return HollowForward(weakref.ref(module), forward, names, twin, like, sample)


def _alike(one: nn.Module, two: nn.Module) -> bool:
    """Whether two modules have weights of the same shapes, and batch-norm layers in the same number."""
    shapes = [[p.shape for p in members.parameters(m)] for m in (one, two)]
    return bool(shapes[0]) and shapes[0] == shapes[1] and len(layers(one)) == len(layers(two))


def _equal(one: nn.Module, two: nn.Module) -> bool:
    """Whether two modules have the same weights."""
    pairs = zip(members.parameters(one), members.parameters(two), strict=True)
    return all(torch.equal(a.reshape(-1)[:_ELEMENTS], b.reshape(-1)[:_ELEMENTS]) for a, b in pairs)


def hollow(listener: Listener) -> Iterator[Untouched]:
    """What was noted of such forwards, where these layers were trained with the statistics of their batches: in the model
    itself, in one with the same weights, or in one of the same shape while the weights of this one follow it."""
    run = listener.run
    used = {(n.model, n.name) for n in run.weights.norms}
    roots = list(listener.models.roots.values())
    follows = _following(listener.models.hollow_norms)
    for seen in listener.models.hollow_norms:
        module = seen.module()
        if module is None:
            continue
        copied = seen.twin_of if seen.twin_of is not None else seen.like if id(module) in follows else None
        trained = seen.forward.model if copied is None else copied
        theirs = [name for name, _ in layers(roots[trained])]
        mine = [name for name, _ in layers(module)]
        names = [n for n in seen.names if (trained, theirs[mine.index(n)] if len(mine) == len(theirs) else n) in used]
        if names:
            source = "" if copied is None else run.models[trained].name
            model = run.models[seen.forward.model].name
            yield Untouched(model, len(mine), names, seen.forward.count, source, copied is None, seen.forward.place)


def _following(seen: list[HollowForward]) -> set[int]:
    """Modules whose weights changed from one such forward to the next."""
    first: dict[int, torch.Tensor] = {}
    found: set[int] = set()
    for one in seen:
        module = one.module()
        if module is not None and not torch.equal(first.setdefault(id(module), one.sample), one.sample):
            found.add(id(module))
    return found


def norms(listener: Listener) -> Iterator[Norm]:
    """The batch-norm layers that took part in recorded training steps."""
    run = listener.run
    roots = list(listener.models.roots.values())
    numbers = {id(m): (n, name) for n, root in enumerate(roots) for name, m in members.named_modules(root)}
    evaluated = {f.model for f in run.evaluations() if not f.training}
    values: dict[int, list[int]] = {}
    examples: dict[int, list[int]] = {}
    layers_: dict[int, Any] = {}
    seen: set[int] = set()
    for tape in tapes_of(listener):
        for op in tape.history:
            if op.kind != "module" or not isinstance(op.call, _NORM) or not op.training or op.index in seen or not op.inputs:
                continue
            seen.add(op.index)
            shape = tape.values[op.inputs[0]].shape if op.inputs[0] in tape.values else ()
            if len(shape) >= 2 and tape.outermost(op).kind == "module":
                count = 1
                for size in (shape[0], *shape[2:]):
                    count *= size
                kept = values.setdefault(id(op.call), [])
                layers_[id(op.call)] = op.call
                if len(kept) < _KEPT:
                    kept.append(count)
                    if count > shape[0] and not isinstance(op.call, nn.SyncBatchNorm):
                        examples.setdefault(id(op.call), []).append(shape[0])
    for key, counts in values.items():
        number, name = numbers.get(key, (-1, ""))
        if number < 0:
            continue
        layer = layers_[key]
        momentum = None if layer.momentum is None or not layer.track_running_stats else float(layer.momentum)
        yield Norm(
            number,
            name,
            momentum,
            counts,
            number in evaluated,
            _whole(run, number),
            place(listener.models.births.get(layer)),
            examples.get(key, []),
        )


def _whole(run: Any, number: int) -> bool:
    """Whether every training batch of a model is all of its data, so that a batch's statistics are those of the data."""
    fed = [f for f in run.forwards if f.model == number and f.fed]
    passes = [run.passes[f.in_pass] for f in fed if f.in_pass is not None]
    if passes:
        return all(p.length == 1 for p in passes)
    batches = {b for f in fed for b in f.batches}
    return len(batches) == 1 and sum(f.at_steps for f in fed) > len(batches) + 1
