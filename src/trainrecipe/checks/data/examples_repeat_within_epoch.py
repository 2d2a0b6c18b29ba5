from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data

READ = 0.6
"""Share of the stored rows that indices must reach; below it is reported."""
FEWEST = 32
"""Indices that must have been read."""


class ExamplesRepeatWithinEpoch(Check):
    """Different indices give different examples, so that all that are stored are read.

    What it checks
    --------------
    For data sets of the user's own class that keep one row per example in a list, array or tensor: which row is read for
    each index. They are read from a copy that notes it. It is reported when a data set has as many indices as rows, each
    index reads one row, always the same, and many rows are read by no index.

    Why it matters
    --------------
    An index that is ignored, divided or taken modulo the wrong number gives a few examples many times and most of them
    never. Length and loss look right.

    What healthy looks like
    -----------------------
    As many rows are read as there are indices.

    What to do
    ----------
    Look at what `__getitem__` does with its index before it reads.

    When it is wrong
    ----------------
    Data sets that repeat their examples on purpose (more indices than rows, or rows listed beforehand, as in bootstrap
    samples), that draw rows at random, read windows or
    several rows for an example, or keep their examples elsewhere, are not judged.

    Source
    ------
    Fault catalogue 148; PyTorch forum thread 144659.
    """

    title = "Different indices give the same example"
    rows = ("S24",)
    faults = (148,)
    explains = ("same-batch", "input-independent-baseline", "overfit-one-batch")

    def measure(self, data: Data) -> list[Evidence]:
        """Read the examples of each data set once and count the rows that were touched."""
        from trainrecipe.subjects.examples import method_place
        from trainrecipe.subjects.stored import touched_by, user_datasets

        found = []
        for number, dataset in user_datasets(data):
            touched = touched_by(data, number, dataset, every=True)
            if touched is None or len(touched.indices) < FEWEST:
                continue
            for name, stored in touched.lengths.items():
                rows = touched.rows[name]
                if None in rows or stored != len(dataset) or name in touched.looked_up:
                    continue
                counts = {"stored": stored, "indices": len(rows), "rows": len(set(rows)), "name": name}
                found.append(Evidence(counts, place=method_place(dataset, "__getitem__")))
        return found or [Evidence(missing="no data set keeps one row per index in a list, array or tensor of its own")]

    def judge(self, evidence: Evidence) -> Ruling:
        """Far fewer rows than indices."""
        indices, rows = evidence["indices"], evidence["rows"]
        says = f"{indices} indices read {rows} different rows of {evidence['name']}"
        if rows >= READ * indices:
            return Ruling.passed(says)
        return Ruling.found(
            Severity.WARNING,
            f"The data set gives the same examples again and again: {says}.",
            expected=f"{indices} different rows, since {evidence['stored']} are stored for {evidence['stored']} indices",
            observed=f"{rows} rows; the others are never read",
            fix="Use the index as it is given when reading the example in __getitem__.",
        )
