"""Inputs that a step mixes of two examples (mixup): with which weights, and how the loss weighs the labels of the two."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from trainrecipe.capture.tape import Ref

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

PARTNERS = frozenset({"__getitem__", "index_select", "flip", "roll", "flipud"})
"""How the second example of each pair is taken: the same batch in another order."""
ADDING = frozenset({"add", "add_", "__iadd__", "__add__", "__radd__"})
SCALING = frozenset({"mul", "mul_", "__imul__", "__mul__", "__rmul__", "multiply"})
ORDERS = frozenset({"randperm", "permutation"})


@dataclasses.dataclass(frozen=True, slots=True)
class Blend:
    """`own` times a batch plus `other` times the same batch in the order `order` (the number of a value, None: reversed)."""

    own: float
    other: float
    order: int | None
    op: Op


@dataclasses.dataclass(frozen=True, slots=True)
class Mixed:
    """How a step mixes examples, and their labels: share of the own example in the input, and of its label in the loss.

    `foreign`: the partners' labels come from an order of their own, drawn apart from that of the inputs.
    """

    example: float
    label: float
    foreign: bool
    op: Op


def mixed(step: Step) -> Mixed | None:
    """The mixture of a step whose inputs and labels are both mixed; None for any other."""
    ops = {op.index: op for op in step.tape.history}
    given = next((b for i in step.inputs if (b := _blend(step, ops, i.number)) is not None), None)
    if given is None:
        return None
    label = _by_two_losses(step, ops) or _by_soft_labels(step, ops)
    if label is None or given.own + given.other == 0 or label.own + label.other == 0:
        return None
    foreign = given.order != label.order and all(_drawn(step, ops, o) for o in (given.order, label.order))
    if given.order != label.order and not foreign:
        return None  # the same order perhaps, moved or converted in between
    return Mixed(given.own / (given.own + given.other), label.own / (label.own + label.other), foreign, label.op)


def _drawn(step: Step, ops: dict[int, Op], order: int | None) -> bool:
    made = None if order is None else step.tape.values[order].producer
    return made is not None and made in ops and ops[made].name in ORDERS


def _by_two_losses(step: Step, ops: dict[int, Op]) -> Blend | None:
    """Labels that are weighed by the weights of two calls of one loss on the same predictions."""
    calls = [c for c in step.losses if c.counts and len(c.op.inputs) > 1 and c.op.outputs]
    for first in calls:
        for second in calls:
            own, other = first.op.inputs[1], second.op.inputs[1]
            partner = _partner(step, ops, other)
            if first is second or first.input != second.input or partner is None or partner[0] != own:
                continue
            env = step.twin().run()
            root = next((env[n] for n in step.tape.roots if n in env), None)
            ends = [env.get(c.op.outputs[0]) for c in (first, second)]
            if root is None or any(e is None or not e.requires_grad for e in ends):
                return None
            grads = torch.autograd.grad(root.sum(), [e for e in ends if e is not None], allow_unused=True)
            weights = [0.0 if g is None else float(g.sum()) for g in grads]
            return Blend(weights[0], weights[1], partner[1], first.op)
    return None


def _by_soft_labels(step: Step, ops: dict[int, Op]) -> Blend | None:
    """Labels that are mixed before one loss is taken."""
    return next((b for t in step.targets if (b := _blend(step, ops, t.number)) is not None), None)


def _partner(step: Step, ops: dict[int, Op], number: int) -> tuple[int, int | None] | None:
    """The batch that a value is a reordering of, and the order's value; None for any other value."""
    made = step.tape.values[number].producer
    op = ops.get(made) if made is not None else None
    if op is None or op.name not in PARTNERS or not op.inputs or op.parent is not None:
        return None
    whole = step.tape.values[op.inputs[0]].shape
    if whole != step.tape.values[number].shape:
        return None
    return op.inputs[0], next(iter(op.inputs[1:]), None)


def _blend(step: Step, ops: dict[int, Op], number: int) -> Blend | None:
    """A value as a weighted sum of a batch and its reordering."""
    made = step.tape.values[number].producer
    op = ops.get(made) if made is not None else None
    if op is None or op.name not in ADDING or len(op.inputs) != 2 or not _plain(op):
        return None
    parts = [_scaled(step, ops, n, op.index) for n in op.inputs]
    for (own, a), (other, b) in (parts, parts[::-1]):
        partner = _partner(step, ops, other)
        if partner is not None and partner[0] == own and a is not None and b is not None:
            return Blend(a, b, partner[1], op)
    return None


def _plain(op: Op) -> bool:
    """Whether an addition has no weight of its own (`alpha`)."""
    return not op.kwargs and op.args is not None and len(op.args) == 2


def _scaled(step: Step, ops: dict[int, Op], number: int, before: int) -> tuple[int, float | None]:
    """A value as a factor times another one; the factor is None where it is not known, such as a tensor of factors."""
    made = step.tape.values[number].producer
    op = ops.get(made) if made is not None and made < before else None
    if op is None or op.name not in SCALING or not op.args or len(op.args) != 2:
        return number, 1.0
    numbers = [a.value for a in op.args if isinstance(a, Ref)]
    factors = [a for a in op.args if isinstance(a, int | float)]
    if len(numbers) == 1 and len(factors) == 1:
        return numbers[0], float(factors[0])
    small = [n for n in numbers if step.tape.values[n].shape == ()]
    if len(numbers) == 2 and len(small) == 1:
        known = step.tape.values[small[0]].constant
        return next(n for n in numbers if n != small[0]), None if known is None else float(known)
    return number, None
