from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Place, Ruling, Severity
from trainrecipe.subjects.names import SOFTMAX, plain_name
from trainrecipe.subjects.origins import feature_axis, normalised_axis

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import LossCall, Step

CLASSES_FIRST = ("cross_entropy", "nll_loss")
"""Losses whose class axis is axis 1."""
SOFT_TARGETS = ("kl_div", "mse_loss", "binary_cross_entropy", "l1_loss", "smooth_l1_loss")
SELECTING = frozenset(
    {"__getitem__", "gather", "index_select", "masked_select", "narrow", "select", "chunk", "split", "unbind", "cat"}
)
TOLERANCE = 1e-2
"""How far from 1 the sum of probabilities may be after rounding in half precision."""


class WrongClassDimension(Check):
    """Softmax and loss agree on which axis holds the classes.

    What it checks
    --------------
    Three signs. (1) What goes into `cross_entropy` or `nll_loss` came from a softmax, but does not sum to one along
    axis 1, the class axis of these losses. (2) The output features of the last layer, followed through transposes
    and reshapes, lie on another axis than axis 1, and the shapes fit only because both axes have the same length.
    (3) The target is a probability vector, a one-hot vector or an index along one axis, and the softmax was taken
    along another.

    Why it matters
    --------------
    A softmax over the batch makes examples compete with each other: outputs change with the batch's composition and
    the probabilities of one example mean nothing. With the wrong class axis the loss compares time steps instead of
    classes. Neither crashes.

    What healthy looks like
    -----------------------
    `cross_entropy` and `nll_loss` get (N, C) or (N, C, …), softmax has `dim=1` (or −1 for (N, C)).

    What to do
    ----------
    Give softmax the class axis. For outputs of shape (N, T, C) use `cross_entropy(output.transpose(1, 2), target)`
    or flatten both to (N·T, C) and (N·T).

    When it is wrong
    ----------------
    A softmax over the batch or over time that is no prediction (attention, pooling over a bag, importance weights,
    list-wise ranking, both directions of a contrastive loss) is not looked at. Where the layer behind a prediction
    is not known, such as attention scores used as logits, sign (2) is silent. Assignment problems, in which every
    row of the target is a permutation, are left alone.

    Source
    ------
    PyTorch documentation of CrossEntropyLoss (class axis); fault catalogue 9 and 21.
    """

    title = "The loss and the softmax disagree about the class axis"
    rows = ("S18", "S12")
    faults = (9, 21)
    explains = (
        "softmax-before-cross-entropy",
        "overfit-one-batch",
        "learning-rate-range",
        "loss-at-init",
        "batch-mixing",
        "peeking-ahead",
        "input-independent-baseline",
        "learning-rate-starved",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Compare the axes of softmax, layer, loss and target."""
        found: list[Evidence | None] = [
            _library(step, c) for c in step.losses if c.counts and c.name in CLASSES_FIRST and c.prediction.ndim > 1
        ]
        found += [_soft(step, c) for c in step.losses if c.counts and c.name in SOFT_TARGETS and c.target is not None]
        found += _by_hand(step)
        known = [e for e in found if e is not None]
        return known or Evidence(missing="the loss has no class axis: no cross_entropy, nll_loss or softmax against a target")

    def judge(self, evidence: Evidence) -> Ruling:
        """Two axes that should be one."""
        wrong, loss = evidence["wrong"], evidence["loss"]
        if not wrong:
            return Ruling.passed(f"{loss} and the model agree on the class axis (axis {evidence['class_axis']})")
        shape, axis = tuple(evidence["shape"]), evidence["class_axis"]
        if wrong == "features":
            return Ruling.found(
                Severity.ERROR,
                f"{loss} takes axis {axis} for the classes, but the model puts them on axis {evidence['found_axis']}.",
                expected=f"classes on axis {axis}",
                observed=f"a prediction of shape {shape} whose axis {evidence['found_axis']} holds the last "
                "layer's outputs; "
                "it fits the target only because the two axes are equally long",
                fix=f"Move the class axis: prediction.transpose({axis}, {evidence['found_axis']}), or flatten "
                "prediction and target so that the prediction has shape (examples, classes).",
            )
        along = f"along axis {evidence['found_axis']}" if evidence["found_axis"] is not None else "along another axis"
        return Ruling.found(
            Severity.ERROR,
            f"{evidence['softmax']} normalises {along}, but the classes lie on axis {axis}.",
            expected=f"probabilities that sum to one over the classes (axis {axis} of shape {shape})",
            observed=f"sums over the classes between {float(evidence['low']):.3g} and {float(evidence['high']):.3g}",
            fix="Give the softmax the class axis: dim=1 for outputs of shape (N, C).",
        )


def _evidence(loss: str, shape: tuple[int, ...], axis: int, place: Place | None, wrong: str = "", **more: Any) -> Evidence:
    return Evidence({"loss": loss, "shape": shape, "class_axis": axis, "wrong": wrong, **more}, place=place)


def _chain(step: Step, number: int, before: int) -> tuple[list[Op], Op | None]:
    """The way back to the softmax that made a value, and that softmax; None when something else made it."""
    from trainrecipe.subjects.names import RESHAPING

    chain = list(step.back(number, RESHAPING | {"log", "neg", "clamp", "clip", "add"}, before=before))
    return chain, chain[-1] if chain and plain_name(chain[-1]) in SOFTMAX else None


def _library(step: Step, call: LossCall) -> Evidence:
    shape = tuple(call.prediction.shape)
    chain, softmax = _chain(step, call.input, call.op.index)
    if softmax is not None and shape[1] > 1:
        sums = _probabilities(call.prediction, chain).sum(1)
        other = _axis_of_ones(_probabilities(call.prediction, chain))
        selected = any(op.name in SELECTING for op in chain)
        if bool(((sums - 1).abs() > TOLERANCE).any()) and other != 1 and (other is not None or not selected):
            return _evidence(
                call.name,
                shape,
                1,
                step.place_of(softmax),
                "softmax",
                softmax=plain_name(softmax),
                found_axis=other,
                low=float(sums.min()),
                high=float(sums.max()),
            )
    axis = feature_axis(step, call.input, call.op.index)
    if axis is not None and axis != 1 and _coincides(call, axis):
        return _evidence(call.name, shape, 1, call.place, "features", found_axis=axis)
    return _evidence(call.name, shape, 1, call.place)


def _probabilities(values: torch.Tensor, chain: list[Op]) -> torch.Tensor:
    logs = any(plain_name(op) in ("log_softmax", "special_log_softmax", "log") for op in chain)
    return values.detach().double().exp() if logs else values.detach().double()


def _axis_of_ones(values: torch.Tensor) -> int | None:
    """The one axis of at least two entries along which values sum to one; None when there is none or several."""
    axes = [a for a in range(values.ndim) if values.shape[a] > 1 and bool(((values.sum(a) - 1).abs() < TOLERANCE).all())]
    return axes[0] if len(axes) == 1 else None


def _coincides(call: LossCall, axis: int) -> bool:
    """Whether the shapes are right by chance.

    The class axis is as long as the features' one, and no permutation explains it.
    """
    target = call.target
    if target is None or call.prediction.shape[axis] < 2:
        return False
    if target.is_floating_point():
        return target.shape == call.prediction.shape and _axis_of_ones(target.detach().double()) == axis
    if call.prediction.shape[1] != call.prediction.shape[axis]:
        return False
    rows = target.reshape(target.shape[0], -1).sort(1).values
    return not bool((rows == rows.new_tensor(range(rows.shape[1]))).all())


def _soft(step: Step, call: LossCall) -> Evidence | None:
    """A softmax along one axis against a target that is a probability vector along another."""
    assert call.target is not None
    chain, softmax = _chain(step, call.input, call.op.index)
    if softmax is None or call.target.shape != call.prediction.shape or not call.target.is_floating_point():
        return None
    target = call.target.detach().double()
    classes = _axis_of_ones(target.exp() if call.settings.get("log_target") else target)
    if classes is None or bool((target < 0).any()) != bool(call.settings.get("log_target")):
        return None
    values = _probabilities(call.prediction, chain)
    found, sums = _axis_of_ones(values), values.sum(classes)
    wrong = "softmax" if found is not None and found != classes else ""
    return _evidence(
        call.name,
        tuple(values.shape),
        classes,
        step.place_of(softmax) if wrong else call.place,
        wrong,
        softmax=plain_name(softmax),
        found_axis=found,
        low=float(sums.min()),
        high=float(sums.max()),
    )


def _by_hand(step: Step) -> list[Evidence]:
    """Softmaxes whose result is picked by the labels, or multiplied with a one-hot target, along another axis."""
    found = []
    for op in step.tape.history:
        axis = normalised_axis(step, op) if op.kind == "function" and step.reaches(op) else None
        if axis is None:
            continue
        shape = tuple(step.tape.values[op.inputs[0]].shape)
        number = op.outputs[0]
        for _ in range(6):
            takers = [o for o in step.consumers.get(number, ()) if step.reaches(o)]
            classes = next((a for o in takers if (a := _picked(step, o, number, shape)) is not None), None)
            if classes is not None:
                wrong = "softmax" if classes != axis else ""
                found.append(
                    _evidence(
                        "the loss",
                        shape,
                        classes,
                        step.place_of(op),
                        wrong,
                        softmax=plain_name(op),
                        found_axis=axis,
                        **_sums(step, op, classes),
                    )
                )
                break
            onward = [
                o for o in takers if plain_name(o) in ("log", "neg", "clamp", "clip", "add", "contiguous", "clone", "float")
            ]
            if len(onward) != 1 or not onward[0].outputs:
                break
            number = onward[0].outputs[0]
    return found


def _sums(step: Step, op: Op, classes: int) -> dict[str, float]:
    """Smallest and largest sum over the classes, where the softmax's input can be had from a replay."""
    import contextlib

    import torch

    with contextlib.suppress(Exception), torch.no_grad():
        values = step.twin().run(until=[op.outputs[0]])[op.outputs[0]].double()
        sums = (values.exp() if "log" in op.name else values).sum(classes)
        return {"low": float(sums.min()), "high": float(sums.max())}
    return {"low": float("nan"), "high": float("nan")}


def _picked(step: Step, op: Op, number: int, shape: tuple[int, ...]) -> int | None:
    """The axis that a target takes for the classes when it meets a softmax's result; None when that cannot be told."""
    values = step.tape.values
    known = [values[n] for n in op.inputs if n != number and n in values and values[n].parameter is None]
    others = [v.constant for v in known if v.constant is not None]
    if len(shape) != 2 or not others:
        return None
    last = others[-1]
    product = plain_name(op) in ("mul", "rmul")
    if product and len(others) == 1 and tuple(last.shape) == shape and bool((last >= 0).all()):
        return _axis_of_ones(last.double())
    labels = not last.is_floating_point() and last.numel() == shape[0] and not _counts_up(last)
    if product or op.inputs[0] != number or not labels:
        return None
    if op.name in ("gather", "take_along_dim"):
        axis = op.argument(1 if op.name == "gather" else 2, "dim")
        return axis % 2 if isinstance(axis, int) else None
    index = op.argument(1, "index")
    by_row = op.name == "__getitem__" and isinstance(index, tuple) and len(index) == 2
    return 1 if by_row and hasattr(index[1], "value") else None


def _counts_up(index: torch.Tensor) -> bool:
    """Whether labels are 0, 1, 2, …: the diagonal of a contrastive loss."""
    return bool((index.flatten() == index.new_tensor(range(index.numel()))).all())
