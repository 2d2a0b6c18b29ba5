"""A random split of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan


class TimeLeak(Check):
    """Evaluation examples do not lie between training examples that are nearly the same.

    What it checks
    --------------
    Where the splits are parts of one data set: whether examples next to each other in it are more alike than random ones of
    the same class, whether the split was drawn over such an order at random, and how many evaluation examples have their
    nearest training example right beside them.

    Why it matters
    --------------
    Between yesterday and tomorrow, today is easy to guess. A random split of a series measures interpolation; in use there is
    no tomorrow.

    What healthy looks like
    -----------------------
    Examples in no particular order, or a split by time with a gap.

    What to do
    ----------
    Train on the past and evaluate on what follows, with a gap as long as examples resemble each other.

    When it is wrong
    ----------------
    Examples can be alike for another reason than time, such as crops of one picture; they leak just so. Periodic series and
    sorted classes are no such order.

    Source
    ------
    Fault catalogue 141; Bergmeir, Hyndman and Koo, 2018, on when random splits of series are right; RECIPE D3.
    """

    title = "The split is random, but the examples are a series"
    rows = ("D3", "D10")
    faults = (141,)
    price = Price.FORWARD

    def measure(self, scan: Scan) -> Evidence | list[Evidence]:
        from trainrecipe.dataset.leaks import in_time

        return in_time(scan)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = (
            f"{e['adjacent']:.0%} of the examples of {e['split']} have their nearest training example right beside them in the "
            f"data set, {e['chance']:.0%} would by chance"
        )
        if not e["suspicious"]:
            return Ruling.passed(says)
        first, second = e["blocks"]
        return Ruling.found(
            Severity.WARNING,
            f"{says}: the examples are a series, and were split at random.",
            expected="training on the past, evaluation on what follows",
            observed=f"neighbours in the data set are more alike than {e['alike']:.0%} of random pairs",
            fix=f"Train on examples {first[0]} to {first[1]} and evaluate on {second[0]} to {second[1]}, for instance.",
        )
