"""Examples on different scales in one split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

TIMES = 32.0
"""How many times as large the numbers of one group are as those of the other: 255 for bytes beside shares, 32768 for sound."""
SHARE = 0.002
FEW = 3


class MixedRanges(Check):
    """All examples of a split are on one scale.

    What it checks
    --------------
    The largest absolute number of each image or series. Where they form two groups with nothing between, one many times as
    large as the other, a part of the examples was scaled in another way.

    Why it matters
    --------------
    Bytes from 0 to 255 beside shares from 0 to 1: to the net a picture two hundred times as bright. Batch statistics follow the
    few large ones, the gradient too.

    What healthy looks like
    -----------------------
    One scale, or a continuum from quiet to loud.

    What to do
    ----------
    Find which files or which branch of the loader gives the other scale, and convert at one place.

    When it is wrong
    ----------------
    Recordings with silence among them have small numbers by nature: the smaller group is reported only where its examples are
    as lively on their scale as the others are on theirs.

    Source
    ------
    RECIPE D4; fault catalogue 134.
    """

    title = "Examples are on different scales"
    rows = ("D4", "D13")
    faults = (134,)
    price = Price.FREE

    def measure(self, scan: Scan) -> Evidence | list[Evidence]:
        from trainrecipe.dataset.scales import scales

        made = [e for split in scan.splits if (e := scales(scan, split)) is not None]
        return made or Evidence(missing="the inputs are neither images nor series")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = f"{e['apart']} of {e['rows']} examples of {e['split']} are on another scale than the others"
        if e["apart"] < max(FEW, SHARE * e["rows"]) or e["times"] < TIMES:
            return Ruling.passed(f"examples of {e['split']} are on one scale")
        return Ruling.found(
            Severity.WARNING,
            f"{says}: their numbers are {e['times']:.0f} times as {'large' if e['larger'] else 'small'}.",
            expected="one scale",
            observed=f"largest numbers around {e['theirs']:.3g} against {e['others']:.3g}, in examples "
            + ", ".join(map(str, e["sample"])),
            fix="Find out which files or which branch of the loader gives them, and convert all of them at one place.",
            causes=("some are converted to shares of 255 and some are not", "files of two bit depths were read alike"),
        )
