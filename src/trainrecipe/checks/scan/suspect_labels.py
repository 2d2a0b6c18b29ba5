"""How many labels are wrong, about, and which to look at first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

SHARE = 0.02
"""Least share of wrong labels, with 95 % confidence, from which it is a warning."""
WIDE = 4.0
"""Upper over lower end of the interval beyond which it tells too little for a warning."""


class SuspectLabels(Check):
    """Labels agree with what the examples show.

    What it checks
    --------------
    For each example whether its nearest neighbours and a linear model, fitted without it, expect another class. That ranks the
    labels to be reviewed. The share of wrong ones is estimated where both are sure of themselves: classes that overlap
    disagree at their borders, wrong labels everywhere.

    Why it matters
    --------------
    Wrong labels cap the score that can be measured, and a net with room enough learns them by heart. Ten minutes with the
    top of the list tell more than a week of tuning.

    What healthy looks like
    -----------------------
    An interval that contains zero.

    What to do
    ----------
    Review the ranked examples (`recipe view`, sorted by `suspect`). Judging fifty from the top and fifty drawn at random turns
    the estimate into a measurement.

    When it is wrong
    ----------------
    The judges see pixels or features, not meaning: where they are hardly better than chance the check is unsure and says so.
    Classes that mix everywhere, far from their borders as well, look like wrong labels.

    Source
    ------
    Northcutt, Jiang and Chuang, "Confident learning", 2021; Scott, Blanchard and Handy, 2013; RECIPE D5.
    """

    title = "A part of the labels is wrong"
    rows = ("D5",)
    faults = (130,)
    price = Price.TRAIN

    def measure(self, scan: Scan) -> Evidence:
        from trainrecipe.dataset.reviewing import review

        found = review(scan)
        if isinstance(found, str):
            return Evidence(missing=found)
        return Evidence(found, place=scan.place(str(found["split"])))

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["share"] is None:
            return Ruling.unsure(f"the share of wrong labels cannot be told: {e['reason']}")
        low, high = e["low"], e["high"]
        says = f"{low:.1%} to {high:.1%} of the labels of {e['split']} are wrong (estimate {e['share']:.1%})"
        if low <= 0:
            return Ruling.passed(
                f"labels of {e['split']} agree with their examples: at most {high:.1%} are wrong, perhaps none"
            )
        return Ruling.found(
            Severity.WARNING if low >= max(SHARE, high / WIDE) and not e["fed"] else Severity.NOTE,
            f"{says}; the judges are right on {e['accuracy']:.1%} of them.",
            expected="an interval that contains zero",
            observed="; ".join(e["sample"]),
            fix="Review the examples that are ranked first: `recipe view`, sorted by `suspect`.",
            causes=("labels were given in haste or by several people", "labels and examples were joined wrongly in a part"),
        )
