"""Layers at several positions of one container, and layers that are made anew in every forward."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.listen.loops import tree_of
from trainrecipe.capture.tape import Op, Tape
from trainrecipe.capture.where import Spot, place
from trainrecipe.capture.windows import tapes_of, windows
from trainrecipe.subjects.weights import Recreated, Shared

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
_MEANT = re.compile(r"shar(e|ing)|\btied?\b|\btying|recur|albert|universal|same layer|looped", re.IGNORECASE)
"""Words with which people say that they share a layer on purpose."""
FEWEST = 3
"""Steps that must each have made a new layer."""


def shared(listener: Listener) -> Iterator[Shared]:
    """Parameterised layers that are at two or more positions of one container of a called model."""
    seen: set[int] = set()
    for root in listener.models.roots.values():
        for path, container in members.named_modules(root):
            if not isinstance(container, _CONTAINERS) or id(container) in seen:
                continue
            seen.add(id(container))
            counts = Counter(id(m) for m in container._modules.values() if m is not None)
            layers = {id(m): m for m in container._modules.values() if m is not None}
            for key, count in counts.items():
                layer = layers[key]
                size = sum(p.numel() for p in members.parameters(layer))
                if count > 1 and size:
                    spot = listener.models.births.get(container)
                    written, says = _written(spot)
                    yield Shared(
                        container=path or type(container).__name__,
                        kind=type(container).__name__,
                        layer=type(layer).__name__,
                        positions=count,
                        elements=size,
                        chain=any(_chained(t, layer) for t in tapes_of(listener)),
                        written=written,
                        says=says,
                        place=place(spot),
                    )


def _written(spot: Spot | None) -> tuple[bool, bool]:
    """Whether a list with a constructor in it is multiplied, and whether the code around speaks of sharing."""
    tree = tree_of(spot[0]) if spot is not None else None
    if tree is None or spot is None:
        return False, False
    line = spot[1]
    around = sorted(
        (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef) and _spans(n, line)),
        key=lambda n: (isinstance(n, ast.FunctionDef), (n.end_lineno or 0) - n.lineno),
    )  # the innermost class, else the innermost function
    statements = [n for n in ast.walk(tree) if isinstance(n, ast.Assign | ast.Expr | ast.Return) and _spans(n, line)]
    written = any(_multiplied(n) for s in statements for n in ast.walk(s))
    with open(spot[0], encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    first, last = (around[0].lineno, around[0].end_lineno or line) if around else (line - 5, line + 5)
    return written, bool(_MEANT.search("\n".join(lines[max(0, first - 3) : last])))


def _spans(node: Any, line: int) -> bool:
    return bool(node.lineno <= line <= (node.end_lineno or node.lineno))


def _multiplied(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        lists = [s for s in (node.left, node.right) if isinstance(s, ast.List | ast.Tuple)]
        return any(isinstance(e, ast.Call) for one in lists for e in one.elts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fromkeys":
        return len(node.args) == 2 and isinstance(node.args[1], ast.Call)
    return False


def _chained(tape: Tape, layer: nn.Module) -> bool:
    """Whether a layer was given something that depends on what it returned before."""
    derived: set[int] = set()
    for op in tape.history:
        mine = op.kind == "module" and op.call is layer
        if mine and derived & set(op.inputs):
            return True
        if mine or derived & set(op.inputs):
            derived.update(op.outputs)
    return False


# ---- made anew


def recreated(listener: Listener) -> Iterator[Recreated]:
    """Layers and parameters that several steps in a row made anew within a forward, or in the loop itself."""
    found: dict[tuple[str, Spot], list[tuple[torch.Tensor, Any, str]]] = {}
    for tape, ops in windows(listener):
        once: set[tuple[str, Spot]] = set()
        for key, parameter, owner, model in _fresh(listener, tape, ops):
            if key not in once:
                once.add(key)
                found.setdefault(key, []).append((parameter, owner, model))
    held = listener.optimizers.held_by
    for (kind, spot), made in found.items():
        distinct = {id(p): p for p, _, _ in made}
        if len(made) < FEWEST or len(distinct) < len(made) or not any(_graded(p) for p in distinct.values()):
            continue
        size = sum(p.numel() for p in members.parameters(made[0][1])) if made[0][1] is not None else made[0][0].numel()
        held_one = any(id(p) in held for p in distinct)
        yield Recreated(kind, made[0][2], len(made), size, _same(list(distinct.values())), held_one, place(spot))
    yield from _in_the_loop(listener)


def _fresh(
    listener: Listener, tape: Tape, ops: list[Op]
) -> Iterator[tuple[tuple[str, Spot], torch.Tensor, nn.Module | None, str]]:
    """Parameters that a step used inside a model's call and that the model did not have when it was called."""
    own: dict[int, set[int]] = {}
    layered = {id(p) for op in ops if op.kind == "module" for p in op.call._parameters.values() if p is not None}
    for op in ops:
        root = tape.outermost(op)
        if root is op or root.kind != "module" or root.memo is None or not isinstance(root.call, nn.Module):
            continue
        if root.index not in own:
            own[root.index] = {id(o) for o, _ in root.memo.pairs()}
        for number in op.inputs:
            value = tape.values.get(number)
            parameter = value.parameter if value is not None else None
            if not isinstance(parameter, nn.Parameter) or id(parameter) in own[root.index] or op.kind == "module":
                continue
            owner = _owner(op, tape, parameter)
            if op.mutated or (owner is None and id(parameter) in layered):
                continue  # it is being initialised
            spot = listener.models.births.get(owner) if owner is not None else _made_at(op.at)
            if spot is not None and not _is_state(parameter, root, tape):
                kind = "layer" if owner is not None else "parameter"
                yield (kind, spot), parameter, owner, type(root.call).__name__


