"""What looks as if it froze parameters: attributes on modules and tensors that PyTorch never reads, comparisons, thaws; and
layers that were frozen before anything trained them."""

from __future__ import annotations

import ast
import difflib
import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture import members
from trainrecipe.capture.listen.inits import as_built, drawn
from trainrecipe.capture.listen.loops import tree_of
from trainrecipe.capture.tape import Op, Tape
from trainrecipe.capture.unused import user_files
from trainrecipe.capture.where import place
from trainrecipe.capture.windows import tapes_of
from trainrecipe.finding import Place
from trainrecipe.subjects.run import Untrained
from trainrecipe.subjects.weights import Freeze

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener

RIGHT = "requires_grad"
_LIKE = 0.85
"""Similarity of a name to `requires_grad` from which it is taken for a slip: `require_grad`, `requires_grads`."""
_NAMES = 6


def find(listener: Listener, names: dict[int, str], moved: set[int]) -> Iterator[Freeze]:
    """Attributes that were meant to freeze. `names` are parameter names by id, `moved` ids of parameters that moved."""
    roots = list(listener.models.roots.values())
    modules = {id(m): (path, m) for root in roots for path, m in members.named_modules(root)}
    wrong = [(path, m, name) for path, m in modules.values() if (name := _slip(vars(m), module=True))]
    inner = {id(c) for _, m, _ in wrong for c in members.modules(m) if c is not m}
    for attribute in sorted({name for _, _, name in wrong}):
        every = [(path, m) for path, m, name in wrong if name == attribute and id(m) not in inner]
        parameters = {id(p): p for _, m in every for p in members.parameters(m) if p.requires_grad}
        at, own = _where(attribute, module=True)
        holder = ", ".join(dict.fromkeys(path or type(m).__name__ for path, m in every[:4]))
        yield _freeze("module", attribute, holder, parameters.values(), names, moved, at, own)
    thawed = [(path, m) for path, m in modules.values() if _looks_thawed(m)]
    if thawed:
        still = {id(p): p for _, m in thawed for p in members.parameters(m)}
        holder = ", ".join(dict.fromkeys(path or type(m).__name__ for path, m in thawed[:4]))
        yield _freeze("thawed", RIGHT, holder, still.values(), names, moved, _where_thawed(), False)
    tensors = {id(p): p for root in roots for p in members.parameters(root) if p.requires_grad}
    slips = [(p, name) for p in tensors.values() if (name := _slip(getattr(p, "__dict__", {}), module=False))]
    for attribute in sorted({name for _, name in slips}):
        meant = [p for p, name in slips if name == attribute]
        yield _freeze("tensor", attribute, "", meant, names, moved, _where(attribute, module=False)[0], False)
    for at in comparisons():
        meant = [p for p in tensors.values() if id(p) in moved]
        yield _freeze("compared", RIGHT, "", meant, names, moved, at, False)


def _freeze(
    kind: str,
    attribute: str,
    holder: str,
    parameters: Iterable[torch.Tensor],
    names: dict[int, str],
    moved: set[int],
    at: Place | None,
    own: bool,
) -> Freeze:
    every = list(parameters)
    listed = [names.get(id(p), "") for p in every[:_NAMES]]
    size, went = sum(p.numel() for p in every), sum(p.numel() for p in every if id(p) in moved)
    return Freeze(kind, attribute, holder, [n for n in listed if n], size, went, at, own)


def _slip(attributes: dict[str, Any], *, module: bool) -> str:
    """The attribute that was set to something false and is read by nothing; empty when there is none."""
    for name, value in attributes.items():
        if name.startswith("_") or not (value is None or (isinstance(value, int) and not value)):
            continue
        if (module and name == RIGHT) or (name != RIGHT and _is_slip(name)):
            return name
    return ""


def _looks_thawed(module: torch.nn.Module) -> bool:
    """Whether `requires_grad = True` was set on a module whose parameters are all frozen all the same."""
    if not vars(module).get(RIGHT):
        return False
    own = list(members.parameters(module))
    return bool(own) and not any(p.requires_grad for p in own)


@functools.cache
def _is_slip(name: str) -> bool:
    return difflib.SequenceMatcher(None, name.lower(), RIGHT).ratio() >= _LIKE


# ---- in the source


def _statements() -> Iterator[tuple[str, ast.stmt, str, bool]]:
    """Assignments and bare expressions of the user's code, with file, function, and whether a loop or function is around."""
    for file in user_files():
        for statement, function, inside in _of_file(file):
            yield file, statement, function, inside


@functools.cache
def _of_file(file: str) -> list[tuple[ast.stmt, str, bool]]:
    tree = tree_of(file)
    return list(_walk(tree, "", False)) if tree is not None else []


def _walk(node: ast.AST, function: str, inside: bool) -> Iterator[tuple[ast.stmt, str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Assign | ast.Expr):
            yield child, function, inside
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, child.name, True)
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _walk(child, function, inside or isinstance(child, ast.For | ast.While))


