"""Loops that can be told to end: once a rehearsal has seen enough, the loops around the training are left after the turn
that they are in, and the script goes on behind them.

Python offers no way to leave a loop from outside, so those of the user's files that may train are compiled with a question
after each turn: `for x in each(xs)`, `while on() and test`. Nothing is read ahead, no line moves, no name is added that the
script could meet (both functions are constants of its code), and as long as no loop was told to end, the same is executed in
the same order.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

Key = tuple[str, int]
"""A loop: its file and line."""

_EACH, _ON = "trainrecipe: each turn of a loop", "trainrecipe: whether a loop goes on"
"""Constants in the place of the two functions, until the code is compiled: see `rewritten`."""
_TRAINS = re.compile("train|fit|epoch|step|backward|learn|update|optim|run|loop|main|experiment|fold|phase|iterat", re.I)
"""What the functions are called that a training loop may call. A loop that is missed for its names is not left early, one
that is not a training loop is never told to end."""

_known: set[Key] = set()
_ending: set[Key] = set()


def can_end(loops: Iterable[Key]) -> bool:
    """Whether all of these loops ask after each turn whether they are to end."""
    return _known.issuperset(loops)


def know(loops: Iterable[Key]) -> None:
    """Loops that were compiled so that they ask."""
    _known.update(loops)


def end(loops: Iterable[Key]) -> None:
    """Leave each of these loops after the turn that it is in."""
    _ending.update(_known.intersection(loops))


def _each(file: str, line: int, turns: Iterable[Any]) -> Iterable[Any]:
    compiler = getattr(sys.modules.get("torch"), "compiler", None)  # the script may not have imported it, or not all of it
    return turns if compiler is not None and compiler.is_compiling() else _asked((file, line), turns)


def _asked(key: Key, turns: Iterable[Any]) -> Iterator[Any]:
    for turn in turns:
        yield turn
        if key in _ending:
            _ending.discard(key)
            return


def _on(file: str, line: int) -> bool:
    key = (file, line)
    if key not in _ending:
        return True
    _ending.discard(key)
    return False


FUNCTIONS = {_EACH: _each, _ON: _on}
"""What stands for them."""


class Asking(ast.NodeTransformer):
    """Puts the question into the loops of a file that may train: those from which a function is called that may."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.path = path
        self.keys: set[Key] = set()
        self._training = _trainers(tree)

    def visit_For(self, node: ast.For) -> ast.AST:
        """`for x in xs` becomes `for x in each(file, line, xs)`."""
        self.generic_visit(node)
        if self._trains(node):
            node.iter = ast.copy_location(self._question(_EACH, node, [node.iter]), node.iter)
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        """`while test` becomes `while on(file, line) and test`."""
        self.generic_visit(node)
        if self._trains(node):
            question = ast.copy_location(self._question(_ON, node, []), node.test)
            node.test = ast.copy_location(ast.BoolOp(ast.And(), [question, node.test]), node.test)
        return node

    def _trains(self, node: ast.For | ast.While) -> bool:
        return any(name in self._training or _TRAINS.search(name) for name in _called(node))

    def _question(self, name: str, node: ast.For | ast.While, more: list[ast.expr]) -> ast.Call:
        self.keys.add((self.path, node.lineno))
        key = [ast.Constant(self.path), ast.Constant(node.lineno)]
        made = ast.Call(ast.Constant(name), [*key, *more], [])
        for part in (made.func, *key):
            ast.copy_location(part, node.iter if isinstance(node, ast.For) else node.test)
        return made


def _trainers(tree: ast.Module) -> set[str]:
    """Names of the file's functions from which a call leads to something with the name of a training step."""
    calls: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            calls.setdefault(node.name, set()).update(_called(node))
    found = {name for name, called in calls.items() if any(map(_TRAINS.search, called))}
    while more := {name for name, called in calls.items() if name not in found and called & found}:
        found |= more
    return found


def _called(node: ast.AST) -> set[str]:
    functions = [n.func for n in ast.walk(node) if isinstance(n, ast.Call)]
    return {f.attr if isinstance(f, ast.Attribute) else f.id for f in functions if isinstance(f, ast.Attribute | ast.Name)}
