"""Whether each optimiser that takes steps ever gets a gradient to step with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

FEWEST = 5
"""Steps without any gradient that are looked at before it is believed."""


class OptimizerWithoutGradients(Check):
    """The parameters of an optimiser get gradients before it steps.

    What it checks
    --------------
    For each optimiser: whether any of its parameters had a gradient at any of its steps, while backward was called and its
    parameters lie in layers that the script uses.

    Why it matters
    --------------
    An optimiser skips parameters without a gradient, silently. A generator whose output is detached before the discriminator
    judges it, or an encoder that is only run under `no_grad`, keeps its first random weights, while every log line looks as
    usual.

    What healthy looks like
    -----------------------
    At every step some parameter of the optimiser has a gradient that is not zero.

    What to do
    ----------
    Follow the loss back to the parameters: a `detach()`, `no_grad()`, `.data` or `.item()` in between, or the loss of another
    network.

    When it is wrong
    ----------------
    A script that steps with an optimiser while its part is not trained yet, and trains it in a later phase, looks the same
    until then; in a rehearsal that was stopped before the end, it is a warning.

    Source
    ------
    Fault catalogue 62 and 29. PyTorch documentation: optimisers leave out parameters whose `grad` is None.
    """

    title = "An optimiser steps without ever getting a gradient"
    rows = ("S17", "S24")
    faults = (62, 29)
    explains = ("unused-parameters", "step-missing", "parameters-never-updated")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps and not o.takes_closure]
        if not stepping or not run.backwards:
            return Evidence(missing="no optimiser took a step while the script was observed")
        return [self._look(run, o) for o in stepping]

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        own = [p for p in run.parameters if optimizer.number in p.optimizers and p.trainable]
        used = [p for p in own if p.registered and p.called]
        empty = [s for s in optimizer.seen if not s.backwards and s.gradient is False]
        idle = bool(used) and len(empty) == len(optimizer.seen) and not any(p.gradient or p.asked or p.updates for p in own)
        return Evidence(
            {
                "optimizer": optimizer.name,
                "steps": len(optimizer.seen),
                "idle": idle and len(empty) >= FEWEST,
                "names": [p.name for p in used[:3]],
                "parameters": len(own),
                "over": run.ended == "finished",
            },
            place=optimizer.step_place or optimizer.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        name, steps = evidence["optimizer"], evidence["steps"]
        if not evidence["idle"]:
            return Ruling.passed(f"{name} got gradients in {steps} steps that were looked at")
        return Ruling.found(
            Severity.ERROR if evidence["over"] else Severity.WARNING,
            f"No backward reaches any of the {evidence['parameters']} parameters of this {name}: it moves nothing.",
            expected="a gradient for its parameters before each of its steps",
            observed=f"at all of {steps} steps that were looked at every gradient was missing or zero, although the layers are "
            f"used ({', '.join(evidence['names'])})",
            fix="Remove the detach(), no_grad() or .data between these layers and the loss that is to train them.",
        )
