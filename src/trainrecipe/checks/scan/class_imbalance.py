"""Classes of which there are few examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

TIMES = 10.0
"""How many times as many examples the commonest class has as the rarest, from which it is told."""


class ClassImbalance(Check):
    """Classes have about as many examples as each other.

    What it checks
    --------------
    The number of training examples of each class.

    Why it matters
    --------------
    Plain accuracy hides what becomes of a rare class, and a net meets its examples too seldom to learn them. It is the first
    thing to know about a data set.

    What healthy looks like
    -----------------------
    Within a factor of a few; or unequal as the world is, with a metric and a loss that know it.

    What to do
    ----------
    Report balanced accuracy or a score per class; weigh the loss or the sampler if rare classes matter as much as common ones.

    When it is wrong
    ----------------
    Most data are unequal by nature, so it is a note.

    Source
    ------
    RECIPE D2; fault catalogue 129.
    """

    title = "Some classes have few examples"
    rows = ("D2",)
    faults = (129,)
    price = Price.FREE

    def measure(self, scan: Scan) -> Evidence:
        from collections import Counter

        labels = scan.labels()
        if labels is None:
            return Evidence(missing="the examples bear no classes")
        split = scan.training() or scan.splits[0]
        counts = Counter(v for v in labels[scan.where(split.name)] if v is not None).most_common()
        if len(counts) < 2:
            return Evidence(missing="there is one class only")
        return Evidence(
            {
                "split": split.name,
                "classes": len(counts),
                "most": list(counts[0]),
                "least": [list(c) for c in counts[::-1][:5]],
                "rare": sum(n * TIMES <= counts[0][1] for _, n in counts),
                "where": f"split == '{split.name}' and label == '{counts[-1][0]}'",
            },
            place=scan.place(split.name),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        (name, most), (rarest, least) = e["most"], e["least"][0]
        says = f"{e['split']} has {most} examples of {name} and {least} of {rarest}, the rarest of {e['classes']} classes"
        if most < TIMES * least:
            return Ruling.passed(says)
        return Ruling.found(
            Severity.NOTE,
            f"{says}: {most / least:.0f} times as many.",
            expected="classes within a factor of a few, or a metric and a loss that know better",
            observed="; ".join(f"{c}: {n}" for c, n in e["least"]),
            fix="Report a score per class, and weigh the loss or the sampler if the rare classes matter as much.",
        )
