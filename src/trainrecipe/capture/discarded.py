"""Statements that compute a tensor and drop it: the result of an operation that changes nothing in place, kept by nobody, or
kept under a name that a model's forward never reads."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.listen.loops import tree_of
from trainrecipe.capture.tape import LOSSES, Op, Tape, Value
from trainrecipe.capture.where import is_user_file, place
from trainrecipe.capture.windows import windows
from trainrecipe.subjects.weights import Discarded

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener

FEWEST = 2
"""Steps in which the statement must have been seen."""
_ACTS = frozenset({"backward", "item", "tolist", "numpy", "requires_grad_", "retain_grad", "register_hook"})
"""Methods that are called for what they do besides."""
_NUMBERS = frozenset({"size", "dim", "ndimension", "stride", "numel", "nelement", "item", "tolist", "numpy", "shape"})
"""What is asked of a tensor and gives none."""
_SIGNS: dict[type[ast.operator | ast.unaryop], frozenset[str]] = {
    ast.Add: frozenset({"add", "radd"}),
    ast.Sub: frozenset({"sub", "rsub"}),
    ast.Mult: frozenset({"mul", "rmul"}),
    ast.Div: frozenset({"div", "rdiv", "truediv", "rtruediv"}),
    ast.MatMult: frozenset({"matmul", "rmatmul"}),
    ast.Pow: frozenset({"pow", "rpow"}),
    ast.USub: frozenset({"neg"}),
    ast.UAdd: frozenset({"pos", "positive"}),
}
"""The operations that a sign stands for, as they appear in a recording, without underscores."""
_LOOKS = frozenset({"locals", "vars", "eval", "exec", "dir"})
"""Builtins that read local variables without naming them."""
_STATEFUL = (nn.modules.batchnorm._NormBase, nn.RNNBase)


def discarded(listener: Listener) -> Iterator[Discarded]:
    """Bare statements of the user's code whose value is a tensor that was computed from others and then dropped.

    These are calls, and calculations with a graph, as what remains of a sum that was broken into two lines. Then
    assignments, with the operation `=`, to names that the forward of a model or layer of the user's never reads.
    """
    seen: dict[tuple[str, int], set[int]] = {}
    known: dict[tuple[str, int], tuple[Op, str, Value | None]] = {}
    names = _names(listener)
    for number, (tape, ops) in enumerate(windows(listener)):
        taken = {n for op in ops for n in op.inputs}
        for op in ops:
            statement = _statements(op.at[0]).get(op.at[1]) if op.at is not None else None
            if op.at is None or statement is None:
                continue
            value = _calculated(op, statement, tape, taken)
            source = ast.unparse(statement) if value is not None else _dropped(op, statement, names)
            if source:
                key = (op.at[0], op.at[1])
                seen.setdefault(key, set()).add(number)
                known[key] = (op, source, value)
    for key, steps in seen.items():
        op, source, value = known[key]
        if len(steps) >= FEWEST:
            scalar = value is not None and value.shape in ((), (1,))
            yield Discarded(op.name, source, len(steps), op.kind == "module", place(op.at), value is not None, scalar)
    yield from _unread(listener)


def _calculated(op: Op, statement: ast.expr, tape: Tape, taken: set[int]) -> Value | None:
    """The value of a calculation that is a statement of its own, where it has a graph and this is its last operation."""
    if not isinstance(statement, ast.BinOp | ast.UnaryOp) or op.kind != "function" or not op.direct or not op.outputs:
        return None
    if op.name.strip("_") not in _SIGNS.get(type(statement.op), ()):
        return None
    if op.outputs[0] in taken and not isinstance(statement.op, ast.UAdd):  # which gives back the tensor itself
        return None
    value = tape.values.get(op.outputs[0])
    return value if value is not None and value.requires_grad and op.grad else None


def _dropped(op: Op, call: ast.expr, names: dict[int, set[str]]) -> str:
    """The source of the call on this operation's line, if that is a statement that drops its result; else empty."""
    if not isinstance(call, ast.Call) or op.mutated or not op.outputs or set(op.outputs) & set(op.inputs) or not op.inputs:
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
def _statements(file: str) -> dict[int, ast.expr]:
    """Bare calls and calculations of a file by each of their lines, in functions and loops only: at the top level a notebook
    shows values."""
    tree = tree_of(file)
    found: dict[int, ast.expr] = {}
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.FunctionDef | ast.For | ast.While):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call | ast.BinOp | ast.UnaryOp):
                    for line in range(inner.lineno, (inner.end_lineno or inner.lineno) + 1):
                        found[line] = inner.value
    return found


