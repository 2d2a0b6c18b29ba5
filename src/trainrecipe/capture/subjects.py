"""From what was heard to what can be examined: steps, the run with its table of parameters, and the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.hashing import exact_hash
from trainrecipe.capture.listen.backwards import tape_leaves
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.capture.raw_losses import fill_raw_losses
from trainrecipe.capture.tensors import dense
from trainrecipe.capture.unused import Fates
from trainrecipe.capture.weight_facts import fill as fill_weights
from trainrecipe.capture.where import place
from trainrecipe.finding import Place
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.examples import read_place
from trainrecipe.subjects.gradients import Window, window_of
from trainrecipe.subjects.run import Parameter, Untaught
from trainrecipe.subjects.step import Step

MOST_STEPS = 4
"""Backward calls of the program that are examined as steps, those with the most parameters first."""


def steps(listener: Listener) -> list[Step]:
    """The captured steps: one per backward call in the user's code."""
    names = parameter_names(listener)
    evaluates = any(True for _ in listener.run.evaluations())
    graded = with_gradient(listener)
    steppers = [o for w in listener.optimizers.watched.values() if w.record.steps and (o := w.ref()) is not None]
    found = []
    labels = labels_seen(listener)
    for tapes in listener.backwards.tapes.values():
        tapes = [t for t in tapes if t.gradients] or tapes
        step = Step.from_tapes(tapes, _optimizer(listener, tapes[0]), names, births=listener.models.births, evaluates=evaluates)
        _note_rates(listener, step)
        step.inputs_seen = [(number, given) for number, given, forward, _ in listener.models.inputs if forward.fed]
        step.last = listener.backwards.latest.get(tapes[0].site)
        step.broken = listener.backwards.broken.get(tapes[0].site)
        step.values_seen = next((b.losses for b in listener.run.backwards if b.place == step.place), [])
        step.batches_seen = listener.backwards.batches.get(tapes[0].site, [])
        step.finished = not listener.run.rehearsal and listener.run.ended == "finished"
        step.graded, step.steppers = graded, steppers
        step.window = _window(listener, step)
        step.batch_sizes = frozenset(r.batch_size for r in listener.run.loaders if r.batch_size)
        step.paddings = frozenset(listener.padding.values)
        called = {id(op.call) for op in step.tape.modules()}
        roots = listener.models.roots.values()
        step.reads = _reads(listener)
        step.loaded = any(m.loaded for m, root in zip(listener.run.models, roots, strict=False) if id(root) in called)
        step.copies = _copies(listener, called)
        step.labels_seen = labels
        step.repeats = max((f.repeats for f in listener.run.evaluations()), default=1)
        found.append(step)
    for step in found:
        step.others = [other for other in found if other is not step]
    found.sort(key=lambda s: -sum(p.numel() for p in s.tape.parameters))
    return found[:MOST_STEPS]


def _reads(listener: Listener) -> Place | None:
    """The line where the user's own data set reads a training example, or that built the loader; None without a loader."""
    trained = next((p.loader for p in listener.run.passes if p.trains), None)
    held = next((loader for loader, number in listener.loaders.held.values() if number == trained), None)
    if trained is None or held is None:
        return None
    return read_place(held.dataset) or listener.run.loaders[trained].born


def _copies(listener: Listener, called: set[int]) -> int:
    """How many other models with the same shapes as one that a step calls, and with weights of their own, were called."""
    roots = listener.models.roots.values()
    mine = [root for root in roots if id(root) in called]
    own = {id(p) for root in mine for p in members.parameters(root)}
    shapes = [s for root in mine if (s := [p.shape for p in members.parameters(root)])]
    others = [root for root in roots if id(root) not in called and not any(id(p) in own for p in members.parameters(root))]
    return sum([p.shape for p in members.parameters(root)] in shapes for root in others)


def with_gradient(listener: Listener) -> frozenset[int]:
    """Identities of the parameters that got a gradient, zero or not, from any backward that was seen in detail."""
    every = [t for tapes in (*listener.backwards.tapes.values(), listener.backwards.latest.values()) for t in tapes]
    return frozenset({id(p) for t in every for p, _ in t.gradients} | listener.optimizers.updates.keys())


