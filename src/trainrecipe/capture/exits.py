"""Finds loops over a loader that are left in their first turn, by a `return` or `break` that is always reached."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from trainrecipe.capture.listen.loops import tree_of
from trainrecipe.capture.where import place
from trainrecipe.finding import Place
from trainrecipe.subjects.exits import LoopExit
from trainrecipe.subjects.run import Pass, Run


def find(run: Run) -> Iterator[LoopExit]:
    """Such loops, where every pass over the loader took one batch and no more."""
    groups: dict[Place, list[Pass]] = {}
    for one in run.passes:
        if one.place is not None and one.batches:
            groups.setdefault(one.place, []).append(one)
    for at, passes in groups.items():
        longest = max((p.length or 0 for p in passes), default=0)
        if any(p.batches > 1 or p.finished for p in passes) or longest < 2:
            continue
        node = _loop_at(at)
        last = _last(node.body) if node is not None else None
        if node is None or not isinstance(last, ast.Return | ast.Break) or len(passes) < 2:
            continue
        kind = "return" if isinstance(last, ast.Return) else "break"
        value = last.value if isinstance(last, ast.Return) else None
        divides = value is not None and any(isinstance(n, ast.BinOp) and isinstance(n.op, ast.Div) for n in ast.walk(value))
        exit_at = place((at.file, last.lineno, at.function))
        yield LoopExit(kind, exit_at, len(passes), longest, any(p.trains for p in passes), _sums(node), divides)


def is_foreign(one: Pass) -> bool:
    """Whether a library loops over the training data, in a pass that a rehearsal cut short, so that it sees no epoch end."""
    if not (one.trains and one.cut) or one.place is None:
        return False
    return "next(" not in one.place.source and _loop_at(one.place) is None


def _loop_at(at: Place) -> Any:
    """The `for` loop whose header is at a line."""
    tree = tree_of(at.file)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.For) and node.lineno <= at.line <= (node.iter.end_lineno or node.lineno):
            return node
    return None


def _last(body: list[ast.stmt]) -> ast.stmt:
    last = body[-1]
    return _last(last.body) if isinstance(last, ast.With) else last


def _sums(node: ast.For) -> list[str]:
    """What a loop adds to: `total += x`, `losses.append(x)`."""
    found = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.AugAssign) and isinstance(inner.op, ast.Add):
            found.append(ast.unparse(inner.target))
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr == "append":
            found.append(ast.unparse(inner.func.value))
    return list(dict.fromkeys(found))[:6]
