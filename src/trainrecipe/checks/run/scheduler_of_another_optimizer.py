from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run, Scheduler

FEWEST = 2
"""Calls of the scheduler's step that must have been seen, and steps of the other optimiser since."""


class SchedulerOfAnotherOptimizer(Check):
    """A learning-rate scheduler changes the rates of the optimiser that steps.

    What it checks
    --------------
    For each scheduler that is stepped: whether the optimiser it was built on takes any step at all, and goes on to, and if
    not, whether the one that does step holds the same parameters at a rate that never changes.

    Why it matters
    --------------
    When an optimiser is built anew (after unfreezing, for the next phase, when a checkpoint is loaded), the scheduler keeps
    changing the rates of the old one. The log of `get_last_lr()` shows a fine decay that nothing follows.

    What healthy looks like
    -----------------------
    Whenever an optimiser is replaced, its scheduler is built anew on the new one.

    What to do
    ----------
    Build the scheduler after the last optimiser, on that very object.

    When it is wrong
    ----------------
    An optimiser that serves only to compute a schedule, whose rates are then set by hand, is told by the rates that follow.

    Source
    ------
    Fault catalogue 70; nianticlabs/manydepth#46.
    """

    title = "The learning-rate scheduler belongs to another optimiser"
    rows = ("S24", "O4")
    faults = (70,)
    explains = ("learning-rate-starved", "warmup-never-ends", "schedule-past-its-end", "scheduler-before-optimizer")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        called = [s for s in run.schedulers if len(s.calls) >= FEWEST]
        if not called:
            return Evidence(missing=f"no learning-rate scheduler was stepped {FEWEST} times while the script was observed")
        return [self._look(run, s) for s in called]

    def _look(self, run: Run, scheduler: Scheduler) -> Evidence:
        own = run.optimizers[scheduler.optimizer]
        since = own.steps - scheduler.born_step
        rival = next((o for o in run.optimizers if o is not own and _replaces(run, own, o)), None)
        return Evidence(
            {
                "scheduler": scheduler.name,
                "calls": len(scheduler.calls),
                "own_steps": own.steps - max(scheduler.calls[0], scheduler.born_step) if since else 0,
                "idle": sum(count == own.steps for count in scheduler.calls[1:]),
                "rival": rival.name if rival is not None else "",
                "rival_steps": rival.steps if rival is not None else 0,
                "rate": rival.rates[-1] if rival is not None and rival.rates else 0.0,
                "rival_place": f"line {rival.place.line}" if rival is not None and rival.place is not None else "",
            },
            place=scheduler.place or scheduler.step_place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        name = evidence["scheduler"]
        replaced = evidence["own_steps"] > 0
        if not evidence["rival"] or (replaced and evidence["idle"] <= FEWEST):
            return Ruling.passed(f"the optimiser that {name} was built on takes steps, or no other takes its place")
        where = f" (built at {evidence['rival_place']})" if evidence["rival_place"] else ""
        return Ruling.found(
            Severity.WARNING,
            f"{name} changes the rates of an optimiser that {'no longer' if replaced else 'never'} steps; another one does the "
            f"training{where}.",
            expected="a scheduler on the very optimiser whose step is called",
            observed=f"{evidence['idle'] if replaced else evidence['calls']} calls of its step, and no step of its optimiser; "
            f"{evidence['rival']} holds the same parameters and took {evidence['rival_steps']} steps at a constant rate of "
            f"{evidence['rate']:g}",
            fix="Build the scheduler on the optimiser that trains, and build it again whenever that is replaced.",
        )


def _replaces(run: Run, own: Optimizer, other: Optimizer) -> bool:
    """Whether another optimiser steps over the same parameters, at a rate that stays the same."""
    shared = any(own.number in p.optimizers and other.number in p.optimizers for p in run.parameters)
    return shared and other.steps >= FEWEST and len(set(other.rates)) == 1
