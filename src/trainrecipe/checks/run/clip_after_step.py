from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Clip, Run

FEWEST = 3
SHARE = 0.9
"""Share of the calls that must be without effect. In the last step of a loop, or the first, order may differ."""
MEASURING = 1e6
"""A limit beyond this clips nothing: the call is there for the norm that it returns."""


class ClipAfterStep(Check):
    """Gradients are clipped after the backward and before the step.

    What it checks
    --------------
    For each call of `clip_grad_norm_` or `clip_grad_value_`: whether a backward has filled the gradients since the last
    step of the optimiser that holds them.

    Why it matters
    --------------
    Clipping after the step changes gradients that nobody uses any more, and clipping before the backward changes none at
    all. The training runs without any clipping, and the first large gradient can throw it off.

    What healthy looks like
    -----------------------
    `loss.backward()`, `clip_grad_norm_(...)`, `optimizer.step()`.

    What to do
    ----------
    Move the call between `loss.backward()` and `optimizer.step()`.

    When it is wrong
    ----------------
    Calls with an infinite limit only measure the norm and are not reported. Clipping of parameters that no optimiser holds
    is not judged.

    Source
    ------
    Fault catalogue 36; PyTorch forum thread 112135.
    """

    title = "Gradient clipping has no effect: it comes at the wrong time"
    rows = ("S24",)
    faults = (36,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        clips = [c for c in run.clips if c.seen >= FEWEST and c.limit < MEASURING]
        if not clips:
            return Evidence(missing=f"gradients were not clipped at least {FEWEST} times in the steps that were looked at")
        return [self._look(run, c) for c in clips]

    def _look(self, run: Run, clip: Clip) -> Evidence:
        names = [o.name for o in run.optimizers if o.number in clip.optimizers]
        return Evidence(
            {
                "kind": clip.kind,
                "limit": clip.limit,
                "calls": clip.seen,
                "after_step": clip.stale,
                "before_backward": clip.empty,
                "optimizers": names,
            },
            place=clip.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        after, empty, calls = evidence["after_step"], evidence["before_backward"], evidence["calls"]
        if after + empty < SHARE * calls:
            return Ruling.passed(f"{calls - after - empty} of {calls} calls clipped gradients before they were used")
        early = empty > after
        when = "before backward, when there are none" if early else "after the step that used them"
        return Ruling.found(
            Severity.ERROR,
            f"Gradients are clipped {when}: no step is ever taken with clipped gradients.",
            expected="clipping between loss.backward() and optimizer.step()",
            observed=f"{after + empty} of {calls} calls without effect ({after} with no backward since the last step, "
            f"{empty} with no gradients at all)",
            fix="Move the call to between loss.backward() and optimizer.step().",
        )