def labels_seen(listener: Listener) -> list[float]:
    """The labels of the batches that training got, where one loader trains and its label is known."""
    run = listener.run
    passes = run.train_passes()
    numbers = {p.loader for p in passes}
    column = run.loaders[next(iter(numbers))].label if len(numbers) == 1 else None
    if column is None:
        return []
    return [v for p in passes for batch in p.labels if column < len(batch) for v in batch[column]]


def _optimizer(listener: Listener, tape: Any) -> torch.optim.Optimizer | None:
    reached = {id(p) for p in tape.parameters}
    for watched in sorted(listener.optimizers.watched.values(), key=lambda w: w.record.number != tape.stepped):
        optimizer = watched.ref()
        if watched.record.steps and optimizer is not None and any(id(p) in reached for p in watched.parameters):
            return optimizer
    return None


def _note_rates(listener: Listener, step: Step) -> None:
    """Tell a step the learning rates its optimiser was seen to have, and how the script clips its gradients."""
    watched = listener.optimizers.watched.get(id(step.optimizer)) if step.optimizer is not None else None
    if watched is None:
        return
    record = watched.record
    step.rates = list(record.rates)
    step.planned_steps = record.planned_steps if record.certain else None
    step.optimizer_place = record.place
    step.built_rate = max((float(group.get("lr") or 0.0) for group in record.groups), default=0.0)
    clips = [c for c in listener.run.clips if record.number in c.optimizers and c.count > c.stale]
    step.clip = (clips[0].kind, clips[0].limit, clips[0].norm_type) if clips else None


def _window(listener: Listener, step: Step) -> Window | None:
    """How the backward calls at a step's line make up the steps of its optimiser."""
    watched = listener.optimizers.watched.get(id(step.optimizer)) if step.optimizer is not None else None
    line = next((i for i, b in enumerate(listener.run.backwards) if b.place == step.place), None)
    return window_of(listener.run, watched.record.number, line) if watched is not None and line is not None else None


def parameter_names(listener: Listener) -> dict[int, str]:
    """Qualified names of all parameters of the models that were called, by identity."""
    names: dict[int, str] = {}
    several = len(listener.models.roots) > 1
    for root in sorted(listener.models.roots.values(), key=lambda m: -sum(1 for _ in members.modules(m))):
        prefix = f"{type(root).__name__}." if several else ""
        for name, parameter in members.named_parameters(root):
            names.setdefault(id(parameter), prefix + name)
    return names


def fill_stream(listener: Listener) -> None:
    """Fill what `run` tells about the order of the data: targets of successive steps, and whether state is handed on."""
    run = listener.run
    fill_raw_losses(listener)
    run.carries_state = listener.backwards.stream.carries_state
    run.targets, at, run.series = listener.backwards.stream.longest()
    run.targets_place = place(at)


def fill_untaught(listener: Listener) -> None:
    """Fill what `run` tells about checkpoints that give no gradients. Needs `run.parameters`."""
    names, known = parameter_names(listener), {p.name: p for p in listener.run.parameters}
    for cut in listener.recomputed.cuts.values():
        behind = [known[names[key]] for key in cut.parameters if names.get(key) in known]
        idle = [p for p in behind if p.optimizers and not p.gradient]
        if idle:
            elements = sum(p.elements for p in idle)
            made = Untaught(cut.block, place(cut.at), [p.name for p in idle], elements, len(behind) - len(idle))
            listener.run.untaught.append(made)


