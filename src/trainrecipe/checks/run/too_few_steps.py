from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, lines

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

FEW = 100
"""Optimiser steps of a whole training below which it is asked whether they were enough: Adam at its usual rate of 1e-3 moves
no weight further than by 0.1 in so many."""
LEARNT = 0.2
"""Share of the first loss by which the loss must have gone down. Less is hardly more than the noise of a batch."""
LEAST = 8
"""Losses below which nothing can be said of their course."""


class TooFewSteps(Check):
    """The training is long enough to learn something.

    What it checks
    --------------
    How many optimiser steps the whole training takes, as seen or as its loops tell, and how far the loss goes down in them.

    Why it matters
    --------------
    A data set of a few hundred examples in large batches gives a few steps per epoch, and "two epochs" are then twenty
    updates. The model is still near its random weights, and the task or the model is blamed.

    What healthy looks like
    -----------------------
    At the end the loss has levelled off, or at least gone down far from where it began.

    What to do
    ----------
    Count steps, not epochs: train for more epochs, or with smaller batches.

    When it is wrong
    ----------------
    A short trial of a script looks the same, as does fine-tuning that begins near its optimum: it is a note.

    Source
    ------
    Fault catalogue 156; the length is that of the loops around the step, the loss that of the training's own steps.
    """

    title = "The whole training is a few steps long"
    rows = ("S10", "O3")
    faults = (156,)

    def measure(self, run: Run) -> Evidence:
        stepping = [o for o in run.optimizers if o.steps]
        if not stepping:
            return Evidence(missing="no optimiser took a step")
        main = max(stepping, key=lambda o: o.steps)
        planned = _length(run, main)
        losses = [value for _, value in run.losses]
        if planned is None:
            return Evidence(missing="how long the training will be is not known")
        if len(losses) < LEAST or min(losses) <= 0 or run.steps < planned / 2:
            return Evidence(missing="too few losses were seen, or they are not positive")
        part = max(2, len(losses) // 4)
        first, last = sum(losses[:2]) / 2, sum(losses[-part:]) / part
        data = {"steps": planned, "first": first, "last": last, "losses": losses[:FEW]}
        return Evidence(data, place=main.step_place or main.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["steps"] >= FEW:
            return Ruling.passed(f"the training is {e['steps']} steps long")
        if e["last"] <= (1 - LEARNT) * e["first"]:
            return Ruling.passed(f"in {e['steps']} steps the loss goes from {e['first']:.3g} to {e['last']:.3g}")
        return Ruling.found(
            Severity.NOTE,
            f"The whole training is {e['steps']} optimiser steps long, too few to judge the model by.",
            expected="a loss that has gone down far from where it began, or levelled off",
            observed=f"the loss begins at {e['first']:.3g} and ends at {e['last']:.3g}",
            fix="Train for more epochs or in smaller batches; a small net takes some hundreds of steps.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if evidence.get("steps", FEW) >= FEW:
            return None
        return lines("The loss over the whole training", "Healthy: it goes down and levels off.", {"loss": evidence["losses"]})


def _length(run: Run, optimizer: Optimizer) -> int | None:
    """The steps of the whole training: those that were seen, where it came to its end, or those that its loops tell."""
    if run.ended == "finished" and not any(p.cut for p in run.passes):
        return optimizer.steps
    return optimizer.planned_steps if optimizer.certain else None
