from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run


class ParametersRecreated(Check):
    """Layers are built once, not in every forward.

    What it checks
    --------------
    Parameters that the loss depends on and that get a gradient, but that the model did not have when it was called: whether
    the same line makes new ones in every recorded step, and whether an optimiser holds any of them.

    Why it matters
    --------------
    A layer that is built inside forward has new random weights at each call and forgets them afterwards. It is never
    trained; the rest of the model sees its features through a random projection that changes all the time.

    What healthy looks like
    -----------------------
    Layers are built in `__init__`; forward only calls them.

    What to do
    ----------
    Move the construction to `__init__`. For a size that is not known there, use `nn.LazyLinear`.

    When it is wrong
    ----------------
    Random projections that are meant, as for augmentation, should not collect gradients; wrap them in `torch.no_grad()`.
    First states of zeros for recurrent layers, inner copies of meta-learning and layers that are built in the first call
    only are not reported.

    Source
    ------
    Fault catalogue 127; yangze0930/NTS-Net#14; PyTorch forum thread 69090.
    """

    title = "Parameters are made anew in every step"
    rows = ("S24", "S12")
    faults = (127,)
    explains = (
        "parameters-missing-from-optimizer",
        "unregistered-parameters",
        "stale-optimizer",
        "unused-parameters",
        "optimizer-without-gradients",
    )

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.backwards:
            return Evidence(missing="backward was never called while the script was observed")
        found = [r for r in run.weights.recreated if not r.held]
        if not found:
            return Evidence({"kind": ""})
        return [
            Evidence(
                {"kind": r.kind, "model": r.model, "steps": r.steps, "elements": r.elements, "same": r.same}, place=r.place
            )
            for r in found
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["kind"]:
            return Ruling.passed("no step made a layer or parameter of its own")
        steps, what = evidence["steps"], evidence["kind"]
        values = "the same values each time" if evidence["same"] else "other random values each time"
        return Ruling.found(
            Severity.ERROR if what == "layer" or evidence["same"] else Severity.WARNING,
            f"{evidence['model']} makes a new {what} in every step; it gets gradients and is thrown away.",
            expected="parameters that are made once and held by an optimiser",
            observed=f"a new {what} with {evidence['elements']:,} weights in each of {steps} recorded steps, beginning "
            f"with {values}, "
            "in no optimiser",
            fix="Build it once, in __init__ of the model, and only call it in forward.",
        )
