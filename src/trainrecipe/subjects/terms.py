"""The terms of a step's loss: the part, the weight and the gradient of each, and the known loss that it equals.

What a term computes is found by trying: its prediction is replaced at random and its value compared with PyTorch's own
losses of that prediction and the targets, so that a loss written by hand is known by what it does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture.tensors import dense
from trainrecipe.capture.watch import run_watched
from trainrecipe.subjects.known import Known, fit
from trainrecipe.subjects.names import JOINING, RESHAPING, plain_name
from trainrecipe.subjects.summands import MOST_TERMS, Graph, Piece, pieces_of, weighs, weights_of

if TYPE_CHECKING:
    from trainrecipe.capture.watch import Seen
    from trainrecipe.finding import Place
    from trainrecipe.subjects.step import Step

ERRORS = frozenset(
    {
        *("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss"),
        *("smooth_l1_loss", "huber_loss", "ctc_loss", "multi_margin_loss", "soft_margin_loss"),
    }
)
"""Loss functions that measure an error: they have a lower bound and no upper one."""
_MOST_ELEMENTS = 4_000_000
"""Size of a prediction beyond which nothing is tried on it."""


@dataclasses.dataclass(slots=True)
class Term:
    """Terms of the loss that come from one line. All numbers are those of the recorded step.

    `name` is PyTorch's loss function behind it, or the operation that made it; `value` its part of the loss; `factor` its
    weight in the sum where it is one number; `sign` that of its weight (0: mixed). `norm` is the norm of its gradient
    over the trained weights, `shared` that over the weights which other terms reach too. `weights_only`: no data went
    into it. `known`: the loss that it equals, up to a factor. `flipped` is the line that turns its sign; `reached` numbers
    the trained weights that it reaches, `head` those of the layers that make its predictions. `pull` is the weight in the
    sum of each element of PyTorch's loss function or of the known loss, the same for all (else 0), `targets` its targets.
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
    pull: float = 0.0
    targets: list[torch.Tensor] = dataclasses.field(default_factory=list)


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
    groups: dict[Any, list[Piece]] = {}
    pieces = list(pieces_of(graph))
    if len(pieces) > MOST_TERMS:
        return Parts([], why=f"the loss is a sum of more than {MOST_TERMS} terms")
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


def _gradient(group: list[Piece], trained: list[torch.Tensor]) -> tuple[torch.Tensor | None, ...]:
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


def _term(graph: Graph, group: list[Piece], numbers: dict[int, int]) -> Term:
    op = group[0].op
    weights = [p.weight for p in group if p.weight is not None]
    value = sum(float((p.tensor.detach().double() * w).sum()) for p, w in zip(group, weights, strict=True))
    positive, negative = (any(bool((w * s > 0).any()) for w in weights) for s in (1, -1))
    uniform = {float(w.flatten()[0]) for w in weights if w.numel() == 1}
    data, target = _origins(graph, group)
    flips = group[0].flips
    known, head = _known(graph, group[0]) if len(group) == 1 else (None, [])
    pull, targets = (known.factor, [known.target]) if known is not None else _pull(graph, group)
    if known is None and pull:
        head = [w for p in group for o in graph.cone(p.tensor, stop=weighs) if weighs(o) for w in weights_of(o)]
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
        pull=pull,
        targets=targets,
    )


def _pull(graph: Graph, group: list[Piece]) -> tuple[float, list[torch.Tensor]]:
    """The weight of each element of PyTorch's loss functions behind terms, where it is one for all; and their targets."""
    found: set[float] = set()
    targets = []
    for piece in group:
        if piece.op is None or piece.op.name not in ERRORS or len(piece.op.inputs) < 2 or not piece.op.outputs:
            return 0.0, []
        (weight,) = torch.autograd.grad(graph.root.sum(), [piece.op.outputs[0]], retain_graph=True, allow_unused=True)
        if weight is None or not weight.numel() or bool((weight != weight.flatten()[0]).any()):
            return 0.0, []
        found.add(float(weight.flatten()[0]))
        targets.append(piece.op.inputs[1].detach())
    signs = {math.copysign(1, f) for f in found}
    return (found.pop() if len(signs) == 1 and 0.0 not in found else 0.0), targets


def _origins(graph: Graph, group: list[Piece]) -> tuple[bool, bool]:
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


def _known(graph: Graph, piece: Piece) -> tuple[Known | None, list[torch.Tensor]]:
    """The loss of PyTorch's that a term equals, as a function of the output of its last layer (None where unsure), and the
    weights of that layer."""
    behind = behind_of(graph, piece)
    if behind is None:
        return None, []
    layer, prediction, at, maker = behind
    head = weights_of(layer)
    targets = list(met(graph, piece.tensor, at))
    if not targets or piece.weight is None:
        return None, []
    number = next((n for n, t in graph.env.items() if t is prediction), None)
    evaluate = functools.partial(evaluate_with, graph, piece, at, maker)
    found = fit(evaluate, prediction.detach(), targets, number, None if piece.op is None else piece.op.place)
    if found is not None:
        (found.gradient,) = torch.autograd.grad(graph.root.sum(), [prediction], retain_graph=True, allow_unused=True)
    return found, head


def behind_of(graph: Graph, piece: Piece) -> tuple[Seen, torch.Tensor, int, Seen] | None:
    """The one layer whose predictions a term is computed from, these, the operation they are made by, and the term's last one.

    None where several layers go into the term, or where nothing can be tried on it.
    """
    last = [op for op in graph.cone(piece.tensor, stop=weighs) if weighs(op)]
    maker = graph.maker(piece.tensor)
    if len(last) != 1 or not last[0].outputs or maker is None:
        return None
    prediction, at = _through_reshapes(graph, last[0])
    if prediction.numel() > _MOST_ELEMENTS or not prediction.is_floating_point() or maker.index <= at:
        return None
    return last[0], prediction, at, maker


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


def met(graph: Graph, tensor: torch.Tensor, after: int) -> Iterator[torch.Tensor]:
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


def evaluate_with(graph: Graph, piece: Piece, at: int, made: Seen, prediction: torch.Tensor) -> float:
    """A term's part of the loss with another prediction in place of the recorded one; NaN where other operations ran."""
    values: list[torch.Tensor] = []

    def look(seen: Seen) -> Any:
        if seen.index == at:
            return prediction.to(seen.outputs[0].dtype)
        if seen.index == made.index and seen.name == made.name:
            values.append(seen.outputs[0].detach().clone())
        return None

    with torch.no_grad(), contextlib.suppress(Exception):
        run_watched(graph.step, graph.twin, look)
    if not values or piece.weight is None or values[0].shape != piece.weight.shape:
        return math.nan
    return float((values[0].double() * piece.weight).sum())
