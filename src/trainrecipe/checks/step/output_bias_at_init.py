"""What it would save to start the last bias at the label prior or the mean of the targets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, lines

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.replay import Twin
    from trainrecipe.subjects.step import LossCall, Step

WORTH = 0.4
"""Share of a first cross-entropy that the bias alone must save. 90 % of one of two classes saves 53 %, an 80:20 split
28 %."""
WORTH_REGRESSION = 0.75
"""The same for regression: targets whose mean is 1.7 times their spread. A picture's pixels save about half."""
SANE = 1.5
"""Times the neutral loss up to which the bias is what a first cross-entropy above the label entropy is about."""
CHANCE = 4.0
"""Times the (C - 1) / 2N nats that label frequencies counted on N labels save by chance (the bias of the plug-in
entropy)."""
KINDS = frozenset({"softmax", "sigmoid", "squared", "absolute", "huber"})
REGRESSION = frozenset({"squared", "absolute", "huber"})
ADDITIVE = frozenset(
    {
        "cross_entropy",
        "binary_cross_entropy_with_logits",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
    }
)
"""Losses that take what the last layer gives, without a function in between."""
ONE_CLASS = 0.97
"""Share of the commonest class from which on batches look sorted rather than imbalanced."""
STEPS = 150
"""Steps with the script's own optimiser and rate, within which a net should have found the right level by itself."""
FAR = 10.0
"""Times by which the bias must lower the first loss for more than a note."""