def fill_parameters(listener: Listener) -> None:
    """Fill `run.parameters`: for each tensor whether it is registered, held, reached, got a gradient and moved."""
    run = listener.run
    names = parameter_names(listener)
    tensors: dict[int, torch.Tensor] = {}
    owners: dict[int, nn.Module] = {}
    model_of: dict[int, int] = {}
    for number, root in enumerate(listener.models.roots.values()):
        for module in members.modules(root):
            for parameter in module._parameters.values():
                if parameter is not None:
                    tensors[id(parameter)] = parameter
                    owners.setdefault(id(parameter), module)
                    model_of.setdefault(id(parameter), number)
    registered = set(tensors) | listener.backwards.owned
    _fill_kin(listener)
    held = {key: sorted(by) for key, by in listener.optimizers.held_by.items() if key in tensors}
    rates: dict[int, float] = {}
    peaks = _planned_peaks(listener)
    highest = {key: max(by.values()) for key, by in listener.optimizers.held_by.items()}
    used = _used_in(listener)
    for watched in listener.optimizers.watched.values():
        optimizer = watched.ref()
        number = watched.record.number
        for index, group in enumerate(optimizer.param_groups if optimizer is not None else ()):
            for parameter in group["params"]:
                tensors[id(parameter)] = parameter
                own = held.setdefault(id(parameter), [])
                if number not in own:
                    own.append(number)
                so_far = listener.optimizers.held_by.get(id(parameter), {}).get(number, 0.0)
                rates[id(parameter)] = max(float(group.get("lr") or 0.0), so_far)
                planned = peaks.get(number, [])
                peak = max(float(group.get("lr") or 0.0), planned[index] if index < len(planned) else 0.0)
                highest[id(parameter)] = max(highest.get(id(parameter), 0.0), peak)
    first: dict[int, torch.Tensor | str] = {}
    reached: set[int] = set()
    graded: set[int] = set()
    called = _called_modules(listener)
    for tapes in listener.backwards.tapes.values():
        for tape in (*tapes, *([listener.backwards.latest[tapes[0].site]] if tapes else ())):
            for original, value in tape.first_values():
                first.setdefault(id(original), value)
            reached |= {id(p) for p in tape.parameters}
            graded |= {id(p) for p, g in tape.gradients if not g.zero}
            for leaf in tape_leaves(tape):
                if isinstance(leaf, nn.Parameter):
                    tensors.setdefault(id(leaf), leaf)
    fates = Fates(listener)
    for key, tensor in tensors.items():
        copy = first.get(key)
        moved = None if copy is None else _differs(tensor, copy)
        owner = owners.get(key)
        user, user_layer = used.get(key, (None, None))
        layer = owner if owner is not None else user_layer
        own_gradient = tensor.grad is not None and bool(dense(tensor.grad).any())
        history = listener.optimizers.updates.get(key, [])
        stuck = [h["stuck"] for h in history if h["gradient"] != 0]  # NaN is a gradient
        run.parameters.append(
            Parameter(
                name=names.get(key, f"tensor{tuple(tensor.shape)}"),
                model=model_of.get(key),
                elements=tensor.numel(),
                dtype=str(tensor.dtype),
                trainable=tensor.requires_grad,
                registered=key in registered,
                optimizers=held.get(key, []),
                reached=key in reached,
                gradient=key in graded or own_gradient or any(h["gradient"] > 0 for h in history),
                moved=moved,
                asked=key in listener.backwards.asked,
                rate=rates.get(key),
                born=place(listener.models.births.get(layer)) if layer is not None else None,
                called=None if owner is None or not called else id(owner) in called,
                kind=type(layer).__name__ if layer is not None else "",
                stuck=sum(stuck) / len(stuck) if stuck else None,
                updates=len(stuck),
                still=_still(listener, key),
                push=max((h["gradient"] / h["weight"] for h in history if h["weight"] > 0), default=None),
                peak=highest.get(key),
                used_in=user,
                mode=user_layer.training if user_layer is not None else None,
                ratios=[h["update"] / h["weight"] for h in history if h["gradient"] > 0 and h["weight"] > 0],
                norm=history[0]["weight"] if history else None,
                dimensions=tensor.ndim,
                rates=dict(listener.optimizers.built_with.get(key, {})),
            )
        )
        record = run.parameters[-1]
        if owner is not None and tensor.requires_grad and not record.gradient and not record.reached:
            attribute = next((n for n, p in owner._parameters.items() if p is tensor), "")
            record.fate, record.part = fates.of(owner, attribute)
    fill_weights(listener, names)


def _fill_kin(listener: Listener) -> None:
    """Which models have parameters in common, or equal ones, as one has that was read back from a file."""
    every = [list(members.parameters(root)) for root in listener.models.roots.values()]
    own = [{id(p) for p in parameters} for parameters in every]
    marks = [_mark(parameters) for parameters in every]
    for model in listener.run.models:
        n = model.number
        equal = [marks[n] is not None and marks[n] == mark for mark in marks]
        model.kin = [m for m in range(len(own)) if m != n and (own[n] & own[m] or equal[m])]


