"""Token ids that mean one word in training and another one in evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data

KINDS = 100
"""Different ids that must be seen."""
MOST = 200_000
"""Ids of a larger vocabulary are left out."""
EXPECTED = 50.0
"""Neighbouring ids of which chance would make the later one the more frequent."""
FEW = 0.15
"""Share of these that is seen at most where ids are numbered by the frequencies of that very text."""
CHANCE = 0.6
"""Share of these that must be seen between two parts of the training text, so that the text behaves as chance says."""
SORTED = 0.95
"""Rank correlation of id and rareness from which the training ids are numbered by frequency, too."""
IN_TURN = 0.98
"""Share of the new ids that are the next number, where ids are numbered as they first appear."""
START = 0.9
"""Share of the ids up to the highest that are new in turn: the numbers begin at the bottom, unlike those of later days."""
UNLIKE = 0.85
"""Likeness of the frequencies of evaluation and training, relative to that of two parts of the training text."""


class VocabularyRebuilt(Check):
    """A token id means the same word in evaluation as in training.

    What it checks
    --------------
    How often each token id occurs in training and in evaluation. A vocabulary that was built a second time, on the
    evaluation text, leaves its mark there: ids are in the exact order of that text's own frequencies, where chance would
    exchange hundreds of neighbours; or each new id is the next number, while the frequencies are not those of training.

    Why it matters
    --------------
    The embedding of id 17 was learned for one word and is looked up for another. Evaluation is near chance, or just worse
    than it should be where the commonest words keep their places, and the training is blamed for it.

    What healthy looks like
    -----------------------
    One vocabulary, built on the training text, saved with the model, and a token for unknown words.

    What to do
    ----------
    Build the vocabulary once and hand it to every split.

    When it is wrong
    ----------------
    Vocabularies in the order of the alphabet, or of a set, leave no such mark and are not recognised, nor are those of
    short texts. An evaluation that is larger than half of the training text that was seen is left out, as it often is where
    a rehearsal cuts the loaders.

    Source
    ------
    Fault catalogue 132.
    """

    title = "Token ids mean other words in evaluation than in training"
    rows = ("D13", "S10")
    faults = (132,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.vocabularies import comparisons

        pairs = comparisons(data, KINDS, MOST)
        if not pairs:
            return Evidence(missing="no token ids were fed in training and, half as many or fewer, in evaluation")
        return [Evidence({k: v for k, v in vars(pair).items() if k != "place"}, place=pair.place) for pair in pairs]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        by_frequency = (
            e["expected"] >= EXPECTED
            and e["ascents"] <= FEW * e["expected"]
            and e["train_ascents"] >= CHANCE * e["train_expected"]
            and e["order"] >= SORTED
        )
        in_turn = e["new"] >= KINDS and e["next"] >= IN_TURN * e["new"] and e["new"] >= START * e["highest"]
        in_turn = in_turn and e["likeness"] < UNLIKE * e["train_likeness"]
        if not by_frequency and not in_turn:
            return Ruling.passed(
                f"the frequencies of {e['kinds']} token ids are as like in evaluation ({e['likeness']:.2f}) as between two "
                f"parts of the training text ({e['train_likeness']:.2f}), or show no vocabulary of their own"
            )
        observed = (
            f"ids are in the order of their own frequency: in {e['ascents']} of {e['pairs']} neighbouring pairs the later one "
            f"is the more frequent, where chance makes it {e['expected']:.0f}"
            if by_frequency
            else f"{e['next']} of {e['new']} new ids are the next number, and the frequencies are like those of training by "
            f"{e['likeness']:.2f}, where two parts of the training text are by {e['train_likeness']:.2f}"
        )
        return Ruling.found(
            Severity.WARNING,
            "The token ids of the evaluation come from a vocabulary of its own.",
            expected="the training vocabulary in every split",
            observed=f"in evaluation {observed}",
            fix="Build the vocabulary once, on the training text, and use it for the other splits.",
        )
