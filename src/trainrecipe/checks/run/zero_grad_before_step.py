from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

FEWEST = 2
"""Steps that must have lost the gradients of earlier batches."""
SHARE = 0.5
"""Share of the steps that must have lost their gradient: below, the rest of them still trains."""


class ZeroGradBeforeStep(Check):
    """Gradients are still there when the optimiser steps.

    What it checks
    --------------
    For each step that was looked at: whether a backward had filled the optimiser's gradients, and they were all cleared
    again before the step.

    Why it matters
    --------------
    A step without gradients does nothing (or applies weight decay and old momentum alone). The model stays as it was
    initialised; the loss wiggles with the batches, and no error is raised.

    What healthy looks like
    -----------------------
    `zero_grad`, `backward`, `step`, in this order.

    What to do
    ----------
    Move `zero_grad()` before `loss.backward()` or after `optimizer.step()`.

    When it is wrong
    ----------------
    Gradients that are exactly zero when backward ends are another fault and not reported here. A step that is meant to
    apply weight decay only would look the same.

    Source
    ------
    Fault catalogue 28; PyTorch forum threads 12099, 87348, 130518.
    """

    title = "Gradients are cleared between backward and step"
    rows = ("S24",)
    faults = (28,)
    explains = (
        "optimizer-without-gradients",
        "overfit-one-batch",
        "parameters-never-updated",
        "update-ratio",
        "vanishing-gradients",
        "unused-parameters",
    )

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps]
        if not stepping:
            return Evidence(missing="no optimiser took a step while the script was observed")
        return [self._look(run, o) for o in stepping]

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        fed = [s for s in optimizer.seen if s.backwards > 0]
        if not fed:
            return Evidence(missing=f"no backward reached {optimizer.name} in the steps that were looked at")
        own = optimizer.takes_closure and not optimizer.standard  # may clear them itself once its step is taken, as SAM does
        wiped = [s for s in fed if s.cleared_late and not s.gradient] if not own else []
        place = next((s.clear_place for s in wiped if s.clear_place), optimizer.step_place or optimizer.place)
        data = {"optimizer": optimizer.name, "steps": len(fed), "wiped": len(wiped)}
        erased = [] if wiped else _erased(run, optimizer)
        if erased:
            place = optimizer.step_place or optimizer.place
        return Evidence({**data, "erased": len(erased), "batches": max(erased, default=0)}, place=place)

    def judge(self, evidence: Evidence) -> Ruling:
        wiped, steps = evidence["wiped"], evidence["steps"]
        if evidence["erased"] >= max(FEWEST, SHARE * (steps - 1)):
            return self._only_the_last(evidence)
        if not wiped:
            return Ruling.passed(f"{evidence['optimizer']} had gradients at each of {steps} steps")
        if wiped < SHARE * steps:
            return Ruling.unsure(f"gradients were cleared before {wiped} of {steps} steps of {evidence['optimizer']}")
        return Ruling.found(
            Severity.ERROR,
            "The gradients that backward computed are cleared before the optimiser can use them.",
            expected="non-zero gradients at optimizer.step()",
            observed=f"every gradient None or zero at {wiped} of {steps} steps, after a backward had filled them",
            fix="Move zero_grad() before loss.backward(), or after optimizer.step().",
        )

    def _only_the_last(self, evidence: Evidence) -> Ruling:
        batches = evidence["batches"]
        return Ruling.found(
            Severity.ERROR,
            f"Each step uses the gradient of one batch of {batches}: those of the others are cleared before it.",
            expected="gradients that are cleared once per step, where they are accumulated over several batches",
            observed=f"{batches} backward calls on as many batches between two steps, and the gradient of the last one only at "
            f"{evidence['erased']} steps",
            fix="Call zero_grad() after optimizer.step(), not with every batch.",
        )


def _erased(run: Run, optimizer: Optimizer) -> list[int]:
    """For each step that used one backward of several, on as many batches and all from one line: how many there were."""
    from trainrecipe.subjects.gradients import uses_of

    if optimizer.takes_closure or len(run.backwards) != 1:
        return []
    uses = [u for u in uses_of(run, optimizer.number) if u.inside is None]
    found = []
    for before, use in itertools.pairwise(uses):
        fetched = use.contributions[-1].batch - before.contributions[-1].batch
        calls = use.contributions[-1].serial - before.contributions[-1].serial
        if use.step == before.step + 1 and len(use.contributions) == 1 and calls == fetched >= 2:
            found.append(calls)
    return found
