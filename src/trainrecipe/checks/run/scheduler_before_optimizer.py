from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run, Scheduler

FEWEST = 3
SHARE = 0.8
"""Share of the calls that must come between a backward and its step; a skipped first step of mixed precision is one."""


class SchedulerBeforeOptimizer(Check):
    """The scheduler steps after the optimiser.

    What it checks
    --------------
    Where calls of `scheduler.step()` fall: between a backward and the optimiser's step that uses it, or after that step;
    and, where the scheduler is stepped once per epoch, before the first optimiser step or after.

    Why it matters
    --------------
    A scheduler sets the learning rate of the coming step. Stepped too early, the first value of the schedule is never
    used and every step takes the rate of its successor; milestones and the end of a warm-up are off by one.

    What healthy looks like
    -----------------------
    `loss.backward()`, `optimizer.step()`, `scheduler.step()`.

    What to do
    ----------
    Move `scheduler.step()` after `optimizer.step()`, for schedules in epochs to the end of the epoch.

    When it is wrong
    ----------------
    Calls that wind a schedule forward before a resumed training are not reported, nor is a first optimiser step that mixed
    precision skips. Stepping at the start of each epoch is a note: some scripts do so to leave out a first rate of zero.

    Source
    ------
    PyTorch documentation, "How to adjust learning rate"; fault catalogue, scheduler order.
    """

    title = "The scheduler steps before the optimiser"
    rows = ("S24",)
    faults = (69,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        called = [s for s in run.schedulers if s.calls]
        if not called:
            return Evidence(missing="no learning-rate scheduler was stepped while the script was observed")
        return [self._look(run, s) for s in called]

    def _look(self, run: Run, scheduler: Scheduler) -> Evidence:
        optimizer = run.optimizers[scheduler.optimizer]
        start = scheduler.calls.count(scheduler.born_step)
        later = [c for c in scheduler.calls if c > scheduler.born_step]
        seen = sum(1 for s in optimizer.seen if s.step >= scheduler.born_step and s.backwards > 0)
        return Evidence(
            {
                "scheduler": scheduler.name,
                "calls": len(scheduler.calls),
                "early": scheduler.early,
                "steps": seen,
                "before_first_step": start,
                "later": len(later),
                "rare": len(scheduler.calls) < 0.5 * max(1, optimizer.steps - scheduler.born_step),
            },
            place=scheduler.step_place or scheduler.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        early, calls = evidence["early"], evidence["calls"]
        if early >= FEWEST and early >= SHARE * min(calls, evidence["steps"]):
            return self._found(
                Severity.WARNING,
                "scheduler.step() is called between backward and the optimiser's step.",
                f"at {early} of {evidence['steps']} steps the scheduler had moved on before the optimiser used its gradients",
            )
        if evidence["rare"] and evidence["before_first_step"] == 1 and evidence["later"]:
            return self._found(
                Severity.NOTE,
                "scheduler.step() is called at the start of each epoch, so the first rate of the schedule is never used.",
                "one call before the first optimiser step, then one at the start of each epoch",
            )
        return Ruling.passed(f"{evidence['scheduler']} was stepped after the optimiser")

    def _found(self, severity: Severity, says: str, observed: str) -> Ruling:
        return Ruling.found(
            severity,
            says,
            expected="optimizer.step() first, then scheduler.step()",
            observed=observed,
            fix="Move scheduler.step() after optimizer.step(), for a schedule in epochs to the end of the epoch.",
        )
