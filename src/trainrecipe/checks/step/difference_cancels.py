from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.flow import Flow
    from trainrecipe.subjects.step import Step

DIFFERENCES = frozenset({"sub", "subtract", "__sub__", "rsub", "__rsub__", "div", "true_divide", "__truediv__", "__rtruediv__"})
NOTHING = 1e-6
"""Gradient of the difference, relative to that of one side, up to which it is nothing but rounding."""
FEWEST = 4
"""Elements below which equal sides may be chance."""


class DifferenceCancels(Check):
    """Nothing in the loss is subtracted from itself.

    What it checks
    --------------
    Differences and ratios on the way to the loss whose two sides both depend on trained weights: whether the sides are equal
    to the last bit and their gradients cancel, in every step that was recorded.

    Why it matters
    --------------
    What is compared with itself is always zero (a ratio always one), whatever the weights do, and passes no gradient: the
    term is in the loss, and trains nothing. It happens to "old" values that are computed again by the present network: the
    ratio of PPO, the difference to a reference model, an advantage against its own baseline.

    What healthy looks like
    -----------------------
    The old value was computed before the update, and kept without its graph.

    What to do
    ----------
    Compute the old side before the loop over the updates, under `torch.no_grad()`, and keep it.

    When it is wrong
    ----------------
    Sides that are equal only at the start (a copy of the network that is trained apart) have other gradients and are not
    reported, nor are old values without a graph: there the gradient is right, even where the ratio is one.

    Source
    ------
    Schulman et al. 2017 (PPO), equation 6: the ratio to the policy before the update; an identity.
    """

    title = "A difference in the loss cancels: both sides are the same"
    rows = ("S18", "S17")
    faults = (17,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.flow import Flow

        if step.distrust:
            return Evidence(missing=step.distrust)
        found, compared = [], 0
        for one in step.each()[:3]:
            flow = Flow.of(one)
            pairs = [op for op in flow.ops if _both_trained(flow, op)]
            compared = max(compared, len(pairs))
            found.append([op for op in pairs if _cancels(op)])
        if not compared:
            return Evidence(missing="no difference on the way to the loss has trained weights on both sides")
        first = found[0][0] if all(found) else None
        return Evidence(
            {
                "compared": compared,
                "ratio": first is not None and "div" in first.name,
                "shape": list(first.outputs[0].shape) if first is not None else [],
                "steps": len(found),
            },
            place=first.place if first is not None else step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["shape"]:
            return Ruling.passed(f"none of {evidence['compared']} differences of trained values cancels")
        what = "ratio is always one" if evidence["ratio"] else "difference is always zero"
        return Ruling.found(
            Severity.WARNING,
            f"A {what}, with no gradient: both sides are computed from the same weights and inputs.",
            expected="two sides that differ once the weights have moved, or one that carries no gradient",
            observed=f"equal to the last bit, of shape {tuple(evidence['shape'])}, in {evidence['steps']} recorded steps, and "
            "the gradients of the two sides cancel",
            fix="Compute the old side before the updates, under torch.no_grad(), and keep it; or detach the side that is only "
            "a reference.",
        )


def _both_trained(flow: Flow, op: Seen) -> bool:
    if op.name not in DIFFERENCES or len(op.inputs) != 2 or op.index not in flow.reaching or not op.outputs:
        return False
    a, b = op.inputs
    return a is not b and a.requires_grad and b.requires_grad and a.shape == b.shape and a.numel() >= FEWEST


def _cancels(op: Seen) -> bool:
    """Whether both sides are equal and their gradients add up to nothing, while that of one side is something."""
    import torch

    from trainrecipe.capture.listen import describe

    a, b = op.inputs
    if not torch.equal(a, b) or not bool((a != a.flatten()[0]).any()):
        return False
    leaves = describe.leaves(a)
    if not leaves:
        return False
    direction = torch.linspace(-1.0, 1.0, a.numel(), dtype=a.dtype, device=a.device).reshape(a.shape)
    one = torch.autograd.grad(a, leaves, direction, retain_graph=True, allow_unused=True)
    both = torch.autograd.grad(op.outputs[0], leaves, direction, retain_graph=True, allow_unused=True)
    size = max((float(g.abs().max()) for g in one if g is not None and g.numel()), default=0.0)
    rest = max((float(g.abs().max()) for g in both if g is not None and g.numel()), default=0.0)
    return size > 0 and rest <= NOTHING * size
