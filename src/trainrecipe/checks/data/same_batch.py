from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data

ENOUGH = 4
"""Consecutive steps on one batch before anything is said: two can be chance in a tiny data set."""


class SameBatch(Check):
    """Successive training steps see different batches, as long as there is more than one batch of data.

    What it checks
    --------------
    The content of every batch that a loader gives is hashed, without regard to the order of its rows. Training batches
    that are equal from step to step, although the loader has more to give, are counted.

    Why it matters
    --------------
    The model memorises one batch while the loss falls beautifully; everything else in the data set is never used. The
    usual cause is `next(iter(loader))` inside the loop: it starts a new pass each time and takes its first batch.

    What healthy looks like
    -----------------------
    Equal batches do not occur, except where one batch is all the data there is.

    What to do
    ----------
    Iterate over the loader with `for batch in loader`, or keep one iterator and call `next` on it.

    When it is wrong
    ----------------
    A script that overfits a single batch on purpose does exactly this: silence the check there. Full-batch training, where
    the loader has a single batch, is not reported.

    Source
    ------
    Fault catalogue 45; PyTorch forum threads 95790 and 46208.
    """

    title = "Every training step uses the same batch"
    rows = ("S24",)
    faults = (45,)
    explains = ("label-order",)

    def measure(self, data: Data) -> Evidence:
        passes = [p for p in data.run.train_passes() if p.batch_hashes]
        if not passes:
            return Evidence(missing="no training batches from a DataLoader were seen")
        hashes = [(p, h) for p in passes for h in p.batch_hashes]
        longest, run, at = 1, 1, hashes[0][0]
        for (_, before), (current, now) in zip(hashes, hashes[1:], strict=False):
            run = run + 1 if now == before else 1
            if run > longest:
                longest, at = run, current
        restarted = sum(p.batches == 1 for p in passes)
        return Evidence(
            {
                "batches": len(hashes),
                "distinct": len({h for _, h in hashes}),
                "longest": longest,
                "length": at.length,
                "restarted": restarted,
                "passes": len(passes),
            },
            place=at.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence["longest"] < ENOUGH or evidence["length"] in (None, 1):
            return Ruling.passed(f"{evidence['distinct']} different batches in {evidence['batches']} training steps")
        again = evidence["restarted"] == evidence["passes"]
        return Ruling.found(
            Severity.WARNING,
            f"The same batch was used in {evidence['longest']} successive training steps.",
            expected=f"different batches: the loader has {evidence['length']}",
            observed=f"{evidence['distinct']} different in {evidence['batches']} steps"
            + ("; each step began a new pass over the loader and took its first batch" if again else ""),
            fix="Loop with `for batch in loader:`, or create the iterator once before the loop.",
        )
