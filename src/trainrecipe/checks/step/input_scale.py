"""Inputs whose scale a first layer without normalisation cannot cope with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Input, Step

LARGE = 10.0
"""Root mean square of a feature from which on inputs are suspicious. Normalised ones have 1, pixels in 0…1 have 0.5,
raw pixels 80 to 130."""
SMALL = 0.02
"""Root mean square of all inputs below which they are suspicious: scaled twice."""
STEPS = 40
"""Steps on the recorded batch with the script's optimiser, once with the inputs as they are, once standardised."""
LEARNT = 0.5
"""Share of the way to the floor that standardised inputs must reach, so that scale is shown to be what matters."""
BEHIND = 0.5
"""Share of that progress below which the raw inputs are behind."""
HIGH = 2.0
"""Times the theoretical value from which on a first loss is too high; that of healthy nets without He's
initialisation is at 1.0 to 1.2, and the standardised inputs must bring it back."""
SANE = 1.4
"""Times the theoretical value that the first loss on standardised inputs may be."""


class InputScale(Check):
    """The inputs have a scale that the first layer can cope with.

    What it checks
    --------------
    The real-valued tensors that reach a first linear, convolutional or recurrent layer. Where a feature is typically
    larger than ten, or all are tiny, two twins are trained for a few steps with the script's own optimiser, one on
    the inputs as they are, one on standardised inputs. It is reported only if the second starts at the loss of an
    untrained net and the first at more than twice that, or if the second learns the batch and the first lags far
    behind.

    Why it matters
    --------------
    The largest feature drowns the others, the first activations are hundreds of times too large, the loss starts far
    above its theoretical value, and one learning rate cannot suit all weights.

    What healthy looks like
    -----------------------
    Features with a mean near zero and a standard deviation near one, or pixels between 0 and 1.

    What to do
    ----------
    Subtract the mean and divide by the standard deviation of the training set, feature by feature (per channel for
    images).

    When it is wrong
    ----------------
    Nets that normalise first, embed their input or are not sensitive learn as fast either way, and pass. The experiment
    lasts a few steps: a slow but steady start on raw inputs may look worse than it is.

    Source
    ------
    Y. LeCun et al. 1998, Efficient BackProp; fault catalogue 133, 134 and 8.2 (0…255 gives 4 to 400 times ln C without
    normalisation, 1.0 to 1.1 with batch or layer norm).
    """

    title = "The inputs are not normalised, and the net suffers from it"
    rows = ("S10", "S19")
    faults = (133, 134)
    price = Price.TRAIN
    explains = (
        "loss-at-init",
        "exploding-gradients",
        "dead-units",
        "saturation",
        "overfit-one-batch",
        "learning-rate-range",
        "init-scale",
        "output-bias-at-init",
        "unused-inputs",
        "update-ratio",
    )

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.theory import theory_of

        if step.distrust:
            return Evidence(missing=step.distrust)
        inputs = [i for i in step.inputs if i.dense and i.tensor.ndim >= 2 and i.tensor.shape[0] > 1 and _is_measured(i.tensor)]
        if not inputs:
            return Evidence(missing="no real-valued input goes into the model")
        scales = [_scale(i) for i in inputs]
        data: dict[str, Any] = {"inputs": scales}
        odd = [i for i, s in zip(inputs, scales, strict=True) if s["largest"] > LARGE or s["whole"] < SMALL]
        if not odd:
            return Evidence(data)
        found = theory_of(step)
        if isinstance(found, str):
            return Evidence(missing=f"an input is of an unusual scale, but {found}, so its effect cannot be measured")
        _, theory = found
        floor = (theory.floor or 0.0) * abs(theory.factor)
        new = {i.number: _standardised(i.tensor) for i in odd}
        data["worst"] = scales[inputs.index(odd[0])]
        data["best_constant"] = (theory.start if theory.prior is None else theory.prior) * abs(theory.factor)
        data["floor"] = floor
        data["start"] = theory.start * abs(theory.factor)
        data["kind"] = theory.kind
        for name, overrides in (("raw", {}), ("standardised", new)):
            curve = _practise(step, overrides)
            if curve is None:
                return Evidence(missing="an input is of an unusual scale, but the optimiser cannot be copied to try another")
            if curve.cut:
                return Evidence(missing="the time for experiments ran out while comparing raw with standardised inputs")
            data[name] = curve.losses
            data[f"{name}_broken"] = curve.broken
        return Evidence(data, place=_place(odd[0]) or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if "raw" not in e.data:
            low, high = min(s["smallest"] for s in e["inputs"]), max(s["largest"] for s in e["inputs"])
            return Ruling.passed(f"the typical size of the inputs' features lies between {low:.2g} and {high:.2g}")
        worst = e["worst"]
        text = f"features have a typical size of {worst['smallest']:.3g} to {worst['largest']:.3g}"
        raw, standard = _progress(e, "raw"), _progress(e, "standardised")
        high = _first(e, "raw") >= HIGH and _first(e, "standardised") <= SANE
        if standard < LEARNT and not high:
            return Ruling.unsure(f"{text}; standardising them alone does not make the net learn its batch either")
        if raw >= BEHIND * standard and not high:
            return Ruling.passed(f"{text}, and the net copes: it learns its batch as well as with standardised ones")
        after = "not finite" if e["raw_broken"] else f"{min(e['raw'][-5:]):.4g}"
        return Ruling.found(
            Severity.WARNING,
            f"The inputs' {text}, and the net suffers: on one batch the loss starts at {e['raw'][0]:.3g} and is "
            f"{after} after "
            f"{STEPS} steps; with standardised inputs it goes from {e['standardised'][0]:.3g} to "
            f"{min(e['standardised'][-5:]):.3g}.",
            expected="inputs with a mean near 0 and a standard deviation near 1 in each feature or channel",
            observed=f"{text} (shape {tuple(worst['shape'])}); the loss starts at {e['raw'][0]:.4g} and is {after} "
            f"after {STEPS} "
            f"steps; standardised: from {e['standardised'][0]:.4g} to {min(e['standardised'][-5:]):.4g}",
            fix="Subtract the training set's mean and divide by its standard deviation, per feature (per channel for images).",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if "raw" not in evidence.data:
            return None
        values = {f"feature {i}": v for i, v in enumerate(evidence["worst"]["features"])}
        caption = "Typical size (root mean square) of each feature or channel that enters the net; about one is wanted."
        return bars("Scale of the inputs", caption, values, x_title="root mean square", rules={"wanted": 1.0}, log=True)


def _first(e: Evidence, name: str) -> float:
    """The first loss in units of an untrained net's."""
    ratio = e[name][0] / e["start"] if e[name] and e["start"] > 0 else 0.0
    return float(ratio**0.5 if e["kind"] == "squared" else ratio)


def _progress(e: Evidence, name: str) -> float:
    """Share of the way from the best constant prediction to the floor."""
    if e[f"{name}_broken"]:
        return 0.0
    gap = e["best_constant"] - e["floor"]
    return max(0.0, (e["best_constant"] - min(e[name][-5:])) / gap) if gap > 0 else 0.0


def _axes(tensor: torch.Tensor) -> list[int]:
    """What a feature is averaged over: the rows of a table; rows and positions of pictures; rows and time of
    sequences."""
    if tensor.ndim == 2:
        return [0]
    if tensor.ndim == 3:
        return [0, 1]
    return [d for d in range(tensor.ndim) if d != 1]


def _is_measured(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds numbers that have a scale: masks that are added to scores hold infinite ones."""
    return tensor.is_floating_point() and bool(tensor.isfinite().all())


def _scale(given: Input) -> dict[str, Any]:
    """Root mean squares of the features of an input."""
    x = given.tensor.double()
    features = x.square().mean(_axes(x)).sqrt().flatten()
    alive = features[features > 0]
    return {
        "shape": list(x.shape),
        "largest": float(features.max()),
        "smallest": float(alive.min()) if alive.numel() else 0.0,
        "whole": float(x.square().mean().sqrt()),
        "features": [float(v) for v in features[:40]],
    }


def _standardised(tensor: torch.Tensor) -> torch.Tensor:
    """Each feature with mean 0 and standard deviation 1, features that hardly vary left at 0."""
    axes = _axes(tensor)
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
    """The line where the input enters the model."""
    from trainrecipe.capture.where import place

    return place(given.op.at)
