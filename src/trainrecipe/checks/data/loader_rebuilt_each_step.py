from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data

FEWEST = 5
"""Successive passes of one batch each, from which each step counts as beginning a new one."""


class LoaderRebuiltEachStep(Check):
    """Worker processes are started once per epoch, not once per step.

    What it checks
    --------------
    Whether each training step begins a new pass over a loader with worker processes and takes one batch from it, as
    `next(iter(loader))` does.

    Why it matters
    --------------
    A new pass starts the workers, draws a new permutation of all indices, and loads several batches ahead that are thrown
    away: most of the time goes into that, and some examples come often, others never.

    What healthy looks like
    -----------------------
    One pass per epoch, or one iterator that is kept.

    What to do
    ----------
    Loop with `for batch in loader:`; for a fixed number of steps, keep `iterator = iter(loader)` and make a new one when
    it ends.

    When it is wrong
    ----------------
    Without worker processes the cost is small, and it is a way to draw batches at random: that is not reported. Where the
    data are not shuffled, `same-batch` reports that it is the same batch each time.

    Source
    ------
    Fault catalogue 45; PyTorch forum threads 95790 and 46208.
    """

    title = "Workers are started for every step"
    rows = ("S23", "S24")
    faults = (45,)

    def measure(self, data: Data) -> list[Evidence]:
        """Count passes of one batch, loader by loader, where there are workers."""
        run, found = data.run, []
        for number in dict.fromkeys(p.loader for p in run.train_passes()):
            record = run.loaders[number]
            passes = [p for p in run.train_passes() if p.loader == number]
            if record.workers and not getattr(data.loader(number), "persistent_workers", False):
                single = sum(p.batches == 1 and not p.finished for p in passes)
                counts = {"passes": len(passes), "single": single, "workers": record.workers, "length": record.length}
                found.append(Evidence(counts, place=passes[0].place))
        return found or [Evidence(missing="no training loader starts worker processes")]

    def judge(self, evidence: Evidence) -> Ruling:
        """Nearly all passes give one batch."""
        passes, single, length = evidence["passes"], evidence["single"], evidence["length"]
        if single < FEWEST or single < passes - 1 or (length is not None and length < 2):
            return Ruling.passed(f"{passes} training passes started the workers")
        return Ruling.found(
            Severity.NOTE,
            f"{evidence['workers']} worker processes are started for every step.",
            expected="one start per epoch",
            observed=f"{single} of {passes} passes over the loader gave one batch and were left",
            fix="Create the iterator once and call next on it, or loop over the loader.",
        )
