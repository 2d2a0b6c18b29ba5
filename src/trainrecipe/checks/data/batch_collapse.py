from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data


class BatchCollapse(Check):
    """A batch holds all the examples that were drawn for it.

    What it checks
    --------------
    For loaders with a `collate_fn` of their own: small batches are made with it in a process apart, exchanging one example
    at a time. Each numeric part of the batch must depend on all of the examples.

    Why it matters
    --------------
    A collation that keeps the first example, or a processor that takes a list of fifty for one, trains on a fraction of the
    data with an effective batch of one; where only the inputs collapse, labels of other examples are compared with one
    input by broadcasting.

    What healthy looks like
    -----------------------
    Exchanging any example changes the batch's inputs and its targets.

    What to do
    ----------
    Look at what `collate_fn` does with the list that it is given: stack, pad or concatenate all of its entries.

    When it is wrong
    ----------------
    Collations that drop examples on purpose by their content (missing files, doublets) keep most of them and are not
    reported. Parts of a batch with a single number are left out, as a maximum length may hang on one example.

    Source
    ------
    Fault catalogue 154; huggingface/transformers#34204, as in the TrainCheck study.
    """

    title = "Examples of a batch are thrown away"
    rows = ("S24", "S10")
    faults = (154,)
    explains = ("same-batch", "broadcast-loss", "data-dropped")

    def measure(self, data: Data) -> list[Evidence]:
        """Exchange examples one by one and see whether the batch changes."""
        from trainrecipe.subjects.examples import Unreadable, function_place, own_collation
        from trainrecipe.subjects.loading import collated

        found, why = [], "every loader puts its batches together as PyTorch does"
        for record, loader in data.loaders:
            if (record.batch_size or 1) < 2 or not record.examples or not own_collation(loader):
                continue
            try:
                told = collated(data, record.number)
            except Unreadable as error:
                why = str(error)
                continue
            at = function_place(loader.collate_fn) or record.born or record.place
            counts = {"items": told.items, "used": told.used, "parts": told.parts, "size": record.batch_size}
            found.append(Evidence(counts, place=at))
        return found or [Evidence(missing=why)]

    def judge(self, evidence: Evidence) -> Ruling:
        """A part of the batch hangs on one example only."""
        items, used, parts = evidence["items"], evidence["used"], evidence["parts"]
        if not used:
            return Ruling.unsure("nothing numeric in the batch depends on the examples that were exchanged")
        first = bool(parts) and parts[0] == 1
        if items < 3 or (used > 1 and not first):
            return Ruling.passed(f"a batch depends on {used} of {items} examples")
        return Ruling.found(
            Severity.ERROR if used == 1 else Severity.WARNING,
            "The batch holds one example, whatever its size: the others are thrown away."
            if used == 1
            else "The inputs of a batch hold one example, its other parts hold more.",
            expected=f"a batch that depends on all of its {items} examples",
            observed=f"exchanging each of {items} examples in turn, {used} changed the batch"
            + (f", and {parts[0]} its largest part" if used > 1 else "")
            + f"; batch_size is {evidence['size']}",
            fix="Let collate_fn use every entry of the list that it is given.",
        )
