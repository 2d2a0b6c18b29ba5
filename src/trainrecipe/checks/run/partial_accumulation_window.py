from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.gradients import GradientUse, uses_of

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Pass, Run

OVERSIZE = 1.5
"""A window with the leftovers of another pass that is this much larger than the others."""
RARE = 20
"""Windows per pass beyond which one that is too large hardly matters."""


class PartialAccumulationWindow(Check):
    """Where gradients are accumulated, the last batches of an epoch count like all others.

    What it checks
    --------------
    Where a step takes several batches, and the number of batches in an epoch is no multiple of that: what becomes of the
    gradients that are left at its end. Whether they are stepped with, thrown away, or added to the first window of the next
    epoch, which is then too large.

    Why it matters
    --------------
    Leftovers that leak make the first step of each epoch too long, with gradients of old weights in it. Leftovers that are
    dropped are batches that never counted; without shuffling these are the same examples in every epoch.

    What healthy looks like
    -----------------------
    A step at the end of the epoch, with the loss divided by the number of batches that there are in the last window; or a
    counter that runs on over epochs, so that every window has the same size.

    What to do
    ----------
    Step once more after the last batch: `if (i + 1) % k == 0 or i + 1 == len(loader)`.

    When it is wrong
    ----------------
    In a rehearsal a condition that compares with the length of the loader is not met, and the check is unsure where one stands
    around the step. Dropping a few shuffled batches is what `drop_last` does, too: a note.

    Source
    ------
    Fault catalogue 35; modelscope/ms-swift#10084.
    """

    title = "The last accumulated gradients of an epoch are dropped, or leak into the next"
    rows = ("S24",)
    faults = (35,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        found = [e for o in run.optimizers if o.steps and (e := self._look(run, o)) is not None]
        return found or Evidence(missing="no optimiser accumulates the gradients of several batches of a loader")

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence | None:
        uses = [u for u in uses_of(run, optimizer.number) if u.inside is None]
        sizes = [len({c.batch for c in u.contributions}) for u in uses if len({c.in_pass for c in u.contributions}) == 1]
        size = Counter(sizes).most_common(1)[0][0] if sizes else 1
        passes = [p for p in run.passes if p.trains and p.finished and p.backwards == p.batches]
        if size < 2 or len(passes) < 2:
            return None
        passes = [p for p in passes if p.length is None or not p.cut or p.length % size == p.batches % size]
        leftover = [p.batches % size for p in passes]
        spanning = [u for u in uses if len({c.in_pass for c in u.contributions}) > 1]
        return Evidence(
            {
                "size": size,
                "optimizer": optimizer.name,
                "passes": len(passes),
                "left": max(leftover, default=0),
                "leaks": sum(1 for u in spanning if len(u.contributions) > size),
                "largest": max((len(u.contributions) for u in spanning), default=0),
                "spans": len(spanning),
                "dropped": max((_dropped(p, uses) for p in passes[:-1]), default=0),
                "windows": max(((p.length or p.batches) // size for p in passes), default=0),
                "shuffled": all(run.loaders[p.loader].shuffled for p in passes),
                "guarded": run.rehearsal and optimizer.by_length,
            },
            place=optimizer.step_place or optimizer.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        size, left, leaks, dropped = (evidence[k] for k in ("size", "left", "leaks", "dropped"))
        if not evidence["passes"]:
            return Ruling.unsure(f"{size} batches make a step; no pass was seen whose end is like the real one")
        if not left or (not leaks and not dropped):
            return Ruling.passed(f"{size} batches make a step, and no gradient is left at the end of a pass")
        if evidence["guarded"]:
            return Ruling.unsure("the step also depends on the length of the pass, which a rehearsal cuts short")
        said = {
            "expected": "a step with what is left at the end of an epoch, or windows of the same size throughout",
            "fix": "Step once more after the last batch, and divide its loss by the number of batches left.",
        }
        if leaks:
            heavy = evidence["largest"] >= OVERSIZE * size and evidence["windows"] <= RARE
            return Ruling.found(
                Severity.WARNING if heavy else Severity.NOTE,
                f"{left} batches at the end of an epoch are left over and end up in the first step of the next one.",
                observed=f"steps with {evidence['largest']} batches instead of {size}, once in {evidence['windows']} steps",
                **said,
            )
        return Ruling.found(
            Severity.NOTE if evidence["shuffled"] else Severity.WARNING,
            f"The gradients of {dropped} batches at the end of each epoch are thrown away.",
            observed=f"{dropped} backward calls whose gradients no step used, {size} batches to a step"
            + ("" if evidence["shuffled"] else "; the loader does not shuffle, so that they are the same examples each time"),
            **said,
        )


def _dropped(seen: Pass, uses: list[GradientUse]) -> int:
    """Backward calls of a pass whose gradients no step used."""
    used = {c.serial for u in uses for c in u.contributions if c.in_pass == seen.number}
    return max(0, seen.backwards - len(used)) if used else 0
