from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run
    from trainrecipe.subjects.weights import Overwritten

FEWEST = 5
"""Steps whose update must have been followed up to the next step."""
ALWAYS = 0.99
SAYS = {
    "reset": "are set back to what they were before",
    "copied": "are overwritten with the values of other tensors",
    "fresh": "are overwritten with other values altogether",
    "rounded": "are rounded to a coarse grid again, on which most of them are what they were before",
    "rewritten": "are changed by the forward of the module that holds them, past the gradient",
}


class ParametersOverwritten(Check):
    """What an optimiser's step does to the weights lasts until its next step.

    What it checks
    --------------
    A sample of each parameter before and after each step, and again before the next: whether the update was undone every
    time, because the parameter is what it was before, is a copy of another tensor, holds new values altogether, or was
    rounded back to a coarse grid. Where the update lasts, but a module's forward changes most elements of its own parameter
    before each next step, it is a note.

    Why it matters
    --------------
    A copy into `.data` in forward, weights that are loaded or initialised again inside the loop: the gradient is computed,
    the optimiser steps, and all of it is thrown away. The loss moves because of what remains. Weights that are quantised in
    place lose every update that is smaller than half a step of the grid; training for quantisation keeps the full weights and
    rounds a copy. Weights that are standardised or normalised in place are used as they are made, but the gradient does not
    know: it is that of free weights.

    What healthy looks like
    -----------------------
    Between two steps a parameter keeps its value, or changes a little: clipped, normalised, masked, perturbed and restored.

    What to do
    ----------
    Remove the write, or move it out of the loop. To tie two weights, assign the parameter itself
    (`decoder.weight = encoder.weight`); to keep one fixed, call `requires_grad_(False)`.

    When it is wrong
    ----------------
    Values at the bound of a clamp stay there and are not meant; nor are weights that are set back now and then (line
    searches, inner loops of meta-learning, rounds of federated learning).
    Projections, such as rows scaled to length one, may be written in forward on purpose; the note says no more than what is
    done. Masks, clamps and bounds that most elements keep within are no change, and what the loop does after a step is not
    looked at.

    Source
    ------
    Fault catalogue 52; PyTorch forum threads 72570, 98091, 127643.
    """

    title = "The optimiser's updates are undone"
    rows = ("S24", "S17")
    faults = (52,)
    explains = ("parameters-never-updated", "update-ratio", "step-missing")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if run.weights.compared < FEWEST:
            return Evidence(missing=f"fewer than {FEWEST} pairs of optimiser steps in a row were looked at in detail")
        lost = [o for o in run.weights.overwritten if o.steps >= FEWEST and o.lost >= ALWAYS * o.steps]
        lost = lost or [o for o in run.weights.rewritten if o.steps >= FEWEST and o.lost >= ALWAYS * o.steps]
        groups: dict[tuple[str, int], list[Overwritten]] = {}
        for one in lost:
            groups.setdefault((one.kind, one.optimizer), []).append(one)
        return [self._look(run, group) for group in groups.values()] or Evidence({"tensors": 0, "steps": run.weights.compared})

    def _look(self, run: Run, group: list[Overwritten]) -> Evidence:
        return Evidence(
            {
                "kind": group[0].kind,
                "tensors": len(group),
                "elements": sum(o.elements for o in group),
                "names": [o.name for o in group[:4]],
                "source": next((o.source for o in group if o.source), ""),
                "steps": max(o.steps for o in group),
                "optimizer": run.optimizers[group[0].optimizer].name,
            },
            place=next((o.place for o in group if o.place is not None), run.optimizers[group[0].optimizer].place),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["tensors"]:
            return Ruling.passed(f"updates lasted from step to step, over {evidence['steps']} of them")
        names, kind = ", ".join(evidence["names"]), evidence["kind"]
        if kind == "rewritten":
            return self._rewritten(evidence, names)
        source = f" ({evidence['source']})" if evidence["source"] else ""
        return Ruling.found(
            Severity.WARNING,
            f"After every step {evidence['tensors']} parameter tensors ({names}) {SAYS[kind]}{source}.",
            expected="weights that are, before a step, what the step before made of them",
            observed=f"{evidence['elements']:,} weights lost their update in all {evidence['steps']} steps that could be "
            "followed",
            fix="Remove the write to these parameters from the loop or forward; to tie weights, assign the parameter "
            "itself, to "
            "fix them, call requires_grad_(False).",
        )

    def _rewritten(self, evidence: Evidence, names: str) -> Ruling:
        return Ruling.found(
            Severity.NOTE,
            f"After every step {evidence['tensors']} parameter tensors ({names}) {SAYS['rewritten']}.",
            expected="a forward that computes what it uses from its parameters and leaves them alone",
            observed=f"most elements had changed before the next step, in all {evidence['steps']} steps that could be followed",
            fix="Assign the result to a local name, without `.data` and no_grad, and use that: the gradient then goes through "
            "it. If a projection is meant, do it after the optimiser's step.",
        )
