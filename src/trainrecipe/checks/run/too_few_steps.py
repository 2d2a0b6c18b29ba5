from __future__ import annotations

import math
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
SHORT = 50
"""Optimiser steps below which a loss that went down is followed to its end: half of `FEW`. Longer trainings end while their
loss still falls a little as a rule."""
PACE = 0.6
"""Share of the pace of the whole training that the loss keeps in its last third, at least. A loss that decays exponentially
has by then gone through less than one and a half of its time constants."""
FAR = 0.1
"""Share of the first loss below which the training has come far, whether or not it went on."""
SURE = 4.0
"""Standard errors by which the loss falls in the last third, at least: noise alone does so once in 30,000 trainings."""
LEAST = 8
"""Losses below which nothing can be said of their course."""


class TooFewSteps(Check):
    """The training is long enough to learn something.

    What it checks
    --------------
    How many optimiser steps the whole training takes, as seen or as its loops tell, and how far the loss goes down in them.
    Of a few dozen steps after which the script came to its own end: whether the loss still falls in the last third of them at
    six tenths of the pace of the whole or more, beyond the noise of the batches.

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
    A short trial of a script looks the same, as does fine-tuning that begins near its optimum: it is a note. The end is not
    judged where weights were loaded, several optimisers take steps, one takes a closure (as L-BFGS does), or a rehearsal left
    steps out; nor can a loss be followed that jumps from batch to batch.

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
        data = {"steps": planned, "first": first, "last": last, "losses": losses[:FEW], "falls": _still_falls(run)}
        return Evidence(data, place=main.step_place or main.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["steps"] >= FEW:
            return Ruling.passed(f"the training is {e['steps']} steps long")
        if e.get("falls"):
            return Ruling.found(
                Severity.NOTE,
                f"The whole training is {e['steps']} optimiser steps long, and the loss still falls when it ends.",
                expected="a loss that has levelled off when the training ends",
                observed=f"the loss begins at {e['first']:.3g} and ends at {e['losses'][-1]:.3g}; the last third of the steps "
                f"brings about {e['falls']:.0%} of its fall",
                fix="Train for more epochs or in smaller batches, until the loss levels off.",
            )
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


def _still_falls(run: Run) -> float:
    """The share of the last third of a short training in the fall of its loss; 0 where it has levelled off or is not known."""
    stepping = [o for o in run.optimizers if o.steps]
    by_step: dict[int, list[float]] = {}
    for step, value in run.losses:
        by_step.setdefault(step, []).append(value)
    losses = [sum(values) / len(values) for values in by_step.values()]
    whole = run.ended == "finished" and not any(p.cut for p in run.passes) and len(losses) == run.steps
    loaded = any(run.models[number].loaded for number in run.related_to_training())
    if not whole or len(losses) >= SHORT or len(stepping) > 1 or stepping[0].takes_closure or loaded:
        return 0.0
    if losses[-1] <= FAR * losses[0]:
        return 0.0
    part = max(3, len(losses) // 3)
    pace, error = _slope(losses[-part:], _noise(losses))
    fall = losses[0] - losses[-1]
    share = -pace * len(losses) / 3 / fall if fall > LEARNT * losses[0] else 0.0
    return share if share >= PACE / 3 and -pace >= SURE * error else 0.0


def _slope(values: list[float], noise: float) -> tuple[float, float]:
    """The slope of the line through some values, and its standard error."""
    n = len(values)
    spread = n * (n * n - 1) / 12
    return sum((i - (n - 1) / 2) * value for i, value in enumerate(values)) / spread, noise / math.sqrt(spread)


def _noise(values: list[float]) -> float:
    """The standard deviation of values around a smooth course, from their second differences."""
    bends = [a - 2 * b + c for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return math.sqrt(sum(b * b for b in bends) / 6 / len(bends))
