"""The loss of a step taken apart: the terms that it is a weighted sum of, and the known loss that each of them equals.

Everything is read off a replay in which every operation is watched, so that a term inside a module and one in the loop
are alike. What a term computes is found by trying: its prediction is replaced at random and the value compared with
PyTorch's own losses of that prediction and the targets, so that a loss written by hand is known by what it does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture.tape import LOSSES
from trainrecipe.capture.tensors import dense
from trainrecipe.capture.watch import run_watched
from trainrecipe.subjects.known import Known, fit
from trainrecipe.subjects.names import JOINING, LAYERS, RESHAPING, plain_name

if TYPE_CHECKING:
    from trainrecipe.capture.replay import Twin
    from trainrecipe.capture.watch import Seen
    from trainrecipe.finding import Place
    from trainrecipe.subjects.step import Step

SUMS = frozenset({"add", "radd", "sub", "subtract", "rsub"}) | JOINING
"""Operations whose result is a sum of their operands, up to signs."""
SCALES = frozenset({"neg", "negative", "mul", "rmul", "multiply", "div", "divide", "true_divide", "truediv"}) | RESHAPING
"""Operations that are linear in one operand."""
REDUCTIONS = frozenset({"mean", "sum", "nanmean", "nansum"})
PRODUCTS = frozenset({"matmul", "mm", "addmm", "bmm", "einsum", "baddbmm"})
_MOST_TERMS = 64
_MOST_ELEMENTS = 4_000_000
"""Size of a prediction beyond which nothing is tried on it."""


class Graph:
    """One watched replay of a step: every operation with its live tensors, and which operation made which tensor."""

    def __init__(self, step: Step, twin: Twin | None = None) -> None:
        self.step = step
        self.twin = twin or step.twin()
        self.ops: list[Seen] = []
        self.makers: dict[int, list[Seen]] = {}
        with torch.enable_grad():
            self.env = run_watched(step, self.twin, self._look)
            self.root = self.twin.total(self.env)
        if step.tape.weights == [None] and len(step.tape.roots) == 1:
            self.root = self.env[step.tape.roots[0]]

    def _look(self, seen: Seen) -> None:
        self.ops.append(seen)  # keeps the tensors alive, so that their identities stay unique
        for out in seen.outputs:
            self.makers.setdefault(id(out), []).append(seen)

    def maker(self, tensor: torch.Tensor, before: int | None = None) -> Seen | None:
        """The last operation that made a tensor or wrote to it; `before` leaves out operations from that index on."""
        made = self.makers.get(id(tensor), ())
        return next((s for s in reversed(made) if before is None or s.index < before), None)

    def cone(self, tensor: torch.Tensor, stop: Any = None) -> Iterator[Seen]:
        """The operations that a tensor came out of, each once; those for which `stop` holds end the search."""
        seen: set[int] = set()
        work: list[tuple[torch.Tensor, int | None]] = [(tensor, None)]
        while work:
            given, before = work.pop()
            op = self.maker(given, before)
            if op is None or op.index in seen:
                continue
            seen.add(op.index)
            yield op
            if stop is None or not stop(op):
                work += [(t, op.index) for t in op.inputs]


@dataclasses.dataclass(slots=True)
class Term:
    """Terms of the loss that come from one line. All numbers are those of the recorded step.

    `name` is PyTorch's loss function behind it, or the operation that made it; `value` its part of the loss; `factor` its
    weight in the sum where it is one number; `sign` that of its weight (0: mixed). `norm` is the norm of its gradient
    over the trained weights, `shared` that over the weights which other terms reach too. `weights_only`: no data went
    into it. `known`: the loss that it equals, up to a factor. `flipped` is the line that turns its sign; `reached` numbers
    the trained weights that it reaches, `head` those of the layer that makes its prediction.
    """

    name: str
    place: Place | None
    value: float
    factor: float | None
    sign: int
    norm: float
    shared: float
    weights_only: bool
    meets_target: bool
    known: Known | None = None
    flipped: Place | None = None
    reached: frozenset[int] = frozenset()
    head: frozenset[int] = frozenset()


@dataclasses.dataclass(slots=True)
class Parts:
    """A loss taken apart. `total` is its value; `shared` tells how many weights more than one term reaches; `why` why it
    could not be taken apart (then there are no terms)."""

    terms: list[Term]
    total: float = math.nan
    shared: int = 0
    why: str = ""


def parts(step: Step) -> Parts:
    """The terms of a step's loss, largest gradient first; remembered with the step."""
    kept: Parts | None = step.__dict__.get("_parts")
    if kept is None:
        kept = step.__dict__["_parts"] = _parts(step)
    return kept


