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
DIVISIONS = frozenset({"div", "truediv", "true_divide", "divide", "mul", "rmul", "log"})
STRETCH = 1.5
"""Factor by which all weights are multiplied to see whether the loss follows."""


class LossConstant(Check):
    """The value of the loss changes with the weights.

    What it checks
    --------------
    The values that backward was called on over the seen steps. When they are one and the same number although their
    gradients are not zero, either the loss is a varying quantity times a factor that undoes the variation (divided by its
    own `.item()`), or all weights of a twin are stretched: a loss that still has the same value is made constant by its
    own formula.

    Why it matters
    --------------
    A loss divided by its own `.item()` is always 1. What is printed shows nothing, early stopping and plateau schedules
    see no progress, and the gradient is that of the logarithm: it grows as the real loss shrinks.

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
    Fault catalogue 24 (forum thread 126995). That the value does not move with the weights is an identity.
    """

    title = "The loss has the same value at every step"
    rows = ("S18", "S6")
    faults = (24,)
    price = Price.FORWARD
    explains = ("overfit-one-batch", "learning-rate-range", "loss-at-init", "update-ratio", "learning-rate-starved")

    def measure(self, step: Step) -> Evidence:
        """Compare the values seen, and then those of stretched weights."""
        values = [v for _, v in step.values_seen]
        if len(values) < LEAST:
            return Evidence(missing=f"only {len(values)} values of the loss were seen")
        data: dict[str, Any] = {"steps": len(values), "value": values[0], "spread": max(values) - min(values)}
        if not all(map(math.isfinite, values)) or data["spread"] > SAME * max(1.0, abs(values[0])):
            return Evidence({**data, "constant": False}, place=step.place)
        if not any(not g.zero for _, g in step.tape.gradients):
            return Evidence(missing="the loss stays the same, and so do the weights: its gradient is zero")
        if step.distrust:
            return Evidence(missing=step.distrust)
        same, terms, place = _stretched(step)
        return Evidence({**data, "constant": same, "terms": terms}, place=place or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["constant"]:
            return Ruling.passed(
                "the loss follows the weights" if e["spread"] == 0 else f"the loss varies over {e['steps']} steps"
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


def _stretched(step: Step) -> tuple[bool, int, Any]:
    """Whether the loss is made constant by its own formula; how many terms it has; and the line that makes it so.

    Either what it is a multiple of differs from step to step and its value does not, as where it is divided by a number
    taken from itself; or its value stays the same with other weights, as where it is divided by itself, detached.
    """
    import torch

    from trainrecipe.subjects.terms import Graph, parts

    made = [_unscaled(one) for one in step.each() if not one.distrust]
    inner = [value for value, _ in made]
    place = next((p for _, p in made if p is not None), None)
    terms = len(parts(step).terms)
    if len(inner) > 1 and max(inner) - min(inner) > VARIES * max(map(abs, inner)):
        return True, terms, place
    twin = step.twin()
    before = float(twin.loss().detach())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in step.trained(twin):
            noise = torch.rand(weight.shape, generator=generator).to(weight)
            weight.mul_(STRETCH).add_(noise * (float(weight.abs().mean()) or 1.0))
    after = float(twin.loss().detach())
    same = math.isfinite(after) and abs(after - before) <= 10 * SAME * max(1.0, abs(before))
    graph = Graph(step)
    divisions = (op for op in graph.cone(graph.root) if plain_name(op) in DIVISIONS)
    first = next(divisions, None)
    return same, terms, None if first is None else first.place


def _unscaled(step: Step) -> tuple[float, Any]:
    """The value that the loss is a multiple of, and the line of the last factor."""
    from trainrecipe.subjects.terms import SCALES, Graph

    graph = Graph(step)
    tensor, before, place = graph.root, None, None
    for _ in range(12):
        op = graph.maker(tensor, before)
        moving = [] if op is None else [t for t in op.inputs if t.requires_grad]
        if op is None or len(moving) != 1 or plain_name(op) not in SCALES or moving[0].numel() != 1:
            break
        place = op.place if place is None and plain_name(op) in DIVISIONS else place
        tensor, before = moving[0], op.index
    return float(tensor.detach().sum()), place
