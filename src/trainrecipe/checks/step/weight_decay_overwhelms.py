from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import lines

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.replay import Twin
    from trainrecipe.picture import Picture
    from trainrecipe.subjects.practice import Curve
    from trainrecipe.subjects.step import Step

DECOUPLED = frozenset({"AdamW"})
SUSPECT = 0.3
"""Size of the decay's pull relative to the gradient's (of an Adam step to its usual size), below which nothing is tried.
With the usual 1e-4 to 1e-2 it is 0.001 to 0.1 at the start of a training."""
STEPS = 200
SHORTEST = 40
ENOUGH = 0.4
"""Part of the loss at which the twin without decay has learned enough."""
FASTER = (1.0, 10.0)
LEARNS = 0.5
"""Part of the loss on one batch that must go without decay, before decay is blamed for what stays."""
HELD = 0.25
"""Part of that progress that is left with decay."""
PARTLY = 0.6
"""The same where the weights have all but vanished: biases without decay still learn the best constant prediction."""
VANISHED = 0.1


class WeightDecayOverwhelms(Check):
    """Weight decay is weaker than the gradient.

    What it checks
    --------------
    Whether the pull of weight decay on the weights is as strong as that of the gradient, and if so what it does: a twin of
    the model is trained on the recorded batch with the script's own optimiser, once as it is and once without decay.

    Why it matters
    --------------
    Decay that wins pulls all weights to zero. The outputs become constant and the loss stays at that of the best constant
    prediction, which looks like a problem that cannot be learned.

    What healthy looks like
    -----------------------
    1e-5 to 1e-3 with SGD, 0.01 to 0.1 with AdamW.

    What to do
    ----------
    Lower it by a factor of ten until the loss falls; or train without it first.

    When it is wrong
    ----------------
    Large decays that do not hold the training up (AdamW with 0.1 to 1, layers before a norm) pass the experiment. One
    that is meant to keep a linear model small is reported only if hardly anything is learned.

    Source
    ------
    Fault catalogue 77; DeepCrime (regularisation), TheDeepChecker (over-regularisation).
    """

    title = "Weight decay holds the training up"
    rows = ("S24", "O4", "S17")
    faults = (77,)
    price = Price.TRAIN
    explains = ("learning-rate-range", "update-ratio", "overfit-one-batch", "dead-units", "vanishing-gradients")

    def measure(self, step: Step) -> Evidence:
        if step.distrust:
            return Evidence(missing=step.distrust)
        decays = (
            [float(g.get("weight_decay") or 0.0) for g in step.optimizer.param_groups] if step.optimizer is not None else []
        )
        if not any(decays):
            return Evidence(missing="the optimiser has no weight decay")
        pull = _pull(step)
        if pull is None:
            return Evidence(missing="the optimiser cannot be copied, or no weight with decay gets a gradient")
        data: dict[str, Any] = {
            "optimizer": type(step.optimizer).__name__,
            "decay": max(decays),
            "pull": pull,
            "curves": {},
            "shrunk": None,
            "factor": 1.0,
        }
        if pull >= SUSPECT:
            missing = _try(step, data)
            if missing:
                return Evidence(missing=missing)
        return Evidence(data, place=step.optimizer_place or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        pull, decay = evidence["pull"], evidence["decay"]
        if not evidence["curves"]:
            return Ruling.passed(f"a decay of {decay:g} pulls with {pull:.1g} of the gradient's strength")
        with_, without = evidence["curves"]["with decay"], evidence["curves"]["without"]
        first, end, free = without[0], min(with_[-3:]), min(without[-3:])
        gone = first - free
        text = f"on one batch the loss goes from {first:.4g} to {end:.4g} with a decay of {decay:g}, and to {free:.4g} without"
        if first <= 0 or gone < LEARNS * first:
            return Ruling.unsure(f"{text}; too little is learned without decay, too, to blame it")
        vanished = evidence["shrunk"] <= VANISHED
        if first - end > (PARTLY if vanished else HELD) * gone:
            return Ruling.passed(text)
        return Ruling.found(
            Severity.WARNING,
            f"A weight decay of {decay:g} pulls the weights to zero faster than they can learn.",
            expected=f"a loss near {free:.3g} after {len(without) - 1} steps on one batch, as without decay",
            observed=f"{end:.4g} (from {first:.4g}), with weights shrunk to {evidence['shrunk']:.0%} of their size; the "
            "decay pulls "
            f"{pull:.1f} times as strongly as the gradient",
            fix=f"Lower weight_decay: 1e-4 for SGD, 0.01 for AdamW, or 0 until the model fits (it is {decay:g}).",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence["curves"]:
            return None
        length = max(map(len, evidence["curves"].values()))
        series = {k: [*v, *[None] * (length - len(v))] for k, v in evidence["curves"].items()}
        caption = f"The script's {evidence['optimizer']} on one batch, as it is and with a weight decay of 0."
        return lines("What weight decay does", caption, series, y_title="loss")


def _pull(step: Step) -> float | None:
    """The norm of the decay's pull over that of the gradient, over all weights with decay; for decoupled decay, over the
    usual size of an Adam step, which is the learning rate per weight."""
    import torch

    twin = step.twin()
    optimizer = step.optimizer_for(twin)
    if optimizer is None:
        return None
    decayed = [(p, g) for g in optimizer.param_groups if g.get("weight_decay") for p in g["params"]]
    loss = twin.loss()
    if not decayed or not loss.requires_grad:
        return None
    gradients = torch.autograd.grad(loss, [p for p, _ in decayed], allow_unused=True)
    pulls, drives = 0.0, 0.0
    for (parameter, group), gradient in zip(decayed, gradients, strict=True):
        if gradient is None or parameter.ndim < 2:
            continue
        pulls += float((parameter.detach().float() * float(group["weight_decay"])).square().sum())
        decoupled = type(optimizer).__name__ in DECOUPLED or group.get("decoupled_weight_decay")
        drives += float(parameter.numel()) if decoupled else float(gradient.float().square().sum())
    return (pulls / drives) ** 0.5 if drives > 0 else None


def _try(step: Step, data: dict[str, Any]) -> str:
    """Train a twin without decay until it has learned enough, and one with decay for longer than that.

    At ten times the rate where the script's own is too slow to tell.
    """
    free: Curve | None = None
    for factor in FASTER:
        free, _ = _train(step, factor, STEPS, decay=False)
        if free is None:
            return "the optimiser cannot be copied"
        if free.cut:
            return "the time for experiments ran out"
        if free.broken or not free.losses:
            return "the loss on the twin did not stay finite"
        if free.losses[0] - min(free.losses[-3:]) >= LEARNS * abs(free.losses[0]):
            break
    assert free is not None
    acts = 3 / max(1e-9, step.peak_rate * factor * data["decay"])
    steps = int(min(STEPS, max(2 * len(free.losses), SHORTEST, acts)))
    own, shrunk = _train(step, factor, steps, decay=True)
    if own is None or own.cut or own.broken or not own.losses:
        return "the time for experiments ran out, or the loss with decay did not stay finite"
    data.update(curves={"with decay": own.losses, "without": free.losses}, shrunk=shrunk, factor=factor)
    return ""


def _train(step: Step, factor: float, steps: int, *, decay: bool) -> tuple[Curve | None, float]:
    from trainrecipe.subjects.practice import own_optimizer, practise

    twin = step.twin()
    optimizer = own_optimizer(step, twin, factor)
    if optimizer is None:
        return None, 1.0
    for group in optimizer.param_groups:
        if not decay:
            group["weight_decay"] = 0.0
    before = _size(step, twin)
    until = -math.inf if decay or step.observed <= 0 else ENOUGH * step.observed
    curve = practise(step, twin, optimizer, steps, until=until, clip=True)
    return curve, _size(step, twin) / max(before, 1e-12)


def _size(step: Step, twin: Twin) -> float:
    weights: list[torch.Tensor] = [w for w in step.trained(twin) if w.ndim >= 2]
    return math.sqrt(sum(float(w.detach().double().square().sum()) for w in weights))
