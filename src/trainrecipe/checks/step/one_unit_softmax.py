from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Place, Ruling, Severity
from trainrecipe.subjects.names import SOFTMAX, plain_name
from trainrecipe.subjects.origins import feature_axis, normalised_axis

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

LOSSES = ("cross_entropy", "nll_loss")


class OneUnitSoftmax(Check):
    """A softmax has at least two units to choose between.

    What it checks
    --------------
    Every softmax that the loss depends on, and the softmax inside `cross_entropy`: the size of the axis it normalises
    along, and whether that axis is the output-feature axis of the last layer before it.

    Why it matters
    --------------
    The softmax of a single number is 1, whatever the number is. The output is constant, all gradients behind it are
    exactly zero, and nothing is ever learned. `cross_entropy` over one class is identically zero.

    What healthy looks like
    -----------------------
    One output per class for softmax, two of them for a yes/no question; or a single output with a sigmoid.

    What to do
    ----------
    For a yes/no question keep the single output and use `BCEWithLogitsLoss` without any activation, or give the
    last layer two outputs and use `cross_entropy` with integer labels.

    When it is wrong
    ----------------
    Attention over a sequence or a bag that happens to hold one element, and a batch of one example in a contrastive
    loss, normalise along another axis than that of the output features, and are left alone. A softmax over one unit
    that is not the prediction itself, such as a mixture of experts configured with one, is only noted.

    Source
    ------
    Fault catalogue 8; softmax(z) = exp(z) / exp(z) = 1.
    """

    title = "A softmax over a single unit is always 1"
    rows = ("S18", "S19")
    faults = (8,)
    explains = (
        "optimizer-without-gradients",
        "overfit-one-batch",
        "learning-rate-range",
        "loss-at-init",
        "unused-parameters",
        "parameters-never-updated",
        "vanishing-gradients",
        "input-independent-baseline",
        "unused-inputs",
        "graph-cut",
        "learning-rate-starved",
        "update-ratio",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Look at the normalised axis of every softmax."""
        found = [*_losses(step), *_softmaxes(step)]
        return found or Evidence(missing="the step's loss uses no softmax and no cross_entropy of PyTorch's")

    def judge(self, evidence: Evidence) -> Ruling:
        """One unit on the feature axis: an error where it is the prediction, a note elsewhere."""
        name, units = evidence["softmax"], evidence["units"]
        if units != 1:
            return Ruling.passed(f"{name} normalises over {units} units")
        if not evidence["features"]:
            return Ruling.passed(f"{name} normalises over one element, on an axis that holds no output features")
        dead = (
            f"; {evidence['zero']} of {evidence['parameters']} parameter gradients are exactly zero"
            if evidence["parameters"]
            else ""
        )
        return Ruling.found(
            Severity.ERROR if evidence["prediction"] else Severity.NOTE,
            f"{name} normalises over a single unit, so its result does not depend on the model.",
            expected="at least two units on the normalised axis",
            observed=f"shape {tuple(evidence['shape'])}, one unit on axis {evidence['axis']}{dead}",
            fix="Use a sigmoid: BCEWithLogitsLoss on the single logit, without activation; "
            "or give the last layer one output per class."
            if evidence["prediction"]
            else "Check the axis (dim) of this softmax; with one unit on it, it does nothing.",
        )


def _losses(step: Step) -> list[Evidence]:
    found = []
    for call in step.losses:
        if call.name not in LOSSES or not call.counts or not call.prediction.ndim:
            continue
        axis = 1 if call.prediction.ndim > 1 else 0
        features = feature_axis(step, call.input, call.op.index) == axis and axis == 1
        found.append(_evidence(step, call.name, tuple(call.prediction.shape), axis, features, True, call.place))
    return found


def _softmaxes(step: Step) -> list[Evidence]:
    ends = _predicting(step)
    found = []
    for op in step.tape.history:
        axis = normalised_axis(step, op) if plain_name(op) in SOFTMAX and op.kind == "function" else None
        if axis is None or not step.reaches(op):
            continue
        shape = tuple(step.tape.values[op.inputs[0]].shape)
        features = feature_axis(step, op.inputs[0], op.index) == axis
        found.append(_evidence(step, plain_name(op), shape, axis, features, op.index in ends, step.place_of(op)))
    return found


def _predicting(step: Step) -> set[int]:
    """The softmaxes whose result, merely reshaped or taken the logarithm of, is the prediction."""
    from trainrecipe.subjects.names import RESHAPING

    through = RESHAPING | {"log", "neg", "clamp", "clip", "clamp_", "add", "sub"}
    given: list[tuple[int, Op | None]] = [(c.input, c.op) for c in step.losses if c.counts]
    given += [(n, None) for n in step.predictions]
    chains = [list(step.back(n, through, before=op.index if op else None)) for n, op in given]
    return {chain[-1].index for chain in chains if chain}


def _evidence(
    step: Step, name: str, shape: tuple[int, ...], axis: int, features: bool, prediction: bool, place: Place | None
) -> Evidence:
    gradients = [g for _, g in step.tape.gradients]
    zero = sum(g.zero for g in gradients) if shape[axis] == 1 else 0
    return Evidence(
        {
            "softmax": name,
            "shape": shape,
            "axis": axis,
            "units": shape[axis],
            "features": features,
            "prediction": prediction,
            "zero": zero,
            "parameters": len(gradients),
        },
        place=place,
    )
