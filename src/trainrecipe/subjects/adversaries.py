"""Pairs of networks that are trained against each other: which way each of them wants the critic's score of made examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainrecipe.capture import members

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

SHIFT = 3.0
"""How far the scores are moved up and down, in units of a logit: beyond the labels 0 and 1 of a squared loss."""
MOST = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Game:
    """`made` and `real`: how much the critic's loss grows as its scores of made and of real examples grow (per two `SHIFT`);
    `maker`: the same of the maker's loss and the scores of what it makes. `op` is the maker's call of the critic."""

    made: float
    real: float
    maker: float
    step: Step
    op: Op


def games(step: Step) -> Iterator[Game]:
    """The games in which this step trains the maker."""
    for op in step.tape.modules():
        critic = op.call
        if _trains(step, critic) or not any(step.tape.values[n].requires_grad for n in op.inputs) or not op.outputs:
            continue
        makers = {id(o.call) for o in step.tape.modules() if o.index < op.index and _trains(step, o.call)}
        wanted = _slope(step, op)
        made: list[float] = []
        real: list[float] = []
        for other in step.others:
            if not makers or not _trains(other, critic):
                continue
            for call in other.tape.modules():
                penalised = any(other.tape.values[n].requires_grad for n in call.inputs)
                if call.call is critic and call.outputs and not penalised and (slope := _slope(other, call)) is not None:
                    (made if _made_by(other, call, makers) else real).append(slope)
        if wanted is not None and made and real:
            yield Game(sum(made), sum(real), wanted, step, op)


def _trains(step: Step, module: nn.Module) -> bool:
    """Whether the step's optimiser holds most of a module's parameters."""
    held = {id(p) for g in step.optimizer.param_groups for p in g["params"]} if step.optimizer is not None else set()
    own = [id(p) in held for p in members.parameters(module)]
    return bool(own) and sum(own) > len(own) / 2


def _made_by(step: Step, call: Op, makers: set[int]) -> bool:
    """Whether what a call takes came out of one of these modules, in the step or before it."""
    ops = {op.index: op for op in (*step.tape.history, *step.tape.ops)}
    work, seen = list(call.inputs), set()
    while work:
        number = work.pop()
        value = step.tape.values.get(number)
        if value is None or number in seen:
            continue
        seen.add(number)
        for made in {value.producer, value.outer}:
            op = ops.get(made) if made is not None else None
            if op is None or op.index >= call.index:
                continue
            if op.kind == "module" and id(op.call) in makers:
                return True
            work += op.inputs
    return False


def _slope(step: Step, call: Op) -> float | None:
    """How much the step's loss grows from scores that are `SHIFT` lower to those `SHIFT` higher; None for other outputs."""
    number = call.outputs[0]
    twin = step.twin()
    with torch.enable_grad():  # which a gradient penalty beside them needs
        scores = twin.run(until=[number]).get(number)
        if scores is None or not scores.is_floating_point() or scores.numel() > MOST or scores.ndim > 2:
            return None
        if scores.ndim == 2 and scores.shape[1] != 1:
            return None
        scores = scores.detach()
        if bool(((scores >= 0) & (scores <= 1)).all()):  # probabilities move within their bounds
            low, high = scores * 0.05, 1 - (1 - scores) * 0.05
        else:
            low, high = scores - SHIFT, scores + SHIFT
        return float((twin.loss({number: high}).sum() - twin.loss({number: low}).sum()).detach())
