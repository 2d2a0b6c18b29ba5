from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import SOFTMAX, SQUASHING, plain_name
from trainrecipe.subjects.origins import cone, is_probability, maker, weighs

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import LossCall, Step

LOGARITHMS = frozenset(
    {
        "log",
        "log2",
        "log10",
        "log1p",
        "logit",
        "log_softmax",
        "special_log_softmax",
        "logsigmoid",
        "logsumexp",
        "logaddexp",
    }
    | {"logcumsumexp", "lgamma", "logdet", "slogdet", "xlogy", "pow", "square"}
)
"""Operations of which a log-probability or log-density is made; where one lies between layer and loss, values decide
nothing."""
ZERO = 1e-3
"""How far above 0 rounding can lift a log-probability: log_softmax gives at most 0 in float32, 4e-3 in half
precision."""


class LogProbabilitiesExpected(Check):
    """Losses that expect log-probabilities get log-probabilities.

    What it checks
    --------------
    The first argument of `nll_loss`, `kl_div` and `ctc_loss`, and the second of `kl_div`. A log-probability is
    never positive; a first argument with positive values is a finding when it is a probability vector (rows in 0…1
    that sum to one), the output of a softmax or sigmoid, or when no logarithm lies between the last layer and the
    loss (raw logits). Negative values in the second argument of `kl_div` are a finding when it is told to expect
    probabilities there.

    Why it matters
    --------------
    These losses only pick out or average what they are given. With logits the loss has no lower bound and falls for
    ever while nothing is learned about probabilities; with probabilities it lies between −1 and 0, and its gradient
    vanishes for exactly the examples that are most wrong.

    What healthy looks like
    -----------------------
    `log_softmax` (or the log of a probability) directly before the loss: values at most 0, exponentials summing to one.

    What to do
    ----------
    Put `F.log_softmax(logits, dim=1)` before the loss, or use `cross_entropy` on the logits. `kl_div(input,
    target)` takes the log-probabilities first and the probabilities second, unless `log_target=True`.

    When it is wrong
    ----------------
    Log-densities may be positive: where a logarithm or a square lies between the last layer and the loss, positive
    values are not reported. Log-probabilities over a part of the classes sum to less than one and are fine. Raw
    logits that happen to be negative throughout are missed, and so is a likelihood written by hand.

    Source
    ------
    PyTorch documentation of NLLLoss, KLDivLoss and CTCLoss; fault catalogue 5, 6 and 13.
    """

    title = "A loss that expects log-probabilities gets something else"
    rows = ("S18",)
    faults = (5, 6, 13)
    explains = (
        "overfit-one-batch",
        "learning-rate-range",
        "loss-at-init",
        "wrong-class-dimension",
        "non-finite",
        "learning-rate-starved",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Look at the arguments of each such loss."""
        calls = [c for c in step.losses if c.name in ("nll_loss", "kl_div", "ctc_loss") and c.counts]
        if not calls:
            return Evidence(missing="the step's loss uses none of nll_loss, kl_div and ctc_loss of PyTorch's")
        return [_look(step, call) for call in calls]

    def judge(self, evidence: Evidence) -> Ruling:
        """Positive values are no logarithms of probabilities."""
        loss, fault = evidence["loss"], evidence["fault"]
        if fault == "density":
            return Ruling.passed(f"{loss} gets positive values up to {evidence['high']:.3g}, made with a logarithm: a density")
        if not fault:
            return Ruling.passed(f"{loss} gets values of at most {evidence['high']:.3g}, as log-probabilities are")
        which = "second" if fault in ("target", "target probabilities") else "first"
        expected = "log-probabilities" if which == "first" or fault == "target probabilities" else "probabilities"
        got = {
            "probabilities": "probabilities: the logarithm is missing",
            "logits": "raw logits: log_softmax is missing",
            "target": "values below zero, so no probabilities",
            "target probabilities": "probabilities although log_target=True",
            "swapped": "probabilities, and log-probabilities as its second: they are swapped",
        }[fault]
        return Ruling.found(
            Severity.ERROR,
            f"The {which} argument of {loss} holds {got}.",
            expected=f"{expected} in the {which} argument",
            observed=f"values between {evidence['low']:.3g} and {evidence['high']:.3g}"
            + (f" made by {evidence['maker']}" if evidence["maker"] else ""),
            fix=_fix(loss, fault),
        )


def _fix(loss: str, fault: str) -> str:
    if fault == "swapped":
        return "Swap the arguments: kl_div(log_probabilities_of_the_model, target_probabilities)."
    if fault == "target":
        return "Give probabilities as target (softmax of the target's logits), or log-probabilities with log_target=True."
    if fault == "target probabilities":
        return "Take the logarithm of the target, or leave log_target at False."
    other = ", or give the logits to cross_entropy instead" if loss == "nll_loss" else ""
    if fault == "probabilities":
        return f"Replace softmax by log_softmax before {loss}{other}."
    return f"Put log_softmax over the classes before {loss}{other}."


def _look(step: Step, call: LossCall) -> Evidence:
    made = maker(step, call.input, call.op.index)
    kind = _first(step, call)
    if call.name == "kl_div" and call.target is not None:
        kind = _second(call, kind)
    values = call.target if kind.startswith("target") and call.target is not None else call.prediction
    name = plain_name(made) if made is not None else ""
    show = kind in ("probabilities", "swapped") and made is not None and name in SQUASHING
    return Evidence(
        {
            "loss": call.name,
            "fault": kind,
            "maker": name if not kind.startswith("target") else "",
            "low": float(values.min()) if values.numel() else 0.0,
            "high": float(values.max()) if values.numel() else 0.0,
        },
        place=step.place_of(made) if show and made is not None else call.place,
    )


def _first(step: Step, call: LossCall) -> str:
    """What the first argument holds that it should not; empty when nothing speaks against log-probabilities."""
    values = call.prediction.detach().double()
    if not values.numel() or float(values.max()) <= ZERO:
        return ""
    inside = bool(((values >= 0) & (values <= 1)).all())
    made = maker(step, call.input, call.op.index)
    if inside and (_simplex(values) or is_probability(step, call.input, call.op.index) or (made and made.name in SOFTMAX)):
        return "probabilities"
    if made is None:
        return ""
    between = [op.name for op in cone(step, call.input, stop=lambda op: weighs(step, op)) if op.index < call.op.index]
    return "density" if LOGARITHMS.intersection(between) else "logits"


def _second(call: LossCall, first: str) -> str:
    assert call.target is not None
    target = call.target.detach().double()
    negative = bool(target.numel()) and float(target.min()) < -ZERO
    if not call.settings.get("log_target"):
        if negative and first == "probabilities":
            return "swapped"
        return first or ("target" if negative else "")
    inside = bool(((target >= 0) & (target <= 1)).all())
    return first or ("target probabilities" if inside and _simplex(target) else "")


def _simplex(values: torch.Tensor) -> bool:
    """Whether values sum to one along an axis of at least two entries (the batch, only if there is no other)."""
    axes = range(values.ndim > 1, values.ndim)
    return any(values.shape[a] > 1 and bool(((values.sum(a) - 1).abs() < 1e-2).all()) for a in axes)
