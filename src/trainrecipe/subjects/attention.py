"""How attention spreads its weights: the entropy of each softmax over scores of queries and keys."""

from __future__ import annotations

import dataclasses
import math

import torch

from trainrecipe.capture.watch import Seen
from trainrecipe.capture.where import place
from trainrecipe.finding import Place
from trainrecipe.subjects.flow import Flow
from trainrecipe.subjects.step import Step

_PRODUCTS = frozenset({"matmul", "__matmul__", "bmm", "einsum", "baddbmm"})
_MASKED = -1e3
"""Scores below this are masked."""
_LEAST_KEYS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """One attention: the median entropy of its weights over the logarithm of the number of keys (1: even, 0: one key takes
    all), the same with scores divided by the root of the width, the width of queries, the median number of keys, and the
    standard deviation of the scores."""

    entropy: float
    divided: float
    width: int
    keys: int
    deviation: float
    place: Place | None


def spreads(step: Step) -> list[Spread]:
    """The attentions of a step, in order. Raises what a replay raises."""
    flow = Flow.of(step, evaluating=True)
    found = []
    for op in flow.ops:
        if op.name == "softmax" and op.index in flow.reaching and op.outputs:
            product = _product(flow, op)
            if product is not None and _weighs(flow, op):
                found.append(_spread(op.inputs[0].detach(), op.outputs[0].detach(), _width(product), place(product.at)))
        elif op.name == "scaled_dot_product_attention" and op.kwargs.get("scale") is not None:
            q, k = op.inputs[0].detach(), op.inputs[1].detach()
            if q.ndim > 2 and k.shape[-3] and q.shape[-3] % k.shape[-3] == 0:  # several queries share a head of keys
                k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
            scores = q @ k.transpose(-2, -1) * float(op.kwargs["scale"])
            found.append(_spread(scores, scores.softmax(-1), q.shape[-1], place(op.at)))
    return [s for s in found if s is not None]


def _product(flow: Flow, softmax: Seen) -> Seen | None:
    """The product of two values, both made with weights, that a softmax's scores come from."""
    tensor, before = softmax.inputs[0], softmax
    for _ in range(12):
        op = flow.maker(tensor, before)
        if op is None:
            return None
        made = [t for t in op.inputs if t.requires_grad and id(t) in flow.data]
        if op.name in _PRODUCTS and len(made) >= 2:
            return op
        same = [t for t in made if t.numel() == tensor.numel()]
        if len(same) != 1:
            return None
        tensor, before = same[0], op
    return None


def _weighs(flow: Flow, softmax: Seen) -> bool:
    """Whether what a softmax gives is multiplied, through dropout or reshapes, with values made with weights."""
    work = [(softmax.outputs[0], softmax, 6)]
    while work:
        tensor, after, left = work.pop()
        for op in flow.users(tensor, after):
            others = [t for t in op.inputs if t is not tensor and t.requires_grad and id(t) in flow.data]
            if op.name in _PRODUCTS and others:
                return True
            if left and len(op.outputs) == 1 and op.outputs[0].numel() == tensor.numel() and not others:
                work.append((op.outputs[0], op, left - 1))
    return False


def _width(product: Seen) -> int:
    return product.inputs[0].shape[-1]


def _spread(scores: torch.Tensor, weights: torch.Tensor, width: int, at: Place | None) -> Spread | None:
    scores, weights = scores.double().flatten(0, -2), weights.double().flatten(0, -2)
    if scores.shape != weights.shape or not torch.allclose(weights.sum(-1), torch.ones_like(weights[:, 0]), atol=1e-2):
        return None
    open_ = scores > _MASKED
    keys = open_.sum(-1)
    rows = keys >= _LEAST_KEYS
    if not bool(rows.any()) or width < 2:
        return None
    scores, open_, keys = scores[rows], open_[rows], keys[rows]
    masked = scores.masked_fill(~open_, -math.inf)
    centred = (scores - scores.masked_fill(~open_, 0.0).sum(-1, keepdim=True) / keys[:, None]).masked_fill(~open_, 0.0)
    deviation = (centred.pow(2).sum(-1) / keys).sqrt().median()
    return Spread(
        _entropy(masked, keys), _entropy(masked / math.sqrt(width), keys), width, int(keys.median()), float(deviation), at
    )


def _entropy(scores: torch.Tensor, keys: torch.Tensor) -> float:
    logs = scores.log_softmax(-1)
    entropy = -(logs.exp() * logs.masked_fill(logs == -math.inf, 0.0)).sum(-1)
    return float((entropy / keys.double().log()).median())
