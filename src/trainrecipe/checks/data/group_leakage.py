"""Examples of one person, recording or document on both sides of a split that was made row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    from trainrecipe.subjects.contents import Table
    from trainrecipe.subjects.data import Data

TIMES = 2.0
"""How many times more often than by chance the nearest training row lies in the own group, from which it is reported."""
ENOUGH = 30
"""Evaluation rows, at least."""


class GroupLeakage(Check):
    """Rows of one person, recording or document are on one side of the split.

    What it checks
    --------------
    Arrays that the script holds beside its examples, with one whole number or text per row and each value in one run of rows:
    whether these groups lie on both sides of the split as after a draw of single rows, and whether an evaluation row resembles
    the training rows of its own group more than those of others with the same label. Likeness must end where a group ends.

    Why it matters
    --------------
    The model recognises the person, and with it the answer. For a new person it knows less than the score says.

    What healthy looks like
    -----------------------
    A group is on one side only, or its rows are no more alike than others.

    What to do
    ----------
    Draw groups instead of rows: scikit-learn's GroupShuffleSplit and GroupKFold do that.

    When it is wrong
    ----------------
    Where the model is meant for the same persons again, a split within them is right. Many small classes that are held beside
    coarser labels look like persons. So it is a note. Not judged are keys that are a label, or that inputs name (a
    recommender's users), splits in time within each group or by a share of each, few or large groups that tell the label
    (they may be classes), tokens, and examples that no array holds in the order of its groups, up to the scale of each column.

    Source
    ------
    Fault catalogue 141; Saeb et al., "The need to approximate the use-case in clinical machine learning", 2017; de Chazal et
    al., 2004, on heartbeats split by patient; RECIPE D3.
    """

    title = "Rows of one group are on both sides of the split"
    rows = ("D3", "D8")
    faults = (141,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.contents import evaluations, training

        train = training(data)
        if train is None or train.x.ndim < 2 or not train.x.is_floating_point():
            return Evidence(missing="the inputs are of a kind that likeness is not told by")
        others = [t for t in evaluations(data) if t.x.shape[1:] == train.x.shape[1:] and t.x.dtype == train.x.dtype]
        found = [e for t in others if t.rows >= ENOUGH and (e := _measured(data, train, t)) is not None]
        return found or Evidence(missing="no array that the script holds names groups on both sides of the split")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["key"]:
            return Ruling.passed("the groups that arrays name are not clearly more alike within than across their borders")
        says = (
            f"{e['shared']:.0%} of {e['rows']} evaluation rows share their {e['key']} with training rows; for "
            f"{e['nearest']:.0%} the nearest of the same label is one of these, by chance {e['chance']:.0%}"
        )
        if e["nearest"] < TIMES * e["chance"]:
            return Ruling.passed(says)
        return Ruling.found(
            Severity.NOTE,
            f"The split was made row by row, and {says}.",
            expected="all rows of a group on one side, where the model is meant for new groups",
            observed=f"{e['keys']} groups, such as {', '.join(e['leaking'])}, lie on both sides; pairs within a group across "
            f"the split are more alike than {e['alike']:.0%} of the others",
            fix=f"Split by {e['key']}, as with scikit-learn's GroupShuffleSplit, unless the same groups are met in use.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence["key"]:
            return None
        values = {"nearest in own group": evidence["nearest"], "by chance": evidence["chance"]}
        return bars("Evaluation rows whose nearest training row is of their group", "A split by group leaves none.", values)


def _measured(data: Data, train: Table, other: Table) -> Evidence | None:
    from trainrecipe.subjects.grouped import mixed

    tried, best = mixed(data, train, other)
    if not tried:
        return None
    if best is None:
        return Evidence({"key": ""}, place=other.place)
    leak = best.leak
    told = {"key": leak.key, "keys": leak.keys, "rows": other.rows, "shared": leak.shared, "alike": leak.alike}
    told |= {"p": leak.p_value, "nearest": best.nearest, "chance": best.chance}
    return Evidence({**told, "leaking": [str(v) for v in leak.leaking[:4]]}, place=other.place)