# ---- names that are never read


def _unread(listener: Listener) -> Iterator[Discarded]:
    seen: dict[tuple[str, int], set[int]] = {}
    known: dict[tuple[str, int], ast.Assign] = {}
    for number, (_, ops) in enumerate(windows(listener)):
        lines: dict[tuple[str, int], list[Op]] = {}
        for op in ops:
            if op.at is not None:
                lines.setdefault((op.at[0], op.at[1]), []).append(op)
        given = {type(op.call) for op in ops if op.kind == "module" and isinstance(op.call, nn.Module) and op.inputs}
        for file, first in filter(None, (_forward(kind) for kind in given)):
            for statement, copied in _assignments(file, first):
                if copied or _computes(statement, file, lines):
                    key = (file, statement.lineno)
                    seen.setdefault(key, set()).add(number)
                    known[key] = statement
    for key, steps in seen.items():
        if len(steps) >= FEWEST:
            yield Discarded("=", ast.unparse(known[key]), len(steps), False, place((*key, "forward")))


def _computes(statement: ast.Assign, file: str, lines: dict[tuple[str, int], list[Op]]) -> bool:
    """Whether the last operation on the lines of a statement gave a tensor, and none of them wrote into another."""
    span = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    ops = sorted((op for line in span for op in lines.get((file, line), ())), key=lambda op: op.index)
    return bool(ops) and bool(ops[-1].outputs) and not any(op.mutated for op in ops)


def _forward(kind: type[nn.Module]) -> tuple[str, int] | None:
    """File and first line of a class's forward, where that is the user's code."""
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None and is_user_file(code.co_filename) else None


@functools.cache
def _assignments(file: str, first: int) -> list[tuple[ast.Assign, bool]]:
    """The assignments of a function, by its first line, to a name that nothing in it reads, where the value may be a tensor;
    and whether that is no more than a copy of its first argument."""
    tree = tree_of(file)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)] if tree is not None else []
    function = next((n for n in functions if min([n.lineno, *(d.lineno for d in n.decorator_list)]) == first), None)
    if function is None:
        return []
    read: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            read.add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            read.add(node.target.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            read.update(node.names)
    if read & _LOOKS:
        return []
    given = [a.arg for a in function.args.args[1:2]]
    found = []
    for statement in _own(function):
        target = statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
        if isinstance(statement, ast.Assign) and isinstance(target, ast.Name):
            copied = isinstance(statement.value, ast.Name) and statement.value.id in given
            if target.id not in read and not target.id.startswith("_") and (copied or _may_be_tensor(statement.value)):
                found.append((statement, copied))
    return found


def _own(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements of a function, without those of functions and classes inside it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            if isinstance(child, ast.stmt):
                yield child
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _own(child)


def _may_be_tensor(value: ast.expr) -> bool:
    """Whether an expression is of a form that gives a tensor, if an operation is recorded on its line."""
    while isinstance(value, ast.Subscript):
        value = value.value
        if isinstance(value, ast.Attribute) and value.attr in _NUMBERS:
            return False
    if isinstance(value, ast.Call):
        name = _name(value.func)
        plain = isinstance(value.func, ast.Name) and hasattr(builtins, name)
        return not (plain or name in _NUMBERS or name[:1].isupper() or name.endswith("_"))
    return isinstance(value, ast.BinOp | ast.UnaryOp | ast.Compare | ast.Name)