class OutputBiasAtInit(Check):
    """The last bias starts where the targets lie.

    What it checks
    --------------
    The bias that is added to every prediction is found by moving it on a twin. It is set to the logarithm of the label
    frequencies, the log-odds of the positive rate, or the mean (median) of the targets of the recorded steps, and the
    first loss is computed again. Then a twin is trained from the script's own start until it reaches that loss: the
    steps of the "hockey stick" that the bias saves.

    Why it matters
    --------------
    Otherwise the first part of training only learns the frequencies: the curve looks like a hockey stick, and with
    targets far from zero and a small learning rate the net may never arrive.

    What healthy looks like
    -----------------------
    The first loss is near that of the best constant prediction.

    What to do
    ----------
    Set the bias of the last layer once before training, or normalise the regression targets.

    When it is wrong
    ----------------
    A matter of speed, so a note, also for rare classes; a warning only for a regression where the net does not reach the
    better start within 150 steps of its own optimiser. Class weights are taken into account. Heads without a bias, or with
    a function behind it, are skipped.

    Source
    ------
    A. Karpathy, A Recipe for Training Neural Networks ("init well"); T.-Y. Lin et al. 2017 (focal loss, prior of the
    bias); G. Miller 1955 for the bias of the plug-in entropy."""

    title = "The output starts far from where the targets lie"
    rows = ("S5",)
    faults = (108, 138)
    price = Price.TRAIN
    explains = ("overfit-one-batch", "learning-rate-range")

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.theory import evaluator, theory_of

        if not step.first:
            return Evidence(missing="this line is first reached after optimiser steps, so its net is not untrained")
        if step.distrust:
            return Evidence(missing=step.distrust)
        found = theory_of(step)
        if isinstance(found, str):
            return Evidence(missing=found)
        call, theory = found
        if theory.kind not in KINDS or call.name not in ADDITIVE:
            return Evidence(missing=f"a bias is not simply added to what {call.name} compares")
        targets = [i.tensor for one in step.each() for i in one.targets if i.op.name == call.op.name and i.tensor.numel() > 1]
        if targets and all(bool((t == targets[0].flatten()[0]).all()) for t in targets):
            return Evidence(missing="the targets are all the same, as those of adversaries are")
        twin = step.twin()
        bias = _bias(step, twin, call)
        if bias is None:
            return Evidence(missing="no trained bias is added to the predictions, so there is none to set")
        original, working, output = bias
        axis = _axis(output, working.numel(), theory.kind)
        wanted = None if axis is None else _wanted(step, call, theory.kind, axis, working.numel())
        if axis is None or wanted is None:
            return Evidence(missing=f"there is no formula for the best constant of {call.name} on this shape")
        if theory.kind == "softmax" and float(wanted.max().exp()) > ONE_CLASS:
            return Evidence(missing="the recorded batches hold one class only, so they do not tell the label frequencies")
        data: dict[str, Any] = {
            "kind": theory.kind,
            "loss": call.name,
            "name": step.name(original),
            "count": _count(step, call),
        }
        data["classes"] = theory.classes
        data["start"] = theory.start
        data["now"] = [float(v) for v in working.detach().flatten()[:20]]
        data["shown"] = [float(v) for v in wanted.flatten()[:20]]
        data["before"] = theory.measured
        level = _columns(output.double(), axis, working.numel()).mean(0)
        if theory.kind == "softmax":
            level = level - level.logsumexp(0)
        shape = [1] * output.ndim
        if output.ndim:
            shape[axis] = -1
        data["after"] = evaluator(call)(output.double() + (wanted - level).reshape(shape))
        if _worth(data):
            data["curve"] = _curve(step, data["after"] * abs(theory.factor), abs(theory.factor))
        return Evidence(data, place=step.place_of_parameter(original))

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        text = f"the first loss is {e['before']:.4g}, and {e['after']:.4g} with the last bias at {_shown(e['shown'])}"
        if not _worth(e):
            return Ruling.passed(text)
        curve = e.get("curve")
        steps = None if curve is None else next((i for i, v in enumerate(curve["losses"]) if v <= e["after"]), None)
        never = curve is not None and not curve["cut"] and not curve["broken"] and steps is None
        far = e["before"] >= FAR * e["after"]
        saved = _saved(curve, steps)
        return Ruling.found(
            Severity.WARNING if never and far and e["kind"] in REGRESSION else Severity.NOTE,
            f"Setting the last bias to {_meaning(e['kind'])} lowers the first loss from {e['before']:.3g} to "
            f"{e['after']:.3g}" + (f" and saves {saved} of training." if saved else "."),
            expected=f"{e['name']} near {_shown(e['shown'])}, {_meaning(e['kind'])}",
            observed=f"{e['name']} starts at {_shown(e['now'])}; the first {e['loss']} is {e['before']:.4g} instead "
            f"of {e['after']:.4g}" + (f", which a twin {_reaches(curve, steps)}" if saved else ""),
            fix=f"Before training: nn.init.constant_ or copy_ of {_shown(e['shown'])} into {e['name']}"
            + (", or normalise the targets." if e["kind"] not in ("softmax", "sigmoid") else "."),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        curve = evidence.get("curve")
        if curve is None or len(curve["losses"]) < 2:
            return None
        caption = "Until the curve meets the line, only where the targets lie is learnt; the bias gives that for nothing."
        rules = {"first loss with the bias set": evidence["after"]}
        return lines(
            "The hockey stick",
            caption,
            {"as the script starts": curve["losses"]},
            y_title="loss",
            rules=rules,
            log_y=True,
        )


def _worth(e: Any) -> bool:
    """Whether the bias alone saves enough of the first loss, which is not high for another reason."""
    classes = e["kind"] in ("softmax", "sigmoid")
    if classes and e["before"] > SANE * e["start"]:
        return False
    return _saving(e) >= (WORTH if classes else WORTH_REGRESSION)


def _saving(e: Any) -> float:
    """The share of the first loss that the bias saves, beyond what label frequencies of so few labels save by
    chance."""
    gain = e["before"] - e["after"]
    if e["kind"] == "softmax":
        gain -= CHANCE * (e["classes"] - 1) / (2 * max(1, e["count"]))
    elif e["kind"] == "sigmoid":
        gain -= CHANCE * len(e["shown"]) / (2 * max(1, e["count"]))
    return float(gain / e["before"]) if e["before"] > 1e-9 else 0.0


def _meaning(kind: str) -> str:
    return {
        "softmax": "the logarithm of the label frequencies",
        "sigmoid": "the log-odds of the positive rate",
        "absolute": "the median of the targets",
    }.get(kind, "the mean of the targets")


def _shown(values: list[float]) -> str:
    text = ", ".join(f"{v:.3g}" for v in values[:6])
    return text if len(values) == 1 else f"[{text}{', …' if len(values) > 6 else ''}]"


def _saved(curve: dict[str, Any] | None, steps: int | None) -> str:
    if curve is None or curve["broken"] or (steps is None and curve["cut"]):
        return ""
    return f"more than {len(curve['losses']) - 1} steps" if steps is None else f"about {steps} steps"


def _reaches(curve: dict[str, Any] | None, steps: int | None) -> str:
    assert curve is not None
    if steps is not None:
        return f"reaches after {steps} steps with the script's optimiser"
    steps, last = len(curve["losses"]) - 1, curve["losses"][-1]
    return f"has not reached after {steps} steps with the script's optimiser (it is at {last:.3g})"


def _targets(step: Step, call: LossCall) -> list[LossCall]:
    """The same loss call in this and the later recorded steps, for more targets than one batch has."""
    found = [call]
    for other in step.each()[1:]:
        found += [c for c in other.losses if c.name == call.name and c.counts][:1]
    return [c for c in found if c.target is not None and c.prediction.shape[1:] == call.prediction.shape[1:]]


def _count(step: Step, call: LossCall) -> int:
    from trainrecipe.subjects.theory import counted

    return sum(counted(c) for c in _targets(step, call))


def _wanted(step: Step, call: LossCall, kind: str, axis: int, outputs: int) -> torch.Tensor | None:
    """The best constant prediction over the recorded steps: one value per class or output."""
    import dataclasses

    import torch

    from trainrecipe.subjects.theory import best_prediction

    calls = _targets(step, call)
    count = max(1, _count(step, call))
    prediction = torch.cat([c.prediction for c in calls]).double()
    target = torch.cat([c.target for c in calls if c.target is not None])
    if kind != "softmax":
        if target.shape != prediction.shape:
            return None
        prediction, target = _columns(prediction, axis, outputs), _columns(target, axis, outputs)
    joint = dataclasses.replace(call, prediction=prediction, target=target)
    whole = torch.zeros(len(prediction), dtype=torch.long, device=prediction.device)
    best = best_prediction(joint, kind, prediction, whole, pooled=True)
    if best is None:
        return None
    if kind == "softmax":
        share = best[0].reshape(outputs, -1)[:, 0].exp()
        return (share * (1 - 0.1 / count) + 0.1 / count / outputs).log()
    limit = math.log(2 * len(prediction) + 1)
    return best[0].clamp(-limit, limit) if kind == "sigmoid" else best[0]


def _axis(output: torch.Tensor, outputs: int, kind: str) -> int | None:
    """The axis of the predictions along which the bias lies; the last one for a single value."""
    if kind == "softmax":
        return 1 if output.ndim > 1 and output.shape[1] == outputs else None
    if outputs == 1 or output.ndim == 0:
        return max(0, output.ndim - 1)
    return next((d for d in (1, output.ndim - 1) if 0 < d < output.ndim and output.shape[d] == outputs), None)


def _columns(values: torch.Tensor, axis: int, outputs: int) -> torch.Tensor:
    """One column per value of the bias."""
    return values.reshape(-1, 1) if outputs == 1 else values.movedim(axis, -1).reshape(-1, outputs)


def _bias(step: Step, twin: Twin, call: LossCall) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """The trained leaf that is added to all predictions: original, working copy, and the predictions."""
    import torch

    held = {id(w) for w in step.trained(twin)}
    sizes = {1, *call.prediction.shape[1:]}
    candidates = [(o, w) for o, w in twin.leaves if id(w) in held and w.ndim == 1 and w.numel() in sizes]
    before = twin.run(until=[call.input]).get(call.input)
    if before is None:
        return None
    for original, working in reversed(candidates):
        old = working.detach().clone()
        with torch.no_grad():
            working.add_(1.0)
        moved = twin.run(until=[call.input])[call.input].detach() - before.detach()
        with torch.no_grad():
            working.copy_(old)
        if bool(((moved - 1).abs() < 1e-2).all()):
            return original, working, before.detach()
    return None


def _curve(step: Step, goal: float, factor: float) -> dict[str, Any] | None:
    """Train a fresh twin as the script would, until it has the loss that the right bias gives at once."""
    from trainrecipe.subjects.practice import own_optimizer, practise

    twin = step.twin()
    optimizer = own_optimizer(step, twin)
    if optimizer is None or step.peak_rate <= 0:
        return None
    curve = practise(step, twin, optimizer, STEPS, until=goal, clip=True)
    return {"losses": [v / factor for v in curve.losses], "cut": curve.cut, "broken": curve.broken}
