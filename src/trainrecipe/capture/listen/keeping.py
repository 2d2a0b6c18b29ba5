"""What the source says about states that are kept: what they are assigned to, under which condition, where they are used."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Iterator
from types import FrameType

from trainrecipe.capture.listen.loops import FUNCTIONS, above, call_at, tree_of
from trainrecipe.capture.where import place
from trainrecipe.finding import Place
from trainrecipe.subjects.checkpoints import Resume, Use

_LOOPS = ast.For | ast.While


@dataclasses.dataclass(frozen=True, slots=True)
class Keeping:
    """Where a result goes: `target`, under `best` (a comparison with the best value so far), with the lines that use it."""

    owner: str = ""
    target: str = ""
    best: bool = False
    uses: tuple[Use, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Alias:
    """`best_model = model` under a comparison with the best value so far, used outside the loop around it."""

    line: int
    target: ast.expr
    value: ast.expr
    function: str
    uses: tuple[Use, ...]


def keeping_at(frame: FrameType) -> Keeping:
    """What the call of `state_dict` that a frame is executing is kept as."""
    call, file = call_at(frame), frame.f_code.co_filename
    if call is None:
        return Keeping()
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    around = list(above(file, call))
    statement = next((n for n in around if isinstance(n, ast.stmt)), None)
    target = ""
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        first = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        value = statement.value
        if isinstance(first, ast.Tuple) and isinstance(value, ast.Tuple) and len(first.elts) == len(value.elts):
            parts = zip(first.elts, value.elts, strict=True)
            first = next((to for to, what in parts if what is call or what in around), first)
        target = ast.unparse(first) if isinstance(first, ast.Name | ast.Attribute | ast.Subscript) else ""
    best = any(isinstance(n, ast.If) and is_best_so_far(n) for n in around)
    return Keeping(owner, target, best, tuple(_uses(file, target, statement)) if target and statement is not None else ())


def is_read(file: str, target: str) -> bool:
    """Whether a file reads what was assigned to `target`: by its name, as an attribute of whatever object, or by a text."""
    tree = tree_of(file)
    target = target.rstrip("]").rpartition("[")[2].strip("'\"") if target.endswith("]") else target
    return tree is None or target.rpartition(".")[2] in _read(tree)


@functools.lru_cache(maxsize=64)
def _read(tree: ast.Module) -> frozenset[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return frozenset(found)


def is_best_so_far(node: ast.If) -> bool:
    """Whether an `if` compares two values and assigns to one of them in its body: `if acc > best: best = acc`."""
    compared = {
        ast.unparse(part)
        for test in ast.walk(node.test)
        if isinstance(test, ast.Compare)
        for side in (test.left, *test.comparators)
        for part in (side, *ast.walk(side))  # `best - min_delta` compares with `best`, too
        if isinstance(part, ast.Name | ast.Attribute | ast.Subscript)
    }
    assigned = {
        ast.unparse(part)
        for statement in node.body
        for inner in ast.walk(statement)
        if isinstance(inner, ast.Assign)
        for target in inner.targets
        for part in (target.elts if isinstance(target, ast.Tuple) else [target])
    }
    return bool(compared & assigned)


def _uses(file: str, target: str, statement: ast.stmt) -> Iterator[Use]:
    """The lines that load, save or return a variable, those of its callers included where it is returned."""
    home = next((n for n in above(file, statement) if isinstance(n, FUNCTIONS)), None)
    local = "." not in target and "[" not in target and home is not None
    scope: ast.AST | None = home if local else tree_of(file)
    for node in ast.walk(scope) if scope is not None else ():
        if isinstance(node, ast.Call) and (use := _use(file, node, target)) is not None:
            yield use
        elif isinstance(node, ast.Return) and node.value is not None and local and home is not None:
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            if any(ast.unparse(p) == target for p in parts):
                yield from _uses_of_result(file, home.name, [ast.unparse(p) for p in parts].index(target), len(parts))


def _uses_of_result(file: str, function: str, position: int, parts: int) -> Iterator[Use]:
    tree = tree_of(file)
    for node in ast.walk(tree) if tree is not None else ():
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if ast.unparse(node.value.func).rpartition(".")[2] != function:
            continue
        first = node.targets[0]
        if parts > 1 and isinstance(first, ast.Tuple) and len(first.elts) == parts:
            first = first.elts[position]
        if isinstance(first, ast.Name | ast.Attribute):
            name = ast.unparse(first)
            home: ast.AST = next((n for n in above(file, node) if isinstance(n, FUNCTIONS)), tree) or node
            for call in ast.walk(home):
                if isinstance(call, ast.Call) and (use := _use(file, call, name)) is not None:
                    yield use


def _use(file: str, call: ast.Call, target: str) -> Use | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in ("load_state_dict", "save") or not call.args:
        return None
    given = ast.unparse(call.args[0])
    own, _, attribute = target.partition(".")
    if own == "self" and attribute.isidentifier():  # other objects' names for this one are not known
        given = f"self.{given.rpartition('.')[2]}" if "." in given else given
    if given != target and not given.startswith(target + "["):
        return None
    at = place((file, call.lineno, ""))
    receiver = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    return Use("load" if name == "load_state_dict" else "save", at, receiver) if at is not None else None


# ---- a second name for the model itself


@functools.cache
def aliases(file: str) -> tuple[Alias, ...]:
    """The lines of a file that keep the best model by giving it a second name."""
    tree = tree_of(file)
    found = []
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.If) and is_best_so_far(node):
            loop = next((n for n in above(file, node) if isinstance(n, _LOOPS)), None)
            home = next((n for n in above(file, node) if isinstance(n, FUNCTIONS)), None)
            if loop is not None:
                found += [a for s in node.body if (a := _alias(file, s, loop, home)) is not None]
    return tuple(found)


def _alias(file: str, statement: ast.stmt, loop: ast.AST, home: ast.AST | None) -> Alias | None:
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Name | ast.Attribute):
        return None
    target = statement.targets[0]
    if not isinstance(target, ast.Name | ast.Attribute):
        return None
    text = ast.unparse(target)
    inside = set(ast.walk(loop))
    scope: ast.AST | None = tree_of(file) if isinstance(target, ast.Attribute) or home is None else home
    uses = []
    for node in ast.walk(scope) if scope is not None else ():
        if isinstance(node, type(target)) and node not in inside and ast.unparse(node) == text:
            at = place((file, node.lineno, ""))
            if isinstance(getattr(node, "ctx", None), ast.Load) and at is not None:
                uses.append(Use("use", at))
    name = home.name if isinstance(home, FUNCTIONS) else "<module>"
    return Alias(statement.lineno, target, statement.value, name, tuple(uses)) if uses else None


# ---- resuming


@functools.cache
def resumes(file: str) -> tuple[Resume, ...]:
    """The places of a file that read a checkpoint and go on counting where it ended."""
    tree = tree_of(file)
    found = []
    for node in ast.walk(tree) if tree is not None else ():
        assigned = isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name)
        if assigned and ast.unparse(node.value.func) in ("torch.load", "load"):  # type: ignore[attr-defined]
            resume = _resume(file, node, node.targets[0].id)  # type: ignore[attr-defined,arg-type]
            found += [resume] if resume is not None else []
    return tuple(found)


def _resume(file: str, node: ast.Assign, name: str) -> Resume | None:
    home = next((n for n in above(file, node) if isinstance(n, FUNCTIONS)), None)
    scope: ast.AST | None = home or tree_of(file)
    keys: dict[str, ast.AST] = {}
    whole = 0
    for inner in ast.walk(scope) if scope is not None else ():
        key = _key(inner, name)
        if key:
            keys.setdefault(key, inner)
        whole += isinstance(inner, ast.Call) and any(isinstance(a, ast.Name) and a.id == name for a in inner.args)
    loads = [n for n in ast.walk(scope) if _loads(n, name)] if scope is not None else []
    at = place((file, node.lineno, home.name if home is not None else "<module>"))
    if not loads or at is None or whole:
        return None
    counter = next((k for k, n in keys.items() if _counts_on(file, n, home)), "")
    return Resume(at, list(keys), counter, len(loads)) if counter else None


def _key(node: ast.AST, name: str) -> str:
    """The entry of variable `name` that an expression reads: `name["key"]` or `name.get("key")`."""
    key: ast.AST | None = None
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == name:
        key = node.slice
    elif isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in (f"{name}.get", f"{name}.pop"):
        key = node.args[0]
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""


def _loads(node: ast.AST, name: str) -> bool:
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load_state_dict"
    return called and any(_key(n, name) for n in ast.walk(node))


def _counts_on(file: str, node: ast.AST, home: ast.AST | None) -> bool:
    """Whether an entry sets where a count goes on: assigned to a variable that starts a range, a while or a sum."""
    statement = next((n for n in above(file, node) if isinstance(n, ast.stmt)), None)
    if isinstance(statement, ast.Return) and isinstance(home, FUNCTIONS) and statement.value is not None:
        parts = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value]
        return any(_starts(file, name, tree) for name, tree in _results(file, home.name, len(parts)))
    if not isinstance(statement, ast.Assign):
        return False
    tree = tree_of(file)
    return any(_starts(file, ast.unparse(t), tree) for t in statement.targets) or (
        isinstance(home, FUNCTIONS) and _returned_start(file, home, [ast.unparse(t) for t in statement.targets])
    )


def _returned_start(file: str, home: ast.FunctionDef | ast.AsyncFunctionDef, names: list[str]) -> bool:
    for node in ast.walk(home):
        if isinstance(node, ast.Return) and node.value is not None:
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            if any(ast.unparse(p) in names for p in parts):
                return any(_starts(file, name, tree) for name, tree in _results(file, home.name, len(parts)))
    return False


def _results(file: str, function: str, parts: int) -> Iterator[tuple[str, ast.AST | None]]:
    tree = tree_of(file)
    for node in ast.walk(tree) if tree is not None else ():
        if not isinstance(node, ast.Assign):
            continue
        ways = [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
        if any(isinstance(w, ast.Call) and ast.unparse(w.func).rpartition(".")[2] == function for w in ways):
            for target in node.targets:
                for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                    yield ast.unparse(part), tree


def _starts(file: str, name: str, tree: ast.AST | None) -> bool:
    if tree is None or not name:
        return False
    for node in ast.walk(tree):
        ranges = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("range", "trange") and len(node.args) >= 2
        if ranges and any(ast.unparse(n) == name for n in ast.walk(node.args[0]) if isinstance(n, ast.Name | ast.Attribute)):  # type: ignore[attr-defined]
            return True
        if isinstance(node, ast.AugAssign) and ast.unparse(node.target) == name:
            return True
    return False


@functools.cache
def restores_models(file: str) -> bool:
    """Whether some line of a file loads a state or reads a file of tensors."""
    tree = tree_of(file)
    names = ("load_state_dict", "load", "from_pretrained", "load_from_checkpoint", "load_model", "load_weights", "restore")
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in names:
                return True
    return False


def line_of(file: str, alias: Alias) -> Place | None:
    """The line of an alias."""
    return place((file, alias.line, alias.function))
