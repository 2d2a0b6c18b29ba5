"""Which comparison with the best value so far decides that weights are kept.

`decision` reads it in the frames that keep weights now, through methods and modes: they tell what a mode is and what a
parameter was given. `choices` reads it in the source alone, whether or not anything was kept yet.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import functools
from collections.abc import Iterator
from types import FrameType
from typing import Any

from trainrecipe.capture.listen.expressions import evaluate
from trainrecipe.capture.listen.loops import FUNCTIONS, above, call_at, tree_of
from trainrecipe.capture.where import is_user_file, place
from trainrecipe.finding import Place

_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_PLACES = (ast.Name, ast.Attribute, ast.Subscript)
_FRAMES = 3
"""Frames of the user's, from the one that keeps the weights, in which the comparison is looked for."""
_DEEP = 2
"""Functions that are followed into."""
_NAMES = 8
"""Names that are followed to what they stand for, in each function."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """A comparison that chose weights, at a line of a file. `value` is the quantity as the caller wrote it, at `given`."""

    file: str
    line: int
    function: str
    value: str
    best: str
    higher: bool
    given: Place | None


def decision(frame: FrameType) -> Decision | None:
    """The comparison above the call that a frame is executing, or its callers are; None where there is not exactly one."""
    for at in _users(frame, _FRAMES):
        call, file = call_at(at), at.f_code.co_filename
        below: ast.AST | None = call
        for node in above(file, call) if call is not None else ():
            if isinstance(node, ast.If) and below is not None and below is not node.test:
                found = next((d for n, other in _branches(node, below) if (d := _decision(n, other, at)) is not None), None)
                if found is not None:
                    return found
            if isinstance(node, FUNCTIONS):
                break
            below = node
    return None


def _branches(node: ast.If, below: ast.AST) -> Iterator[tuple[ast.If, bool]]:
    """The branch that is taken, with whether it is the other one; for `if best is None`, those of the `elif` after it, too."""
    yield node, below in node.orelse
    while below not in node.orelse and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        node = node.orelse[0]
        yield node, False
        yield node, True


def _users(frame: FrameType | None, most: int) -> Iterator[FrameType]:
    while frame is not None and most:
        if is_user_file(frame.f_code.co_filename):
            most -= 1
            yield frame
        frame = frame.f_back


def _decision(node: ast.If, other: bool, frame: FrameType) -> Decision | None:
    compared = list(_compares(node.test, frame, _DEEP))
    if len(compared) != 1:
        return None
    chosen = _chosen(compared[0], dict(_renewed(node.orelse if other else node.body)))
    if chosen is None:
        return None
    side, best, higher = chosen
    text, given = _source(side, frame)
    code = frame.f_code
    return Decision(code.co_filename, node.lineno, code.co_name, text, ast.unparse(best), higher != other, given)


# ---- the comparison


def _chosen(compare: ast.Compare, renewed: dict[str, str]) -> tuple[ast.expr, ast.expr, bool] | None:
    """The value and the best so far that a comparison is made of, by what is renewed after it, and whether it holds when the
    value is higher; None for any other comparison."""
    left, right = compare.left, compare.comparators[0]
    for side, rest, first in ((left, right, True), (right, left, False)):
        best = next((p for p in ast.walk(rest) if isinstance(p, _PLACES) and ast.unparse(p) in renewed), None)
        if best is not None and renewed[ast.unparse(best)] == _plain(side):
            return side, best, isinstance(compare.ops[0], ast.Gt | ast.GtE) == first
    return None


def _plain(node: ast.expr) -> str:
    """An expression without what only changes its type: `float(x)`, `x.item()`."""
    while isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "float" and len(node.args) == 1:
            node = node.args[0]
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "item" and not node.args:
            node = node.func.value
        else:
            break
    return ast.unparse(node)


def _renewed(statements: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """What is assigned to each target, `best = max(value, best)` as the value."""
    for statement in statements:
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            pairs: list[tuple[ast.expr, ast.expr]] = [(target, statement.value)]
            if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
                pairs = list(zip(target.elts, statement.value.elts, strict=False))
            for to, value in pairs:
                name = ast.unparse(to)
                if isinstance(value, ast.Call) and getattr(value.func, "id", "") in ("max", "min") and len(value.args) == 2:
                    value = next((a for a in value.args if ast.unparse(a) != name), value)
                yield name, _plain(value)


def _compares(node: ast.expr, frame: FrameType, depth: int) -> Iterator[ast.Compare]:
    """The comparisons of order that an expression comes down to at present."""
    if isinstance(node, ast.Compare):
        if len(node.ops) == 1 and isinstance(node.ops[0], _ORDER):
            yield node
    elif isinstance(node, ast.BoolOp):
        if not (isinstance(node.op, ast.And) and any(_truth(v, frame) is False for v in node.values)):
            for value in node.values:
                yield from _compares(value, frame, depth)
    elif isinstance(node, ast.IfExp):
        truth = _truth(node.test, frame)
        for branch, wanted in ((node.body, True), (node.orelse, False)):
            if truth in (None, wanted):
                yield from _compares(branch, frame, depth)
    elif isinstance(node, ast.Call) and depth:
        function = _function(node, frame.f_code.co_filename)
        names = _arguments(node, function) if function is not None else None
        if function is not None and names is not None:
            yield from _returned(function.body, names, frame, depth - 1)


def _returned(body: list[ast.stmt], names: dict[str, ast.expr], frame: FrameType, depth: int) -> Iterator[ast.Compare]:
    for statement in body:
        if isinstance(statement, ast.Return) and statement.value is not None:
            yield from _compares(_replaced(statement.value, names), frame, depth)
        elif isinstance(statement, ast.If):
            truth = _truth(_replaced(statement.test, names), frame)
            for branch, wanted in ((statement.body, True), (statement.orelse, False)):
                if truth in (None, wanted):
                    yield from _returned(branch, names, frame, depth)
            if truth is True and any(isinstance(s, ast.Return) for s in statement.body):
                return


def _truth(node: ast.expr, frame: FrameType) -> bool | None:
    """Whether a test such as `mode == "min"` holds; None where that cannot be told."""
    try:
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            sides = [evaluate(side, frame) for side in (node.left, node.comparators[0])]
            if all(isinstance(s, str | bool | int) for s in sides):
                return bool(sides[0] == sides[1]) == isinstance(node.ops[0], ast.Eq)
        elif isinstance(node, ast.Name | ast.Attribute):
            value = evaluate(node, frame)
            return value if isinstance(value, bool) else None
    except Exception:
        return None
    return None


# ---- what stands for what


def _function(call: ast.Call, file: str) -> ast.FunctionDef | None:
    """The one function of a file that has the name that is called."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    tree = tree_of(file)
    own = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name] if tree is not None else []
    return own[0] if len(own) == 1 else None


