"""Labels that can be told without looking at what an example shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

SURE = 0.01
GAIN = 0.5
"""Normalised gain over guessing from which it is told: half the way from chance to perfection."""


class ToldByMetadata(Check):
    """What an example is about cannot be told from its size, its border or its length.

    What it checks
    --------------
    Whether labels can be predicted from measurements that should say nothing about them: width and height, the border of an
    image against its middle, the length of a series or a text, how much of it is padding or silence. A cross-validated model
    on one measurement each, and on all together, against the same with permuted labels.

    Why it matters
    --------------
    A net takes the easiest way. Where one class was photographed by another camera, cut to another size or recorded at another
    level, it learns that, scores well on data with the same accident, and fails on all others.

    What healthy looks like
    -----------------------
    Hardly better than guessing.

    What to do
    ----------
    Look at the examples sorted by the measurement. Bring all classes to one size, level and length, or balance sources across
    classes; then test on data from elsewhere.

    When it is wrong
    ----------------
    Some of this is content: long reviews may be angry ones, and loud sounds sirens. Sizes that tell the class are a warning,
    as they are rarely seen as such; everything else is a note. Brightness and colour are left to the probes of `recipe data`.

    Source
    ------
    Geirhos et al., "Shortcut learning in deep neural networks", 2020; RECIPE D8.
    """

    title = "Labels can be told from how examples were made, not from what they show"
    rows = ("D8",)
    faults = (95,)
    price = Price.TRAIN

    def measure(self, scan: Scan) -> Evidence:
        from trainrecipe.dataset.metadata import told

        return told(scan)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        best = e["best"]
        if best is None:
            return Ruling.skipped(e["reason"])
        says = f"the {best['title']} alone tells the label in {best['score']:.1%} of the cases"
        says += f", the commonest class is {best['majority']:.1%}"
        if best["p"] > SURE or best["low"] < GAIN:
            return Ruling.passed(f"no measurement of how examples were made tells their labels; {says}")
        return Ruling.found(
            Severity.WARNING if best["size"] else Severity.NOTE,
            f"{says[0].upper()}{says[1:]}.",
            expected="labels that cannot be told without looking at the content",
            observed=f"gain over guessing {best['gain']:.2f} ({best['low']:.2f} to {best['high']:.2f}), {e['rows']} examples",
            fix="Sort the examples by it in `recipe view`; bring all classes to the same size and form.",
            causes=("classes come from different sources", "one class was cut, padded or compressed in another way"),
        )