def _set_in(statement: ast.stmt) -> Iterator[tuple[ast.expr, str, ast.expr]]:
    """(object, attribute, value) for each attribute that a statement sets, `setattr` included."""
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Attribute):
                yield target.value, target.attr, statement.value
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        if isinstance(call.func, ast.Name) and call.func.id == "setattr" and len(call.args) == 3:
            name = call.args[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield call.args[0], name.value, call.args[2]


def _where(attribute: str, *, module: bool) -> tuple[Place | None, bool]:
    """The line that sets an attribute, and whether it is only the object's own class that does."""
    own: Place | None = None
    for file, statement, function, _ in _statements():
        for target, name, value in _set_in(statement):
            if name != attribute or (isinstance(value, ast.Constant) and value.value):
                continue
            at = place((file, statement.lineno, function))
            if module and _over_parameters(file, statement, target):
                continue
            if isinstance(target, ast.Name) and target.id == "self":
                own = own or at
                continue
            return at, False
    return own, True


def _where_thawed() -> Place | None:
    """The line that sets `requires_grad` to something true on what is no parameter."""
    for file, statement, function, _ in _statements():
        for target, name, value in _set_in(statement):
            off = isinstance(value, ast.Constant) and not value.value
            if name == RIGHT and not off and not _over_parameters(file, statement, target):
                return place((file, statement.lineno, function))
    return None


def _over_parameters(file: str, statement: ast.AST, target: ast.expr) -> bool:
    """Whether the target is the variable of a loop over `parameters()`, so that it is a tensor."""
    tree = tree_of(file)
    if not isinstance(target, ast.Name):
        return isinstance(target, ast.Attribute) and target.attr in ("weight", "bias")
    for node in ast.walk(tree) if tree is not None else ():
        names = {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)} if isinstance(node, ast.For) else set()
        if isinstance(node, ast.For) and target.id in names and any(s is statement for s in ast.walk(node)):
            return "parameters" in ast.unparse(node.iter)
    return False


def comparisons() -> Iterator[Place]:
    """Statements that compare `requires_grad` and do nothing with the answer, in a loop or a function."""
    for file, statement, function, inside in _statements():
        if inside and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Compare):
            left = statement.value.left
            if isinstance(left, ast.Attribute) and left.attr == RIGHT and isinstance(statement.value.ops[0], ast.Eq):
                at = place((file, statement.lineno, function))
                if at is not None:
                    yield at


def thaws() -> list[Place]:
    """Lines that may make parameters trainable: `requires_grad = True`, `requires_grad_()` with anything but False."""
    found = []
    for file, statement, function, _ in _statements():
        for _target, name, value in _set_in(statement):
            if name == RIGHT and not (isinstance(value, ast.Constant) and not value.value):
                found.append(place((file, statement.lineno, function)))
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "requires_grad_":
            given = [*call.args, *(k.value for k in call.keywords)]
            if not (given and isinstance(given[0], ast.Constant) and not given[0].value):
                found.append(place((file, statement.lineno, function)))
    return [p for p in found if p is not None]


# ---- frozen as they were made


def untrained(listener: Listener) -> Iterator[Untrained]:
    """Layers with a gradient flowing through them, or with nothing but scales behind them, that are frozen with the weights
    that their constructor gave them."""
    places = freezing()
    told: set[int] = set()
    for tape in reversed(tapes_of(listener)):
        graded = {id(p) for p, gained in tape.gradients if not gained.zero}
        homes: dict[int, tuple[str, torch.nn.Module, torch.nn.Module]] = {}
        for root in listener.models.roots.values():
            if any(id(p) in graded for p in members.parameters(root)):
                for path, parent in members.named_modules(root):
                    for name, child in parent._modules.items():
                        homes.setdefault(id(child), (f"{path}.{name}" if path else name, parent, root))
        for op in tape.history:
            layer = op.call
            if op.kind != "module" or id(layer) in told or id(layer) not in homes or not _is_frozen(layer):
                continue
            last = _last(tape, op)
            behind = any(n in tape.values and tape.values[n].requires_grad for n in op.inputs)
            if last is None or not (behind or last) or not (as_built(layer) or (last and not behind and drawn(layer))):
                continue  # random features come before everything that is trained, and a layer with weights behind them
            told.add(id(layer))
            path, parent, root = homes[id(layer)]
            born = place(listener.models.births.get(layer))
            yield Untrained(
                name=path,
                kind=type(layer).__name__,
                model=type(root).__name__,
                elements=layer.weight.numel(),
                last=last,
                adapter=any(id(p) in graded for p in parent._parameters.values()),
                place=places[0] if len(places) == 1 else born,
            )


def _is_frozen(layer: Any) -> bool:
    """Whether a layer's weight never got a gradient, nor anything else of its own but a bias or scale."""
    own = [p for name, p in layer._parameters.items() if p is not None and (name == "weight" or p.ndim > 1)]
    return bool(own) and not any(p.requires_grad or p.grad is not None for p in own)


def _last(tape: Tape, op: Op) -> bool | None:
    """Whether no weight lies between what a layer gave and the loss; None when the loss does not depend on it."""
    derived, last = set(op.outputs), True
    for other in tape.history:
        if other.index > op.index and derived.intersection(other.inputs):
            derived.update(other.outputs)
            last &= other.call is op.call or not _weighs(tape, other)
    return last if derived.intersection(tape.roots) else None


def _weighs(tape: Tape, op: Op) -> bool:
    """Whether an operation applies a weight of two or more axes."""
    own = op.call._parameters.values() if isinstance(op.call, torch.nn.Module) else ()
    taken = (tape.values[n].parameter for n in op.inputs if n in tape.values)
    return any(p is not None and p.ndim > 1 for p in (*own, *taken))


def freezing() -> list[Place]:
    """Lines that may freeze parameters: `requires_grad` set to anything but True, `requires_grad_` likewise."""
    found = []
    for file, statement, function, _ in _statements():
        values = [value for _target, name, value in _set_in(statement) if name == RIGHT]
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "requires_grad_":
            values += [*call.args, *(k.value for k in call.keywords)]
        if any(not (isinstance(v, ast.Constant) and v.value) for v in values):
            found.append(place((file, statement.lineno, function)))
    return [p for p in found if p is not None]
