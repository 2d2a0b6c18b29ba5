"""Groups of related examples on both sides of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan


class GroupLeak(Check):
    """Examples of one person, place or document are on one side of the split.

    What it checks
    --------------
    Columns that may name groups (folders and beginnings of file names, identifiers, whole numbers that repeat): whether
    evaluation examples resemble training examples with the same key more than others of the same class, and how many keys are
    on both sides.

    Why it matters
    --------------
    A model recognises the person, the camera, the patient, and with it the answer. For a new one it knows less than the score
    says.

    What healthy looks like
    -----------------------
    Keys are on one side only, or mean nothing.

    What to do
    ----------
    Split by group: all examples of a key to one side (scikit-learn's GroupKFold and GroupShuffleSplit do that).

    When it is wrong
    ----------------
    Where the model will be used for the same persons again, a split within them is right. Groups that nothing in the data
    names are not seen.

    Source
    ------
    Fault catalogue 142; Saeb et al., "The need to approximate the use-case in clinical machine learning", 2017; RECIPE D3.
    """

    title = "Related examples are on both sides of the split"
    rows = ("D3", "D8")
    faults = (142,)
    price = Price.FORWARD

    def measure(self, scan: Scan) -> Evidence | list[Evidence]:
        from trainrecipe.dataset.leaks import in_groups

        return in_groups(scan)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["key"]:
            return Ruling.passed(f"{e['split']}: nothing in the data names groups whose examples are alike across the split")
        says = (
            f"{e['shared']:.0%} of the examples of {e['split']} share their {e['key']} with training examples, which they "
            f"resemble more than {e['alike']:.0%} of the others of their class"
        )
        if not e["suspicious"]:
            return Ruling.passed(says)
        return Ruling.found(
            Severity.WARNING,
            f"{says}.",
            expected="all examples of a group on one side",
            observed=f"{e['keys']} groups, such as {', '.join(map(str, e['leaking'][:4]))} on both sides",
            fix=f"Split by {e['key']}, for instance with scikit-learn's GroupShuffleSplit.",
        )
