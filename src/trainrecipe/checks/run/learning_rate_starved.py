from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe import picture
from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.picture import Picture
    from trainrecipe.subjects.run import Optimizer, Run, Scheduler

DEAD = 0.5
"""Share of the steps with less than a thousandth of the peak rate. Cosine decay to zero has 2 % of them, linear decay
0.1 %, three tenfold drops at 30/60/90 of 100 epochs 10 %, five within fifty epochs 40 %."""
ZERO = 0.2
"""Share of the steps with a rate of zero: linear and cosine decay over the whole run have none."""
SMALL = 0.02
"""Highest factor that a schedule ever applies to the rate it was built with, unless it is that rate itself. Healthy ones
reach 1."""
LOW = 0.9
"""Share of the steps below a tenth of the peak, for a schedule whose lengths are those of a run in epochs."""
LENGTHS = ("T_max", "step_size", "milestones", "total_iters", "total_steps")
ABSOLUTE = 0.5
"""Built with a rate of about 1, a schedule of small factors sets the rate itself, as in "Attention is all you need"."""


class LearningRateStarved(Check):
    """The schedule leaves a learning rate to learn with over the length of the run.

    What it checks
    --------------
    The schedule is built again, checked against every observed rate, and run ahead over the real number of steps (batches
    that a rehearsal leaves out included): the share of steps whose rate is below a thousandth of the peak at the end,
    or zero; the highest rate it reaches, relative to the one it was built with; and whether a decay comes back up.

    Why it matters
    --------------
    A schedule that counts in epochs but is stepped with every batch ends within the first epoch; a function that returns a
    rate where a factor is wanted squares the rate. The loss simply stops moving, as if the model had converged.

    What healthy looks like
    -----------------------
    The rate is near its peak for a good part of the run and falls towards the end of it.

    What to do
    ----------
    Step the scheduler in the unit in which its lengths are given, or give them in the unit in which it is stepped; return a
    factor from the function of `LambdaLR`.

    When it is wrong
    ----------------
    Schedules that follow a metric or take an epoch number are not run ahead; of rates that are set by hand only those that
    were seen count, and where they change between epochs only, by a metric perhaps, or there are other groups of
    parameters, it is a note. Where the length of the run
    is unknown, the part that was seen counts as the shortest it can be. Steep decay that is meant is reported all the same.

    Source
    ------
    Recipe S24, O4; fault catalogue 69, 71, 73; leftthomas/SRGAN#94, ivadomed/ivadomed#55.
    """

    title = "The learning-rate schedule does not fit the run"
    rows = ("S24", "O4")
    faults = (69, 71, 73)
    explains = ("update-ratio", "learning-rate-range", "overfit-one-batch", "parameters-never-updated")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        called = [s for s in run.schedulers if s.calls]
        if not called and not run.own_rates:
            return Evidence(missing="no learning rate changed while the script was observed")
        return [self._look(run, run.optimizers[s.optimizer], s) for s in (*called, *run.own_rates)]

    def _look(self, run: Run, optimizer: Optimizer, scheduler: Scheduler) -> Evidence:
        if not scheduler.planned:
            return Evidence(missing=f"{scheduler.name} was not run ahead: {scheduler.unplanned}")
        planned = optimizer.planned_steps if optimizer.certain else None
        data: dict[str, Any] = {
            "scheduler": scheduler.name,
            "by_hand": scheduler in run.own_rates,
            "by_metric": scheduler in run.own_rates and scheduler.conditional,
            "known": planned is not None,
            "complete": scheduler.complete,
            "steps": optimizer.planned_steps,
            "least_steps": optimizer.least_steps,
            "covered": scheduler.covered,
            "interval": scheduler.interval,
            "epochs": run.planned_epochs,
            "horizon": scheduler.horizon,
            "peak": scheduler.peaks[scheduler.largest],
            "built": scheduler.built_rates[scheduler.largest],
            "dead": scheduler.dead,
            "dead_from": scheduler.dead_from,
            "zero": scheduler.zero,
            "low": scheduler.low,
            "turns": scheduler.turns,
            "beyond": scheduler.beyond,
            "curve": [list(point) for point in scheduler.planned],
        }
        return Evidence(data, place=scheduler.step_place or scheduler.place)

    def judge(self, evidence: Evidence) -> Ruling:
        for judgement in (self._squared, self._dead, self._units):
            ruling = judgement(evidence)
            if ruling is not None:
                return ruling
        length, peak = f"{evidence['covered']:.0f} steps", evidence["peak"]
        return Ruling.passed(f"{evidence['scheduler']} keeps a rate to learn with over {length}, with a peak of {peak:.3g}")

    def _squared(self, evidence: Evidence) -> Ruling | None:
        if evidence["by_hand"]:
            return None
        built, reached = evidence["built"], max(evidence["peak"], evidence["beyond"] or 0.0)
        rising = evidence["beyond"] is None and evidence["curve"][-1][1] >= evidence["peak"]
        if built <= 0 or built > ABSOLUTE or rising or reached == 0:
            return None
        factor = reached / built
        same = abs(factor / built - 1) < 0.01
        if factor > SMALL and not same:
            return None
        hint = ": exactly the square of that rate" if same else ""
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['scheduler']} never lets the learning rate come near the one that the optimiser was given.",
            expected=f"rates up to about {built:g}",
            observed=f"a highest rate of {reached:.3g}{hint}, a factor of {factor:.2g}",
            fix="LambdaLR multiplies the optimiser's rate by what the function returns: return a factor that reaches 1, not "
            "a rate.",
        )

    def _dead(self, evidence: Evidence) -> Ruling | None:
        dead, zero, begins = self._shares(evidence)
        if dead < DEAD and zero < ZERO:
            return None
        of = f"{evidence['steps']}" if evidence["known"] else f"at least {evidence['least_steps']}"
        return Ruling.found(
            Severity.NOTE if evidence["by_metric"] else Severity.WARNING,
            "The learning rate is all but zero long before the training is over.",
            expected="a rate that lasts for the whole run",
            observed=f"less than a thousandth of the peak rate {evidence['peak']:g} from step {begins:.0f} of {of} on: "
            f"{max(dead, zero):.0%} of the run",
            fix=self._unit(evidence),
            causes=(
                "The schedule counts batches while its lengths are given in epochs.",
                "Its total number of steps was computed for a shorter run.",
            ),
        )

    def _shares(self, evidence: Evidence) -> tuple[float, float, float]:
        """Dead and zero share of the run that is certain to take place, and where the dead part begins."""
        begins = evidence["dead_from"]
        if begins is None:
            return 0.0, 0.0, 0.0
        if evidence["known"]:
            return evidence["dead"], evidence["zero"], begins
        least = max(1, evidence["least_steps"])
        zero_from = evidence["covered"] * (1 - evidence["zero"])
        return 1 - begins / least, (1 - zero_from / least) if evidence["zero"] else 0.0, begins

    def _units(self, evidence: Evidence) -> Ruling | None:
        """Lengths that fit the number of epochs, stepped with every batch: a decay that swings, or is over at once."""
        epochs, horizon = evidence["epochs"], evidence["horizon"]
        lengths = {k: v for k, v in horizon.items() if k in LENGTHS and v >= 2}
        if not lengths or epochs is None or evidence["interval"] > 1 or evidence["covered"] < 4 * epochs:
            return None
        name, length = max(lengths.items(), key=lambda item: item[1])
        swings = evidence["turns"] > 0 and name == "T_max"
        if length > epochs or not (swings or evidence["low"] >= LOW):
            return None
        what = f"swings up and down {evidence['turns']} times" if swings else "is over almost as soon as it begins"
        below = f"below a tenth of its peak for {evidence['low']:.0%} of the run"
        back = f"back at its peak after {2 * length:.0f} batches"
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['scheduler']} {what}: its lengths are given in epochs, but it is stepped with every batch.",
            expected="one decay over the whole run",
            observed=f"{name} = {length:g} in a run of {epochs} epochs and {evidence['covered']:.0f} steps: the rate is "
            f"{back if swings else below}",
            fix=self._unit(evidence),
        )

    def _unit(self, evidence: Evidence) -> str:
        if evidence["by_hand"]:
            return "Compute the rate from the number that its lengths are given in: epochs or batches."
        if evidence["interval"] <= 1:
            return "Call scheduler.step() once per epoch, outside the loop over batches, or give its lengths in batches."
        return "Give the scheduler the real number of its steps over the whole run."

    def draw(self, evidence: Evidence) -> Picture:
        x, y = [p[0] for p in evidence["curve"]], [p[1] for p in evidence["curve"]]
        positive = [v for v in y if v > 0]
        wide = bool(positive) and max(positive) > 100 * min(positive)
        return picture.lines(
            "The learning rate over the real run",
            "Batches that the rehearsal left out are counted; the rate should last as long as the training.",
            {"learning rate": y},
            x=x,
            x_title="optimiser step",
            y_title="learning rate",
            rules={"rate the optimiser was built with": evidence["built"]},
            log_y=wide,
        )
