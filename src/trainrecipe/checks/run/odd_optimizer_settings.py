from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

ADAMS = frozenset({"Adam", "AdamW", "NAdam", "RAdam", "Adamax"})
TINY = 0.02
"""A dampening below this is a weight decay in the wrong place: `SGD(params, lr, momentum, weight_decay)` sets dampening."""
LARGE = 1e-3
"""Adam's eps from which it may govern the update. 1e-8 is usual, 1e-5 to 1e-4 in reinforcement learning."""
GOVERNS = 0.9
STARVED = 1e-4
"""Update over weight per step, in the median over the parameters, below which eps holds the training up."""


class OddOptimizerSettings(Check):
    """The settings of an optimiser are in the range in which it works as meant.

    What it checks
    --------------
    For PyTorch's own optimisers that step: Adam's betas in the wrong order, an eps that is larger than the root of the
    second moment for most weights, a momentum of 1 or more, a dampening so small that it must be a weight decay given by
    position, a learning rate below zero.

    Why it matters
    --------------
    None of these raises an error. With swapped betas the scale of the update is that of a few steps and its direction that
    of a thousand; with a large eps Adam is plain gradient descent at a tiny rate; `SGD(params, 0.1, 0.9, 5e-4)` sets
    dampening and trains without any weight decay.

    What healthy looks like
    -----------------------
    betas such as (0.9, 0.999), (0.9, 0.95), (0.5, 0.999); eps from 1e-10 to 1e-4; momentum below 1.

    What to do
    ----------
    Give the settings by name.

    When it is wrong
    ----------------
    A large eps can be meant (1e-3 to 1 with rates that are raised to match); it is a note as long as the weights move.

    Source
    ------
    Fault catalogue 75; Kingma and Ba, Adam (2015), whose convergence needs beta1² < beta2^(1/2).
    """

    title = "An optimiser has odd settings"
    rows = ("S24", "O4")
    faults = (75,)
    explains = ("update-ratio",)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps and o.standard]
        if not stepping:
            return Evidence(missing="none of PyTorch's own optimisers took a step while the script was observed")
        return [self._look(run, o) for o in stepping]

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        held = [p for p in run.parameters if optimizer.number in p.optimizers and p.ratios]
        groups = [{**g.get("settings", {}), "weight_decay": g["weight_decay"]} for g in optimizer.groups if g.get("parameters")]
        return Evidence(
            {
                "optimizer": optimizer.name,
                "groups": groups[:8],
                "lowest_rate": min(optimizer.rates, default=0.0),
                "eps_share": optimizer.eps_share,
                "ratio": statistics.median(statistics.median(p.ratios) for p in held) if held else None,
                "half": sorted({p.dtype.removeprefix("torch.") for p in held if p.dtype == "torch.float16"}),
                "steps": optimizer.steps,
            },
            place=optimizer.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        for group in evidence["groups"]:
            for judgement in (self._rate, self._momentum, self._dampening, self._betas, self._eps):
                ruling = judgement(evidence, group)
                if ruling is not None:
                    return ruling
        return Ruling.passed(f"the settings of {evidence['optimizer']} are in their usual range")

    def _rate(self, evidence: Evidence, group: dict[str, Any]) -> Ruling | None:
        lowest = evidence["lowest_rate"]
        if lowest >= 0 or group.get("maximize"):
            return None
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['optimizer']} steps with a negative learning rate, so it climbs the loss.",
            expected="a learning rate of zero or more",
            observed=f"a rate of {lowest:g} within {evidence['steps']} steps",
            fix="Correct the schedule that sets the rate; to climb on purpose use maximize=True.",
        )

    def _momentum(self, evidence: Evidence, group: dict[str, Any]) -> Ruling | None:
        momentum = group.get("momentum") or 0.0
        if momentum < 1:
            return None
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['optimizer']} has a momentum of {momentum:g}, so it never forgets a gradient.",
            expected="a momentum below 1, such as 0.9",
            observed=f"momentum = {momentum:g}: the velocity is the sum of all gradients so far and grows with every step",
            fix="Set momentum to 0.9, or to 0 for plain gradient descent.",
        )

    def _dampening(self, evidence: Evidence, group: dict[str, Any]) -> Ruling | None:
        dampening = group.get("dampening") or 0.0
        if not 0 < dampening < TINY or group["weight_decay"]:
            return None
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['optimizer']} has a dampening of {dampening:g} and no weight decay.",
            expected=f"weight_decay={dampening:g} and no dampening",
            observed=f"dampening = {dampening:g}, weight_decay = 0: the fourth positional argument of SGD is dampening",
            fix=f"Give it by name: weight_decay={dampening:g}.",
        )

    def _betas(self, evidence: Evidence, group: dict[str, Any]) -> Ruling | None:
        betas = group.get("betas") or []
        if evidence["optimizer"] not in ADAMS or len(betas) != 2 or betas[0] <= betas[1]:
            return None
        return Ruling.found(
            Severity.WARNING,
            f"The betas of {evidence['optimizer']} are in the wrong order: ({betas[0]:g}, {betas[1]:g}).",
            expected="a second moment that remembers longer than the first, such as (0.9, 0.999)",
            observed=f"the direction is averaged over about {1 / max(1e-9, 1 - betas[0]):.0f} steps, its scale over "
            f"{1 / max(1e-9, 1 - betas[1]):.0f}",
            fix=f"Use betas=({betas[1]:g}, {betas[0]:g}).",
        )

    def _eps(self, evidence: Evidence, group: dict[str, Any]) -> Ruling | None:
        eps, share, ratio = group.get("eps"), evidence["eps_share"], evidence["ratio"]
        if evidence["optimizer"] not in ADAMS or eps is None:
            return None
        if evidence["half"] and eps < 3e-8:
            return Ruling.found(
                Severity.WARNING,
                f"The eps of {evidence['optimizer']} is zero in the float16 in which the weights are kept.",
                expected="an eps of 1e-4 or so for float16 weights",
                observed=f"eps = {eps:g}, below the smallest number of float16, 6e-8: weights without a gradient become NaN",
                fix="Keep the weights in float32, or set eps=1e-4.",
            )
        if eps < LARGE or share is None or share < GOVERNS:
            return None
        starved = ratio is not None and ratio < STARVED
        moves = f"; a step moves the weights by {ratio:.1g} of their size" if ratio is not None else ""
        return Ruling.found(
            Severity.WARNING if starved else Severity.NOTE,
            f"The eps of {evidence['optimizer']}, {eps:g}, governs the update of {share:.0%} of the weights.",
            expected="an eps far below the root of the second moment, such as 1e-8",
            observed=f"eps = {eps:g} is larger than the root of the second moment for {share:.0%} of the weights{moves}",
            fix="Set eps to 1e-8 (the third argument of Adam after betas is eps, not weight_decay: give settings by name).",
        )
