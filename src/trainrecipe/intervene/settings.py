"""Another value for a constant of an unmodified script: its syntax tree is changed before it runs, and no line moves."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping

_CLOSED = (
    ast.Constant,
    ast.UnaryOp,
    ast.BinOp,
    ast.Tuple,
    ast.List,
    ast.Dict,
    ast.operator,
    ast.unaryop,
    ast.expr_context,
)
"""What an expression may consist of that needs nothing else to be known: `64`, `4 * 16`, `(64, 64)`."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """A literal that the script gives a name to at its top level. `owner` is the class, dictionary or call that it stands in;
    `put` replaces it in the tree."""

    name: str
    owner: str
    value: ast.expr
    put: Callable[[ast.expr], None]

    @property
    def path(self) -> str:
        """The name with that of its owner: `Config.hidden`."""
        return f"{self.owner}.{self.name}" if self.owner else self.name


def settings(tree: ast.Module) -> Iterator[Setting]:
    """Every literal with a name: `HIDDEN = 64`, `a, b = 1, 2`, and one level below, `CONFIG = {"hidden": 64}`,
    `cfg = Config(hidden=64)`, `class Config: hidden: int = 64`."""
    for found in _named(tree.body, ""):
        if all(isinstance(node, _CLOSED) for node in ast.walk(found.value)):
            yield found


def turned(source: bytes, filename: str, values: Mapping[str, str]) -> ast.Module:
    """The script's syntax tree with other values in place of every literal that is a setting of these paths."""
    tree = ast.parse(source, filename)
    for setting in list(settings(tree)):
        if setting.path in values:
            setting.put(literal(values[setting.path], setting.value))
    return tree


def literal(value: str, old: ast.expr) -> ast.expr:
    """`value` as an expression of the kind of `old`, at its place. Raises ValueError for what is no number where one was."""
    before = _evaluated(old)
    given = _evaluated(value)
    if isinstance(before, str):
        given = value
    elif isinstance(before, int | float) and not isinstance(before, bool):
        if not isinstance(given, int | float):
            raise ValueError(f"{value!r} is no number")
        given = float(given) if isinstance(before, float) else given
    new = ast.parse(repr(given), mode="eval").body
    for node in ast.walk(new):
        ast.copy_location(node, old)
    return new


def _named(body: Iterable[ast.stmt], owner: str) -> Iterator[Setting]:
    for statement in _at_top_level(body):
        if isinstance(statement, ast.ClassDef) and not owner:
            yield from _named(statement.body, statement.name)
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            yield from _assigned(statement.target, statement.value, _attribute(statement, "value"), owner)
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                yield from _assigned(target, statement.value, _attribute(statement, "value"), owner)


def _at_top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body and of what is nested in it, but for functions and classes."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _at_top_level(getattr(statement, field, []))
            for handler in getattr(statement, "handlers", []):
                yield from _at_top_level(handler.body)


def _assigned(target: ast.expr, value: ast.expr, put: Callable[[ast.expr], None], owner: str) -> Iterator[Setting]:
    if isinstance(target, ast.Name):
        yield Setting(target.id, owner, value, put)
        if not owner:
            yield from _inside(target.id, value)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for i, (one, part) in enumerate(zip(target.elts, value.elts, strict=True)):
            yield from _assigned(one, part, _element(value.elts, i), owner)


def _inside(name: str, value: ast.expr) -> Iterator[Setting]:
    """The entries of a dictionary, or the keywords of a call, that is given a name."""
    if isinstance(value, ast.Dict):
        for i, (key, part) in enumerate(zip(value.keys, value.values, strict=True)):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield Setting(key.value, name, part, _element(value.values, i))
    elif isinstance(value, ast.Call) and not _is_method(value.func):
        for keyword in value.keywords:
            if keyword.arg is not None:
                yield Setting(keyword.arg, name, keyword.value, _attribute(keyword, "value"))


def _is_method(called: ast.expr) -> bool:
    """Whether a call is one of a method or a library's function, `x.mean(dim=1)`, rather than one that builds something."""
    return isinstance(called, ast.Attribute) and not called.attr[:1].isupper()


def _attribute(node: ast.AST, field: str) -> Callable[[ast.expr], None]:
    return lambda new: setattr(node, field, new)


def _element(elements: list[ast.expr], i: int) -> Callable[[ast.expr], None]:
    return lambda new: elements.__setitem__(i, new)


def _evaluated(expression: ast.expr | str) -> object:
    """The value of a literal; a text that is none stands for itself, an expression such as `4 * 16` for None."""
    try:
        return ast.literal_eval(expression)
    except (ValueError, SyntaxError):
        return expression if isinstance(expression, str) else None
