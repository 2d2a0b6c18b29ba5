"""Boxes outside their picture, without area, or there twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

SHARE = 0.01
"""Share of the examples from which it is a warning."""
FEW = 3


class FaultyBoxes(Check):
    """Boxes lie inside their picture, have an area, and are there once.

    What it checks
    --------------
    The boxes of each example (x0, y0, x1, y1): ends that are exchanged or equal, ends outside the picture, boxes that are
    there twice.

    Why it matters
    --------------
    A box in the wrong format (width and height for the second corner, an image that was resized and boxes that were not)
    trains a detector on empty places. Degenerate boxes make losses infinite or are dropped in silence.

    What healthy looks like
    -----------------------
    None of these, or single slips.

    What to do
    ----------
    Look at the examples named. If many are outside, check the format of the boxes and whether every resize changes them too.

    When it is wrong
    ----------------
    Boxes of things that are cut off by the border may reach beyond it by a little; up to a twentieth of the side is let pass.
    Boxes in shares of the picture, or relative to a centre, have no outside that can be told.

    Source
    ------
    Fault catalogue 133; RECIPE D2 and D4.
    """

    title = "Boxes are outside their picture, empty, or there twice"
    rows = ("D2", "D4")
    faults = (133,)
    price = Price.FREE

    def measure(self, scan: Scan) -> Evidence:
        from trainrecipe.dataset.annotations import boxes

        return boxes(scan)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        bad = e["outside"] + e["empty"] + e["twins"]
        says = f"{e['outside']} examples with boxes outside the picture, {e['empty']} with empty ones"
        says += f", {e['twins']} with equal ones"
        if bad < FEW:
            return Ruling.passed(f"{says}, of {e['rows']}")
        return Ruling.found(
            Severity.WARNING if bad >= SHARE * e["rows"] else Severity.NOTE,
            f"{says}, of {e['rows']}.",
            expected="boxes with an area, inside their picture, each once",
            observed="such as " + ", ".join(e["sample"]),
            fix="Check the format of the boxes (two corners, or a corner and a size?) and whether resizes change them too.",
            causes=("width and height stand where the second corner belongs", "pictures were resized and their boxes were not"),
        )
