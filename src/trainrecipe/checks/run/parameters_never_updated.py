from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe import picture
from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.picture import Picture
    from trainrecipe.subjects.run import Parameter, Run

FEWEST = 6
"""Steps with a gradient that must have been seen."""
LOST = 0.5
"""Share of the weights that no step moved. In bfloat16 with AdamW, 6 % of the weights stay at one step with a learning
rate of 1e-3, 76 % at 1e-4 and 98 % at 1e-5 (fault catalogue 8.5); in float32 next to none."""
SHARE = 0.25
"""Share of all trained weights that must lie in such parameters."""
SOME = 0.15
"""Share of the updates of all weights stored in 16 bits that is worth a note. In bfloat16 the next number is 1/256 to 1/128
of a weight away, and an update of less than half of that is lost: for updates of size u, a share of about 1 - 384 u / a of
weights that are spread evenly up to a. From 0.15 on, u is below a / 450: the updates that are not lost are rounded up to
single steps of that grid, too."""
NEAR_PEAK = 0.5
LOW_PRECISION = (
    "Keep the weights in float32 (compute in bfloat16 with torch.autocast), or use an optimiser with float32 master weights "
    "or stochastic rounding."
)


PRECISION = {"torch.float64": 2.2e-16, "torch.float32": 1.2e-7, "torch.float16": 9.8e-4, "torch.bfloat16": 7.8e-3}
"""Distance of 1 to the next number."""
COARSE = ("torch.float16", "torch.bfloat16")
"""Types in which updates of a usual size are lost, step by step, and not made up for by later ones."""
CLEAR = 100.0
"""How far rate × gradient must be above the precision of the weight before rounding is ruled out. Biases before batch norm
and of attention keys have gradients that are zero but for rounding."""


def _pushed(parameter: Parameter) -> bool:
    """Whether no weight moved although plain gradient descent would move them visibly."""
    step = (parameter.rate or 0.0) * (parameter.push or 0.0)
    return (parameter.still or 0.0) >= 1.0 and step > CLEAR * PRECISION.get(parameter.dtype, 1.0)


def _elements(parameters: list[Parameter]) -> int:
    return sum(p.elements for p in parameters)


def _stuck(parameters: list[Parameter]) -> float:
    """The share of updates that left a weight as it was, over all elements."""
    return sum((p.stuck or 0.0) * p.elements for p in parameters) / max(1, _elements(parameters))


