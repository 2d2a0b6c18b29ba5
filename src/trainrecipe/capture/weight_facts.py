"""From the samples of weights that were kept around the steps to facts about them, with names and lines."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture import discarded, exits, freezes, norms, sharing, wrapping
from trainrecipe.capture.listen import describe
from trainrecipe.capture.listen.loops import tree_of
from trainrecipe.capture.listen.weights import Sampled
from trainrecipe.capture.unused import user_files
from trainrecipe.capture.where import Spot, place
from trainrecipe.capture.windows import tapes_of
from trainrecipe.finding import Place
from trainrecipe.subjects.run import Run
from trainrecipe.subjects.weights import FrozenMove, Overwritten, Teacher, Weights

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener
    from trainrecipe.capture.listen.pairs import Pair

_WRITES = frozenset({"load_state_dict", "copy_", "lerp_", "mul_", "add_", "set_", "update_parameters", "deepcopy", "sub_"})
_SAME = 0.3
"""Share of the batches that two models must have in common to see the same inputs; a few are alike by chance."""
_LIST = 400
"""Facts of one kind kept at most."""


def fill(listener: Listener, names: dict[int, str]) -> None:
    """Fill `run.weights`. Called when the script is over; what goes wrong is noted and leaves out one kind of fact."""
    facts = listener.run.weights
    moved = {id(p) for k in listener.weights.seen.values() if _compared(k) and (p := k.ref()) is not None}
    for name, found in (
        ("freezes", lambda: freezes.find(listener, names, moved)),
        ("frozen_moves", lambda: _frozen_moves(listener, names)),
        ("overwritten", lambda: _overwritten(listener, names)),
        ("rewritten", lambda: _rewritten(listener, names)),
        ("shared", lambda: sharing.shared(listener)),
        ("recreated", lambda: sharing.recreated(listener)),
        ("discarded", lambda: discarded.discarded(listener)),
        ("norms", lambda: norms.norms(listener)),
        ("untouched", lambda: norms.hollow(listener)),
        ("teachers", lambda: _teachers(listener)),
        ("reloads", lambda: listener.models.reloads.found()),
        ("thaws", freezes.thaws),
        ("other_steps", lambda: _other_steps({file for file, _ in listener.sources.sites})),
    ):
        _fill(listener, facts, name, found)
    _fill(listener, listener.run, "untrained", lambda: freezes.untrained(listener))
    _fill(listener, listener.run, "exits", lambda: exits.find(listener.run))
    _fill(listener, listener.run, "wraps", wrapping.found)
    for watched in listener.optimizers.watched.values():
        optimizer = watched.ref()
        if optimizer is not None and watched.record.standard:
            watched.record.eps_share = _eps_share(listener, optimizer)
    facts.foreign_loop = any(exits.is_foreign(p) for p in listener.run.passes)
    facts.compared = max((_compared(k) for k in listener.weights.seen.values()), default=0)


def _fill(listener: Listener, facts: Weights | Run, name: str, find: Any) -> None:
    try:
        held = getattr(facts, name)
        for fact in find():
            if len(held) < _LIST:
                held.append(fact)
    except Exception as error:
        listener.note_trouble(name, error)


def _eps_share(listener: Listener, optimizer: torch.optim.Optimizer) -> float | None:
    try:
        return describe.eps_share(optimizer)
    except Exception as error:
        listener.note_trouble("eps_share", error)
        return None


def _other_steps(known: set[str]) -> Iterator[Place]:
    """Calls of a `step` in files of the program other than those that training was seen to run through."""
    for file in user_files():
        for line in _step_lines(file) if file not in known else ():
            if (at := place((file, line, ""))) is not None:
                yield at


@functools.cache
def _step_lines(file: str) -> list[int]:
    tree = tree_of(file)
    calls = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)] if tree is not None else []
    return [f.lineno for f in calls if isinstance(f, ast.Attribute) and f.attr == "step"]


def _compared(known: Sampled) -> int:
    return known.kept + known.reset + known.copied + known.fresh + known.rounded


def _frozen_moves(listener: Listener, names: dict[int, str]) -> Iterator[FrozenMove]:
    for known in listener.weights.seen.values():
        parameter = known.ref()
        if not known.frozen or parameter is None:
            continue
        group = _group(listener, known.optimizer, parameter)
        betas = group.get("momentum") or group.get("betas")
        yield FrozenMove(
            names.get(id(parameter), f"tensor{tuple(parameter.shape)}"),
            parameter.numel(),
            known.optimizer,
            known.frozen,
            not known.stale,
            float(group.get("weight_decay") or 0.0),
            bool(betas),
        )


def _group(listener: Listener, number: int, parameter: torch.Tensor) -> dict[str, Any]:
    for watched in listener.optimizers.watched.values():
        optimizer = watched.ref()
        if watched.record.number == number and optimizer is not None:
            for group in optimizer.param_groups:
                if any(p is parameter for p in group["params"]):
                    return dict(group)
    return {}


# ---- overwritten


def _overwritten(listener: Listener, names: dict[int, str]) -> Iterator[Overwritten]:
    writers = _writers(listener)
    for known in listener.weights.seen.values():
        parameter = known.ref()
        lost = {"reset": known.reset, "copied": known.copied, "fresh": known.fresh, "rounded": known.rounded}
        kind = max(lost, key=lambda k: lost[k])
        if parameter is None or not lost[kind]:
            continue
        source = known.source() if known.source is not None and kind == "copied" else None
        yield Overwritten(
            name=names.get(id(parameter), f"tensor{tuple(parameter.shape)}"),
            elements=parameter.numel(),
            optimizer=known.optimizer,
            kind=kind,
            steps=_compared(known),
            lost=sum(lost.values()),
            source=names.get(id(source), "another tensor") if source is not None else "",
            place=place(writers.get(id(parameter))),
        )


def _rewritten(listener: Listener, names: dict[int, str]) -> Iterator[Overwritten]:
    """Parameters most of which the forward of a module changed between the steps."""
    writers = _writers(listener, inside=True) if any(k.altered for k in listener.weights.seen.values()) else {}
    for known in listener.weights.seen.values():
        parameter = known.ref()
        if parameter is not None and known.altered and id(parameter) in writers:
            yield Overwritten(
                name=names.get(id(parameter), f"tensor{tuple(parameter.shape)}"),
                elements=parameter.numel(),
                optimizer=known.optimizer,
                kind="rewritten",
                steps=_compared(known),
                lost=known.altered,
                place=place(writers[id(parameter)]),
            )


def _writers(listener: Listener, *, inside: bool = False) -> dict[int, Spot | None]:
    """The line that wrote to each parameter last, outside of the optimisers' steps, where one was recorded.

    `inside`: only lines that run within a module's forward.
    """
    found: dict[int, Spot | None] = {}
    for tape in tapes_of(listener)[1:]:
        leaves: dict[int, int] = {}
        for value in tape.values.values():
            if value.parameter is not None:
                leaves[value.storage] = id(value.parameter)
        for op in tape.history:
            if inside and tape.around(op) is None:
                continue
            for number in (*op.mutated, *(op.inputs[:1] if op.name == "data.set" else ())):
                written = tape.values.get(number)
                if written is not None and written.storage in leaves:
                    found[leaves[written.storage]] = op.at
    return found


# ---- teachers


def _teachers(listener: Listener) -> Iterator[Teacher]:
    sites = [f"line {p.line}: {p.source}" for p in write_sites()] + sorted(listener.weights.pairs.steppers)
    numbers = {id(root): n for n, root in enumerate(listener.models.roots.values())}
    for pair in listener.weights.pairs.found.values():
        student, follower = pair.student(), pair.follower()
        if student is not None and follower is not None and pair.steps:
            yield _teacher(listener, pair, (student, follower), numbers, sites)


def _teacher(listener: Listener, pair: Pair, modules: tuple[Any, Any], numbers: dict[int, int], sites: list[str]) -> Teacher:
    run = listener.run
    student, follower = modules
    mine = [f for f in run.forwards if f.model == numbers.get(id(follower), -1) and (f.frozen or not f.fed)]
    beside = [f for f in mine if f.at_steps >= 3 and f.at_steps >= 0.5 * (f.last_step - f.step + 1)]
    theirs = {b for f in run.forwards if f.model == numbers.get(id(student), -1) and f.fed for b in f.batches}
    own = {b for f in beside for b in f.batches}
    return Teacher(
        model=type(follower).__name__,
        student=type(student).__name__,
        copied=pair.alike,
        plain=pair.plain,
        steps=pair.steps,
        changes=pair.changes,
        shares=[round(s, 4) for s in pair.shares],
        moved=pair.moved,
        fed=bool(beside),
        same_inputs=not own or not theirs or len(own & theirs) > _SAME * len(own),
        sites=sites[:4],
        place=beside[0].place if beside else place(listener.models.births.get(follower)),
        pulls=[round(s, 4) for s in pair.pulls],
        pulled=place(pair.pulled),
        synced=pair.synced,
    )


def write_sites() -> list[Place]:
    """Lines of the user's code that may write to a model's weights while it is trained: in loops, and in functions that
    contain no loop themselves, constructors excepted."""
    sites = [(file, line, function) for file in user_files() for line, function in _sites(file)]
    return [at for spot in sites if (at := place(spot)) is not None]


@functools.cache
def _sites(file: str) -> list[tuple[int, str]]:
    tree = tree_of(file)
    return list(_writes(tree, "", False, False)) if tree is not None else []


def _writes(node: ast.AST, function: str, loop: bool, apart: bool) -> Iterator[tuple[int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            plain = child.name in ("__init__", "__post_init__") or _loops(child)
            yield from _writes(child, child.name, False, not plain)
            continue
        if (loop or apart) and _is_write(child):
            yield child.lineno, function  # type: ignore[attr-defined]
        yield from _writes(child, function, loop or isinstance(child, ast.For | ast.While), apart)


def _loops(function: ast.AST) -> bool:
    return any(isinstance(n, ast.For | ast.While) for n in ast.walk(function))


def _is_write(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return (name in _WRITES and not _from_itself(node)) or name.startswith("_foreach_")
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
    return any(isinstance(t, ast.Attribute) and t.attr == "data" for t in targets)


def _from_itself(call: ast.Call) -> bool:
    """Whether an object is given back what it holds, as by `net.load_state_dict(net.state_dict())`."""
    if not isinstance(call.func, ast.Attribute) or len(call.args) != 1:
        return False
    given = call.args[0].func if isinstance(call.args[0], ast.Call) else None
    return isinstance(given, ast.Attribute) and ast.unparse(given.value) == ast.unparse(call.func.value)
