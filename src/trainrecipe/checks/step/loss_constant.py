"""Whether the value of the loss says anything: a loss divided by itself is the same number at every step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

SAME = 1e-6
"""Relative difference up to which two losses are the same number."""
LEAST = 5
"""Steps that must have been seen."""
ZERO = 1e-3
"""Size below which a constant is taken for zero: the loss of a policy whose advantages are normalised is zero."""
STRETCH = 1.5
"""Factor by which all weights are multiplied to see whether the loss follows."""


class LossConstant(Check):
    """The value of the loss changes with the weights.

    What it checks
    --------------
    The values that backward was called on over the seen steps. When they are one and the same number although their
    gradients are not zero, all weights of a twin are stretched: a loss that still has the same value is made constant by
    its own formula.

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
            observed=f"{e['value']:.6g} at all of {e['steps']} steps, and still with all weights {STRETCH:g} times as large, "
            "although its gradient is not zero",
            fix="Do not divide the loss by its own value (`.item()`, `.detach()`): call backward on the loss itself.",
        )


def _stretched(step: Step) -> tuple[bool, int, Any]:
    """Whether the loss is the same with other weights; how many terms it has; and the line of the division."""
    import torch

    from trainrecipe.subjects.names import plain_name
    from trainrecipe.subjects.terms import Graph, parts

    twin = step.twin()
    before = float(twin.loss().detach())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in step.trained(twin):
            noise = torch.rand(weight.shape, generator=generator).to(weight)
            weight.mul_(STRETCH).add_(noise * (float(weight.abs().mean()) or 1.0))
    after = float(twin.loss().detach())
    same = math.isfinite(after) and abs(after - before) <= 10 * SAME * max(1.0, abs(before))
    if not same:
        return False, 0, None
    graph = Graph(step)
    made = (op for op in graph.cone(graph.root) if plain_name(op) in ("div", "truediv", "true_divide", "mul", "log"))
    first = next(made, None)
    return True, len(parts(step).terms), None if first is None else first.place
