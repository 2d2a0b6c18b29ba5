"""Units of a layer that start identical, get identical gradients and therefore stay identical."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Step

STEPS = 12
"""Steps of training after which units that can part have parted: zero-initialised residual branches, output layers,
gates and adapters part after one to three."""
RATE = 1e-2
"""Adam's rate on the twin: large enough to part units within the steps, whatever the scale of their gradients."""
APART = 1e-3
"""Difference between units, relative to how far they moved, below which they are still identical. Rounding gives
1e-6."""


class SymmetricInit(Check):
    """The units of a layer start different, so that they can learn different things.

    What it checks
    --------------
    Weights at the first step whose slices (the units of the layer) are all bit-identical. Since many healthy weights
    start so, a twin is trained for a few steps: only where all units are still the same, though the layer has moved,
    or where several such layers stay at zero because none gets a gradient, are they locked.

    Why it matters
    --------------
    Units that start equal and get equal gradients stay equal for ever. However wide, the layer then has a single
    unit, and training stops at the accuracy that one unit can reach, without any error.

    What healthy looks like
    -----------------------
    Weights drawn at random. Zeros are fine for biases, output layers, the last layer of a residual branch and LoRA's B.

    What to do
    ----------
    Initialise the weights at random; keep constants for biases and normalisation.

    When it is wrong
    ----------------
    Dropout in front of the layer can part its units slowly; then this check stays silent. One locked layer that stays
    at zero because its branch is switched off for the time being is reported as unsure.

    Source
    ------
    I. Goodfellow et al., Deep Learning, 8.4; fault catalogue 106.
    """

    title = "All units of a layer start identical and stay identical"
    rows = ("S17",)
    faults = (106,)
    price = Price.TRAIN
    explains = (
        "overfit-one-batch",
        "vanishing-gradients",
        "input-independent-baseline",
        "dead-units",
        "unused-inputs",
        "learning-rate-range",
        "init-scale",
    )

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.practice import adam, practise

        if not step.first:
            return Evidence(missing="this line is first reached after optimiser steps: its weights are not the initial ones")
        if step.distrust:
            return Evidence(missing=step.distrust)
        twin = step.twin()
        held = {id(w) for w in step.trained(twin)}
        reached = {id(p) for p in step.tape.parameters}
        leaves = [(o, w) for o, w in twin.leaves if id(w) in held and id(o) in reached]
        suspects = [(o, w, d) for o, w in leaves for d in _locked_axes(w)]
        data: dict[str, Any] = {"suspects": [step.name(o) for o, _, _ in suspects], "locked": [], "still": []}
        if not suspects:
            return Evidence(data)
        before = [w.detach().clone() for _, w, _ in suspects]
        curve = practise(step, twin, adam(step, twin, RATE), STEPS)
        if curve.cut:
            return Evidence(missing=f"the time for experiments ran out after {len(curve.losses)} of {STEPS} steps")
        place = None
        for (original, working, axis), old in zip(suspects, before, strict=True):
            moved = float((working.detach() - old).abs().max())
            apart = float((working.detach() - working.detach().narrow(axis, 0, 1)).abs().max())
            if moved == 0 or apart <= APART * moved:
                kind = "still" if moved == 0 else "locked"
                unit = {"name": step.name(original), "units": working.shape[axis], "moved": moved, "apart": apart}
                data[kind].append({**unit, "value": float(old.flatten()[0])})
                place = place or step.place_of_parameter(original)
        data["steps"] = STEPS
        return Evidence(data, place=place)

    def judge(self, evidence: Evidence) -> Ruling:
        locked, still = evidence["locked"], evidence["still"]
        if not locked and len(still) < 2:
            if still:
                return Ruling.unsure(f"{still[0]['name']} stays at its constant initial value: it gets no gradient yet")
            parted = f"; {', '.join(evidence['suspects'][:4])} started equal and parted" if evidence["suspects"] else ""
            return Ruling.passed(f"no layer's units are locked together{parted}")
        found = [*locked, *still]
        worst = found[0]
        names = ", ".join(f["name"] for f in found[:4])
        how = (
            f"moved by up to {worst['moved']:.2g} and differ by {worst['apart']:.1g}"
            if locked
            else "did not move at all, since each layer of zeros keeps the gradient from the other"
        )
        return Ruling.found(
            Severity.ERROR,
            f"All {worst['units']} units of {worst['name']} start bit-identical and stay so: the layer is one unit wide"
            + (f" ({len(found)} weights in all)." if len(found) > 1 else "."),
            expected="units that differ from the start, or that part in the first steps",
            observed=f"in {names}, each unit starts the same (first value {worst['value']:.3g}); after "
            f"{evidence['steps']} steps "
            f"on a twin they {how}",
            fix="Initialise the weights at random, for instance nn.init.xavier_uniform_; constants are for biases only.",
        )


def _locked_axes(weight: torch.Tensor) -> list[int]:
    """The axis along which all slices of a weight are bit-identical, as a list of at most one."""
    if weight.ndim < 2:
        return []
    for axis in (0, 1):
        if weight.shape[axis] > 1 and bool((weight == weight.narrow(axis, 0, 1)).all()):
            return [axis]
    return []
