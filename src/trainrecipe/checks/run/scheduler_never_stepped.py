from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run, Scheduler

FEWEST = 2
"""Passes over the training data that must have begun, so that a schedule per epoch was due."""
STEPS = 40
"""Optimiser steps that must have been seen where there are no passes."""
WAITS = ("step", "other step")


class SchedulerNeverStepped(Check):
    """A learning-rate schedule that is built is stepped.

    What it checks
    --------------
    Every scheduler that was built on an optimiser that steps: whether its `step` was ever called, by the script or by
    another scheduler, although the training went on beyond a whole epoch; whether the learning rate stayed the same; and
    whether the program contains another call of a `step` that was not reached yet.

    Why it matters
    --------------
    The rate stays where the constructor put it. For a decay that costs the last points; a schedule with a warm-up leaves
    the rate at the bottom of it, a thousandth of what was meant.

    What healthy looks like
    -----------------------
    `scheduler.step()` once per epoch, or once per batch, after the optimiser's step.

    What to do
    ----------
    Call `scheduler.step()` in the loop; hand the scheduler to the trainer that is meant to step it.

    When it is wrong
    ----------------
    A schedule that begins later, or whose rates are read and set by hand, is not reported: there the source has another
    `step`, or the rate changes. A scheduler that was built on purpose to be ignored is.

    Source
    ------
    Fault catalogue 70; voicepaw/so-vits-svc-fork#291.
    """

    title = "A learning-rate scheduler is never stepped"
    rows = ("S24", "O4")
    faults = (70,)
    explains = ("update-ratio", "learning-rate-range")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        idle = [s for s in run.idle_schedulers if run.optimizers[s.optimizer].steps > s.born_step]
        if not idle:
            if run.schedulers:
                return Evidence({"scheduler": ""})
            return Evidence(missing="no learning-rate scheduler was built on an optimiser that steps")
        return [self._look(run, s) for s in idle]

    def _look(self, run: Run, scheduler: Scheduler) -> Evidence:
        optimizer = run.optimizers[scheduler.optimizer]
        rates = optimizer.rates[scheduler.born_step :]
        begun = run.passes_of(optimizer)
        later = [s for s in run.schedulers if s.calls and s.optimizer > scheduler.optimizer]
        others = [s.name for s in run.schedulers if s.optimizer == scheduler.optimizer]
        waits = [*(s.place for s in run.unreached if s.kind in WAITS), *run.weights.other_steps]
        return Evidence(
            {
                "scheduler": scheduler.name,
                "optimizer": optimizer.name,
                "steps": optimizer.steps - scheduler.born_step,
                "passes": len(begun),
                "rate": rates[-1] if rates else 0.0,
                "base": max((float(g["lr"]) for g in optimizer.groups), default=0.0),
                "constant": len(set(rates)) <= 1,
                "others": others[:3],
                "later": bool(later),
                "finished": run.ended == "finished",
                "foreign": run.weights.foreign_loop,
                "waits": [f"line {p.line}: {p.source}" for p in waits[:2]],
            },
            place=scheduler.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        name = evidence["scheduler"]
        if not name:
            return Ruling.passed("every learning-rate scheduler that was built was stepped")
        if not evidence["constant"] or evidence["others"]:
            return Ruling.passed(f"{name} was not stepped, but the learning rate is changed by other means")
        due = evidence["passes"] >= FEWEST or (not evidence["passes"] and evidence["steps"] >= STEPS)
        if not due and not evidence["finished"]:
            return Ruling.unsure(f"{name} was not stepped in {evidence['steps']} steps, which is too early to tell")
        if evidence["foreign"]:
            return Ruling.unsure(f"{name} was not stepped, but a library runs the loop, and its epochs were cut short")
        if evidence["later"]:
            return Ruling.unsure(f"{name} was not stepped, and one on a later optimiser was: perhaps this phase needs none")
        if evidence["waits"] and not evidence["finished"]:
            return Ruling.unsure(f"{name} was not stepped yet, but {evidence['waits'][0]} was not reached")
        low = 0 <= evidence["rate"] < 0.5 * evidence["base"]
        left = f", {evidence['rate']:.3g} instead of {evidence['base']:g}" if low else ""
        return Ruling.found(
            Severity.WARNING,
            f"{name} was built and never stepped: the learning rate stays where it was{left}.",
            expected="scheduler.step() with every epoch or every batch",
            observed=f"no call of its step in {evidence['steps']} steps of {evidence['optimizer']} and "
            f"{evidence['passes']} passes over "
            f"the training data; a constant rate of {evidence['rate']:.3g}",
            fix="Call scheduler.step() in the training loop: once per epoch, or once per batch if its lengths are in batches.",
        )
