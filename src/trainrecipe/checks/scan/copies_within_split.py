"""Examples that are in a split several times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

SHARE = 0.01
FEW = 5


class CopiesWithinSplit(Check):
    """Each example is in its split once.

    What it checks
    --------------
    Which examples of a split are copies of another one of it: with equal contents as stored, or looking nearly the same.

    Why it matters
    --------------
    A copied example counts as often as it is there: training weighs it more, a score rests on fewer examples than it seems,
    and its interval is too narrow.

    What healthy looks like
    -----------------------
    Few copies or none.

    What to do
    ----------
    Look at the largest groups; drop copies, or keep them and know why.

    When it is wrong
    ----------------
    Classes that are oversampled on purpose are made of copies, which is why it is never more than a note. What it cannot
    see is told under copies-across-splits.

    Source
    ------
    RECIPE D3; fault catalogue 132.
    """

    title = "A split holds copies of its own examples"
    rows = ("D3",)
    price = Price.FORWARD

    def measure(self, scan: Scan) -> Evidence | list[Evidence]:
        import numpy as np

        from trainrecipe.dataset.copies import copies

        found = copies(scan)
        made = []
        for split in scan.splits:
            groups = found.group[scan.where(split.name)]
            _, counts = np.unique(groups[groups >= 0], return_counts=True)
            several = counts[counts > 1]
            made.append(
                Evidence(
                    {
                        "split": split.name,
                        "rows": len(groups),
                        "spare": int((several - 1).sum()),
                        "groups": len(several),
                        "largest": int(several.max(initial=0)),
                        "where": f"split == '{split.name}' and duplicate_group is not None",
                    },
                    place=scan.place(split.name),
                )
            )
        return made or Evidence(missing="no split holds an example")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = f"{e['spare']} of {e['rows']} examples of {e['split']} are further copies of another one"
        if e["spare"] < max(FEW, SHARE * e["rows"]):
            return Ruling.passed(says)
        return Ruling.found(
            Severity.NOTE,
            f"{says} ({e['spare'] / e['rows']:.1%}), in {e['groups']} groups of up to {e['largest']}.",
            expected="each example once",
            observed=f"{e['groups']} groups of copies",
            fix="Look at the largest groups with `recipe view`; drop copies that are not meant to weigh more.",
        )
