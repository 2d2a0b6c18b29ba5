"""Whether a script moves its weights against the gradient of its loss, or along it; and what the loss does to a policy."""

from __future__ import annotations

import ast
import dataclasses
import linecache
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.subjects.names import RESHAPING, plain_name
from trainrecipe.subjects.summands import REDUCTIONS, SCALES, SUMS, Graph

if TYPE_CHECKING:
    from trainrecipe.capture.watch import Seen
    from trainrecipe.finding import Place
    from trainrecipe.subjects.step import Step

UPHILL = 0.3
"""Cosine between update and gradient from which an update made by hand goes uphill: 1 for plain ascent."""

TIMES = frozenset({"mul", "rmul", "multiply"})
PICKS = frozenset({"gather", "__getitem__", "take_along_dim"})
"""Operations that take the log-probability of one action out of those of all."""
NORMALISED = 1e-3
"""How far the probabilities of all actions may sum to something else than one, by rounding."""

HALF = 1e-3
"""How far a factor may be from one half, by rounding."""
BLOWN = 10.0
"""Mean square of a standard normal variable's values (1 where the density fits) from which they have left it."""
GROWN = 4.0
"""Times that this must have grown in training, so that values which begin far out are not taken for driven ones."""


@dataclasses.dataclass(frozen=True)
class Outward:
    """Squares that enter the loss as those of a standard normal log-density do, and their means at the first and latest step.

    `place` is the line that made the loss; `rival`: another backward trains the same weights.
    """

    elements: int
    first: float
    latest: float
    steps: int
    rival: bool
    place: Place | None


@dataclasses.dataclass(frozen=True)
class Weighed:
    """Log-probabilities of `actions` taken, times constants of the batch from `low` to `high`, as part of the loss.

    `sign`: 1 where the loss rises with the log-probability of an action of positive weight, -1 where it falls.
    """

    sign: int
    actions: int
    low: float
    high: float
    place: Place | None


def goes_up(step: Step) -> bool | None:
    """Whether the weights are moved along the gradient; None when that cannot be told."""
    optimizer: Any = step.optimizer
    if isinstance(optimizer, torch.optim.Optimizer) and type(optimizer).__module__.startswith("torch.optim"):
        signs = {bool(g.get("maximize", False)) != (float(g.get("lr") or 0.0) < 0) for g in optimizer.param_groups}
        return signs.pop() if len(signs) == 1 else None
    cosine = _cosine(step)
    return None if cosine is None or abs(cosine) < UPHILL else cosine > 0


def _cosine(step: Step) -> float | None:
    """The cosine between the first update that was seen and the gradient before it."""
    after = next((t for t in step.later if t.step > step.tape.step or step.optimizer is None), None)
    if after is None:
        return None
    new = {id(o): f for o, f in after.first_values() if isinstance(f, torch.Tensor)}
    twin = step.twin()
    pairs = [(o, w) for o, w in twin.leaves if id(o) in new]
    if not pairs:
        return None
    grads = torch.autograd.grad(twin.loss(), [w for _, w in pairs], allow_unused=True)
    dot = size = length = 0.0
    for (original, working), gradient in zip(pairs, grads, strict=True):
        if gradient is None or gradient.is_sparse:
            continue
        moved = (new[id(original)].detach() - working.detach()).double()
        dot += float((moved * gradient).sum())
        size += float(moved.square().sum())
        length += float(gradient.double().square().sum())
    return dot / math.sqrt(size * length) if size and length else None


def outward(step: Step) -> Outward | None:
    """The log-density of a standard normal with a positive sign in the loss, whose variable training has driven far out.

    A square with the factor -1/2, per example or per element, alone has no lower bound: descent makes it grow.
    """
    latest = step.latest
    if latest is step or not latest.observed < step.observed:
        return None
    graph = Graph(step)
    squares = {op.index: op for op in graph.ops if _halved(graph, op)}
    if not squares:
        return None
    for op in (again := Graph(latest)).ops:
        one = squares.get(op.index)
        if one is None or op.name != one.name or op.outputs[0].shape != one.outputs[0].shape or not _halved(again, op):
            continue
        first, last = (float(o.outputs[0].detach().double().mean()) for o in (one, op))
        if last >= BLOWN and last >= GROWN * first:
            made = graph.maker(graph.root)
            rival = any(p is q for other in step.others for p in step.tape.parameters for q in other.tape.parameters)
            place = made.place if made is not None else step.place
            return Outward(op.outputs[0].numel(), first, last, latest.tape.step - step.tape.step, rival, place)
    return None


def _halved(graph: Graph, op: Seen) -> bool:
    """Whether an operation squares a table of values, and the loss falls by half of each square, per example or element."""
    out = op.outputs[0] if len(op.outputs) == 1 else None
    if out is None or not op.inputs or not out.requires_grad or out.ndim == 0 or out.shape[0] < 2 or out.is_complex():
        return False
    name, given = plain_name(op), list(op.args) if isinstance(op.args, list | tuple) else []
    power = given[1] if len(given) == 2 else None
    if not (
        name == "square"
        or (name == "pow" and isinstance(power, int | float) and power == 2)
        or (name in TIMES and power is op.inputs[0])
    ):
        return False
    (slope,) = torch.autograd.grad(graph.root.sum(), [out], retain_graph=True, allow_unused=True)
    if slope is None or not slope.numel() or bool((slope != slope.flatten()[0]).any()):
        return False
    return any(abs(float(slope.flatten()[0]) * n + 0.5) < HALF for n in (1, out.shape[0], out.numel()))


