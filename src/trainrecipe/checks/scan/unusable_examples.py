"""Examples that cannot be read, are built otherwise than the others, or hold nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

SHARE = 0.01
"""Share of blank or empty examples from which it is a warning."""


class UnusableExamples(Check):
    """Every example can be read, is built like the others, and holds something.

    What it checks
    --------------
    Each example of each split is read once. Counted are those that raise an error (missing, truncated or malformed files),
    those with another shape or type than the first ones, those with NaN or infinite numbers, and those without content: one
    single number everywhere, an empty text.

    Why it matters
    --------------
    The first kind ends a training hours in, or is swallowed by a loader that gives something else instead; NaN spoils all
    weights in one step; blank ones teach how frequent their label is.

    What healthy looks like
    -----------------------
    All examples are in order.

    What to do
    ----------
    Fetch, repair or drop the examples named. Make a loader raise rather than return a blank.

    When it is wrong
    ----------------
    Tables with missing values that the model or the collation fills are in order, so NaN among features is a note. So is NaN
    in a split that is not trained on, where it may stand for what is to be predicted, and so are a few blank examples, such
    as background, and windows of a text that hold one token only.

    Source
    ------
    RECIPE D4; fault catalogue 137.
    """

    title = "Examples cannot be used as they are"
    rows = ("D4",)
    faults = (137,)
    price = Price.FREE
    explains = ("broken-examples",)

    def measure(self, scan: Scan) -> Evidence:
        from collections import Counter

        status, error = scan.column("status"), scan.column("error")
        index, split = scan.column("index"), scan.column("split")
        bad = [i for i in range(scan.rows) if status[i] != "ok"]
        sample: dict[str, str] = {}
        for i in bad:
            sample.setdefault(status[i], f"{split[i]} {int(index[i])}" + (f" ({error[i]})" if error[i] else ""))
        kinds = {p.kind for p in scan.manifest.inputs()}
        trained = {s.name for s in scan.trainings()} or {s.name for s in scan.splits}
        return Evidence(
            {
                "rows": scan.rows,
                "counts": dict(Counter(status[i] for i in bad)),
                "spoiling": sum(status[i] == "not finite" and split[i] in trained for i in bad),
                "sample": sample,
                "fed": scan.as_fed,
                "windows": any(p.kind == "tokens" and not p.ragged for p in scan.manifest.inputs()),
                "features": kinds <= {"table", "number"},
                "where": "status != 'ok'",
            },
            place=scan.place(),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        counts = e["counts"]
        total = sum(counts.values())
        if not total:
            return Ruling.passed(f"all {e['rows']} examples can be read and hold something")
        grave = counts.get("unreadable", 0) + counts.get("built otherwise", 0)
        grave += 0 if e["features"] else e["spoiling"]
        empty = counts.get("constant", 0) + (0 if e["windows"] else counts.get("empty", 0))
        told = ", ".join(f"{n} {status}" for status, n in counts.items())
        return Ruling.found(
            Severity.WARNING if (grave or empty >= SHARE * e["rows"]) and not e["fed"] else Severity.NOTE,
            f"{total} of {e['rows']} examples cannot be used as they are: {told}.",
            expected="examples that can be read, built alike, with finite numbers and some content",
            observed="; ".join(f"{status}: {where}" for status, where in e["sample"].items()),
            fix="Repair or drop these examples; `recipe view` lists them all.",
        )
