"""Whether the targets of a loss are among the values that it is made for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

BINARY = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})
SIGNS = frozenset({"soft_margin_loss", "hinge_embedding_loss", "margin_ranking_loss", "cosine_embedding_loss"})
"""Losses whose targets are 1 and -1."""
SLACK = 0.35
"""How far beyond 0…1 targets may lie on purpose: 1.2 for real pictures is a known trick with GANs."""
ROUNDING = 1e-4
SHOWN = 4


class TargetsOutOfRange(Check):
    """The targets of a loss lie in the set that it is defined for.

    What it checks
    --------------
    Targets of binary cross-entropy, by PyTorch's functions or written by hand, lie between 0 and 1; those of the margin
    losses are 1 and −1; counts for a Poisson likelihood are not negative. Only elements that the loss really counts are
    looked at: where a mask or a weight removes an element, no gradient flows into its prediction.

    Why it matters
    --------------
    Nothing crashes. With a target of 2 or 255 binary cross-entropy has no minimum: the logits grow for ever and the loss
    goes to minus infinity. With targets 0 and 1 a margin loss ignores every negative example, since its term is constant.

    What healthy looks like
    -----------------------
    Masks and labels of 0 and 1 (or soft values between them) for binary cross-entropy, 1 and −1 for margin losses.

    What to do
    ----------
    Convert once, where the batch is built: `mask / 255`, `(y > 0).float()`, `y - 1`, or `2 * y - 1` for margin losses.

    When it is wrong
    ----------------
    Targets slightly beyond 0…1, as in one-sided label noise for GANs, are a note. Losses written by hand are only seen
    through when they are a plain binary cross-entropy.

    Source
    ------
    Fault catalogue 22; PyTorch documentation of BCEWithLogitsLoss, SoftMarginLoss and CosineEmbeddingLoss. An identity.
    """

    title = "Targets lie outside the values that the loss is made for"
    rows = ("S18",)
    faults = (22,)
    price = Price.FORWARD
    explains = (
        "overfit-one-batch",
        "learning-rate-range",
        "loss-at-init",
        "output-bias-at-init",
        "bounded-head",
        "non-finite",
        "loss-sign",
        "exploding-gradients",
        "competing-labels",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Look at the targets of each such loss, in every recorded step."""
        if step.distrust:
            return Evidence(missing=step.distrust)
        found: dict[Any, dict[str, Any]] = {}
        places: dict[Any, Any] = {}
        for one in step.each():
            for name, place, target, gradient in _given(one):
                key = (name, place)
                seen = found.setdefault(key, {"loss": name, "low": 1.0, "high": 0.0, "values": [], "counted": 0, "wrong": 0})
                places[key] = place
                _note(seen, target, gradient)
        if not found:
            return Evidence(missing="the loss has none of the functions whose targets are confined to a set")
        return [Evidence(seen, place=places[key]) for key, seen in found.items()]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        allowed = _allowed(e["loss"])
        values = ", ".join(f"{v:g}" for v in e["values"][:SHOWN]) + (", …" if len(e["values"]) > SHOWN else "")
        if not e["wrong"]:
            return Ruling.passed(f"the targets of {e['loss']} are {allowed}")
        slight = e["loss"] in BINARY and e["low"] >= -SLACK and e["high"] <= 1 + SLACK
        return Ruling.found(
            Severity.NOTE if slight else Severity.ERROR,
            f"Targets of {e['loss']} are not {allowed}: {values}.",
            expected=f"targets that are {allowed}",
            observed=f"{e['wrong'] / max(1, e['counted']):.0%} of {e['counted']} targets that count lie outside; "
            f"they range from {e['low']:g} to {e['high']:g}",
            fix=_fix(e["loss"], e["low"], e["high"]),
        )


def _allowed(loss: str) -> str:
    return "between 0 and 1" if loss in BINARY else "1 or -1" if loss in SIGNS else "0 or more"


def _fix(loss: str, low: float, high: float) -> str:
    if loss in SIGNS:
        return "Map the labels to 1 and -1: `2 * y - 1`."
    if loss not in BINARY:
        return "Give counts of 0 or more, or use another loss."
    if high > 200:
        return "Divide the masks by 255, or compare: `(mask > 127).float()`."
    if low >= 1:
        return f"The labels start at 1: subtract {low:g}."
    return "Map the labels to 0 and 1 where the batch is built: `(y > 0).float()`."


def _given(step: Step) -> list[tuple[str, Any, Any, Any]]:
    """Name, line, target and gradient in the prediction of each loss whose targets are confined."""
    from trainrecipe.subjects.loss_calls import live_calls
    from trainrecipe.subjects.terms import parts

    wanted = BINARY | SIGNS | {"poisson_nll_loss"}
    calls = live_calls(step)
    found = [(c.name, c.place, c.target, c.gradient) for c in calls if c.name in wanted]
    named = {c.place for c in calls}
    for term in parts(step).terms:
        if term.known is not None and term.known.name in BINARY and term.place not in named:
            found.append((term.known.name, term.place, term.known.target, term.known.gradient))
    return found


def _note(seen: dict[str, Any], target: Any, gradient: Any) -> None:
    values = target.double().reshape(-1)
    if gradient is not None and gradient.numel() == values.numel() and seen["loss"] not in SIGNS:
        counted = gradient.reshape(-1) != 0
        values = values[counted] if bool(counted.any()) else values
    if not values.numel():
        return
    low, high = float(values.min()), float(values.max())
    seen["low"], seen["high"] = min(seen["low"], low), max(seen["high"], high)
    if seen["loss"] in SIGNS:
        wrong = (values.abs() - 1).abs() > ROUNDING
    elif seen["loss"] in BINARY:
        wrong = (values < -ROUNDING) | (values > 1 + ROUNDING)
    else:
        wrong = values < -ROUNDING
    seen["counted"] += int(values.numel())
    seen["wrong"] += int(wrong.sum())
    for value in values[wrong].unique()[: SHOWN + 1].tolist():
        if value not in seen["values"] and len(seen["values"]) <= SHOWN:
            seen["values"].append(value)
