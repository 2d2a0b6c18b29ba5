from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe import picture
from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.picture import Picture
    from trainrecipe.subjects.run import Optimizer, Run, Scheduler

REACHED = 0.5
"""Part of its peak that a warm-up must reach within the run; below, the run is over before half of it."""
ALMOST = 0.95


class WarmupNeverEnds(Check):
    """The warm-up of the learning rate is over well before the run is.

    What it checks
    --------------
    The schedule is built again, checked against every observed rate, and run ahead beyond the planned number of steps:
    whether the rate rises from the first to the last step of the run, and how much of its later peak it reaches.

    Why it matters
    --------------
    A warm-up whose length was computed in examples instead of batches, or in batches but stepped once per epoch, keeps the
    learning rate far too low all the time. The loss falls slowly and steadily, which looks like a hard problem.

    What healthy looks like
    -----------------------
    The rate reaches its peak after a few per cent of the steps, up to a third in one-cycle schedules.

    What to do
    ----------
    Give the warm-up its length in the unit in which the scheduler is stepped.

    When it is wrong
    ----------------
    A learning-rate range test rises on purpose and without end, and is not reported. The length of the run is read off the
    loops around the training step; where they cannot be evaluated, nothing is said.

    Source
    ------
    Recipe S24; fault catalogue 71; PyTorch forum thread 28797.
    """

    title = "The learning rate is still warming up when the run ends"
    rows = ("S24", "O4")
    faults = (71,)
    explains = ("update-ratio", "learning-rate-range")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        called = [s for s in run.schedulers if s.calls]
        own = [s for s in run.own_rates if not s.shortened]  # a counter of steps gets less far in shortened passes
        if not called and not own:
            return Evidence(missing="no learning rate changed while the script was observed")
        return [self._look(run.optimizers[s.optimizer], s) for s in (*called, *own)]

    def _look(self, optimizer: Optimizer, scheduler: Scheduler) -> Evidence:
        if not scheduler.planned:
            return Evidence(missing=f"{scheduler.name} was not run ahead: {scheduler.unplanned}")
        if optimizer.planned_steps is None:
            return Evidence(missing="the loops around the training step do not tell how long the run will be")
        data: dict[str, Any] = {
            "scheduler": scheduler.name,
            "steps": optimizer.planned_steps,
            "complete": scheduler.complete,
            "only_rises": scheduler.only_rises,
            "reached": scheduler.peaks[scheduler.largest],
            "beyond": scheduler.beyond,
            "interval": scheduler.interval,
            "curve": [list(point) for point in scheduler.planned],
        }
        return Evidence(data, place=scheduler.place or scheduler.step_place)

    def judge(self, evidence: Evidence) -> Ruling:
        reached, beyond = evidence["reached"], evidence["beyond"]
        if not evidence["only_rises"]:
            return Ruling.passed(f"the rate peaks within the run of {evidence['steps']} steps, at {reached:.3g}")
        if not evidence["complete"] or beyond is None:
            return Ruling.unsure("the rate rises for as long as the schedule was followed; it may be meant, as in a range test")
        share = reached / beyond if beyond > 0 else 1.0
        if share >= ALMOST:
            return Ruling.passed(f"the warm-up reaches {share:.0%} of its peak within {evidence['steps']} steps")
        return Ruling.found(
            Severity.WARNING if share < REACHED else Severity.NOTE,
            f"{evidence['scheduler']} is still rising at the last of {evidence['steps']} steps.",
            expected=f"the peak rate {beyond:.3g} after a small part of the run",
            observed=f"a highest rate of {reached:.3g} at the end of the run, {share:.0%} of the peak",
            fix="Give the warm-up its length in the unit in which the scheduler is stepped: batches, if scheduler.step() comes "
            "with every batch, epochs otherwise.",
            causes=(
                "Its length was computed from the number of examples instead of batches.",
                "The scheduler is stepped once per epoch, while its length is given in batches.",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence["only_rises"]:
            return None
        rules = {"peak of the schedule": evidence["beyond"]} if evidence["beyond"] else {}
        return picture.lines(
            "The learning rate over the real run",
            "Batches that the rehearsal left out are counted; a warm-up should be over early.",
            {"learning rate": [p[1] for p in evidence["curve"]]},
            x=[p[0] for p in evidence["curve"]],
            x_title="optimiser step",
            y_title="learning rate",
            rules=rules,
        )
