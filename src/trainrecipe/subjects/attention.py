"""How attention spreads its weights: the entropy of each softmax over scores of queries and keys, and what padding gets."""

from __future__ import annotations

import contextlib
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
_SCALED = frozenset({"mul", "__mul__", "__rmul__"})


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


@dataclasses.dataclass(frozen=True, slots=True)
class Astray:
    """One attention over sequences of which some are padded.

    `padding` is the mean share of the weights of real positions that lies on padding, in these sequences; `real` that on
    real positions, relative to what they get where the weights are spread evenly (0: nothing).
    """

    operation: str
    padding: float
    real: float
    place: Place | None


def on_padding(step: Step, lengths: torch.Tensor, width: int) -> list[Astray]:
    """What padding, behind these lengths, gets of each attention over `width` keys. Raises what a replay raises."""
    flow = Flow.of(step, evaluating=True)
    keys = torch.arange(width, device=lengths.device) < lengths[:, None]
    sides = torch.stack([keys, ~keys], -1)
    found = []
    for op in flow.ops:
        if op.index not in flow.reaching or not op.outputs:
            continue
        sums = _on_sides(flow, op, sides)
        if sums is not None and (made := _astray(op, sums.to(lengths.device).double(), lengths, width)) is not None:
            found.append(made)
    return found


def _on_sides(flow: Flow, op: Seen, sides: torch.Tensor) -> torch.Tensor | None:
    """The weight of an attention on real and on padded keys: examples, whatever lies between, queries, 2."""
    (count, width), given = sides.shape[:2], None
    if op.name == "multi_head_attention_forward":
        return _of_whole(op, sides)
    if op.name == "softmax":
        given = op.outputs[0].detach()
        if given.ndim < 2 or not _weighs(flow, op, _PRODUCTS | _SCALED):
            return None
    elif op.name == "scaled_dot_product_attention" and len(op.inputs) > 2:
        given = op.inputs[1].detach().transpose(-2, -1)
    if given is None or not given.numel() or given.shape[-1] != width or given.shape[0] % count:
        return None
    if op.name == "softmax":
        rows = given.reshape(count, -1, given.shape[-2] if given.ndim > 2 else 1, width)
        whole = torch.allclose(rows.double().sum(-1).nan_to_num(1.0), torch.ones_like(rows[..., 0]).double(), atol=1e-2)
        return rows @ sides.to(rows)[:, None] if whole else None
    with torch.no_grad(), contextlib.suppress(Exception):  # such as values that are broadcast over examples
        value = op.inputs[2]
        ones = sides.to(value).repeat_interleave(value.shape[0] // count, 0)
        ones = ones.reshape(value.shape[0], *[1] * (value.ndim - 3), width, 2).expand(*value.shape[:-2], width, 2)
        kwargs = {k: v for k, v in op.kwargs.items() if k not in ("query", "key", "value", "dropout_p")}
        kwargs |= {k: op.args[n] for k, n in (("attn_mask", 3), ("is_causal", 5)) if len(op.args) > n}
        out = torch.nn.functional.scaled_dot_product_attention(op.inputs[0], op.inputs[1], ones, **kwargs)
        return out.reshape(count, -1, out.shape[-2], 2)
    return None


def _of_whole(op: Seen, sides: torch.Tensor) -> torch.Tensor | None:
    """The same of PyTorch's own multi-head attention, the mean over its heads: it is asked for its weights."""
    kwargs = {**op.kwargs, "need_weights": True, "average_attn_weights": True, "training": False}
    with torch.no_grad(), contextlib.suppress(Exception):
        _, weights = torch.nn.functional.multi_head_attention_forward(*op.args, **kwargs)
        if weights is not None and (weights.shape[0], weights.shape[-1]) == sides.shape[:2] and weights.ndim == 3:
            return weights[:, None] @ sides.to(weights)[:, None]
    return None


def _astray(op: Seen, sums: torch.Tensor, lengths: torch.Tensor, width: int) -> Astray | None:
    """Means over the queries, real ones where they can be told, of the sequences that are padded."""
    asks = (lengths < width)[:, None, None] & sums.isfinite().all(-1) & (sums.sum(-1) > 0.5)
    if sums.shape[2] == width:
        asks = asks & (torch.arange(width, device=lengths.device) < lengths[:, None])[:, None]
    if not bool(asks.any()):
        return None
    even = (lengths.double() / width)[:, None, None].expand(asks.shape)[asks]
    real, padded = sums[asks].unbind(-1)
    return Astray(op.name, float(padded.mean()), float((real / even).mean()), place(op.at))


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


def _weighs(flow: Flow, softmax: Seen, products: frozenset[str] = _PRODUCTS) -> bool:
    """Whether what a softmax gives is multiplied, through dropout or reshapes, with values made with weights."""
    work = [(softmax.outputs[0], softmax, 6)]
    while work:
        tensor, after, left = work.pop()
        for op in flow.users(tensor, after):
            others = [t for t in op.inputs if t is not tensor and t.requires_grad and id(t) in flow.data]
            if op.name in products and others:
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
