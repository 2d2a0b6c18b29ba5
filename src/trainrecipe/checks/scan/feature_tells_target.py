"""A feature that holds the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan


class FeatureTellsTarget(Check):
    """No feature gives the answer away.

    What it checks
    --------------
    For rows of features: the label predicted from each feature alone, and from all others together, cross-validated. Told is
    a feature that is right nearly always while all the others together are clearly worse.

    Why it matters
    --------------
    Such a feature is often the label in another form, or written down after the outcome was known. At the time of use it will
    not be there.

    What healthy looks like
    -----------------------
    Several features share what can be known.

    What to do
    ----------
    Find out when and from what the feature is computed. If it is not known before the outcome, drop it.

    When it is wrong
    ----------------
    Now and then one feature really decides: a rule may be the very task, which no measurement can tell from a leak. A target
    hidden in several features together is not seen.

    Source
    ------
    Kaufman, Rosset and Perlich, "Leakage in data mining", 2012; RECIPE D8.
    """

    title = "One feature tells the answer by itself"
    rows = ("D8",)
    faults = (96,)
    price = Price.TRAIN
    explains = ("target-in-features",)

    def measure(self, scan: Scan) -> Evidence:
        import numpy as np

        from trainrecipe.dataset.shortcuts import leaks

        target = scan.labels() if scan.labels() is not None else scan.numbers()
        if target is None:
            return Evidence(missing="the examples bear neither classes nor numbers")
        tables = {p.name for p in scan.manifest.inputs() if p.kind == "table"}
        features = [c for c in scan.numeric() if c.part in tables and c.name not in (f"{c.part}_missing", f"{c.part}_norm")]
        if len(features) < 2:
            return Evidence(missing="the inputs are no rows of features")
        split = (scan.training() or scan.splits[0]).name
        known = np.array([v is not None for v in target]) if target.dtype == object else np.isfinite(target)
        rows = np.flatnonzero(scan.where(split) & scan.sound & known)
        given = np.array([str(v) for v in target[rows]]) if target.dtype == object else target[rows]
        found = leaks({c.title or c.name: scan.column(c.name)[rows] for c in features}, given)
        if not found:
            return Evidence(missing="too few examples, or a single label")
        best = found[0]
        return Evidence(
            {
                "name": best.name,
                "gain": best.alone.value,
                "low": best.alone.low,
                "rest": best.rest.value if best.rest is not None else None,
                "rest_high": best.rest.high if best.rest is not None else None,
                "suspicious": best.suspicious,
                "rows": len(rows),
            },
            place=scan.place(split),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = f"{e['name']} alone reaches {e['gain']:.1%} of the way from guessing to perfection"
        if not e["suspicious"]:
            return Ruling.passed(f"no feature tells the answer by itself; {says}")
        rest = f"all others together {e['rest']:.1%}" if e["rest"] is not None else "there are no others"
        return Ruling.found(
            Severity.WARNING,
            f"{says}, {rest}.",
            expected="features that are known before the outcome",
            observed=f"cross-validated on {e['rows']} examples",
            fix=f"Find out when {e['name']} is computed and from what; drop it if that is after the outcome.",
            causes=("it is computed from the target, or recorded after it", "it is an identifier that was given by class"),
        )