class ParametersNeverUpdated(Check):
    """Parameters that an optimiser holds and that get gradients move.

    What it checks
    --------------
    Over several steps, for each parameter in an optimiser: which of its weights had a non-zero gradient, and which of
    them changed by at least one bit. Where they did not, whether the learning rate of their group is zero, now and in the
    rest of the planned schedule, or whether the updates are lost in rounding; of weights stored in 16 bits also how many
    keep every bit at a single step, in most tensors (a warning) or over all of them taken together (a note).

    Why it matters
    --------------
    A group with a learning rate of zero is frozen without saying so. In bfloat16 a weight keeps its value when the update
    is smaller than half the distance to the next number, 0.2 % of the weight: with small learning rates most of the model
    never changes, while the loss may still creep down through the rest.

    What healthy looks like
    -----------------------
    Every weight with a gradient changes within a few steps.

    What to do
    ----------
    Correct the rate of the group. For low precision keep the weights in float32 and use autocast for the computation, or an
    optimiser with float32 master weights, stochastic rounding or compensated sums.

    When it is wrong
    ----------------
    A warm-up from zero, or a group that its schedule switches on later, is followed in the planned schedule and not
    reported. Rates that the script sets by hand later cannot be foreseen; the check is then unsure. Optimisers that are
    not PyTorch's own may carry what rounding drops, so for them it is a note, or nothing where only
    some updates are lost.

    Source
    ------
    Fault catalogue 50, 162; pytorch/ao#1124, pytorch/pytorch#120376.
    """

    title = "Parameters get gradients but never change"
    rows = ("S17", "S24")
    faults = (50, 162)
    explains = ("update-ratio", "overfit-one-batch", "vanishing-gradients")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        held = [p for p in run.parameters if p.optimizers and p.still is not None and p.updates >= FEWEST]
        if not held:
            return Evidence(missing=f"fewer than {FEWEST} optimiser steps with gradients were looked at in detail")
        still = [p for p in held if (p.still or 0.0) >= LOST]
        groups = {
            "off": [p for p in still if not p.peak],
            "fixed": [p for p in still if p.peak and _pushed(p)],
            "lost": [p for p in still if p.peak and not _pushed(p)],
            "rounded": [p for p in held if p not in still and p.peak and p.dtype in COARSE and (p.stuck or 0.0) >= LOST],
        }
        coarse = [p for p in held if p.peak and p.dtype in COARSE and p not in groups["fixed"]]
        hardly = max(_elements(groups["lost"]), _elements(groups["rounded"]))
        if _stuck(coarse) >= SOME and hardly < SHARE * _elements(held):
            groups["partly"] = sorted(coarse, key=lambda p: -(p.stuck or 0.0) * p.elements)
        pieces = [self._look(run, held, kind, group) for kind, group in groups.items() if group]
        return pieces or self._look(run, held, "none", [])

    def _look(self, run: Run, held: list[Parameter], kind: str, still: list[Parameter]) -> Evidence:
        optimizer = run.optimizers[(still or held)[0].optimizers[0]]
        rising = [p for p in still if p.rate is not None and p.peak and p.rate < NEAR_PEAK * p.peak]
        return Evidence(
            {
                "kind": kind,
                "parameters": len(held),
                "still": len(still),
                "names": [p.name for p in still[:4]],
                "share": _elements(still) / max(1, _elements(held)),
                "dtypes": sorted({p.dtype.removeprefix("torch.") for p in still}),
                "stuck": _stuck(still),
                "unmoved": sum((p.still or 0.0) * p.elements for p in still) / max(1, _elements(still)),
                "steps": max(p.updates for p in held),
                "rate": max((p.peak or 0.0 for p in still), default=0.0),
                "by_name": {p.name: p.still for p in sorted(held, key=lambda p: -(p.still or 0.0))[:12]},
                "rising": len(rising),
                "by_hand": any(s.kind == "rate" for s in run.unreached) and run.rehearsal,
                "own": not optimizer.standard,
            },
            place=optimizer.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        kind, names = evidence["kind"], ", ".join(evidence["names"])
        if kind == "none":
            count, steps = evidence["parameters"], evidence["steps"]
            return Ruling.passed(f"the weights of {count} parameter tensors moved within {steps} steps")
        if kind == "off":
            return self._switched_off(evidence, names)
        if kind in ("lost", "rounded", "partly") and evidence["share"] < SHARE:
            return Ruling.passed(f"only {evidence['share']:.0%} of the weights lie in parameters that hardly move ({names})")
        if evidence["rising"] == evidence["still"]:
            return Ruling.unsure(f"{names} have not moved yet, but their learning rate is still far below its peak")
        if kind == "fixed":
            return self._fixed(evidence, names)
        if kind == "partly":
            return self._partly(evidence, names)
        if kind == "rounded":
            return self._rounded(evidence, names)
        return Ruling.found(
            Severity.NOTE if evidence["own"] else Severity.WARNING,
            f"The updates of {evidence['still']} parameter tensors are too small to change their weights ({names}).",
            expected="weights with a gradient that change within a few steps",
            observed=f"{evidence['unmoved']:.0%} of their weights kept every bit over {evidence['steps']} steps with "
            f"gradients, at a learning rate of {evidence['rate']:g}, stored as {', '.join(evidence['dtypes'])}",
            fix=LOW_PRECISION if "float32" not in evidence["dtypes"] else "Raise the learning rate of these parameters.",
        )

    def _rounded(self, evidence: Evidence, names: str) -> Ruling:
        return Ruling.found(
            Severity.NOTE if evidence["own"] else Severity.WARNING,
            f"Most updates of {evidence['still']} parameter tensors are lost in rounding ({names}).",
            expected="weights that change with every step that has a gradient for them",
            observed=f"at each step {evidence['stuck']:.0%} of their weights keep every bit, at a learning rate of "
            f"{evidence['rate']:g}, stored as {', '.join(evidence['dtypes'])}",
            fix=LOW_PRECISION,
        )

    def _partly(self, evidence: Evidence, names: str) -> Ruling:
        stuck, dtypes = evidence["stuck"], ", ".join(evidence["dtypes"])
        if evidence["own"]:
            return Ruling.passed(
                f"{stuck:.0%} of the updates are lost in {dtypes}, unless this optimiser keeps what rounding drops"
            )
        return Ruling.found(
            Severity.NOTE,
            f"{stuck:.0%} of the updates are lost in rounding: the weights are stored as {dtypes} (most of them in {names}).",
            expected="weights that change with every step that has a gradient for them",
            observed=f"over {evidence['still']} tensors and the steps seen, {stuck:.0%} of the weights with a gradient keep "
            f"every bit at a step, at learning rates of up to {evidence['rate']:g}",
            fix=LOW_PRECISION,
        )

    def _fixed(self, evidence: Evidence, names: str) -> Ruling:
        return Ruling.found(
            Severity.WARNING,
            f"The optimiser's steps do not change {evidence['still']} parameter tensors at all ({names}).",
            expected="steps that change every weight with a gradient of this size",
            observed=f"no bit changed over {evidence['steps']} steps, at a learning rate of {evidence['rate']:g} and with "
            "gradients far above the rounding error of the weights",
            fix="Look for what undoes or bypasses the update: a rate that is zero when the step is taken, a copy of the "
            "tensor that the optimiser really holds, or a step that is a no-op on this device.",
        )

    def _switched_off(self, evidence: Evidence, names: str) -> Ruling:
        if evidence["by_hand"]:
            return Ruling.unsure(f"the learning rate of {names} is zero so far, but the script also sets rates by hand")
        return Ruling.found(
            Severity.WARNING,
            f"The learning rate of {evidence['still']} parameter tensors is zero ({names}).",
            expected="a learning rate above zero for every group that is meant to be trained",
            observed=f"rate 0 at all {evidence['steps']} steps seen and in the schedule ahead; no bit of these weights "
            "changed, although they get gradients",
            fix="Set the group's learning rate; to freeze it, take it out of the optimiser and call requires_grad_(False).",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if evidence["kind"] == "none":
            return None
        return picture.bars(
            "Weights that no step has changed",
            f"Share of the weights with a gradient that kept every bit over {evidence['steps']} steps.",
            evidence["by_name"],
            x_title="share unchanged",
        )
