"""Terms of a loss that rise as the predictions approach the targets, beside a known loss that falls."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from trainrecipe.capture.tensors import equal
from trainrecipe.subjects.moves import correlation
from trainrecipe.subjects.names import plain_name
from trainrecipe.subjects.summands import Graph, Piece, pieces_of
from trainrecipe.subjects.terms import behind_of, evaluate_with, met, parts

if TYPE_CHECKING:
    from trainrecipe.capture.watch import Seen
    from trainrecipe.finding import Place
    from trainrecipe.subjects.known import Known
    from trainrecipe.subjects.step import Step

WAY = (0.0, 0.1, 0.3, 0.6, 1.0)
"""Shares of the way from the recorded predictions to right ones, at which a term is evaluated."""
LOGIT = 6.0
"""Logit of a right prediction: a probability of 0.998."""
EXACT = 0.9999
"""Correlation from which a tensor is the targets, up to a shift and a factor."""
RISE = 0.03
"""Share of the known loss's fall, below which the rise of another term does not matter."""


@dataclasses.dataclass(frozen=True)
class Opposed:
    """A term that uses the targets of `known` and rises by `rise` on the way on which that falls by `fall`."""

    name: str
    known: str
    rise: float
    fall: float
    place: Place | None


def opposed(step: Step) -> Iterator[Opposed]:
    """The terms that rise all the way while the predictions of their layer are moved to the targets of a known loss."""
    known = [t.known for t in parts(step).terms if t.known is not None and t.known.factor > 0 and _right(t.known) is not None]
    if not known or len(parts(step).terms) < 2:
        return
    graph = Graph(step)
    pieces = [p for p in pieces_of(graph) if p.op is not None]
    roots = [p.tensor for p in pieces]
    weights = torch.autograd.grad(graph.root.sum(), roots, retain_graph=True, allow_unused=True) if roots else ()
    own = {(t.name, t.place) for t in parts(step).terms if t.known is not None}
    for piece, weight in zip(pieces, weights, strict=True):
        piece.weight = weight
        behind = behind_of(graph, piece)
        if weight is None or piece.op is None or behind is None or (plain_name(piece.op), piece.op.place) in own:
            continue
        _, prediction, at, made = behind
        for one in known:
            if equal(one.prediction, prediction.detach()):
                if _same_targets(list(met(graph, piece.tensor, at)), one):
                    yield from _followed(graph, piece, at, made, one)
                break


def _same_targets(found: list[torch.Tensor], known: Known) -> bool:
    """Whether a term meets the known loss's targets, shifted, scaled or written as one column per class.

    Not so where it also meets others of the same size, such as the targets in another order after mixing.
    """
    forms = [known.target]
    if not known.target.is_floating_point():
        columns = torch.nn.functional.one_hot(known.target, known.prediction.shape[known.axis])
        forms += [columns, columns.movedim(-1, known.axis)]
    sizes = {f.numel() for f in forms}
    alike = [t for t in found if t.numel() in sizes and not t.is_complex() and not _counts_rows(t)]
    return bool(alike) and all(any(_follows(t, f) for f in forms) for t in alike)


def _counts_rows(tensor: torch.Tensor) -> bool:
    """Whether a tensor is 0, 1, 2, …, as where predictions are taken by row and class."""
    return tensor.ndim == 1 and torch.equal(tensor, torch.arange(len(tensor), device=tensor.device).to(tensor.dtype))


def _follows(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.numel() == other.numel() and abs(correlation(one.reshape(-1), other.reshape(-1))) > EXACT


def _followed(graph: Graph, piece: Piece, at: int, made: Seen, known: Known) -> Iterator[Opposed]:
    right = _right(known)
    assert right is not None
    evaluate = functools.partial(evaluate_with, graph, piece, at, made)
    now = known.prediction.double()
    values = [evaluate(((1 - share) * now + share * right).to(known.prediction.dtype)) for share in WAY]
    fall = known.factor * (_value(known, now) - _value(known, right))
    steps = [b - a for a, b in itertools.pairwise(values)]
    rise = values[-1] - values[0]
    if fall > 0 and all(s > 0 for s in steps) and rise > RISE * fall and piece.op is not None:
        flip = piece.flips[0].place if piece.flips else None
        yield Opposed(piece.op.name, known.name, rise, fall, flip or piece.op.place)


def _right(known: Known) -> torch.Tensor | None:
    """Predictions at which a known loss is nearly as low as it gets; None for losses that are not followed."""
    target, shape = known.target, known.prediction.shape
    if known.name == "cross_entropy" and not target.is_floating_point():
        classes = torch.nn.functional.one_hot(target, shape[known.axis]).movedim(-1, known.axis)
        return LOGIT * (2 * classes.reshape(shape).double() - 1)
    if known.name == "binary_cross_entropy_with_logits":
        return LOGIT * (2 * target.double() - 1).reshape(shape)
    if known.name in ("mse_loss", "l1_loss", "smooth_l1_loss"):
        return target.double().reshape(shape)
    return None


def _value(known: Known, prediction: torch.Tensor) -> float:
    functional = torch.nn.functional
    if known.name == "cross_entropy":
        return float(functional.cross_entropy(prediction.movedim(known.axis, 1), known.target))
    loss = getattr(functional, known.name)
    return float(loss(prediction, known.target.double().reshape(prediction.shape)))
