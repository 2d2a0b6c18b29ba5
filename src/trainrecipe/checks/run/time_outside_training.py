from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run

FEWEST = 20
"""Steps that must have been timed."""
LARGE = 0.5
"""Share of a step's time that something beside forward, backward and optimiser may take before it is worth a note."""
WORTH = 2e-3
"""Seconds of a step from which on it matters where they go: a net of microseconds spends its time in Python anyway."""


class TimeOutsideTraining(Check):
    """Most of the time of a training step goes into forward, backward and optimiser.

    What it checks
    --------------
    How the time of the steps that were not looked at in detail divides into waiting for data, forward, backward, optimiser,
    evaluation, and the rest: the script's own Python with its loss, prints and metrics. `recipe run` takes these times
    anyway, `recipe check --profile` in a rehearsal of its own that does nothing else, in which the lines that
    take most of the time are sampled, too.

    Why it matters
    --------------
    Whoever trains twice as fast tries twice as many ideas. A processor that waits for the next batch costs as much as one
    that computes, and nobody sees it.

    What healthy looks like
    -----------------------
    Waiting for data takes a few per cent; the rest of the script's Python less than half.

    What to do
    ----------
    Waiting: prepare once what is the same in every epoch, then `num_workers`, `pin_memory`, a larger batch. Python between
    the calls: compute metrics every few steps, keep sums as tensors and call `.item()` once per epoch.

    When it is wrong
    ----------------
    On accelerators calls return before the work is done, so that the time shows where the program waits for the result;
    the parts are then those of the program's own thread. It is a note at most, and says nothing of steps below two
    milliseconds.

    Source
    ------
    PyTorch performance tuning guide; fault catalogue 167.
    """

    title = "The training waits for something else"
    rows = ("S23",)
    faults = (167,)

    def measure(self, run: Run) -> Evidence:
        clock = run.clock
        if clock.steps < FEWEST or not clock.whole:
            hint = "" if not run.rehearsal else "; `recipe check --profile` times a rehearsal of its own"
            return Evidence(missing=f"{clock.steps} steps were timed{hint}")
        training = next((p for p in run.passes if p.trains), None)
        line = next((x for x in clock.lines if x.place is not None), None)
        waits = clock.loading >= clock.rest
        at = training.place if training is not None and waits else line.place if line is not None else None
        return Evidence(
            {
                "steps": clock.steps,
                "seconds": clock.whole / clock.steps,
                "shares": clock.shares(),
                "waiting": clock.loading / clock.whole,
                "rest": clock.rest / clock.whole,
                "line": line.place.source if line is not None and line.place is not None else "",
                "line_share": line.share if line is not None else 0.0,
            },
            place=at,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        waiting, rest, seconds = evidence["waiting"], evidence["rest"], evidence["seconds"]
        if seconds < WORTH or max(waiting, rest) < LARGE:
            return Ruling.passed(f"of {1000 * seconds:.3g} ms per step {waiting:.0%} are spent waiting for data")
        share, what = max((waiting, "waiting for the next batch"), (rest, "in the script's own Python between the calls"))
        causes: tuple[str, ...]
        if waiting >= rest:
            fix = "Prepare once what is the same in every epoch; then give the loader `num_workers`, and measure again."
            causes = ("Transforms or decoding in `__getitem__`: time one call of `dataset[0]`.", "A loader without workers.")
        else:
            most = f"; `{evidence['line']}` takes most" if evidence["line"] else ""
            fix = f"Compute metrics and print less often, and call `.item()` once per epoch{most}."
            causes = ("Metrics or logging in every step: leave them out once and time it.",)
        return Ruling.found(
            Severity.NOTE,
            f"{share:.0%} of a step's time is spent {what}; without it a step would be {1 / (1 - share):.1f} times as fast.",
            expected=f"less than {LARGE:.0%} outside forward, backward and optimiser",
            observed=", ".join(f"{name} {part:.0%}" for name, part in evidence["shares"].items()),
            fix=fix,
            causes=causes,
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        shares = {name: 100 * part for name, part in evidence["shares"].items()}
        told = f"Of {1000 * evidence['seconds']:.3g} ms per step, mean over {evidence['steps']} steps."
        return bars("Where the time goes", told, shares, x_title="% of the time")
