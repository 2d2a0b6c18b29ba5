"""Whether the value of the loss says anything: a loss divided by itself is the same number at every step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import plain_name

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

SAME = 1e-6
"""Relative difference up to which two losses are the same number."""
LEAST = 5
"""Steps that must have been seen."""
ZERO = 1e-3
"""Size below which a constant is taken for zero: the loss of a policy whose advantages are normalised is zero."""
VARIES = 1e-4
"""Relative difference from which what the loss is a multiple of is another value in another step."""
HINGES = frozenset(
    {
        *("relu", "relu_", "clamp", "clamp_", "clamp_min", "clamp_min_", "max", "maximum", "threshold", "fmax"),
        *("margin_ranking_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss", "multi_margin_loss"),
        *("hinge_embedding_loss", "cosine_embedding_loss", "multilabel_margin_loss"),
    }
)
FACTORS = frozenset({"div", "truediv", "true_divide", "divide", "mul", "rmul"})


class LossConstant(Check):
    """The value of the loss changes with the weights.

    What it checks
    --------------
    The values that backward was called on over the seen steps. When they are one and the same number although their
    gradients are not zero, recorded steps are taken apart: a loss whose terms vary from step to step, each times a factor
    that undoes the variation, is made constant by its own formula. And a loss that is exactly zero in every step, with a
    gradient of zero, from the first step on, where a hinge on the way to it gives nothing but zeros.

    Why it matters
    --------------
    A hinge or margin that no example reaches trains nothing. A loss divided by its own `.item()` is always 1: what is
    printed shows nothing, early stopping and plateau schedules see no progress, and the gradient is that of the logarithm,
    which grows as the real loss shrinks.

    What healthy looks like
    -----------------------
    The loss differs from batch to batch, and falls.

    What to do
    ----------
    Call backward on the loss itself. To balance several losses divide each by a running mean, and log the raw values.

    When it is wrong
    ----------------
    Surrogates whose value is zero by construction, such as policy gradients with normalised advantages, are not reported.
    A sum of several normalised terms is a known way to balance tasks and at most a note.

    Source
    ------
    Fault catalogue 24 (forum thread 126995). That factor times term is the same number in every step is an identity.
    """

    title = "The loss has the same value at every step"
    rows = ("S18", "S6")
    faults = (24,)
    price = Price.FORWARD
    explains = (
        "optimizer-without-gradients",
        "overfit-one-batch",
        "learning-rate-range",
        "loss-at-init",
        "update-ratio",
        "learning-rate-starved",
    )

    def measure(self, step: Step) -> Evidence:
        """Compare the values seen, and then those of stretched weights."""
        values = [v for _, v in step.values_seen]
        if len(values) < LEAST:
            return Evidence(missing=f"only {len(values)} values of the loss were seen")
        data: dict[str, Any] = {"steps": len(values), "value": values[0], "spread": max(values) - min(values)}
        if not all(map(math.isfinite, values)) or data["spread"] > SAME * max(1.0, abs(values[0])):
            return Evidence({**data, "constant": False}, place=step.place)
        if not any(not g.zero for _, g in step.tape.gradients):
            if data["value"] or not step.tape.gradients or step.distrust or not _cut_off(step):
                return Evidence(missing="the loss stays the same, and so do the weights: its gradient is zero")
            return Evidence({**data, "constant": True, "idle": True}, place=step.place)
        if step.distrust:
            return Evidence(missing=step.distrust)
        same, terms, place = _by_formula(step)
        return Evidence({**data, "constant": same, "terms": terms}, place=place or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["constant"]:
            return Ruling.passed(
                "the loss follows the weights" if e["spread"] == 0 else f"the loss varies over {e['steps']} steps"
            )
        if e.get("idle"):
            return Ruling.found(
                Severity.WARNING,
                f"The loss is {e['value']:.6g} at every step, and its gradient is zero: nothing is trained.",
                expected="a gradient that is not zero while there is something to learn",
                observed=f"the same value at all of {e['steps']} steps, and no weight got a gradient other than zero",
                fix="Look at what cuts the loss off: a margin with the wrong sign, a hinge or clamp that no example reaches, "
                "dead units in front of it.",
            )
        if abs(e["value"]) < ZERO:
            return Ruling.unsure("the loss is zero by construction, as that of normalised advantages is")
        return Ruling.found(
            Severity.NOTE if e["terms"] > 1 else Severity.ERROR,
            f"The loss is {e['value']:.6g} at every step, whatever the weights are.",
            expected="a loss that falls as the predictions get better",
            observed=f"{e['value']:.6g} at all of {e['steps']} steps, although the gradient is not zero and what the "
            "loss is made of changes",
            fix="Do not divide the loss by its own value (`.item()`, `.detach()`): call backward on the loss itself.",
        )


def _cut_off(step: Step) -> bool:
    """Whether a hinge on the way to the loss gives nothing but zeros; rewards that did not come yet make none, too."""
    from trainrecipe.subjects.flow import Flow

    flow = Flow.of(step)
    hinges = [op for op in flow.ops if plain_name(op) in HINGES and op.index in flow.reaching and op.outputs]
    return any(op.outputs[0].requires_grad and not bool(op.outputs[0].any()) for op in hinges)


def _by_formula(step: Step) -> tuple[bool, int, Any]:
    """Whether every term is a quantity that varies from step to step times a factor that undoes it; how many terms there
    are; and the line of the first factor."""
    made = [_terms(one) for one in step.each() if not one.distrust]
    if len(made) < 2 or len({len(m) for m in made}) != 1 or not made[0]:
        return False, 0, None
    undone = []
    for seen in zip(*made, strict=True):
        values, parts, _ = zip(*seen, strict=True)
        same = max(parts) - min(parts) <= SAME * max(1.0, abs(parts[0]))
        undone.append(same and max(values) - min(values) > VARIES * max(map(abs, values)))
    return all(undone), len(undone), next((place for _, _, place in made[0] if place is not None), None)


def _terms(step: Step) -> list[tuple[float, float, Any]]:
    """For each term its value without the factor in front, its part of the loss, and the line of that factor."""
    import torch

    from trainrecipe.subjects.summands import Graph, pieces_of

    graph = Graph(step)
    pieces = [p for p in pieces_of(graph) if p.tensor.requires_grad]
    weights = torch.autograd.grad(graph.root.sum(), [p.tensor for p in pieces], allow_unused=True)
    found = []
    for piece, weight in zip(pieces, weights, strict=True):
        if weight is not None:
            takers = (op for op in graph.ops if any(t is piece.tensor for t in op.inputs) and plain_name(op) in FACTORS)
            factor = next(takers, None)
            value = piece.tensor.detach().double()
            found.append((float(value.sum()), float((value * weight).sum()), None if factor is None else factor.place))
    return found
