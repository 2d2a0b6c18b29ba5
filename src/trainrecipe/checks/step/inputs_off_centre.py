"""Inputs that are squeezed together far from zero, as after the wrong normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, ranges

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Input, Step

SQUEEZED = 4.0
"""Times its spread that a feature's mean is away from zero, from which it is off centre; pixels between 0 and 1 have 1 to 3."""
LARGEST = 10.0
"""Root mean square from which on the check of the inputs' scale looks."""
SMALLEST = 0.02
"""The same at the other end."""
MOST = 0.5
"""Share of the features that must be off centre."""
STEPS = 40
"""Steps on the recorded batch with the script's optimiser, once with the inputs as they are, once standardised."""
LEARNT = 0.5
"""Share of the way to the floor that standardised inputs must reach."""
BEHIND = 0.4
"""Share of that progress below which the inputs as they are lie behind."""
RIPPLE = 5.0
"""Mean over spread of a typical feature from which on it is a note even if the net copes. Pictures between 0 and 1 have 1 or
2."""


class InputsOffCentre(Check):
    """The inputs vary around zero, and not by a little around a value far from it.

    What it checks
    --------------
    The real-valued inputs of a step: whether most features have a mean of many times their own spread, although their
    size as such is harmless. Then two twins are trained for a few steps with the script's own optimiser, one on the
    inputs as they are, one on standardised inputs; it is a warning only if the second learns the batch and the first lags
    far behind. Where the net copes, a typical mean of five times its spread is a note.

    Why it matters
    --------------
    What differs between the examples is a small ripple on a large constant. That is what normalising twice leaves, or
    normalising inputs between 0 and 1 by the constants for 0 to 255; the net sees almost the same input each time.

    What healthy looks like
    -----------------------
    Features with a mean near zero and a standard deviation near one, or pixels between 0 and 1.

    What to do
    ----------
    Look for a second normalisation (`ToTensor` and a division by 255, two `Normalize`, a scaler and a layer), and for
    constants that belong to another range; then print the mean and the deviation of what the net gets.

    When it is wrong
    ----------------
    Nets that normalise first pass, since they learn as fast either way. The experiment lasts a few steps only. Inputs
    that are very large or tiny as a whole belong to the check of the inputs' scale.

    Source
    ------
    Fault catalogue 134; Y. LeCun et al. 1998, Efficient BackProp.
    """

    title = "The inputs are a small ripple on a large constant"
    rows = ("S10", "D13")
    faults = (134,)
    price = Price.TRAIN
    explains = (
        "overfit-one-batch",
        "input-independent-baseline",
        "learning-rate-range",
        "loss-at-init",
        "update-ratio",
        "dead-units",
        "saturation",
        "unused-inputs",
    )

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.theory import theory_of

        if step.distrust:
            return Evidence(missing=step.distrust)
        given = [i for i in step.inputs if i.tensor.is_floating_point() and i.dense]
        inputs = [i for i in given if i.tensor.ndim >= 2 and i.tensor.shape[0] > 7]
        if not inputs:
            return Evidence(missing="no real-valued input goes into the model")
        moments = [_moments(i.tensor) for i in inputs]
        odd = [(i, m) for i, m in zip(inputs, moments, strict=True) if m["share"] >= MOST and SMALLEST <= m["size"] <= LARGEST]
        data: dict[str, Any] = {"inputs": moments}
        if not odd:
            return Evidence(data)
        found = theory_of(step)
        if isinstance(found, str):
            return Evidence(missing=f"an input is off centre, but {found}, so its effect cannot be measured")
        _, theory = found
        if theory.floor is None:
            return Evidence(missing=f"an input is off centre, but the floor of the loss is not known: {theory.why}")
        best = theory.start if theory.prior is None else theory.prior
        data |= {"worst": odd[0][1], "best": best * abs(theory.factor), "floor": theory.floor * abs(theory.factor)}
        for name, overrides in (("own", {}), ("standardised", {i.number: _standardised(i.tensor) for i, _ in odd})):
            curve = _practise(step, overrides)
            if curve is None or curve.cut:
                return Evidence(missing="an input is off centre, but there was no time or no optimiser to try another")
            data |= {name: curve.losses, f"{name}_broken": curve.broken}
        return Evidence(data, place=_place(odd[0][0]) or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if "own" not in e.data:
            off = max((m["off"] for m in e["inputs"]), default=0.0)
            return Ruling.passed(f"a typical feature's mean is at most {off:.2g} times its spread away from zero")
        worst = e["worst"]
        text = f"features of {worst['mean']:.3g} ± {worst['spread']:.2g}"
        own, standard = _learnt(e, "own"), _learnt(e, "standardised")
        if standard < LEARNT:
            return Ruling.unsure(f"{text}; standardising them alone does not make the net learn its batch either")
        if own >= BEHIND * standard and worst["off"] < RIPPLE:
            return Ruling.passed(f"{text}, and the net copes: it learns its batch as well as with standardised ones")
        if own >= BEHIND * standard:
            return Ruling.found(
                Severity.NOTE,
                f"The inputs hardly differ from each other ({text}).",
                expected="features with a mean near 0 and a standard deviation near 1",
                observed=f"a typical feature is {text[12:]} (shape {tuple(worst['shape'])}); the net copes, and learns its "
                "batch as well as with standardised ones",
                fix="See whether the inputs are scaled twice, or with a mean and deviation for another range.",
            )
        return Ruling.found(
            Severity.WARNING,
            f"The inputs hardly differ from each other ({text}): in {STEPS} steps on one batch the net makes {own:.0%} "
            f"of the way, and {standard:.0%} with standardised inputs.",
            expected="features with a mean near 0 and a standard deviation near 1",
            observed=f"a typical feature is {text[12:]} (shape {tuple(worst['shape'])})",
            fix="Normalise once, with constants that belong to the range of the inputs, and print their mean and deviation.",
            causes=(
                "they are scaled twice, such as by ToTensor and by a division by 255",
                "mean and deviation for 0…255 are applied to inputs between 0 and 1, or to another set of channels",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if "own" not in evidence.data:
            return None
        rows = [
            {"name": f"feature {i}", "low": m - s, "middle": m, "high": m + s}
            for i, (m, s) in enumerate(evidence["worst"]["features"])
        ]
        return ranges(
            "Features of the inputs", "Mean and one standard deviation to either side; zero should be among them.", rows
        )


def _learnt(e: Evidence, name: str) -> float:
    gap = float(e["best"]) - float(e["floor"])
    if e[f"{name}_broken"] or gap <= 0:
        return 0.0
    return max(0.0, (float(e["best"]) - float(min(e[name][-5:]))) / gap)


def _moments(tensor: torch.Tensor) -> dict[str, Any]:
    from trainrecipe.subjects.features import axes_of

    x = tensor.double()
    mean, spread = x.mean(axes_of(x)).flatten(), x.std(axes_of(x), correction=0).flatten()
    alive = spread > 1e-9
    mean, spread = mean[alive], spread[alive]
    off = mean.abs() / spread
    n = max(1, len(off))
    return {
        "shape": list(x.shape),
        "share": float((off > SQUEEZED).sum()) / n,
        "off": float(off.median()) if len(off) else 0.0,
        "mean": float(mean.median()) if len(off) else 0.0,
        "spread": float(spread.median()) if len(off) else 0.0,
        "size": float(x.square().mean().sqrt()),
        "features": [[float(m), float(s)] for m, s in zip(mean[:20], spread[:20], strict=True)],
    }


def _standardised(tensor: torch.Tensor) -> torch.Tensor:
    from trainrecipe.subjects.features import axes_of

    axes = axes_of(tensor)
    centred = tensor - tensor.mean(axes, keepdim=True)
    spread = centred.std(axes, keepdim=True, correction=0)
    return centred / spread.clamp_min(float(centred.std(correction=0)) * 1e-4 + 1e-12)


def _practise(step: Step, overrides: dict[int, torch.Tensor]) -> Any:
    from trainrecipe.subjects.practice import own_optimizer, practise

    twin = step.twin()
    optimizer = own_optimizer(step, twin)
    if optimizer is None or step.peak_rate <= 0:
        return None
    return practise(step, twin, optimizer, STEPS, overrides=overrides, clip=True)


def _place(given: Input) -> Any:
    from trainrecipe.capture.where import place

    return place(given.op.at)
