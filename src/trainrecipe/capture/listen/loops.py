"""The loops around the current line, read off the source of the frames on the stack, and how often each of them turns."""

from __future__ import annotations

import ast
import dataclasses
import functools
import itertools
import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from trainrecipe.capture.listen.expressions import evaluate, is_number, length
from trainrecipe.capture.where import OWN, Spot, is_user_file

_STANDARD = os.path.realpath(sysconfig.get_path("stdlib")) + os.sep
_FRAMES = 80
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef

Key = tuple[str, int]
"""A loop: its file and line."""


@dataclasses.dataclass(slots=True)
class Loop:
    """A loop around the current line. `total` is how often it turns, `index` how often it has turned; None when unknown.

    `early` tells that it may be left before, `frame` identifies the call it runs in.
    """

    key: Key
    frame: int
    total: int | None
    index: int | None
    early: bool


@dataclasses.dataclass(slots=True)
class Guard:
    """A comparison that ends a loop: the values of its two sides when it was looked at."""

    key: tuple[str, int, int]
    left: float
    right: float


def enclosing() -> Iterator[tuple[int, Key, ast.AST, FrameType]]:
    """The loops around the current line in every frame of the stack, outermost first."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and len(frames) < _FRAMES:
        if _worth_reading(frame.f_code.co_filename):
            frames.append(frame)
        frame = frame.f_back
    for frame in reversed(frames):
        for node in _loops_at(frame.f_code, frame.f_lasti):
            yield id(frame), (frame.f_code.co_filename, node.lineno), node, frame


def innermost() -> Key | None:
    """The innermost loop around the current line; None when there is none."""
    *_, last = (None, *(key for _, key, *_ in enclosing()))
    return last


def asks_for_more_than_a_remainder(at: Spot | None) -> bool:
    """Whether a line stands in a loop under a condition other than `x % k == number`, or cannot be read.

    Conditions that a run settles once do not count: whether there is a scheduler, of which class, which was asked for.
    """
    tree = tree_of(at[0]) if at is not None else None
    if at is None or tree is None:
        return True
    above: list[ast.AST] = []
    node: ast.AST | None = tree
    while node is not None:
        above.append(node)
        node = next((c for c in _statements(node) if c.lineno <= at[1] <= (c.end_lineno or c.lineno)), None)
    last = max((i for i, n in enumerate(above) if isinstance(n, ast.For | ast.While)), default=0)
    return any(isinstance(n, ast.If) and not (_is_remainder(n.test) or _is_settled(n.test, n)) for n in above[last:])


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from _statements(child)


def _is_settled(test: ast.expr, node: ast.If) -> bool:
    if isinstance(test, ast.BoolOp):
        return all(_is_settled(v, node) or _is_remainder(v) for v in test.values)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _is_settled(test.operand, node)
    if isinstance(test, ast.Compare):
        other = test.comparators[0]
        return isinstance(other, ast.Constant) and (other.value is None or isinstance(other.value, str))
    if isinstance(test, ast.Name | ast.Attribute):
        return any(f"{ast.unparse(test)}.step(" in ast.unparse(line) for line in node.body)
    return isinstance(test, ast.Call) and getattr(test.func, "id", "") in ("isinstance", "hasattr")


def _is_remainder(test: ast.expr) -> bool:
    sides = (
        [test.left, *test.comparators]
        if isinstance(test, ast.Compare)
        else [test.operand]
        if isinstance(test, ast.UnaryOp)
        else [test]
    )
    return any(isinstance(s, ast.BinOp) and isinstance(s.op, ast.Mod) for s in sides)


@functools.cache
def _worth_reading(filename: str) -> bool:
    path = os.path.realpath(filename)
    if filename.startswith("<frozen") or path.startswith(OWN):
        return False
    if path.startswith(_STANDARD) and "site-packages" not in path:
        return False
    return f"{os.sep}torch{os.sep}" not in path or "site-packages" not in path


@functools.lru_cache(maxsize=512)
def _loops_at(code: CodeType, instruction: int) -> tuple[Any, ...]:
    position = next(itertools.islice(code.co_positions(), instruction // 2, None), None)
    if position is None or position[0] is None:
        return ()
    line, column = position[0], position[2] or 0
    tree = tree_of(code.co_filename)
    if tree is None:
        return ()
    found: list[Any] = []
    node: ast.AST | None = tree
    while node is not None:
        node = _child_at(node, line, column, found)
    return tuple(found)


@functools.cache
def parents_of(file: str) -> dict[ast.AST, ast.AST]:
    """What each node of a file's syntax tree lies in; empty when the file cannot be read."""
    tree = tree_of(file)
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)} if tree is not None else {}


def above(file: str, node: ast.AST) -> Iterator[ast.AST]:
    """What a node of a file lies in, innermost first."""
    parents = parents_of(file)
    while node in parents:
        node = parents[node]
        yield node


