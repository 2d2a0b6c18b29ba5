"""Whether the loss grows with the number of examples in the batch, and with it the size of each step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Step

TWICE = (1.85, 2.15)
"""Growth of a summed loss when the batch is doubled; that of a mean is 1, of a contrastive loss with more negatives 1.1 to
1.3."""
STEPS = 25
"""Steps of the experiment on one batch."""
WELL = 0.3
"""Share of the loss that these steps must remove for a rate that works."""
SCALE_FREE = frozenset(
    {"Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adagrad", "RMSprop", "Rprop", "Adadelta", "LBFGS", "Adafactor"}
)


class LossScalesWithBatch(Check):
    """The loss is a mean over the batch, so that the size of a step does not depend on the batch size.

    What it checks
    --------------
    The loss is computed again with every example of the batch twice. A loss that doubles is summed over the batch. Where
    the optimiser's steps grow with it (SGD), twins are trained on the batch for a few steps at the script's rate, with
    the loss as it is and with the loss divided by the number of examples.

    Why it matters
    --------------
    The gradient of a sum is as many times larger as there are examples: with a learning rate meant for a mean, training
    diverges or dies in the first steps, a change of batch size changes the rate, and clipping and weight decay lose
    their meaning.

    What healthy looks like
    -----------------------
    `reduction="mean"`, or a sum divided by the batch size.

    What to do
    ----------
    Use the mean, or divide the sum by the number of examples (or of tokens that count).

    When it is wrong
    ----------------
    A sum with a rate that was tuned for it works; it is a note then. With Adam and its kind the scale cancels, and for
    sums of several terms (a variational bound in nats per batch) that is usual, so nothing is said there.

    Source
    ------
    Fault catalogue 14. That the loss doubles with the batch is an identity; that it does harm is shown on twins.
    """

    title = "The loss is summed over the batch"
    rows = ("S18", "S4")
    faults = (14,)
    price = Price.TRAIN
    explains = (
        "learning-rate-range",
        "clip-to-nothing",
        "exploding-gradients",
        "update-ratio",
        "dead-units",
        "non-finite",
        "overfit-one-batch",
        "loss-at-init",
        "unused-inputs",
        "input-independent-baseline",
        "saturation",
    )

    def measure(self, step: Step) -> Evidence:
        """Double the batch; then train with and without the factor."""
        if step.distrust:
            return Evidence(missing=step.distrust)
        size = step.batch_size
        if size is None or size < 4:
            return Evidence(missing="the batch has fewer than four examples, or its size cannot be told")
        growth, place, alone = _growth(step, size)
        if growth is None:
            return Evidence(missing="the step cannot be executed on a batch of another size")
        data: dict[str, Any] = {"growth": growth, "examples": size, "alone": alone, "optimizer": type(step.optimizer).__name__}
        if not TWICE[0] < growth < TWICE[1] or step.optimizer is None:
            return Evidence(data, place=place)
        data["scale_free"] = data["optimizer"] in SCALE_FREE
        if not data["scale_free"]:
            data["sum"], data["mean"] = _try(step, 1.0), _try(step, 1.0 / size)
            if data["sum"] is None or data["mean"] is None:
                return Evidence(missing="the time for experiments ran out, or the optimiser cannot be copied")
        return Evidence(data, place=place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not TWICE[0] < e["growth"] < TWICE[1]:
            return Ruling.passed(f"with every example twice the loss is {e['growth']:.3g} times as large")
        if "scale_free" not in e.data:
            return Ruling.unsure("the loss is summed over the batch; no optimiser was seen whose steps that would change")
        text = f"with every example of {e['examples']} twice, the loss is {e['growth']:.3g} times as large"
        if e["scale_free"] and not e["alone"]:
            return Ruling.passed(f"{text}; {e['optimizer']} makes steps of the same size all the same")
        harm, observed = False, text
        if not e["scale_free"]:
            harm = e["sum"]["progress"] < WELL / 3 and e["mean"]["progress"] >= WELL
            observed += (
                f"; {STEPS} steps of {e['optimizer']} on one batch take it from {e['sum']['first']:.4g} to {_text(e['sum'])}, "
                f"and with the loss divided by {e['examples']} to {_text(e['mean'])}"
            )
        return Ruling.found(
            Severity.WARNING if harm else Severity.NOTE,
            f"The loss is a sum over the {e['examples']} examples of the batch, which multiplies the gradient by as much"
            + (": at this learning rate it does not train." if harm else "."),
            expected="a mean over the batch, whose size does not depend on the batch size",
            observed=observed,
            fix='Use reduction="mean", or divide the sum by the number of examples.',
        )


def _text(result: dict[str, Any]) -> str:
    return "a value that is not finite" if result["broken"] else f"{result['end']:.4g}"


def _growth(step: Step, size: int) -> tuple[float | None, Any, bool]:
    """The loss of the doubled batch over that of the batch; the line to point at; whether it is one known loss alone."""
    from trainrecipe.subjects.terms import parts

    whole = parts(step)
    data = [t for t in whole.terms if not t.weights_only]
    alone = len(data) == 1 and data[0].known is not None
    place = data[0].place if data else step.place
    growth = _doubled(step, size)
    known = data[0].known if alone else None
    if growth is None and known is not None and known.name != "softmax, cross_entropy":
        counted = known.target.shape[0]
        growth = 2.0 if counted > 3 and math.isclose(known.factor, float(known.target.numel()), rel_tol=1e-2) else 1.0
    return growth, place, alone


def _doubled(step: Step, size: int) -> float | None:
    """The loss with every example twice, over the loss; None where that cannot be computed."""
    import torch

    from trainrecipe.capture.tensors import dense

    overrides: dict[int, torch.Tensor] = {}
    for one in step.consumed:
        if one.tensor.ndim and one.tensor.shape[0] == size and step.parameter(one.number) is None:
            overrides[one.number] = torch.cat([dense(one.tensor), dense(one.tensor)])
    if not overrides:
        return None
    twin = step.twin()
    try:
        with torch.no_grad():
            before = float(twin.loss())
            after = float(twin.loss(overrides))
    except Exception:
        return None
    if not math.isfinite(after) or abs(before) < 1e-9:
        return None
    return after / before


def _try(step: Step, factor: float) -> dict[str, Any] | None:
    """A few steps at the script's own rate on a fresh twin, with the loss times a factor."""
    import torch

    from trainrecipe.capture.tensors import dense
    from trainrecipe.subjects.practice import own_optimizer

    twin = step.twin()
    optimizer = own_optimizer(step, twin)
    if optimizer is None:
        return None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    losses: list[float] = []
    for _ in range(STEPS + 1):
        if step.seconds_left() < 0:
            return None
        loss = twin.loss()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            break
        grads = torch.autograd.grad(loss * factor, parameters, allow_unused=True)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = None if grad is None else dense(grad)
        step.clip_as_script(parameters)
        optimizer.step()
    broken = not math.isfinite(losses[-1])
    end = min(losses[-3:])
    progress = 0.0 if broken or not losses[0] else (losses[0] - end) / abs(losses[0])
    return {"first": losses[0], "end": end, "broken": broken, "progress": progress}
