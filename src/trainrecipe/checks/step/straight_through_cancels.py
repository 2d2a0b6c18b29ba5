from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import JOINING, RESHAPING, plain_name

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.flow import Flow
    from trainrecipe.subjects.step import Step

MOVES = (RESHAPING - JOINING) | {"data.get", "detach"}
MOST = 64
"""Sums with a repeated operand that are looked at in one step."""
STEPS = 3


class StraightThroughCancels(Check):
    """A value that is put in by a straight-through estimator leaves the gradient of what it replaces.

    What it checks
    --------------
    Sums of the form a + (b − a) and a − (a − b) on the way to the loss, where b was made from a: whether the gradient of the
    sum in a is exactly zero, in every step that was recorded.

    Why it matters
    --------------
    A straight-through estimator passes b on, a rounded, chosen or quantised a, with the gradient of a. Without `detach` the
    two gradients of a cancel: the sum is b, and nothing else. Whatever lies behind it does not train what lies before it: the
    encoder of a VQ-VAE learns from its commitment term alone, and nothing about reconstruction.

    What healthy looks like
    -----------------------
    `z + (q - z).detach()`: the value of q, and the gradient of z.

    What to do
    ----------
    Detach the difference.

    When it is wrong
    ----------------
    Sums whose parts came apart on purpose, such as a mean that is subtracted and added again, are not looked at, since what
    is left was not made from what cancels. Estimators with a gradient of their own (`autograd.Function`) have no such sum.

    Source
    ------
    Bengio et al. 2013; van den Oord et al. 2017 (VQ-VAE), section 3.2. An identity: the derivative of a + (b − a) in a is 0.
    """

    title = "A straight-through estimator cancels its own gradient"
    rows = ("S12", "S17")
    faults = (17,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.flow import Flow

        if step.distrust:
            return Evidence(missing=step.distrust)
        found, sums = [], 0
        for one in step.each()[:STEPS]:
            flow = Flow.of(one)
            pairs = list(_replacing(flow))[:MOST]
            sums = max(sums, len(pairs))
            if not sums:
                break
            found.append([op for op, a in pairs if _cancels(op, a)])
        if not sums:
            return Evidence(missing="no sum on the way to the loss has the form a + (b - a) with b made from a")
        first = found[0][0] if all(found) else None
        return Evidence(
            {"sums": sums, "shape": list(first.outputs[0].shape) if first is not None else [], "steps": len(found)},
            place=first.place if first is not None else step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["shape"]:
            return Ruling.passed("what straight-through estimators replace keeps its gradient")
        return Ruling.found(
            Severity.WARNING,
            "A straight-through estimator passes no gradient on: in a + (b - a) the two gradients of a cancel.",
            expected="the gradient of what is replaced: a + (b - a).detach()",
            observed=f"a gradient of exactly zero in a value of shape {tuple(evidence['shape'])}, in {evidence['steps']} "
            "recorded steps",
            fix="Detach the difference: `z + (q - z).detach()`.",
        )


def _replacing(flow: Flow) -> list[tuple[Seen, torch.Tensor]]:
    """Sums a + (b - a), with b made from a, and that a."""
    found = []
    for op in flow.ops:
        if plain_name(op) not in ("add", "sub", "radd", "rsub") or len(op.inputs) != 2 or op.index not in flow.reaching:
            continue
        for a, rest in (op.inputs, op.inputs[::-1]):
            inner = flow.maker(rest, op)
            while inner is not None and inner.name in MOVES - {"detach", "data.get"} and inner.inputs:
                inner = flow.maker(inner.inputs[0], inner)
            if inner is None or plain_name(inner) not in ("sub", "rsub") or len(inner.inputs) != 2 or not a.requires_grad:
                continue
            same = _same_as(flow, a, op)
            kept = [t for t in inner.inputs if not _same_as(flow, t, inner) & same]
            if len(kept) == 1 and rest.requires_grad and kept[0].shape == a.shape and _made_from(flow, kept[0], inner, same):
                found.append((op, a))
    return found


def _same_as(flow: Flow, tensor: torch.Tensor, before: Seen) -> set[int]:
    """The identities of a tensor and of those that it is a reshaped copy of."""
    found = {id(tensor)}
    for _ in range(8):
        op = flow.maker(tensor, before)
        if op is None or op.name not in MOVES - {"detach", "data.get"} or not op.inputs:
            break
        tensor, before = op.inputs[0], op
        found.add(id(tensor))
    return found


def _made_from(flow: Flow, tensor: torch.Tensor, before: Seen, same: set[int]) -> bool:
    """Whether a tensor came out of one of several, even along ways without a gradient."""
    made = flow.maker(tensor, before)
    return made is not None and any(id(t) in same for op in (made, *flow.cone(made)) for t in op.inputs)


def _cancels(op: Seen, a: torch.Tensor) -> bool:
    """Whether the gradient of a sum in one of its operands is zero, although it is given directly."""
    import torch

    out = op.outputs[0]
    if not out.requires_grad or not out.numel() or not out.is_floating_point() or out.layout != torch.strided:
        return False
    direction = torch.linspace(1.0, 2.0, out.numel(), dtype=out.dtype, device=out.device).reshape(out.shape)
    (gradient,) = torch.autograd.grad(out, [a], direction, retain_graph=True, allow_unused=True)
    return gradient is not None and not gradient.is_sparse and not bool((gradient != 0).any())
