"""Whether a twin can learn its one batch by heart, down to the floor that its targets allow."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, heatmap, lines, points

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.practice import Curve
    from trainrecipe.subjects.step import LossCall, Step

RATES = (3e-3, 2e-2, 3e-4)
"""Adam's rates that are tried in turn: one of them suits nearly every net; the script's own plays no part."""
STEPS = (150, 150, 100)
"""Steps for each rate. Healthy small nets learn a batch in 20 to 80."""
SHORT = 40
"""Steps where the floor is not known, so that the curve is there to look at only."""
REACHED = 0.1
"""Share of the way from the best constant down to the floor that may be left: 90 % learnt is learnt by heart."""
FLAT = 0.02
"""Relative fall over the last third below which a curve has levelled off."""
ROOM = 4.0
"""Trained parameters per target value, below which a net may simply be too small for its batch."""

SHOWN = 200
"""Predictions shown next to their labels."""
CLASSES = 24
"""Classes up to which pairs of label and prediction are counted in a table."""


class OverfitOneBatch(Check):
    """The net can learn one batch by heart, to the lowest loss that its targets allow.

    What it checks
    --------------
    A twin is trained on the recorded batch with Adam at rates of its own, with all noise fixed, until the loss is
    near its floor: the entropy that label smoothing, soft targets and contradictory duplicates leave, else zero. When
    it levels off above the floor at every rate, the predictions tell what holds it up.

    Why it matters
    --------------
    A net that cannot even learn a few examples by heart has a fault between input and loss, and no amount of data or
    tuning will mend that.

    What healthy looks like
    -----------------------
    The loss reaches its floor within a hundred steps, and predictions lie on the labels.

    What to do
    ----------
    Look at the predictions next to the labels. Everything right but a high loss means that the output is confined to a
    range: remove the bound or multiply by a scale. Nothing learnt means that the signal does not get through.

    When it is wrong
    ----------------
    The floor must be known and the net large enough: several terms, contrastive losses, bottlenecks that copy their
    input, sequences whose beginnings are the same, losses written by hand that equal none of PyTorch's and small nets are
    never reported. A
    temperature that is part of the method, such as 0.5 in SimCLR, has a floor of its own.

    Source
    ------
    A. Karpathy, A Recipe for Training Neural Networks ("overfit one batch"); fault catalogue 1 for the floor of bounded
    logits.
    """

    title = "The net cannot learn one batch by heart"
    rows = ("S8",)
    faults = (1, 10)
    price = Price.TRAIN
    explains = ()

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.origins import maker
        from trainrecipe.subjects.theory import theory_of

        if step.distrust:
            return Evidence(missing=step.distrust)
        found = theory_of(step)
        if isinstance(found, str):
            return Evidence(missing=f"{found}, so its floor is not known")
        call, theory = found
        held = sum(w.numel() for w in step.trained(step.twin()))
        data: dict[str, Any] = {
            "kind": theory.kind,
            "floor": theory.floor,
            "why": theory.why or _odd(step, call),
            "best_constant": theory.start if theory.prior is None else theory.prior,
            "targets": theory.targets,
            "parameters": held,
            "curves": {},
        }
        factor = abs(theory.factor)
        floor = theory.floor or 0.0
        goal = floor + REACHED * max(data["best_constant"] - floor, REACHED * theory.start)
        for rate, steps in zip(RATES, STEPS, strict=True):
            steps = min(steps, SHORT) if data["why"] else steps
            curve, range_ = _practise(step, call, rate, steps, goal * factor)
            data["curves"][f"{rate:g}"] = [v / factor for v in curve.losses]
            if curve.cut:
                return Evidence(missing=f"the time for experiments ran out at learning rate {rate:g}")
            if not curve.broken and (not data.get("last") or data["curves"][f"{rate:g}"][-1] < data["last"]):
                data.update(last=data["curves"][f"{rate:g}"][-1], flat=_flat(curve), rate=rate, **range_)
            if data.get("last", math.inf) <= goal or data["why"]:
                break
        made = maker(step, call.input, call.op.index)  # the logits, if it is they that are confined
        place = step.place_of(made) if made is not None and data.get("right") == 1.0 else None
        return Evidence({**data, "goal": goal}, place=place or call.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if "last" not in e.data:
            return Ruling.unsure("the loss on the twin did not stay finite at any learning rate that was tried")
        first = next(iter(e["curves"].values()))[0]
        text = f"trained on one batch, the loss goes from {first:.3g} to {e['last']:.3g}"
        if e["why"]:
            return Ruling.passed(f"{text}; the floor is not known: {e['why']}")
        if e["last"] <= e["goal"]:
            return Ruling.passed(f"{text}, near its floor of {e['floor']:.3g}")
        if e["parameters"] < ROOM * e["targets"]:
            return Ruling.unsure(f"{text}; {e['parameters']} parameters may be too few for {e['targets']} targets")
        if not e["flat"]:
            return Ruling.unsure(f"{text}, above its floor of {e['floor']:.3g}, but it is still falling")
        learnt = 1 - (e["last"] - e["floor"]) / max(1e-12, e["best_constant"] - e["floor"])
        if e.get("right") == 1.0 and e["kind"] == "softmax":
            return _confined(e, text)
        return Ruling.found(
            Severity.NOTE,
            f"On one batch the loss levels off at {e['last']:.3g} although its floor is {e['floor']:.3g}.",
            expected=f"a loss near {e['floor']:.3g} after a few hundred steps on the same {e['targets']} targets",
            observed=f"{e['last']:.4g} at the best of {len(e['curves'])} learning rates, "
            f"{max(0.0, learnt):.0%} of the way from the best constant prediction ({e['best_constant']:.3g})",
            fix="Look at the predictions next to the labels, and at the other findings: something between input "
            "and loss loses "
            "the signal.",
            causes=(
                "the predictions are confined to a range (print their minimum and maximum)",
                "the signal does not get through (zero the input and compare the loss)",
                "the net is too narrow somewhere (double its width and try again)",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        e = evidence
        if not e["curves"] or "last" not in e.data:
            return None
        length = max(map(len, e["curves"].values()))
        series = {f"Adam {k}": [*v, *[None] * (length - len(v))] for k, v in e["curves"].items()}
        rules = {"best constant": e["best_constant"]} | ({"floor": e["floor"]} if e["floor"] is not None else {})
        caption = "Training on this batch alone should bring the loss down to its floor."
        curves = lines("One batch by heart", caption, series, y_title="loss", rules=rules)
        return dataclasses.replace(curves, beside=_alignment(e) if e.get("predicted") else None)


def _alignment(e: Evidence) -> Picture:
    """Labels against the predictions after training: a count for each pair of few classes, else a point for each."""
    title, titles = "Label and prediction", dict[str, Any](x_title="prediction", y_title="label")
    caption = "After training on this batch alone all should lie on the diagonal."
    labels, predicted = e["labels"], e["predicted"]
    if e["kind"] != "softmax" or (highest := max(*labels, *predicted)) >= CLASSES:
        return points(title, caption, predicted, labels, diagonal=True, **titles)
    counts = [[0.0] * (highest + 1) for _ in range(highest + 1)]
    for label, guess in zip(labels, predicted, strict=True):
        counts[label][guess] += 1
    return heatmap(title, caption, counts, value_title="targets", **titles)


def _confined(e: Evidence, text: str) -> Ruling:
    wide = e["high"] - e["low"]
    return Ruling.found(
        Severity.WARNING,
        f"Every label of the batch is predicted right, yet the loss levels off at {e['last']:.3g}: the logits are "
        "confined to "
        f"{e['low']:.3g} … {e['high']:.3g} and cannot grow.",
        expected=f"a loss near its floor of {e['floor']:.3g}: once all are right, larger logits always lower the loss",
        observed=f"{e['last']:.4g} with an accuracy of 100 %; the logits span {wide:.3g}, and that no longer changes",
        fix="Remove what bounds the logits, or multiply them by a scale (a cosine classifier needs one of 10 to 30).",
        causes=(
            "cosines are used as logits without a scale (multiply them by 10)",
            "a sigmoid, tanh, softmax or normalisation follows the last layer (look at the end of forward)",
        ),
    )


def _practise(step: Step, call: LossCall, rate: float, steps: int, goal: float) -> tuple[Curve, dict[str, Any]]:
    """Train a fresh twin at one rate; its curve, and what its last predictions look like."""
    from trainrecipe.subjects.practice import adam, practise

    twin = step.twin()
    seen: list[torch.Tensor] = []

    def watch(env: dict[int, torch.Tensor]) -> None:
        if call.input in env:
            seen[:] = [env[call.input].detach()]

    curve = practise(step, twin, adam(step, twin, rate), steps, until=goal, watch=watch)
    return curve, _look(call, seen[0].float()) if seen else {}


def _look(call: LossCall, predicted: torch.Tensor) -> dict[str, Any]:
    """The range of the last predictions, how many labels they get right, and some of them next to their labels."""
    target = call.target
    found: dict[str, Any] = {"low": float(predicted.min()), "high": float(predicted.max())}
    if call.name in ("cross_entropy", "nll_loss") and target is not None and predicted.ndim > 1:
        classes = target.argmax(1) if target.is_floating_point() else target
        counted = classes != call.settings.get("ignore_index", -100)
        labels, guesses = classes[counted], predicted.argmax(1)[counted]
        if call.name == "cross_entropy":
            found["right"] = float((guesses == labels).float().mean())
        found["predicted"], found["labels"] = guesses[:SHOWN].tolist(), labels[:SHOWN].tolist()
    elif target is not None and target.shape == predicted.shape:
        shown = predicted.sigmoid() if call.name == "binary_cross_entropy_with_logits" else predicted
        found["predicted"] = [float(v) for v in shown.flatten()[:SHOWN]]
        found["labels"] = [float(v) for v in target.flatten()[:SHOWN]]
    return found


def _flat(curve: Curve) -> bool:
    """Whether the loss has levelled off."""
    third = max(2, len(curve.losses) // 3)
    before, after = curve.losses[-2 * third : -third], curve.losses[-third:]
    if not before:
        return False
    return min(before) - min(after) <= FLAT * abs(min(before))


def _odd(step: Step, call: LossCall) -> str:
    """Why the floor does not hold for this step, though it is known for its targets."""
    import torch

    target = call.target
    if target is None:
        return "the loss has no targets"
    indices = call.name in ("cross_entropy", "nll_loss") and not target.is_floating_point()
    square = call.prediction.ndim == 2 and call.prediction.shape[0] == call.prediction.shape[1]
    if indices and square and len(torch.unique(target)) == len(target):
        return "each row is its own class, as in contrastive losses, whose temperature sets a floor"
    if indices and len(torch.unique(target)) == 1:
        return "all targets are one class, as where the right answer always comes first among others"
    if any(i.tensor.shape == target.shape and i.tensor.dtype == target.dtype for i in step.inputs) and target.numel() > 64:
        return "the targets have the shape of the inputs, and a net that copies its input may have a bottleneck"
    held = step.trained(step.twin())
    reached = {id(p) for p in step.tape.parameters}
    if len(held) < len(reached):
        return "only a part of the parameters behind this loss is trained"
    return ""