def _parts(step: Step) -> Parts:
    if step.distrust:
        return Parts([], why=step.distrust)
    graph = Graph(step)
    if not graph.root.requires_grad:
        return Parts([], why="the loss depends on no weight")
    groups: dict[Any, list[_Piece]] = {}
    pieces = list(pieces_of(graph))
    if len(pieces) > _MOST_TERMS:
        return Parts([], why=f"the loss is a sum of more than {_MOST_TERMS} terms")
    weights = torch.autograd.grad(graph.root.sum(), [p.tensor for p in pieces], retain_graph=True, allow_unused=True)
    for piece, weight in zip(pieces, weights, strict=True):
        if weight is not None and bool((weight != 0).any()):
            piece.weight = weight.detach()
            groups.setdefault(piece.key, []).append(piece)
    trained = step.trained(graph.twin)
    numbers = {id(w): i for i, w in enumerate(trained)}
    gradients = [_gradient(group, trained) for group in groups.values()]
    shared = [i for i in range(len(trained)) if sum(g[i] is not None for g in gradients) > 1]
    terms = []
    for group, gradient in zip(groups.values(), gradients, strict=True):
        term = _term(graph, group, numbers)
        term.norm = _norm(gradient)
        term.reached = frozenset(i for i, g in enumerate(gradient) if g is not None)
        term.shared = _norm([gradient[i] for i in shared])
        terms.append(term)
    terms.sort(key=lambda t: -t.norm)
    return Parts(terms, float(graph.root.detach().sum()), len(shared))


@dataclasses.dataclass(eq=False)
class _Piece:
    """One summand: a live tensor, and the operation that stands for it."""

    tensor: torch.Tensor
    op: Seen | None
    flips: tuple[Seen, ...] = ()
    weight: torch.Tensor | None = None

    @property
    def key(self) -> Any:
        return None if self.op is None else (self.op.name, self.op.at, self.op.path)


def pieces_of(graph: Graph) -> Iterator[_Piece]:
    """The summands of a loss: back from the root through sums, constant factors and means of sums of losses."""
    work: list[tuple[torch.Tensor, int | None, tuple[Seen, ...]]] = [(graph.root, None, ())]
    done: set[tuple[int, int | None]] = set()
    while work:
        tensor, before, flips = work.pop()
        if (id(tensor), before) in done or not tensor.requires_grad:
            continue
        done.add((id(tensor), before))
        op = graph.maker(tensor, before)
        onward = [] if op is None else _onward(graph, op)
        if onward and op is not None:
            work += [(t, op.index, (*flips, op) if _flips(op, t) else flips) for t in onward]
        else:
            yield _Piece(tensor, op if op is None else _principal(graph, op), flips)


def _flips(op: Seen, operand: torch.Tensor) -> bool:
    """Whether an operation turns the sign of one of its operands."""
    name = plain_name(op)
    given = list(op.args) if isinstance(op.args, list | tuple) else []
    if name in ("neg", "negative"):
        return True
    if name in ("sub", "subtract") and len(given) > 1:
        return given[1] is operand
    if name == "rsub":
        return bool(given) and given[0] is operand
    others = [g for g in given if g is not operand]
    return name in SCALES and any(_negative(g) for g in others)


