from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data

SHARE = 0.5
"""Share of the examples read that must have changed."""


class CachedExampleMutated(Check):
    """Reading an example leaves what is stored of it as it was.

    What it checks
    --------------
    A few examples of each data set are read several times, in a process of their own: with one random state, with others,
    and with the first again. The same random state must give the same example. Where it does not, the stored row of the
    example is compared before and after.

    Why it matters
    --------------
    A transform that works in place on a cached image or array changes the data themselves: noise and masks pile up from
    epoch to epoch, a scaling is applied again and again. The data drift away from what is evaluated, and nothing shows it.

    What healthy looks like
    -----------------------
    Stored examples are the same after any number of epochs; augmentation works on a copy.

    What to do
    ----------
    Copy before changing: `x = self.images[i].clone()` (or `.copy()`), or use operations that return a new object:
    `x = x * scale` instead of `x *= scale`.

    When it is wrong
    ----------------
    Only containers with one row per example are compared; where examples drift and no stored row changes (a counter, a
    generator hidden from us), nothing is reported. With worker processes the change is lost at the end of each epoch, so
    that it is a note there, unless the workers are persistent.

    Source
    ------
    Fault catalogue 149.
    """

    title = "Reading an example changes the stored data"
    rows = ("S24", "D4")
    faults = (149,)
    explains = ("augmentation-in-evaluation", "train-val-overlap", "input-scale")

    def measure(self, data: Data) -> list[Evidence]:
        """Read examples again under the same random state and compare them, and what is stored of them."""
        from trainrecipe.subjects.examples import read_place
        from trainrecipe.subjects.rereading import reading

        found, why = [], "no loader was read"
        seen: set[int] = set()
        for record, loader in data.loaders:
            if id(loader.dataset) in seen:
                continue
            seen.add(id(loader.dataset))
            told = reading(data, record.number)
            if isinstance(told, str):
                why = told
                continue
            lasting = not record.workers or bool(getattr(loader, "persistent_workers", False))
            counts = {"read": len(told.indices), "drifts": len(told.drifts), "rewritten": len(told.rewritten)}
            at = read_place(loader.dataset) or record.born or record.place
            found.append(Evidence({**counts, "lasting": lasting}, place=at))
        return found or [Evidence(missing=why)]

    def judge(self, evidence: Evidence) -> Ruling:
        """Examples drift, and what is stored of them has changed."""
        read, drifts, rewritten = evidence["read"], evidence["drifts"], evidence["rewritten"]
        if not drifts:
            return Ruling.passed(f"{read} examples are the same when read again with the same random state")
        if min(drifts, rewritten) < SHARE * read:
            return Ruling.unsure(
                f"{drifts} of {read} examples differ when read again with the same random state; why is unknown"
            )
        return Ruling.found(
            Severity.ERROR if evidence["lasting"] else Severity.NOTE,
            "Reading an example changes what is stored of it, so the data drift from epoch to epoch.",
            expected="the same example when it is read again with the same random state, and unchanged stored data",
            observed=f"of {read} examples read again, {drifts} differ and {rewritten} stored ones were changed by it"
            + ("" if evidence["lasting"] else "; worker processes begin each epoch with the unchanged data"),
            fix="Copy the stored example before changing it (.clone() or .copy()), or avoid in-place operations on it.",
        )
