"""What ends a loop over a loader early, read from its source: a `break` or `return`, and what it depends on."""

from __future__ import annotations

import ast
import dataclasses
import linecache
from collections.abc import Iterator

from trainrecipe.finding import Place


@dataclasses.dataclass(frozen=True, slots=True)
class Leaving:
    """The first statement that leaves a loop: `how` is `break` or `return`, empty where there is none.

    `condition`: it stands under an `if`; `switch`: that asks whether an option is set, such as `if args.fast_dev_run` or
    `limit is not None and i >= limit`, so that the loop ends early on purpose.
    """

    place: Place | None = None
    how: str = ""
    condition: bool = False
    switch: str = ""


def leaving(place: Place | None) -> Leaving:
    """What ends the `for` loop that begins at a line. Statements of the body itself come before those inside an `if`."""
    if place is None:
        return Leaving()
    try:
        tree = ast.parse("".join(linecache.getlines(place.file)))
    except SyntaxError:
        return Leaving()
    loops = [n for n in ast.walk(tree) if isinstance(n, ast.For) and n.lineno <= place.line <= (n.iter.end_lineno or n.lineno)]
    if not loops:
        return Leaving()
    loop = max(loops, key=lambda n: n.lineno)
    for condition in (False, True):
        for statement, guards in _exits(loop.body, condition):
            how = "return" if isinstance(statement, ast.Return) else "break"
            source = linecache.getline(place.file, statement.lineno).strip()
            at = Place(place.file, statement.lineno, source, place.function)
            return Leaving(at, how, condition, _switch(tree, loop, guards))
    return Leaving()


def _exits(
    body: list[ast.stmt], conditions: bool, inner: bool = False, guards: tuple[ast.expr, ...] = ()
) -> Iterator[tuple[ast.stmt, tuple[ast.expr, ...]]]:
    """The statements that leave a loop with this body, each with the tests it stands under: those that always do, or with
    `conditions` those under an `if`."""
    for statement in body:
        if isinstance(statement, ast.Return) or (isinstance(statement, ast.Break) and not inner):
            yield statement, guards
        elif isinstance(statement, ast.With | ast.Try):
            yield from _exits(statement.body, conditions, inner, guards)
        elif isinstance(statement, ast.If) and conditions:
            yield from _exits([*statement.body, *statement.orelse], conditions, inner, (*guards, statement.test))
        elif isinstance(statement, ast.For | ast.While) and conditions:
            yield from _exits(statement.body, conditions, True, guards)


def _switch(tree: ast.Module, loop: ast.For, guards: tuple[ast.expr, ...]) -> str:
    """The source of an option whose truth is among the conditions; empty where there is none."""
    made = {n.id for n in ast.walk(loop) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for test in guards:
        for term in test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]:
            if isinstance(term, ast.Compare) and isinstance(term.ops[0], ast.IsNot | ast.Gt) and _nothing(term.comparators[0]):
                term = term.left
            if _is_option(tree, loop, term, made):
                return ast.unparse(term)
    return ""


def _nothing(node: ast.expr) -> bool:
    """Whether an option is compared with `None` or `0`, which stand for no limit."""
    return isinstance(node, ast.Constant) and not node.value


def _is_option(tree: ast.Module, loop: ast.For, term: ast.expr, made: set[str]) -> bool:
    """An attribute or item of something that the loop does not make, a parameter of the function around the loop, or a name
    that stands for one of these; not a constant in the script, which is as likely left over from debugging."""
    names = {n.id for n in ast.walk(term) if isinstance(n, ast.Name)}
    if names & made or any(isinstance(n, ast.Call) for n in ast.walk(term)):
        return False
    if isinstance(term, ast.Attribute | ast.Subscript):
        return True
    if not isinstance(term, ast.Name):
        return False
    around = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and any(i is loop for i in ast.walk(n))]
    if any(term.id == a.arg for n in around for a in (*n.args.args, *n.args.kwonlyargs)):
        return True
    given = [n.value for n in ast.walk(tree) if isinstance(n, ast.Assign) and any(_names(t, term.id) for t in n.targets)]
    return bool(given) and all(isinstance(v, ast.Attribute | ast.Subscript | ast.Call) for v in given)


def _names(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name