def weighed(step: Step) -> Iterator[Weighed]:
    """The products of log-probabilities of actions and what these are worth, in which the loss is linear.

    Left out are weights that are all alike (a mask) or all negative, and those of which the script's source turns the sign.
    """
    graph, places = Graph(step), set()
    for op in graph.ops:
        moving, fixed = ([t for t in op.inputs if t.requires_grad is wanted] for wanted in (True, False))
        if plain_name(op) not in TIMES or len(moving) != 1 or len(fixed) != 1 or op.place in places:
            continue
        picked = _picked(graph, moving[0], op.index) if op.outputs and op.outputs[0].requires_grad else []
        worth = fixed[0].detach().double() if picked and not fixed[0].is_complex() else torch.zeros(1)
        if len(set(worth[worth != 0].tolist())) < 2 or not bool((worth > 0).any()) or not bool(worth.isfinite().all()):
            continue
        sign = _sign(graph.root, op.outputs) * _sign(moving[0], picked)
        if sign and not (sign > 0 and _turned(op.place)):
            places.add(op.place)
            yield Weighed(sign, worth.numel(), float(worth.min()), float(worth.max()), op.place)


def _sign(root: torch.Tensor, tensors: list[torch.Tensor]) -> int:
    """The sign of a sum's derivative in each element of tensors; 0 where it is not the same for all."""
    found = torch.autograd.grad(root.sum(), tensors, retain_graph=True, allow_unused=True)
    down, up = (any(bool((g * s > 0).any()) for g in found if g is not None) for s in (-1, 1))
    return up - down


def _picked(graph: Graph, tensor: torch.Tensor, before: int) -> list[torch.Tensor]:
    """The log-probabilities of single actions that a tensor is a sum of; empty where anything else goes into it."""
    found: list[torch.Tensor] = []
    work, done = [(tensor, before)], set()
    while work:
        given, at = work.pop()
        op = graph.maker(given, at)
        if op is not None and op.index in done:
            continue
        done.add(-1 if op is None else op.index)
        moving = [] if op is None else [t for t in op.inputs if t.requires_grad]
        if op is not None and _picks(op):
            found.append(op.outputs[0])
        elif op is not None and (
            plain_name(op) in SUMS | REDUCTIONS or (plain_name(op) in SCALES and len(moving) == 1) or op.name in RESHAPING
        ):
            work += [(t, op.index) for t in moving]
        else:
            return []
    return found


def _picks(op: Seen) -> bool:
    """Whether an operation takes one of the log-probabilities of each distribution, by an index that the batch gives."""
    if op.name not in PICKS or len(op.inputs) < 2 or not op.outputs or op.inputs[0].ndim == 0:
        return False
    every, taken = op.inputs[0].detach(), op.outputs[0]
    chances = every.double().exp().sum(-1)
    one_each = every.shape[-1] > 1 and taken.numel() * every.shape[-1] == every.numel()
    return one_each and not op.inputs[1].is_floating_point() and bool(((chances - 1).abs() < NORMALISED).all())


def _turned(at: Place | None) -> bool:
    """Whether the source turns a sign: in the statement at a line, in what its names stand for, or in the arguments given.

    How a constant of the batch was made is not recorded, so `logp * -advantage` cannot be told otherwise.
    """
    try:
        tree = ast.parse("".join(linecache.getlines(at.file))) if at is not None else None
    except SyntaxError:
        return True
    if tree is None or at is None:
        return True
    around = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno <= at.line <= (n.end_lineno or n.lineno)]
    if not around:
        return True
    statement = max(around, key=lambda n: n.lineno)
    names = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
    within = {n.name for n in around if isinstance(n, ast.FunctionDef)}
    return any(_negates(n) for n in [statement, *_behind(tree, names, within)])


def _behind(tree: ast.Module, names: set[str], functions: set[str]) -> Iterator[ast.AST]:
    """The statements that give values to names, and the calls of functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(n, ast.Name) and n.id in names for t in targets for n in ast.walk(t)):
                yield node
        elif isinstance(node, ast.Call):
            function = node.func
            if functions & {getattr(function, "id", ""), getattr(function, "attr", "")}:
                yield node


def _negates(tree: ast.AST) -> bool:
    """Whether a sign is turned: a minus before anything but a bare number, a factor below zero, or `neg`."""
    for node in ast.walk(tree):
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=inner) if not isinstance(inner, ast.Constant):
                return True
            case ast.BinOp(op=ast.Mult() | ast.Div()) if any(
                isinstance(side, ast.UnaryOp) and isinstance(side.op, ast.USub) for side in (node.left, node.right)
            ):
                return True
            case ast.Attribute(attr="neg" | "neg_" | "negative"):
                return True
    return False
