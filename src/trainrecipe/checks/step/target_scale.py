"""Regression targets on a scale that the net cannot reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, lines

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Input, LossCall, Step

LARGE = 10.0
"""Times the spread of an untrained net's predictions that the targets' spread must be, or a unit spread, to be suspicious."""
SMALL = 0.02
"""Spread of the targets below which they are suspicious."""
STEPS = 80
"""Steps on the recorded batch with the script's optimiser, once with the targets as they are, once standardised."""
LEARNT = 0.5
"""Share of the variance that the net must learn of standardised targets."""
STUCK = 0.05
"""Share of the variance below which nothing was learnt of the targets as they are."""
BEHIND = 0.5
"""Share of the standardised progress below which it is at least a note."""


class TargetScale(Check):
    """Regression targets have a scale that the net reaches in reasonable time.

    What it checks
    --------------
    Targets of a regression loss whose standard deviation is much larger than one (and than the untrained predictions), or
    tiny. Two twins are trained for a few steps on the recorded batch with the script's own optimiser: one on the targets
    as they are, one on standardised targets. It is a warning only if the second learns most of the variance while the
    first learns next to nothing.

    Why it matters
    --------------
    Adam moves a weight by about one learning rate per step, whatever the loss: predictions that must reach 100,000 need a
    hundred thousand of such steps. With SGD the gradient grows with the target, and training explodes. Tiny targets drown
    in the noise of the initial weights.

    What healthy looks like
    -----------------------
    Targets with a mean near zero and a standard deviation near one, turned back into their units for the report.

    What to do
    ----------
    Standardise the targets with the training set's mean and deviation (or take the logarithm of prices and counts), and
    undo that on the predictions.

    When it is wrong
    ----------------
    The experiment lasts a few steps on one batch; a net that is given very many steps gets there in the end. Losses other
    than PyTorch's MSE, L1 and Huber, and sums of losses, are not judged.

    Source
    ------
    Fault catalogue 138; DeepFD's Stack Overflow question 52800582.
    """

    title = "The targets are on a scale that the net hardly reaches"
    rows = ("S4", "S18")
    faults = (138,)
    price = Price.TRAIN
    explains = (
        "output-bias-at-init",
        "loss-at-init",
        "overfit-one-batch",
        "learning-rate-range",
        "update-ratio",
        "input-independent-baseline",
        "exploding-gradients",
        "dead-units",
    )

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.theory import theory_of

        if step.distrust:
            return Evidence(missing=step.distrust)
        if not step.first:
            return Evidence(missing="this line is first reached after optimiser steps, so its net is not untrained")
        found = theory_of(step)
        if isinstance(found, str):
            return Evidence(missing=found)
        call, theory = found
        if theory.kind not in ("squared", "absolute", "huber") or call.target is None:
            return Evidence(missing="the loss is no regression on targets")
        target = call.target.double()
        spread, predicted = float(target.std(correction=0)), float(call.prediction.double().std(correction=0))
        data: dict[str, Any] = {"spread": spread, "mean": float(target.mean()), "predicted": predicted, "rows": target.numel()}
        if not (spread > LARGE * max(1.0, predicted) or 0 < spread < SMALL):
            return Evidence(data, place=call.place)
        given = _given(step, call)
        if given is None:
            return Evidence(missing="the targets' scale is unusual, but where they come from was not recorded")
        scaled = (given.tensor - given.tensor.mean()) / given.tensor.std(correction=0)
        data |= _train(step, call, theory, given, scaled)
        if "missing" in data:
            return Evidence(missing=str(data["missing"]))
        return Evidence(data, place=call.place or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        text = f"the targets have a mean of {e['mean']:.3g} and a standard deviation of {e['spread']:.3g}"
        if "own" not in e.data:
            return Ruling.passed(text)
        own, standard = _learnt(e, "own"), _learnt(e, "standardised")
        if standard < LEARNT:
            return Ruling.unsure(f"{text}; standardising them alone does not make the net learn its batch either")
        if own >= BEHIND * standard:
            return Ruling.passed(f"{text}, and the net copes: it learns as much of them as of standardised ones")
        return Ruling.found(
            Severity.WARNING if own < STUCK else Severity.NOTE,
            f"The {text[4:]}: after {STEPS} steps on one batch the net has learnt {own:.0%} of their variance, and "
            f"{standard:.0%} if they are standardised.",
            expected="targets with a mean near 0 and a standard deviation near 1",
            observed=f"{text}; predictions start with a spread of {e['predicted']:.2g}",
            fix="Subtract the training targets' mean, divide by their standard deviation, and undo both on the predictions.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if "own" not in evidence.data:
            return None
        curves = {n: [v / evidence[f"{n}_best"] for v in evidence[n]] for n in ("own", "standardised")}
        caption = "Loss over that of the best constant prediction: below 1 something is learnt."
        return lines("Targets as they are, and standardised", caption, curves, y_title="relative loss", log_y=True)


def _learnt(e: Evidence, name: str) -> float:
    curve = e[name]
    if e[f"{name}_broken"] or not curve:
        return 0.0
    return max(0.0, 1 - float(min(curve[-5:])) / float(e[f"{name}_best"]))


def _given(step: Step, call: LossCall) -> Input | None:
    """The recorded tensor that the loss's target is, or is a view or part of."""
    targets = {i.number: i for i in step.targets if i.tensor.is_floating_point() and i.tensor.numel() > 1}
    number = call.op.inputs[1] if len(call.op.inputs) > 1 else -1
    if number in targets:
        return targets[number]
    assert call.target is not None
    same = [i for i in targets.values() if i.tensor.numel() == call.target.numel()]
    wanted = call.target.reshape(-1).double()
    return next((i for i in same if bool((i.tensor.reshape(-1).double() == wanted).all())), None)


def _train(step: Step, call: LossCall, theory: Any, given: Input, scaled: torch.Tensor) -> dict[str, Any]:
    import dataclasses

    from trainrecipe.subjects.practice import own_optimizer, practise
    from trainrecipe.subjects.theory import of_call

    assert call.target is not None
    wanted = scaled.reshape(call.target.shape).to(call.target.dtype)
    other = of_call(dataclasses.replace(call, target=wanted))
    if isinstance(other, str) or not other.prior or not theory.prior:
        return {"missing": "the loss of the best constant prediction is not known"}
    data: dict[str, Any] = {}
    for name, overrides, best in (("own", {}, theory.prior), ("standardised", {given.number: scaled}, other.prior)):
        twin = step.twin()
        optimizer = own_optimizer(step, twin)
        if optimizer is None or step.peak_rate <= 0:
            return {"missing": "the targets' scale is unusual, but the optimiser cannot be copied to try another"}
        curve = practise(step, twin, optimizer, STEPS, overrides=overrides, clip=True)
        if curve.cut:
            return {"missing": "the time for experiments ran out while comparing raw with standardised targets"}
        data |= {name: curve.losses, f"{name}_broken": curve.broken, f"{name}_best": best * abs(theory.factor)}
    return data
