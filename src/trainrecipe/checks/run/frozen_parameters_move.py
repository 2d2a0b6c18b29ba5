from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run
    from trainrecipe.subjects.weights import FrozenMove

FEWEST = 2
"""Steps that must have moved a tensor after it was frozen."""


class FrozenParametersMove(Check):
    """Parameters that were frozen keep their values.

    What it checks
    --------------
    Tensors whose `requires_grad` was switched off after they had been trained, and that an optimiser still holds: whether
    its steps go on changing them, through weight decay and momentum with a gradient of zero, or with a gradient that is
    left over from before.

    Why it matters
    --------------
    An optimiser skips a tensor only when its gradient is None. One that is frozen in the middle of a training and keeps a
    gradient of zeros is still pulled to zero by weight decay and pushed on by momentum; with a gradient left over it is
    driven in one direction for ever. The "frozen" features drift away from what the rest was built on.

    What healthy looks like
    -----------------------
    The gradients of frozen parameters are None, or an optimiser is built anew without them; not one bit of them changes.

    What to do
    ----------
    After freezing, set their gradients to None (`optimizer.zero_grad(set_to_none=True)`), or build a new optimiser over the
    parameters that are still trained.

    When it is wrong
    ----------------
    Gradients that are computed by hand for tensors that never required one (evolution strategies) are not meant here.

    Source
    ------
    Fault catalogue 60; PyTorch forum threads 111449, 80103.
    """

    title = "The optimiser moves frozen parameters"
    rows = ("S24", "S17")
    faults = (60,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.weights.compared:
            return Evidence(missing="no two optimiser steps in a row were looked at in detail")
        moved = [m for m in run.weights.frozen_moves if m.steps >= FEWEST]
        numbers = sorted({m.optimizer for m in moved})
        return [self._look(run, n, [m for m in moved if m.optimizer == n]) for n in numbers] or Evidence({"tensors": 0})

    def _look(self, run: Run, number: int, moved: list[FrozenMove]) -> Evidence:
        optimizer = run.optimizers[number]
        return Evidence(
            {
                "tensors": len(moved),
                "elements": sum(m.elements for m in moved),
                "names": [m.name for m in moved[:4]],
                "steps": max(m.steps for m in moved),
                "zero": all(m.zero for m in moved),
                "decay": max(m.decay for m in moved),
                "momentum": any(m.momentum for m in moved),
                "optimizer": optimizer.name,
            },
            place=optimizer.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["tensors"]:
            return Ruling.passed("no optimiser moved a tensor after its requires_grad was switched off")
        names, decay = ", ".join(evidence["names"]), evidence["decay"]
        through = [f"weight decay of {decay:g}"] if decay else []
        through += ["momentum of earlier gradients"] if evidence["momentum"] else []
        cause = " and ".join(through) if evidence["zero"] else "the gradient that was left over when it was frozen"
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['optimizer']} goes on changing {evidence['tensors']} frozen parameter tensors ({names}).",
            expected="tensors with requires_grad False that keep every bit",
            observed=f"{evidence['elements']:,} weights moved in {evidence['steps']} steps after they had been frozen, by "
            f"{cause}",
            fix="Set their gradients to None after freezing (zero_grad(set_to_none=True)), or build a new optimiser over the "
            "parameters that are still trained.",
        )
