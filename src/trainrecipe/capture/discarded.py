"""Statements that compute a tensor and drop it: the result of an operation that changes nothing in place, kept by nobody."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.listen.loops import tree_of
from trainrecipe.capture.tape import LOSSES, Op
from trainrecipe.capture.where import place
from trainrecipe.capture.windows import windows
from trainrecipe.subjects.weights import Discarded

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener

FEWEST = 2
"""Steps in which the statement must have been seen."""
_ACTS = frozenset({"backward", "item", "tolist", "numpy", "requires_grad_", "retain_grad", "register_hook"})
"""Methods that are called for what they do besides."""
_STATEFUL = (nn.modules.batchnorm._NormBase, nn.RNNBase)


def discarded(listener: Listener) -> Iterator[Discarded]:
    """Bare statements of the user's code whose value is a tensor that was computed from others and then dropped."""
    seen: dict[tuple[str, int], set[int]] = {}
    known: dict[tuple[str, int], tuple[Op, str]] = {}
    names = _names(listener)
    for number, (_, ops) in enumerate(windows(listener)):
        for op in ops:
            if op.at is None:
                continue
            source = _dropped(op, names)
            if source:
                key = (op.at[0], op.at[1])
                seen.setdefault(key, set()).add(number)
                known[key] = (op, source)
    for key, steps in seen.items():
        op, source = known[key]
        if len(steps) >= FEWEST:
            yield Discarded(op.name, source, len(steps), op.kind == "module", place(op.at))


def _dropped(op: Op, names: dict[int, set[str]]) -> str:
    """The source of the statement that drops this operation's result; empty when there is none."""
    assert op.at is not None
    call = _statements(op.at[0]).get(op.at[1])
    if call is None or op.mutated or not op.outputs or set(op.outputs) & set(op.inputs) or not op.inputs:
        return ""
    name = _name(call.func)
    if any(k.arg == "out" for k in call.keywords) or name.endswith("_") or name in _ACTS:
        return ""
    if op.kind == "function":
        return ast.unparse(call) if op.direct and name == op.name and op.name not in LOSSES else ""
    if op.kind == "module" and isinstance(op.call, nn.Module):
        layer = op.call
        plain = type(layer).__module__.startswith("torch.nn.modules") and not isinstance(layer, (*_STATEFUL, nn.Sequential))
        hooked = bool(layer._forward_hooks or layer._forward_pre_hooks)
        mine = _attribute(call) in names.get(id(layer), ()) and bool(call.args)
        return ast.unparse(call) if plain and not hooked and mine else ""
    return ""


def _names(listener: Listener) -> dict[int, set[str]]:
    """The attributes under which each layer is reached: its own name and, for `self.layers[0]`, that of its container."""
    found: dict[int, set[str]] = {}
    for root in listener.models.roots.values():
        for path, module in members.named_modules(root, remove_duplicate=False):
            found.setdefault(id(module), set()).update(path.split(".")[-2:])
    return found


def _attribute(call: ast.Call) -> str:
    """The attribute that a call applies, as `dropout` in `self.dropout(x)` and `layers` in `self.layers[0](x)`."""
    func = call.func
    while isinstance(func, ast.Subscript):
        func = func.value
    return func.attr if isinstance(func, ast.Attribute) else ""


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


@functools.cache
def _statements(file: str) -> dict[int, ast.Call]:
    """Bare calls of a file by each of their lines, in functions and loops only: at the top level a notebook shows values."""
    tree = tree_of(file)
    found: dict[int, ast.Call] = {}
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.FunctionDef | ast.For | ast.While):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call):
                    for line in range(inner.lineno, (inner.end_lineno or inner.lineno) + 1):
                        found[line] = inner.value
    return found
