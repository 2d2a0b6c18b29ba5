from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.finding import Place
    from trainrecipe.subjects.ranks import RankFacts, Ranks

SHARE = 0.05
"""Share of a rank's evaluation examples that another rank trains on, from which the splits differ."""
FEWEST = 5


class SplitDiffersBetweenRanks(Check):
    """No rank trains on what another rank evaluates.

    What it checks
    --------------
    The indices, in the innermost data set, that each rank draws for training, against those that the other ranks draw for
    evaluation; compared where each rank by itself keeps the two apart.

    Why it matters
    --------------
    Gradients are averaged over ranks. If every process splits the data by its own random numbers, the examples that rank 0
    holds out are trained on by another rank, and the reported validation score is one of training data.

    What healthy looks like
    -----------------------
    The evaluation examples of all ranks are in no rank's training data.

    What to do
    ----------
    Split with a generator of a fixed seed that is equal in all ranks: random_split(data, lengths,
    generator=torch.Generator().manual_seed(0)).

    When it is wrong
    ----------------
    Ranks that train different models, such as folds of a cross-validation, are left out: they exchange nothing. Data sets are
    taken for the same if class, length and the first and last row that they store are equal, so that ranks with files of
    their own are not judged; one that stores nothing and reads other files in each rank looks the same.

    Source
    ------
    Recipe S25; fault catalogue 140 and 159.
    """

    title = "Each rank splits the data differently"
    rows = ("S25",)
    faults = (140, 159)
    explains = ("shards-overlap", "same-draws-on-ranks")

    def measure(self, ranks: Ranks) -> Evidence:
        """Look for one rank's evaluation examples among another's training examples."""
        missing = ranks.why_not()
        if missing:
            return Evidence(missing=missing)
        if not ranks.together():
            return Evidence(missing="the ranks exchange neither gradients nor parameters, so each trains for itself")
        found = [e for a in ranks.facts for b in ranks.facts if a is not b and (e := _leak(a, b)) is not None]
        if not found:
            return Evidence(missing="no two ranks read training and evaluation examples of one data set by their indices")
        worst = max(found, key=lambda e: e["leaked"])
        place: Place | None = worst.pop("place")
        return Evidence(worst, place=place)

    def judge(self, evidence: Evidence) -> Ruling:
        """More than a few examples."""
        leaked, total = evidence["leaked"], evidence["evaluated"]
        if leaked < FEWEST or leaked < SHARE * total:
            return Ruling.passed(f"{leaked} of {total} evaluation examples are trained on by another rank")
        return Ruling.found(
            Severity.ERROR,
            f"Rank {evidence['trains']} trains on {leaked} of {total} examples that rank {evidence['evaluates']} evaluates.",
            expected="one split into training and evaluation data, equal in all ranks",
            observed=f"{leaked} of {total} evaluation examples are training examples of another rank, and none of the own rank",
            fix="Split with a generator of a fixed seed: random_split(..., generator=torch.Generator().manual_seed(0)).",
            causes=("the data are split at random with a seed that differs between ranks, or with none",),
        )


def _leak(evaluating: RankFacts, training: RankFacts) -> dict[str, Any] | None:
    """How many examples that one rank evaluates the other trains on; None where indices cannot be compared."""
    for held in evaluating.evaluating():
        theirs = [r for r in training.training() if r.dataset == held.dataset]
        own = {i for r in evaluating.training() if r.dataset == held.dataset for i in r.indices}
        if not theirs or not own or not held.indices:
            continue
        chosen = set(held.indices)
        if chosen & own:
            continue
        leaked = chosen & {i for r in theirs for i in r.indices}
        return {
            "leaked": len(leaked),
            "evaluated": len(chosen),
            "evaluates": evaluating.rank,
            "trains": training.rank,
            "place": held.place,
        }
    return None
