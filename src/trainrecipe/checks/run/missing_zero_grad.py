from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.gradients import uses_of

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

FEWEST = 3
"""Steps after the first that must have been seen: a single one may follow a resumed or warmed-up backward."""
ALWAYS = 0.9
"""Share of the steps at which some of the parameters must hold used gradients."""


class MissingZeroGrad(Check):
    """Gradients are cleared between one optimiser step and the first backward that counts for the next.

    What it checks
    --------------
    At the first backward after each step that was looked at, whether the optimiser's gradients are empty or zero, or
    still exactly those that the last step used: same tensors, changed by nobody since. At each step, too, whether some of
    the parameters still hold gradients of a backward that this optimiser has used before.

    Why it matters
    --------------
    `backward` adds to `.grad`. Gradients that are never cleared are a running sum over the whole training: each step
    follows all old batches as much as the new one, like momentum that never decays. The loss may fall at first, then the
    training turns unstable; with a small learning rate nothing gives it away.

    What healthy looks like
    -----------------------
    `optimizer.zero_grad()` once per step, before the backward or after the step. With gradient accumulation several
    backwards follow one clearing; that is no finding, since the sum is cleared after its step.

    What to do
    ----------
    Call `optimizer.zero_grad()` right after `optimizer.step()`, or before `loss.backward()`.

    When it is wrong
    ----------------
    A script that keeps gradients on purpose but scales them itself (a decaying sum) changes them between the steps and is
    not reported. Where clearing reaches some of the parameters only, the others are reported.

    Source
    ------
    PyTorch documentation of Optimizer.zero_grad; fault catalogue 27.
    """

    title = "Gradients are never cleared between steps"
    rows = ("S24",)
    faults = (27,)
    explains = ("exploding-gradients", "update-ratio", "clip-to-nothing")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps]
        if not stepping:
            return Evidence(missing="no optimiser took a step while the script was observed")
        return [self._look(run, o) for o in stepping]

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        later = [s for s in optimizer.seen if s.step > 0 and s.backwards > 0]
        if len(later) < FEWEST:
            return Evidence(missing=f"only {len(later)} steps of {optimizer.name} were seen after its first")
        place = next((s.backward_place for s in later if s.backward_place), optimizer.step_place or optimizer.place)
        uses = [u for u in uses_of(run, optimizer.number) if u.step > 0 and u.inside is None and not u.modified]
        kept = [u for u in uses if 0 < u.partial < 1]
        return Evidence(
            {
                "optimizer": optimizer.name,
                "steps": len(later),
                "uses": len(uses),
                "kept": len(kept),
                "kept_share": median([u.partial for u in kept]) if kept else 0.0,
                "kept_names": kept[-1].stale if kept else [],
                "stale": sum(1 for s in later if s.fresh is False),
                "unknown": sum(1 for s in later if s.fresh is None),
                "norms": [s.grad_norm for s in optimizer.seen if s.grad_norm is not None][:12],
            },
            place=place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        stale, steps = evidence["stale"], evidence["steps"]
        if stale < steps and evidence["kept"] >= max(FEWEST, ALWAYS * evidence["uses"]):
            return self._partly(evidence)
        if not stale:
            return Ruling.passed(f"the gradients of {evidence['optimizer']} were cleared before each of {steps} steps")
        if stale < steps:
            return Ruling.unsure(
                f"the gradients of {evidence['optimizer']} were left over before {stale} of {steps} steps, and cleared or "
                "changed before the others"
            )
        return self._never(stale, steps)

    def _partly(self, evidence: Evidence) -> Ruling:
        names = ", ".join(evidence["kept_names"])
        return Ruling.found(
            Severity.ERROR,
            f"Some gradients of {evidence['optimizer']} are never cleared, while others are ({names}).",
            expected="gradients that are None or zero before the first backward of a step, for every parameter",
            observed=f"{evidence['kept_share']:.0%} of the weights with a gradient stepped with what an earlier step had "
            f"already used, at {evidence['kept']} of {evidence['uses']} steps",
            fix="Call zero_grad() on the optimiser, which knows all of its parameters, rather than on one of the modules.",
        )

    def _never(self, stale: int, steps: int) -> Ruling:
        return Ruling.found(
            Severity.ERROR,
            "Every backward adds to the gradients that the steps before it have already used.",
            expected="gradients that are None or zero before the first backward of a step",
            observed=f"gradients left over from the step before, untouched, at all {steps} steps seen after the first",
            fix="Call optimizer.zero_grad() before loss.backward(), or right after optimizer.step().",
        )
