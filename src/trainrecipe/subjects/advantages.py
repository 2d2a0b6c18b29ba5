"""Policy losses whose advantage carries a gradient into the layer that predicts values, found in a watched replay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture.tape import LOSSES
from trainrecipe.subjects.names import RESHAPING, plain_name
from trainrecipe.subjects.summands import REDUCTIONS, SCALES, SUMS, Graph, weighs, weights_of

if TYPE_CHECKING:
    from trainrecipe.capture.watch import Seen
    from trainrecipe.finding import Place
    from trainrecipe.subjects.step import Step

PRODUCTS = frozenset({"mul", "rmul", "multiply"})
BOUNDS = frozenset({"min", "max", "minimum", "maximum", "clamp", "clip", "where"})
LINEAR = SUMS | SCALES | REDUCTIONS | RESHAPING | {"getitem", "select", "narrow", "index_select", "gather", "unbind"}
AFFINE = LINEAR | {"std", "var", "detach"}
"""What an advantage is made of: returns minus values, perhaps standardised."""
LOGARITHMS = frozenset({"log_softmax", "logsumexp", "log", "logsigmoid", "log_prob", "binary_cross_entropy_with_logits"})
ERRORS = frozenset({"mse_loss", "smooth_l1_loss", "huber_loss", "l1_loss"})
SQUARES = frozenset({"pow", "square", "abs", "rpow"})


def attached(step: Step) -> list[dict[str, Any]]:
    """For each product of a log-probability and an advantage in the loss that carries a gradient into a layer which another
    term fits to returns: the share of that layer's gradient that comes through the product, and where the advantage is made.

    Raises what a replay raises; ask `distrust` first.
    """
    graph = Graph(step)
    if not graph.root.requires_grad:
        return []
    ends = list(_ends(graph))
    fitted = [h for op in ends if op.name in ERRORS or plain_name(op) in SQUARES for h in [_heads(graph, op)] if h]
    found = []
    for op in ends:
        if plain_name(op) not in PRODUCTS or op.name in LOSSES:
            continue
        moving = [t for t in op.inputs if t.requires_grad]
        for chance, advantage in (moving, moving[::-1]) if len(moving) == 2 else ():
            mine = heads_of(graph, advantage, op.index)
            theirs = heads_of(graph, chance, op.index)
            if mine and theirs and not mine.keys() & theirs.keys() and any(f.keys() == mine.keys() for f in fitted):
                seen = _look(graph, op, chance, advantage, mine)
                found += [seen] if seen is not None else []
    return found


def _ends(graph: Graph) -> Iterator[Seen]:
    """The operations at which the terms of the loss begin: behind sums, factors, means and bounds."""
    work: list[tuple[torch.Tensor, int | None]] = [(graph.root, None)]
    done: set[int] = set()
    while work:
        tensor, before = work.pop()
        op = graph.maker(tensor, before)
        if op is None or op.index in done or not tensor.requires_grad:
            continue
        done.add(op.index)
        moving = [t for t in op.inputs if t.requires_grad]
        name = plain_name(op)
        ended = op.name in LOSSES or (name in SCALES - RESHAPING and len(moving) > 1)
        if not ended and name in LINEAR | BOUNDS:
            work += [(t, op.index) for t in moving]
        else:
            yield op


def _heads(graph: Graph, op: Seen) -> dict[int, torch.Tensor]:
    merged: dict[int, torch.Tensor] = {}
    for tensor in op.inputs:
        merged |= heads_of(graph, tensor, op.index)
    return merged


def cone_before(graph: Graph, tensor: torch.Tensor, before: int) -> list[Seen]:
    """The operations between the last layers and a tensor, those layers included."""
    first = graph.maker(tensor, before)
    if first is None or not tensor.requires_grad:
        return []
    found, work = {first.index: first}, [first]
    while work:
        op = work.pop()
        for given in () if weighs(op) else op.inputs:
            made = graph.maker(given, op.index) if given.requires_grad else None
            if made is not None and made.index not in found:
                found[made.index] = made
                work.append(made)
    return list(found.values())


def heads_of(graph: Graph, tensor: torch.Tensor, before: int) -> dict[int, torch.Tensor]:
    """The weights of the layers that a tensor comes from directly, by identity."""
    return {id(w): w for op in cone_before(graph, tensor, before) if weighs(op) for w in weights_of(op)}


def _look(
    graph: Graph, op: Seen, chance: torch.Tensor, advantage: torch.Tensor, heads: dict[int, torch.Tensor]
) -> dict[str, Any] | None:
    names = {plain_name(o) for o in cone_before(graph, chance, op.index)} | {
        o.name for o in cone_before(graph, chance, op.index)
    }
    between = {plain_name(o) for o in cone_before(graph, advantage, op.index) if not weighs(o)}
    if not names & LOGARITHMS or not between <= AFFINE or not between & SUMS:
        return None
    product, weights = op.outputs[0], list(heads.values())
    (down,) = torch.autograd.grad(graph.root.sum(), [product], retain_graph=True, allow_unused=True)
    if down is None:
        return None
    (onto,) = torch.autograd.grad(product, [advantage], down, retain_graph=True)
    through = torch.autograd.grad(advantage, weights, onto, retain_graph=True, allow_unused=True)
    whole = torch.autograd.grad(graph.root.sum(), weights, retain_graph=True, allow_unused=True)
    pairs = [(a, b) for a, b in zip(through, whole, strict=True) if a is not None and b is not None]
    policy = sum(float(a.double().square().sum()) for a, _ in pairs) ** 0.5
    rest = sum(float((b - a).double().square().sum()) for a, b in pairs) ** 0.5
    if policy == 0:
        return None
    made = graph.maker(advantage, op.index)
    at: Place | None = made.place if made is not None else op.place
    return {"share": policy / (policy + rest), "place": at or op.place}