def call_at(frame: FrameType) -> ast.Call | None:
    """The call that a frame is executing; None when it is not found."""
    position = next(itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    tree = tree_of(frame.f_code.co_filename)
    if position is None or tree is None:
        return None
    line, end, column, end_column = position
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            begins, ends = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
            if begins == (line, column) and ends == (end, end_column):
                return node
    return None


def needs_another() -> bool:
    """Whether the script asks an iterator for its next item by a bare `next(iterator)`, and would fail if there were none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        frame = frame.f_back
    call = call_at(frame) if frame is not None else None
    if frame is None or call is None or len(call.args) > 1 or _called_name(call) not in ("next", "__next__"):
        return False
    inner: ast.AST = call
    for node in above(frame.f_code.co_filename, call):
        if isinstance(node, FUNCTIONS | ast.Lambda):
            return True
        if isinstance(node, ast.Try) and inner in node.body and any(map(_catches_the_end, node.handlers)):
            return False
        inner = node
    return True


def _called_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _catches_the_end(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)}
    return bool(names & {"StopIteration", "Exception", "BaseException"})


def _child_at(node: ast.AST, line: int, column: int, found: list[Any]) -> ast.AST | None:
    """Descend to the child that holds the position, noting loops whose body it is in; functions start afresh."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ListComp | ast.GeneratorExp):
        found.clear()
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else (value,):
            if isinstance(child, ast.AST) and _holds(child, line, column):
                repeats = field == "body" or (field == "test" and isinstance(node, ast.While))
                if isinstance(node, ast.For | ast.AsyncFor | ast.While) and repeats:
                    found.append(node)
                return child
    return None


def _holds(node: ast.AST, line: int, column: int) -> bool:
    start = getattr(node, "lineno", None)
    if start is None:
        return any(_holds(c, line, column) for c in ast.iter_child_nodes(node))
    first = min([start, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    end, end_column = node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]
    begins = (first, node.col_offset if first == start else 0)  # type: ignore[attr-defined]
    return begins <= (line, column) < (end, end_column)


@functools.cache
def tree_of(filename: str) -> ast.Module | None:
    """The syntax tree of a source file; None when it cannot be read."""
    try:
        return ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return None


def is_bounded(file: str, line: int) -> bool:
    """Whether a statement is in a branch that is taken as long as a number is smaller, or larger, than another."""
    tree = tree_of(file)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.If) and node.lineno <= line <= (node.end_lineno or 0):
            compares = [n for n in ast.walk(node.test) if isinstance(n, ast.Compare)]
            if any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for c in compares for op in c.ops):
                return True
    return False


# ---- how often a loop turns


def loop_of(node: Any, frame: FrameType, key: Key) -> Loop:
    """What is known of one loop, in the frame that it runs in."""
    return Loop(key, id(frame), _total(node, frame), _index(node, frame), _leaves_early(node))


def _total(node: Any, frame: FrameType) -> int | None:
    if isinstance(node, ast.While):
        return None
    try:
        return length(node.iter, frame)
    except Exception:
        return None


def _index(node: Any, frame: FrameType) -> int | None:
    if isinstance(node, ast.While):
        return None
    target = node.target
    if isinstance(target, ast.Tuple) and target.elts:
        target = target.elts[0]
    if not isinstance(target, ast.Name):
        return None
    value = frame.f_locals.get(target.id)
    return value if isinstance(value, int) else None


def _leaves_early(node: ast.AST) -> bool:
    return any(True for _ in _exits(node))


def _exits(node: Any) -> Iterator[list[ast.expr]]:
    """The conditions above each `break` or `return` that leaves this loop."""
    work: list[tuple[ast.AST, list[ast.expr], bool]] = [(s, [], True) for s in node.body]
    while work:
        item, conditions, own = work.pop()
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(item, ast.Return) or (own and isinstance(item, ast.Break)):
            yield conditions
        inner = isinstance(item, ast.For | ast.AsyncFor | ast.While)
        for field, value in ast.iter_fields(item):
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, ast.stmt | ast.ExceptHandler):
                    above = [*conditions, item.test] if isinstance(item, ast.If) and field == "body" else conditions
                    work.append((child, above, own and not (inner and field == "body")))


def guards_of(node: Any, frame: FrameType, file: str) -> Iterator[Guard]:
    """The comparisons that end a loop, with the present values of their sides, where both are numbers."""
    conditions = [c for above in _exits(node) for c in above[-1:]]
    if isinstance(node, ast.While):
        conditions.append(node.test)
    for condition in conditions:
        for part in condition.values if isinstance(condition, ast.BoolOp) else [condition]:
            if isinstance(part, ast.Compare) and len(part.ops) == 1:
                try:
                    left, right = evaluate(part.left, frame), evaluate(part.comparators[0], frame)
                except Exception:
                    continue
                if is_number(left) and is_number(right):
                    yield Guard((file, part.lineno, part.col_offset), float(left), float(right))
