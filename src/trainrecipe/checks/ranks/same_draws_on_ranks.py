from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.ranks import Ranks, Reading

FEWEST = 2
"""Batches from which equal random states are judged."""


class SameDrawsOnRanks(Check):
    """Each rank draws random numbers of its own for its examples.

    What it checks
    --------------
    The states of the global generators of PyTorch, NumPy and Python before the first training batches, in every rank, and
    whether making a batch draws from them (augmentation).

    Why it matters
    --------------
    With equal states all ranks crop, flip and perturb their examples in the very same way at each step: a batch over all
    ranks then holds each random transformation several times instead of as many different ones.

    What healthy looks like
    -----------------------
    The states differ between ranks where examples are augmented.

    What to do
    ----------
    Seed equally while the model is built, then once more with the rank added: torch.manual_seed(seed + rank), likewise
    for NumPy and Python's random.

    When it is wrong
    ----------------
    Many programs seed all ranks alike and train well; so this is a note. Generators that a data set owns, and what
    worker processes draw, are not seen.

    Source
    ------
    Recipe S25; PyTorch documentation, "Reproducibility"; fault catalogue 145 (the same for workers).
    """

    title = "All ranks draw the same random numbers"
    rows = ("S25",)
    faults = (159,)

    def measure(self, ranks: Ranks) -> Evidence:
        """Compare random states at the same batches."""
        missing = ranks.why_not()
        if missing:
            return Evidence(missing=missing)
        pairs = [
            (mine, other, b.rank)
            for a, b in ranks.pairs()
            for mine, other in zip(a.training()[:1], b.training()[:1], strict=False)
        ]
        seen = [(m, o, rank) for m, o, rank in pairs if (m.drew and o.drew)]
        if not seen:
            return Evidence(missing="making a batch draws no random numbers in the processes that were seen")
        mine, _, _ = seen[0]
        equal = [rank for m, o, rank in seen if _equal(m, o)]
        return Evidence(
            {
                "world": ranks.world,
                "equal": equal,
                "batches": len(mine.states),
                "different": all(m.hashes[:1] != o.hashes[:1] for m, o, _ in seen),
            },
            place=mine.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        """Equal states for different examples."""
        if not evidence["equal"] or not evidence["different"]:
            return Ruling.passed(f"the ranks draw different random numbers before {evidence['batches']} batches")
        return Ruling.found(
            Severity.NOTE,
            "All ranks augment their examples with the same random numbers.",
            expected=f"different random states in each of {evidence['world']} ranks when examples are made",
            observed=f"equal states in rank 0 and rank {evidence['equal'][0]} before each of {evidence['batches']} batches, "
            "and making the batches draws from them",
            fix="After the model is built, seed again with the rank added: torch.manual_seed(seed + rank).",
            causes=("one seed is set in all ranks",),
        )


def _equal(a: Reading, b: Reading) -> bool:
    count = min(len(a.states), len(b.states))
    return count >= FEWEST and a.states[:count] == b.states[:count]
