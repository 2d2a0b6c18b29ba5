"""Copies of one example with different labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

SHARE = 0.01
FEW = 3


class CopiesLabelledDifferently(Check):
    """Copies of an example bear the same label.

    What it checks
    --------------
    Groups of examples that are copies, by their contents as stored or by how they look, and the classes they bear.

    Why it matters
    --------------
    No model can be right on both. At least one of the labels is wrong, or the labels mean less than they seem to.

    What healthy looks like
    -----------------------
    Copies agree.

    What to do
    ----------
    Look at the groups, settle the label, and find out where the copies come from: several annotators, a table that was joined
    wrongly, a file saved in two folders.

    When it is wrong
    ----------------
    Questions about one picture, and examples with several right answers, have many labels by nature. Near copies can differ
    in the one detail that makes the class: look before you change anything.

    Source
    ------
    Fault catalogue 131; deepchecks' conflicting labels; RECIPE D3 and D5.
    """

    title = "Copies of one example bear different labels"
    rows = ("D3", "D5")
    faults = (131,)
    price = Price.FORWARD
    explains = ("conflicting-labels", "suspect-labels")

    def measure(self, scan: Scan) -> Evidence:
        import numpy as np

        from trainrecipe.dataset.copies import copies
        from trainrecipe.dataset.label_noise import conflicts

        labels = scan.labels()
        if labels is None:
            return Evidence(missing="the examples bear no classes")
        if scan.as_fed:
            return Evidence(missing="there is no loader, so that labels may be made by the program")
        if len(scan.manifest.inputs()) > 1:
            return Evidence(missing="an example has several inputs, and copies were told by one of them")
        group = np.where(np.array([v is not None for v in labels]), copies(scan).group, -1)
        found = conflicts(group, [str(v) for v in labels])
        index, split = scan.column("index"), scan.column("split")
        name = [f"{split[i]} {int(index[i])}" for c in found[:4] for i in (c.rows[0], c.rows[-1])]
        pairs = zip(name[::2], name[1::2], found, strict=False)
        sample = [f"{a} and {b}: {', '.join(map(str, c.labels[:3]))}" for a, b, c in pairs]
        return Evidence(
            {
                "rows": scan.rows,
                "groups": len(found),
                "conflicting": sum(len(c.rows) for c in found),
                "copied": int((group >= 0).sum()),
                "sample": sample,
                "where": "duplicate_group is not None",
            },
            place=scan.place(),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = f"{e['groups']} groups of copies bear different labels"
        if e["groups"] < FEW:
            return Ruling.passed(says)
        return Ruling.found(
            Severity.WARNING if e["conflicting"] >= SHARE * e["rows"] else Severity.NOTE,
            f"{says}: {e['conflicting']} of {e['rows']} examples ({e['conflicting'] / e['rows']:.1%}).",
            expected="one label for copies of one example",
            observed="; ".join(e["sample"]),
            fix="Look at the groups with `recipe view` and settle the labels; find out where the copies come from.",
        )