def _mark(parameters: list[nn.Parameter]) -> tuple[list[torch.Size], str] | None:
    """The shapes of a model's parameters and a hash of the largest one; None where there is nothing to compare."""
    if not parameters or any(nn.parameter.is_lazy(p) or p.is_meta for p in parameters):
        return None
    return [p.shape for p in parameters], exact_hash(max(parameters, key=lambda p: p.numel()))


def _still(listener: Listener, key: int) -> float | None:
    """The share of the elements with a gradient that no recorded step moved."""
    if key not in listener.optimizers.moves:
        return None
    pushed, moved = listener.optimizers.moves[key]
    count = int(pushed.sum())
    return float((pushed & ~moved).sum()) / count if count else None


def _planned_peaks(listener: Listener) -> dict[int, list[float]]:
    peaks: dict[int, list[float]] = {}
    for record in listener.run.schedulers:
        own = peaks.setdefault(record.optimizer, [])
        for index, peak in enumerate(record.peaks):
            if index < len(own):
                own[index] = max(own[index], peak)
            else:
                own.append(peak)
    return peaks


def _used_in(listener: Listener) -> dict[int, tuple[int | None, nn.Module | None]]:
    """Parameters that a called model's forward uses although they are not its own: the model's number, and the layer."""
    found: dict[int, tuple[int | None, nn.Module | None]] = {}
    numbers = {id(root): n for n, root in enumerate(listener.models.roots.values())}
    own = {id(root): {id(m) for m in members.modules(root)} for root in listener.models.roots.values()}
    for tapes in listener.backwards.tapes.values():
        for tape in tapes:
            for op in tape.history:
                root = tape.outermost(op)
                if op.kind != "module" or root is op or root.kind != "module" or id(root.call) not in numbers:
                    continue
                if id(op.call) not in own[id(root.call)]:
                    for module in members.modules(op.call):
                        for parameter in module._parameters.values():
                            if parameter is not None:
                                found.setdefault(id(parameter), (numbers[id(root.call)], module))
    for model in listener.models.roots.values():
        for module in members.modules(model):
            for name, held in vars(module).items():
                if name in ("_parameters", "_buffers", "_modules"):
                    continue
                for parameter in _in_containers(held):
                    found.setdefault(id(parameter), (numbers[id(model)], module))
    return found


def _in_containers(held: Any, depth: int = 2) -> Iterator[nn.Parameter]:
    """The parameters in a plain list, tuple or dict."""
    if type(held) not in (list, tuple, dict) or not depth or len(held) > 1000:
        return
    for value in held.values() if isinstance(held, dict) else held:
        if isinstance(value, nn.Parameter):
            yield value
        else:
            yield from _in_containers(value, depth - 1)


def _called_modules(listener: Listener) -> set[int]:
    found: set[int] = set()
    for tapes in listener.backwards.tapes.values():
        for tape in tapes:
            found |= {id(op.call) for op in tape.history if op.kind == "module"}
    return found


def _differs(tensor: torch.Tensor, before: torch.Tensor | str) -> bool:
    """Whether a leaf has changed since a copy or a hash of it was made."""
    return exact_hash(tensor) != before if isinstance(before, str) else not torch.equal(before.detach(), tensor.detach())


def data(listener: Listener, may_read: bool) -> Data:
    """The data of the program."""
    numbered = sorted(((record_number, loader) for loader, record_number in listener.loaders.held.values()), key=lambda p: p[0])
    listener.fed.settle()
    made = Data(listener.run, [(listener.run.loaders[n], loader) for n, loader in numbered], may_read)
    trained = {b.kind for b in listener.fed.training}
    evaluations = {id(f) for f in listener.run.evaluations()}
    evaluated = [b for b, forward in listener.fed.evaluation if id(forward) in evaluations and b.kind in trained]
    made.fed, made.arrays = [*listener.fed.training, *evaluated], listener.fed.arrays
    return made
