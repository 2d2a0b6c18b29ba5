from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Parameter, Run

STEPS = 4
"""Optimiser steps that must have been seen, so that a layer that is left out now and then is not taken for unused."""
SURE = {
    "unread": "no code of the program reads it after it was built",
    "passed over": "its neighbours in the list are called at every step, it never is",
    "dropped": "it is called, but nothing uses the result and the model does not return it",
    "bypassed": "its layer works with something that was computed from it without gradients, or with nothing of it",
}
POSSIBLE = {
    "skipped": "it was not called in any recorded step",
    "apart": "it is called, but its result does not reach the loss",
}


class UnusedParameters(Check):
    """Every layer that the optimiser holds takes part in the forward pass.

    What it checks
    --------------
    Which trainable parameters in an optimiser got no gradient in any step that was recorded, because their layer was never
    called, or because its result went nowhere. A layer counts as forgotten when no code of the program reads its
    attribute, when others of its list run at every step, or when its result is dropped inside the model.

    Why it matters
    --------------
    The model is smaller than it looks, and lacks the part that was meant to do the work.

    What healthy looks like
    -----------------------
    Each layer is called in forward and its result reaches the loss.

    What to do
    ----------
    Call the layer in forward, or delete it.

    When it is wrong
    ----------------
    Layers that the code mentions but did not run (heads for other tasks, experts, growing models) are a note only, and
    models from libraries are not reported. Parameters whose gradient is cut off are the matter of graph-cut.

    Source
    ------
    pytorch/pytorch#57776; fault catalogue 54, 61, 126.
    """

    title = "A layer of the model is never used"
    rows = ("S12", "S17")
    faults = (26, 54, 61, 126)
    explains = ("parameters-never-updated",)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepped = {o.number: o for o in run.optimizers if o.steps}
        if run.steps < STEPS:
            return Evidence(missing=f"only {run.steps} optimiser steps were seen; {STEPS} are needed to call a layer unused")
        idle: dict[tuple[str, str, int | None], list[Parameter]] = {}
        for p in run.parameters:
            held = [n for n in p.optimizers if n in stepped and stepped[n].steps >= STEPS]
            if p.trainable and p.registered and held and p.fate in SURE | POSSIBLE:
                idle.setdefault((p.fate, p.part, p.model), []).append(p)
        if not idle:
            held_by_any = [p for p in run.parameters if p.optimizers]
            return Evidence({"part": "", "parameters": len(held_by_any)})
        return [
            Evidence(
                {
                    "part": part,
                    "fate": fate,
                    "kind": found[0].kind,
                    "parameters": len(found),
                    "elements": sum(p.elements for p in found),
                    "names": [p.name for p in found][:6],
                    "steps": run.steps,
                },
                place=next((p.born for p in found if p.born is not None), None),
            )
            for (fate, part, _), found in idle.items()
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["part"]:
            return Ruling.passed("every layer in an optimiser takes part in the loss, or is not trained by this program's code")
        fate = evidence["fate"]
        why = SURE.get(fate) or POSSIBLE[fate]
        size = f"{evidence['parameters']} tensors with {evidence['elements']:,} weights"
        return Ruling.found(
            Severity.WARNING if fate in SURE else Severity.NOTE,
            f"`{evidence['part']}` is never {'trained' if fate == 'bypassed' else 'used'}: {why}.",
            expected="each layer in the optimiser gets a gradient",
            observed=f"{size} got none in {evidence['steps']} steps",
            fix=f"Use the result of `{evidence['part']}` in forward."
            if fate == "dropped"
            else f"Use `{evidence['part']}` itself in forward: what is kept from a call under no_grad has no gradient."
            if fate == "bypassed"
            else f"Call `{evidence['part']}` in forward, or remove it from the model.",
        )