def _arguments(call: ast.Call, function: ast.FunctionDef) -> dict[str, ast.expr] | None:
    """What each parameter of a function is given in a call; None where that is not written out."""
    names = [a.arg for a in function.args.args]
    given: list[ast.expr] = list(call.args)
    if names and names[0] == "self":
        if not isinstance(call.func, ast.Attribute):
            names = names[1:]  # an object is called
        else:
            given = [call.func.value, *given]
    if any(isinstance(a, ast.Starred) for a in given) or any(k.arg is None for k in call.keywords) or len(given) > len(names):
        return None
    return {**dict(zip(names, given, strict=False)), **{k.arg: k.value for k in call.keywords if k.arg is not None}}


class _Replace(ast.NodeTransformer):
    def __init__(self, names: dict[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> Any:
        return copy.deepcopy(self.names.get(node.id, node))


def _replaced(node: ast.expr, names: dict[str, ast.expr]) -> ast.expr:
    return _Replace(names).visit(copy.deepcopy(node))  # type: ignore[no-any-return]


def _source(value: ast.expr, frame: FrameType) -> tuple[str, Place | None]:
    """A quantity as it was written where it was given to the function, and that line."""
    minus, line = False, frame.f_lineno
    for at in _users(frame, _FRAMES):
        frame, line = at, at.f_lineno
        home = _home(at)
        for _ in range(_NAMES):
            if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
                minus, value = not minus, value.operand
            elif isinstance(value, ast.Name) and home is not None and (made := _only_value(home, value.id)) is not None:
                value = made
            else:
                break
        code, outer = at.f_code, next(_users(at.f_back, 1), None)
        parameter = isinstance(value, ast.Name) and value.id in code.co_varnames[: code.co_argcount]
        call = call_at(outer) if parameter and outer is not None else None
        given = _arguments(call, home) if call is not None and home is not None else None
        if given is None or not isinstance(value, ast.Name) or value.id not in given or _written(home, value.id):
            break
        value = given[value.id]
    text = ast.unparse(ast.UnaryOp(ast.USub(), value) if minus else value)
    return text, place((frame.f_code.co_filename, line, frame.f_code.co_name))


def _home(frame: FrameType) -> ast.FunctionDef | None:
    """The function that a frame runs."""
    tree = tree_of(frame.f_code.co_filename)
    return next((n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and _is_code(n, frame)), None) if tree else None


def _only_value(home: ast.FunctionDef, name: str) -> ast.expr | None:
    """The name, or minus the name, that is the only thing assigned to a local name."""
    made = [n.value for n in ast.walk(home) if isinstance(n, ast.Assign) and any(ast.unparse(t) == name for t in n.targets)]
    if len(made) != 1 or _stores(home, name) > 1:
        return None
    inner = made[0].operand if isinstance(made[0], ast.UnaryOp) and isinstance(made[0].op, ast.USub) else made[0]
    return made[0] if isinstance(inner, ast.Name) and inner.id != name else None


def _is_code(node: ast.AST, frame: FrameType) -> bool:
    code = frame.f_code
    return (
        isinstance(node, ast.FunctionDef)
        and node.name == code.co_name
        and node.lineno <= code.co_firstlineno <= node.lineno + 1
    )


def _written(home: ast.AST | None, name: str) -> bool:
    """Whether a function gives its parameter another value."""
    return home is not None and _stores(home, name) > 0


def _stores(home: ast.AST, name: str) -> int:
    return sum(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in ast.walk(home))


# ---- in the source alone


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """`if value > best: best = value`, which also keeps weights or resets a count of patience: `higher` values are chosen."""

    line: int
    function: str
    value: ast.expr
    best: ast.expr
    higher: bool


@functools.cache
def choices(file: str) -> tuple[Choice, ...]:
    """The places of a file that choose among values by a comparison with the best so far."""
    tree = tree_of(file)
    found = []
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.If) and (choice := _choice(file, node)) is not None:
            found.append(choice)
    return tuple(found)


def _choice(file: str, node: ast.If) -> Choice | None:
    home = next((n for n in above(file, node) if isinstance(n, FUNCTIONS)), None)
    scope: ast.AST | None = home or tree_of(file)
    test: ast.expr = node.test
    if isinstance(test, ast.Name) and scope is not None:  # is_best = acc > best; best = max(acc, best); if is_best: ...
        made = [n.value for n in ast.walk(scope) if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == test.id]
        test = made[0] if len(made) == 1 else test
    compared = [c for c in ast.walk(test) if isinstance(c, ast.Compare) and isinstance(c.ops[0], _ORDER) and len(c.ops) == 1]
    if len(compared) != 1:
        return None
    compare = compared[0]
    for branch, other, turned in ((node.body, node.orelse, False), (node.orelse, node.body, True)):
        if not _matters(branch, other):
            continue
        renewed = dict(_renewed(branch if test is node.test else [*branch, *_statements(scope)]))
        chosen = _chosen(compare, renewed)
        if chosen is not None:
            side, best, higher = chosen
            name = home.name if isinstance(home, FUNCTIONS) else "<module>"
            return Choice(node.lineno, name, side, best, higher != turned)
    return None


def _statements(scope: ast.AST | None) -> list[ast.stmt]:
    return [n for n in ast.walk(scope) if isinstance(n, ast.Assign)] if scope is not None else []


def _matters(branch: list[ast.stmt], other: list[ast.stmt]) -> bool:
    """Whether a branch keeps weights, or resets a count that the other branch raises."""
    inside = [n for s in branch for n in ast.walk(s)]
    called = [
        n.func.attr if isinstance(n.func, ast.Attribute) else getattr(n.func, "id", "")
        for n in inside
        if isinstance(n, ast.Call)
    ]
    if any(
        name in ("state_dict", "deepcopy", "clone") or "save" in name.lower() or "checkpoint" in name.lower() for name in called
    ):
        return True
    raised = {
        ast.unparse(n.target) for s in other for n in ast.walk(s) if isinstance(n, ast.AugAssign) and isinstance(n.op, ast.Add)
    }
    reset = {
        ast.unparse(t) for s in branch if isinstance(s, ast.Assign) and isinstance(s.value, ast.Constant) for t in s.targets
    }
    return bool(raised & reset)
