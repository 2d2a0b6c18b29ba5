from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run


class EpochLeftEarly(Check):
    """A loop over a loader goes on to its end.

    What it checks
    --------------
    Loops over a loader that took one batch in every pass, because a `return` or `break` that no condition guards ends
    their body; and whether such a loop adds something up, although it never turns twice.

    Why it matters
    --------------
    A `return` that is indented one step too far ends each epoch after its first batch: the model is trained on a fraction
    of the data, or judged on a handful of examples, while every log line looks as usual.

    What healthy looks like
    -----------------------
    The `return` is below the loop; each pass sees all batches.

    What to do
    ----------
    Move the statement out of the loop. To take one batch on purpose, write `next(iter(loader))`.

    When it is wrong
    ----------------
    A loop that takes one batch on purpose neither sums up nor divides by a length, and is at most a note. Limits with a
    condition, as for debugging, are not reported.

    Source
    ------
    Fault catalogue 44.
    """

    title = "A loop over the data ends after its first batch"
    rows = ("S24", "S3")
    faults = (44,)
    explains = ("same-batch", "evaluates-one-batch")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.passes:
            return Evidence(missing="the script reads no DataLoader")
        if not run.exits:
            return Evidence({"kind": ""})
        return [
            Evidence(
                {
                    "kind": e.kind,
                    "passes": e.passes,
                    "length": e.length,
                    "trains": e.trains,
                    "sums": e.sums,
                    "divides": e.divides,
                },
                place=e.place,
            )
            for e in run.exits
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        kind, length = evidence["kind"], evidence["length"] if evidence["kind"] else 0
        if not kind:
            return Ruling.passed("no loop over a loader ends in its first turn")
        what = "trains on" if evidence["trains"] else "looks at"
        meant = not evidence["sums"] and not evidence["divides"] and (kind == "break" or not evidence["trains"])
        if meant and not evidence["trains"]:
            return Ruling.passed(f"a loop takes one of {length} batches, and sums nothing up")
        adds = f", although it adds to {', '.join(evidence['sums'][:2])}" if evidence["sums"] else ""
        return Ruling.found(
            Severity.NOTE if meant else Severity.WARNING,
            f"The loop {what} one batch of {length} and is left: the `{kind}` at its end is always reached{adds}.",
            expected=f"{length} batches in each pass",
            observed=f"one batch in each of {evidence['passes']} passes",
            fix=f"Move the `{kind}` out of the loop, one indentation to the left; to take a single batch on purpose, use "
            "next(iter(loader)).",
        )
