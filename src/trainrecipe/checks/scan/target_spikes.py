"""Targets that stand for something missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

SHARE = 0.01
"""Share of the targets from which a code for "missing" at the end of the range is a warning."""


class TargetSpikes(Check):
    """Numbers to be predicted are measurements, and no codes for something missing.

    What it checks
    --------------
    Values of the target that repeat far more often than the values around them: 0, -1, 999, a limit at which values are cut.

    Why it matters
    --------------
    A code such as -1 for "unknown" is a number to the loss. The model learns a mixture of two questions and answers neither.

    What healthy looks like
    -----------------------
    A smooth distribution, or a peak that belongs to the matter.

    What to do
    ----------
    Look at these examples. Drop them, mask them in the loss, or treat what is cut as cut.

    When it is wrong
    ----------------
    Days without rain are a true peak at zero; a limit of the instrument is no fault of the data. Codes that are a usual value,
    in the middle of the range, are not seen. Only a code beyond all other values is a warning.

    Source
    ------
    RECIPE D2 and D4; shared gaps of peers: sentinels.
    """

    title = "A value of the target repeats like a code"
    rows = ("D2", "D4")
    faults = (131,)
    price = Price.FREE

    def measure(self, scan: Scan) -> Evidence:
        import numpy as np

        from trainrecipe.dataset.tails import spikes

        target, part = scan.numbers(), scan.target()
        if target is None or part is None:
            return Evidence(missing="the examples bear no numbers to be predicted")
        split = (scan.training() or scan.splits[0]).name
        values = target[scan.where(split) & np.isfinite(target)]
        found = spikes(values)
        others = values[~np.isin(values, [s.value for s in found])] if found else values
        spread = float(np.ptp(others)) if len(others) else 0.0
        best = found[0] if found else None
        told: dict[str, object] = {"value": None, "count": 0, "code": False}
        if best is not None:
            gap = float(np.abs(others - best.value).min()) if len(others) else 0.0
            told = {"value": best.value, "count": best.count, "code": best.sentinel and best.edge and gap > 0.05 * spread}
        return Evidence(
            {
                "split": split,
                "rows": len(values),
                **told,
                "usual": best.usual if best is not None else 0,
                "where": f"split == '{split}' and {part.name} == {told['value']}",
            },
            place=scan.place(split),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["value"] is None:
            return Ruling.passed(f"no target of {e['split']} repeats far more often than those around it")
        says = f"{e['count']} of {e['rows']} targets of {e['split']} are {e['value']:g}"
        says += f", values around it have {e['usual']} at most"
        return Ruling.found(
            Severity.WARNING if e["code"] and e["count"] >= SHARE * e["rows"] else Severity.NOTE,
            f"{says}.",
            expected="targets that are measurements",
            observed="a value beyond all others, as programs write it for what is missing"
            if e["code"]
            else "a peak of one value",
            fix="Look at these examples; drop them or leave them out of the loss if the value stands for something missing.",
        )
