"""Classes that are evaluated and never trained on, or the reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

CHANCE = 1e-3
"""Probability that all examples of a class fall into one split by chance, below which they did not."""
SHARE = 0.02
"""Share of the evaluation examples that bear such a class, from which it is a warning."""


class ClassMissing(Check):
    """Every class is in every split.

    What it checks
    --------------
    Which classes a split holds that another one lacks, although there are too many of them for that to be chance.

    Why it matters
    --------------
    A class that was never trained on is always wrong; one that is never evaluated can be wrong without anyone seeing it.

    What healthy looks like
    -----------------------
    The same classes everywhere, about in the same shares.

    What to do
    ----------
    Shuffle before splitting, or stratify by class.

    When it is wrong
    ----------------
    Retrieval, few-shot and open-set tasks are evaluated on new classes by design: where no class is in common, nothing is said.

    Source
    ------
    RECIPE D2 and D10; fault catalogue 129.
    """

    title = "A class is missing from a split"
    rows = ("D2", "D10")
    faults = (129,)
    price = Price.FREE
    explains = ("split-shift",)

    def measure(self, scan: Scan) -> Evidence | list[Evidence]:
        from collections import Counter

        labels, train = scan.labels(), scan.training()
        if labels is None:
            return Evidence(missing="the examples bear no classes")
        if train is None or not scan.evaluations():
            return Evidence(missing="there is no split to train on and one to evaluate on")
        counts = {s.name: Counter(v for v in labels[scan.where(s.name)] if v is not None) for s in scan.splits}
        made = []
        ours = sum((counts[s.name] for s in scan.trainings()), Counter())
        for split in scan.evaluations():
            theirs = counts[split.name]
            share = theirs.total() / max(1, ours.total() + theirs.total())
            lacking = [c for c, n in theirs.items() if c not in ours and share**n < CHANCE]
            unseen = [c for c, n in ours.items() if c not in theirs and (1 - share) ** n < CHANCE]
            made.append(
                Evidence(
                    {
                        "split": split.name,
                        "lacking": lacking[:10],
                        "unseen": unseen[:10],
                        "common": len(ours.keys() & theirs.keys()),
                        "affected": sum(theirs[c] for c in lacking),
                        "rows": theirs.total(),
                        "fed": scan.as_fed,
                        "sampled": train.sampled or split.sampled,
                    },
                    place=scan.place(split.name),
                )
            )
        return made

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["common"]:
            return Ruling.passed(f"training and {e['split']} have no class in common, so that new ones are meant")
        if e["lacking"]:
            return Ruling.found(
                Severity.WARNING if e["affected"] >= SHARE * e["rows"] and not e["fed"] else Severity.NOTE,
                f"{e['affected']} of {e['rows']} examples of {e['split']} bear a class that no training example has: "
                f"{', '.join(map(str, e['lacking'][:5]))}.",
                expected="classes that are trained on",
                observed=f"{len(e['lacking'])} classes in {e['split']} only",
                fix="Shuffle before splitting, or stratify by class.",
                causes=("the data are sorted by class and were cut without shuffling",),
            )
        if e["unseen"]:
            return Ruling.found(
                Severity.NOTE,
                f"No example of {e['split']} bears {', '.join(map(str, e['unseen'][:5]))}, which training examples do.",
                expected="all classes in every split",
                observed=f"{len(e['unseen'])} classes that are never evaluated",
                fix="Shuffle before splitting, or stratify by class.",
            )
        return Ruling.passed(f"{e['split']} has the classes that are trained on")