def _negative(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1 and not value.is_complex() and float(value.detach()) < 0
    return isinstance(value, int | float) and value < 0


def _onward(graph: Graph, op: Seen) -> list[torch.Tensor]:
    """The operands in which an operation is linear, where the sum goes on behind it; none where a term ends."""
    moving = [t for t in op.inputs if t.requires_grad]
    name = plain_name(op)
    if name in SUMS or (name == "sum" and len(moving) > 1):
        return moving
    if (
        name in SCALES
        and len(moving) == 1
        and op.inputs
        and not (name.endswith(("div", "divide")) and moving[0] is not _first(op))
    ):
        return moving
    if name in REDUCTIONS and len(moving) == 1 and (moving[0].numel() == 1 or _adds_losses(graph, moving[0], op.index)):
        return moving
    return []


def _first(op: Seen) -> Any:
    return op.args[0] if isinstance(op.args, list | tuple) and op.args else op.inputs[0]


def _adds_losses(graph: Graph, tensor: torch.Tensor, before: int) -> bool:
    """Whether a tensor is a sum of several tensors that are each a loss per example."""
    leaves, sums = 0, 0
    work: list[tuple[torch.Tensor, int]] = [(tensor, before)]
    while work:
        given, at = work.pop()
        op = graph.maker(given, at)
        if op is None:
            return False
        moving = [t for t in op.inputs if t.requires_grad]
        name = plain_name(op)
        if name in SUMS and moving:
            sums += len(moving) > 1
            work += [(t, op.index) for t in moving]
        elif name in SCALES and len(moving) == 1:
            work.append((moving[0], op.index))
        elif op.name in LOSSES or name in REDUCTIONS:
            leaves += 1
        else:
            return False
        if len(work) > _MOST_TERMS:
            return False
    return bool(sums) and leaves > 1


def _principal(graph: Graph, op: Seen) -> Seen:
    """The loss function behind reductions, masks and factors, if there is one; else the operation itself."""
    at: Seen | None = op
    for _ in range(8):
        if at is None or at.name in LOSSES:
            break
        moving = [t for t in at.inputs if t.requires_grad]
        if len(moving) != 1 or plain_name(at) not in (SCALES | REDUCTIONS | {"clamp", "pow", "sqrt"}):
            at = None
            break
        at = graph.maker(moving[0], at.index)
    return at if at is not None and at.name in LOSSES else op


def _gradient(group: list[_Piece], trained: list[torch.Tensor]) -> tuple[torch.Tensor | None, ...]:
    if not trained:
        return ()
    return torch.autograd.grad(
        [p.tensor for p in group],
        trained,
        [p.weight for p in group if p.weight is not None],
        retain_graph=True,
        allow_unused=True,
    )


def _norm(gradients: Iterable[torch.Tensor | None]) -> float:
    return math.sqrt(sum(float(dense(g.detach()).double().square().sum()) for g in gradients if g is not None))


def _term(graph: Graph, group: list[_Piece], numbers: dict[int, int]) -> Term:
    op = group[0].op
    weights = [p.weight for p in group if p.weight is not None]
    value = sum(float((p.tensor.detach().double() * w).sum()) for p, w in zip(group, weights, strict=True))
    positive, negative = (any(bool((w * s > 0).any()) for w in weights) for s in (1, -1))
    uniform = {float(w.flatten()[0]) for w in weights if w.numel() == 1}
    data, target = _origins(graph, group)
    flips = group[0].flips
    known, head = _known(graph, group[0]) if len(group) == 1 else (None, [])
    return Term(
        name="the loss" if op is None else plain_name(op),
        place=None if op is None else op.place,
        value=value,
        factor=uniform.pop() if len(uniform) == 1 and all(w.numel() == 1 for w in weights) else None,
        sign=0 if positive == negative else 1 if positive else -1,
        norm=0.0,
        shared=0.0,
        weights_only=not data,
        meets_target=target,
        known=known,
        flipped=flips[0].place if len(flips) == 1 else None,
        head=frozenset(numbers[id(w)] for w in head if id(w) in numbers),
    )


def _origins(graph: Graph, group: list[_Piece]) -> tuple[bool, bool]:
    """Whether data went into a term, and whether a target did: data that meets the model's results only."""
    data = target = False
    wanted = {id(graph.env[i.number]) for i in graph.step.targets if i.number in graph.env and i.tensor.numel() > 1}
    for piece in group:
        if piece.op is None:
            return True, False
        for op in graph.cone(piece.tensor):
            for given in op.inputs:
                if graph.maker(given, op.index) is not None or (given.is_leaf and given.requires_grad):
                    continue
                data = data or given.numel() > 1 or not given.is_leaf
                target = target or id(given) in wanted
            data = data or (not op.inputs and any(o.numel() > 1 for o in op.outputs))
    return data, target


# ---- what a term computes


def weighs(op: Seen) -> bool:
    """Whether an operation applies weights."""
    return op.name in LAYERS or (plain_name(op) in PRODUCTS and any(_is_weight(t) for t in op.inputs))


def _is_weight(tensor: torch.Tensor) -> bool:
    base = tensor._base if tensor._base is not None else tensor
    return base.is_leaf and base.requires_grad


def _known(graph: Graph, piece: _Piece) -> tuple[Known | None, list[torch.Tensor]]:
    """The loss of PyTorch's that a term equals, as a function of the output of its last layer (None where unsure), and the
    weights of that layer."""
    last = [op for op in graph.cone(piece.tensor, stop=weighs) if weighs(op)]
    if len(last) != 1 or not last[0].outputs:
        return None, []
    head = [t if t.is_leaf else t._base for t in last[0].inputs if _is_weight(t)]
    prediction, at = _through_reshapes(graph, last[0])
    maker = graph.maker(piece.tensor)
    if prediction.numel() > _MOST_ELEMENTS or not prediction.is_floating_point() or maker is None or maker.index <= at:
        return None, []
    targets = list(_met(graph, piece.tensor, at))
    if not targets or piece.weight is None:
        return None, []
    number = next((n for n, t in graph.env.items() if t is prediction), None)
    evaluate = functools.partial(_evaluate, graph, piece, at, maker)
    found = fit(evaluate, prediction.detach(), targets, number, None if piece.op is None else piece.op.place)
    if found is not None:
        (found.gradient,) = torch.autograd.grad(graph.root.sum(), [prediction], retain_graph=True, allow_unused=True)
    return found, [w for w in head if w is not None]


def _through_reshapes(graph: Graph, op: Seen) -> tuple[torch.Tensor, int]:
    """A layer's output, or what reshapes at once make of it, as far as it is a value of the step's top level."""
    tops = {id(t) for t in graph.env.values()}
    tensor, index = op.outputs[0], op.index
    for _ in range(6):
        if id(tensor) in tops:
            return tensor, index
        takers = [o for o in graph.ops if o.index > index and any(t is tensor for t in o.inputs)]
        if len(takers) != 1 or takers[0].name not in (RESHAPING - JOINING) or not takers[0].outputs:
            break
        if takers[0].outputs[0].numel() != tensor.numel():
            break
        tensor, index = takers[0].outputs[0], takers[0].index
    return (tensor, index) if id(tensor) in tops else (op.outputs[0], op.index)


def _met(graph: Graph, tensor: torch.Tensor, after: int) -> Iterator[torch.Tensor]:
    """Tensors without a gradient that operations between the prediction and a term take, and what those were made of."""
    found: set[int] = set()
    work = [t for op in graph.cone(tensor) if op.index > after for t in op.inputs if not t.requires_grad]
    while work:
        given = work.pop(0)
        if id(given) in found or len(found) > 24:
            continue
        found.add(id(given))
        if given.ndim and given.numel() > 1:
            yield given.detach()
        op = graph.maker(given)
        work += [] if op is None else [t for t in op.inputs if not t.requires_grad]


def _evaluate(graph: Graph, piece: _Piece, at: int, made: Seen, prediction: torch.Tensor) -> float:
    """The term's part of the loss with another prediction in place of the recorded one; NaN where other operations ran."""
    values: list[torch.Tensor] = []

    def look(seen: Seen) -> Any:
        if seen.index == at:
            return prediction.to(seen.outputs[0].dtype)
        if seen.index == made.index and seen.name == made.name:
            values.append(seen.outputs[0].detach())
        return None

    with torch.no_grad(), contextlib.suppress(Exception):
        run_watched(graph.step, graph.twin, look)
    if not values or piece.weight is None or values[0].shape != piece.weight.shape:
        return math.nan
    return float((values[0].double() * piece.weight).sum())


# ---- the calls of loss functions with what flows back through them


@dataclasses.dataclass(slots=True)
class LiveCall:
    """A call of one of PyTorch's loss functions that the loss depends on: its tensors, the gradient of the step's loss in
    its prediction (None when none reaches it), and its other arguments by name."""

    name: str
    prediction: torch.Tensor
    target: torch.Tensor
    gradient: torch.Tensor | None
    settings: dict[str, Any]
    place: Place | None
    made_by: str
    made_at: Place | None


def live_calls(step: Step) -> list[LiveCall]:
    """Every such call of a replayed step with a target, in order; remembered with the step. None when it is not trusted."""
    kept: list[LiveCall] | None = step.__dict__.get("_live_calls")
    if kept is None:
        kept = step.__dict__["_live_calls"] = [] if step.distrust else list(_live_calls(Graph(step)))
    return kept


def _live_calls(graph: Graph) -> Iterator[LiveCall]:
    reached = {op.index for op in graph.cone(graph.root)}
    for op in graph.ops:
        if op.name not in LOSSES or op.index not in reached:
            continue
        bound = _bind(op)
        prediction = bound.pop("input1" if "input1" in bound else "input", None)
        target = bound.pop("target", None)
        if not isinstance(prediction, torch.Tensor) or not isinstance(target, torch.Tensor):
            continue
        gradient = None
        if prediction.requires_grad:
            (gradient,) = torch.autograd.grad(graph.root.sum(), [prediction], retain_graph=True, allow_unused=True)
        maker = graph.maker(prediction, op.index)
        for _ in range(6):
            if maker is None or maker.name not in RESHAPING or not maker.inputs:
                break
            maker = graph.maker(maker.inputs[0], maker.index)
        yield LiveCall(
            op.name,
            prediction.detach(),
            target.detach(),
            None if gradient is None else gradient.detach(),
            bound,
            op.place,
            "" if maker is None else plain_name(maker),
            None if maker is None else maker.place,
        )


def _bind(op: Seen) -> dict[str, Any]:
    """Arguments of a loss function by name."""
    try:
        bound = inspect.signature(getattr(torch.nn.functional, op.name)).bind(*op.args, **op.kwargs)
    except (TypeError, ValueError, AttributeError):
        return {}
    return dict(bound.arguments)
