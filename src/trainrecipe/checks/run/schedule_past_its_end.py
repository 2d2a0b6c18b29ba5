from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from trainrecipe import picture
from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.picture import Picture
    from trainrecipe.subjects.run import Optimizer, Run, Scheduler

SLACK = 1.05
"""Calls of a schedule beyond its length that may be rounding: an epoch more, a batch more."""
RISE = 0.1
"""Part of the peak by which the rate must have come back up."""
NEAR = 0.1
"""Relative distance within which a length is that of the whole run in steps."""
LENGTHS = ("T_max", "total_steps", "total_iters")


class SchedulePastItsEnd(Check):
    """A decay of the learning rate ends with the run: it does not come back up, go below zero, or stop near its beginning.

    What it checks
    --------------
    The schedule is built again, checked against every observed rate, and run ahead over the real number of steps: whether
    a cosine goes on beyond its `T_max`, where it rises again; whether a rate becomes negative; and whether a length that is
    the number of batches of the whole run is counted in epochs.

    Why it matters
    --------------
    Half a cosine too many brings the rate back to its peak at the end of the run: what the decay had settled is stirred up
    again, and the last checkpoint is worse than one from the middle. A negative rate climbs the loss. A schedule that is
    stepped once per epoch with a length in batches hardly decays at all.

    What healthy looks like
    -----------------------
    The rate is lowest at the last step.

    What to do
    ----------
    Give the schedule the number of times that its `step` is really called over the whole run.

    When it is wrong
    ----------------
    Cycles that are meant come from `CosineAnnealingWarmRestarts` or `CyclicLR`, which are not reported; a plain cosine with
    several swings is a note. A cycle by hand that rises only once within the run looks the same as a slip. Where the length
    of the run cannot be read off its loops, only what was seen counts.

    Source
    ------
    Fault catalogue 69, 71; PyTorch forum thread 28797.
    """

    title = "The learning-rate schedule is longer or shorter than the run"
    rows = ("S24", "O4")
    faults = (71, 69)
    explains = ("warmup-never-ends", "learning-rate-starved", "odd-optimizer-settings")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        called = [s for s in run.schedulers if s.calls]
        if not called:
            return Evidence(missing="no learning-rate scheduler was stepped while the script was observed")
        return [self._look(run, run.optimizers[s.optimizer], s) for s in called]

    def _look(self, run: Run, optimizer: Optimizer, scheduler: Scheduler) -> Evidence:
        if not scheduler.planned:
            return Evidence(missing=f"{scheduler.name} was not run ahead: {scheduler.unplanned}")
        if scheduler.conditional:
            return Evidence(missing=f"{scheduler.name} is stepped under a condition, so its end is the script's to choose")
        if any(s is not scheduler and s.optimizer == scheduler.optimizer for s in (*run.schedulers, *run.idle_schedulers)):
            return Evidence(missing=f"another scheduler of {optimizer.name} may take over from {scheduler.name}")
        certain = optimizer.planned_steps is not None and optimizer.certain
        steps = (optimizer.planned_steps if certain else optimizer.least_steps) or 0
        points = [p for p in scheduler.planned if p[0] <= steps]
        rates = [rate for _, rate in points]
        lengths = {k: v for k, v in scheduler.horizon.items() if k in LENGTHS and v >= 2}
        data: dict[str, Any] = {
            "scheduler": scheduler.name,
            "hindrance": _hindrance(run, scheduler),
            "cosine": scheduler.name == "CosineAnnealingLR",
            "certain": certain,
            "steps": steps,
            "calls": steps / max(scheduler.interval, 1e-9),
            "interval": scheduler.interval,
            "lengths": lengths,
            "peak": max(rates, default=0.0),
            "lowest": min(rates, default=0.0),
            "last": rates[-1] if rates else 0.0,
            "curve": [list(point) for point in scheduler.planned],
        }
        return Evidence(data, place=scheduler.place or scheduler.step_place)

    def judge(self, evidence: Evidence) -> Ruling:
        for judgement in (self._negative, self._rises, self._valley, self._in_batches):
            ruling = judgement(evidence)
            if ruling is not None and evidence["hindrance"]:
                return Ruling.unsure(f"{evidence['scheduler']} would go beyond its end, but {evidence['hindrance']}")
            if ruling is not None:
                return ruling
        return Ruling.passed(f"{evidence['scheduler']} fits the {evidence['steps']} steps of the run")

    def _negative(self, evidence: Evidence) -> Ruling | None:
        if evidence["lowest"] >= 0 or evidence["peak"] <= 0 or -evidence["lowest"] < 1e-6 * evidence["peak"]:
            return None
        first = next((step for step, rate in evidence["curve"] if rate < 0), 0.0)
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['scheduler']} makes the learning rate negative: from there on each step climbs the loss.",
            expected="rates of zero or more for the whole run",
            observed=f"a rate below zero from step {first:.0f} of {evidence['steps']} on, down to {evidence['lowest']:.3g}",
            fix="Give the schedule the real number of its steps, and stop at zero: max(0, 1 - step / total).",
        )

    def _rises(self, evidence: Evidence) -> Ruling | None:
        length, calls = evidence["lengths"].get("T_max"), evidence["calls"]
        if not evidence["cosine"] or length is None or calls <= SLACK * length + 1:
            return None
        back = (evidence["last"] - evidence["lowest"]) / max(evidence["peak"], 1e-30)
        swings = calls / length
        if back < RISE and swings < 2:
            return None
        once = swings <= 2 * SLACK
        if not once and evidence["interval"] <= 1:
            return None  # lengths in epochs, stepped with every batch: learning-rate-starved says so
        return Ruling.found(
            Severity.WARNING if once else Severity.NOTE,
            "The cosine is over before the run is, and the learning rate rises again.",
            expected=f"T_max = {calls:.0f}, the number of times that scheduler.step() is called",
            observed=f"T_max = {length:g}: after its low of {evidence['lowest']:.3g} the rate climbs to "
            f"{evidence['last']:.3g} at the last of {evidence['steps']} steps (peak {evidence['peak']:.3g})",
            fix="Set T_max to the number of scheduler steps of the whole run; for cycles that are meant use "
            "CosineAnnealingWarmRestarts.",
        )

    def _valley(self, evidence: Evidence) -> Ruling | None:
        """A hand-written decay that has one low within the run and climbs from there to the end, without a jump."""
        rates = [rate for step, rate in evidence["curve"] if step <= evidence["steps"]]
        if evidence["scheduler"] != "LambdaLR" or len(rates) < 8:
            return None
        top = rates.index(max(rates))
        low = top + min(range(len(rates) - top), key=lambda i: rates[top + i])
        fall, rise = rates[top : low + 1], rates[low:]
        smooth = all(b <= a for a, b in itertools.pairwise(fall)) and all(b >= a for a, b in itertools.pairwise(rise))
        climbed = rates[-1] - rates[low]
        jump = max((b - a for a, b in itertools.pairwise(rise)), default=0.0)
        if not smooth or climbed < RISE * rates[top] or rates[low] > RISE * rates[top] or jump > 0.5 * climbed:
            return None
        at = evidence["curve"][low][0]
        return Ruling.found(
            Severity.WARNING,
            "The decay is over before the run is, and the learning rate rises again.",
            expected="a rate that is lowest at the last step",
            observed=f"after its low of {rates[low]:.3g} at step {at:.0f} the rate climbs to {rates[-1]:.3g} at the last of "
            f"{evidence['steps']} steps (peak {rates[top]:.3g})",
            fix="Give the schedule the real number of its steps over the whole run, and let it stay at its end: min(1, "
            "step / total).",
        )

    def _in_batches(self, evidence: Evidence) -> Ruling | None:
        """A length that is the run's number of batches, in a schedule that is stepped once per epoch."""
        if evidence["interval"] < 2 or not evidence["certain"] or not evidence["lengths"]:
            return None
        name, length = max(evidence["lengths"].items(), key=lambda item: item[1])
        if abs(length / max(1, evidence["steps"]) - 1) > NEAR or evidence["calls"] > 0.6 * length:
            return None
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['scheduler']} counts in batches, but it is stepped once per epoch.",
            expected=f"{length:g} calls of scheduler.step(), one with every batch",
            observed=f"{name} = {length:g}, which is the number of batches of the whole run, and {evidence['calls']:.0f} "
            "calls: the rate "
            f"ends at {evidence['last']:.3g} with a peak of {evidence['peak']:.3g}",
            fix='Call scheduler.step() after every optimiser step (with Lightning: "interval": "step"), or give its length in '
            "epochs.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if len(evidence["curve"]) < 2:
            return None
        return picture.lines(
            "The learning rate over the real run",
            "Batches that the rehearsal left out are counted; a decay should be lowest at the end.",
            {"learning rate": [p[1] for p in evidence["curve"]]},
            x=[p[0] for p in evidence["curve"]],
            x_title="optimiser step",
            y_title="learning rate",
            rules={},
        )


def _hindrance(run: Run, scheduler: Scheduler) -> str:
    """Why the schedule may not go on to the end of the run: something else takes over, or its calls end."""
    others = [s for s in (*run.schedulers, *run.idle_schedulers) if s.optimizer == scheduler.optimizer and s is not scheduler]
    if others:
        return f"{others[0].name} is built on the same optimiser"
    if scheduler.bounded:
        return "a comparison guards the calls of its step"
    later = [s.place for s in run.unreached if s.kind in ("rate", "other step")]
    return f"line {later[0].line} may change the rate later: {later[0].source}" if later and run.rehearsal else ""
