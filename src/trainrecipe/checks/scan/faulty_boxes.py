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
    The boxes of each example, in the form that fits most of them (two corners, or a corner or the centre and a size): ends that
    are exchanged or equal, ends outside the picture, boxes that are there twice.

    Why it matters
    --------------
    Pictures that were resized, cropped or turned while their boxes were not train a detector on empty places. Degenerate
    boxes make losses infinite or are dropped in silence.

    What healthy looks like
    -----------------------
    None of these, or single slips.

    What to do
    ----------
    Look at the examples named. If many are outside, check whether every resize and crop changes the boxes too.

    When it is wrong
    ----------------
    Boxes of things that are cut off by the border may reach beyond it by a little; up to a twentieth of the side is let pass.
    Whether the model expects the form that the boxes have is not seen, nor boxes of a wrong form that all lie inside.

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
            fix="Check whether every resize and crop changes the boxes too, and whether some boxes have another form.",
            causes=(
                "pictures were resized and their boxes were not",
                "some boxes have a size where others have a second corner",
            ),
        )