def _owner(op: Op, tape: Tape, parameter: torch.Tensor) -> nn.Module | None:
    """The module, called around an operation, that a parameter belongs to."""
    around = tape.around(op)
    while around is not None:
        if isinstance(around.call, nn.Module) and any(p is parameter for p in around.call._parameters.values()):
            return around.call
        around = tape.around(around)
    return None


def _made_at(at: Spot | None) -> Spot | None:
    """The line that makes a parameter, in the function that uses it; that of the use where none is found."""
    tree = tree_of(at[0]) if at is not None else None
    if at is None or tree is None:
        return at
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and _spans(n, at[1])]
    for node in ast.walk(functions[-1]) if functions else ():
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Parameter":
            return at[0], node.lineno, at[2]
    return at


def _is_state(parameter: torch.Tensor, root: Op, tape: Tape) -> bool:
    """Whether it is a state of zeros for this batch, such as the first hidden state of a recurrent layer."""
    batch = {tape.values[n].shape[0] for n in root.inputs if n in tape.values and tape.values[n].shape}
    return bool(batch & set(parameter.shape)) and not bool(parameter.detach().any())


def _graded(parameter: torch.Tensor) -> bool:
    return parameter.grad is not None


def _same(made: list[torch.Tensor]) -> bool:
    first = made[0].detach()
    return all(m.shape == first.shape and torch.equal(m.detach(), first) for m in made[1:])


def _in_the_loop(listener: Listener) -> Iterator[Recreated]:
    """Modules built at one line, each of them trained through once and never called again."""
    groups: dict[Spot, list[int]] = {}
    for number, root in enumerate(listener.models.roots.values()):
        spot = listener.models.births.get(root)
        if spot is not None and type(root) is not None:
            groups.setdefault(spot, []).append(number)
    held = listener.optimizers.held_by
    roots = list(listener.models.roots.values())
    for spot, numbers in groups.items():
        fed = {n: [f for f in listener.run.forwards if f.model == n and f.fed] for n in numbers}
        once = [n for n in numbers if fed[n] and sum(f.at_steps for f in fed[n]) == 1]
        if len(once) < FEWEST or len(once) < len(numbers) - 1:
            continue
        if any(id(p) in held for n in numbers for p in members.parameters(roots[n])):
            continue
        graded = [p for n in once for p in members.parameters(roots[n]) if p.grad is not None]
        if len(graded) < FEWEST:
            continue
        size = sum(p.numel() for p in members.parameters(roots[once[0]]))
        yield Recreated("layer", type(roots[once[0]]).__name__, len(once), size, False, False, place(spot))
