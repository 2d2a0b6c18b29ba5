from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

EQUAL = 1e-4
"""Change, relative to that by other tokens, below which nothing changed; sums in another order give 1e-6."""
SURPRISING = 5.0
"""Standard deviations by which neighbours repeat more often than by chance; language gives tens, sets about none."""


class PositionBlind(Check):
    """A model of sequences can tell the order of its tokens.

    What it checks
    --------------
    The tokens of each sequence change places on a copy in evaluation mode; the first and the last stay. Where the
    predictions change with other tokens, but not with another order (or only move along with their tokens), a model with
    attention cannot know positions. Whether the data have an order is told by pairs of neighbours that repeat more often
    than in shuffled rows.

    Why it matters
    --------------
    Attention is a weighted sum: without positions, "dog bites man" and "man bites dog" are the same to it. The loss
    falls as far as a bag of words allows.

    What healthy looks like
    -----------------------
    Another order gives other predictions, by learned, sinusoidal, rotary or relative positions, recurrence or convolution.

    What to do
    ----------
    Add a positional encoding to the embeddings, and check that the sum is what the layers get.

    When it is wrong
    ----------------
    Models of sets are meant to be blind: where neighbours repeat no more often than by chance, or rows are sorted, the check
    is unsure. A bag of words without attention is not reported. A causal model of several layers can tell positions by
    its mask alone, and passes.

    Source
    ------
    A. Vaswani et al., Attention Is All You Need, 3.5; fault catalogue 121.
    """

    title = "The model cannot tell the order of its tokens"
    rows = ("S12",)
    faults = (121,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.capture.replay import CannotReplay
        from trainrecipe.subjects.order import orders

        if step.distrust:
            return Evidence(missing=step.distrust)
        try:
            found = orders(step)
        except CannotReplay as error:
            return Evidence(missing=f"evaluation mode cannot be compared with training: {error}")
        made = [
            Evidence(
                {"moved": o.moved, "ahead": o.ahead, "attends": o.attends, "surprise": o.surprise, "sorted": o.sorted},
                place=o.place,
            )
            for o in found
        ]
        return made or Evidence(missing="no input holds sequences of tokens that the predictions depend on together")

    def judge(self, evidence: Evidence) -> Ruling:
        moved = evidence["moved"]
        if moved > EQUAL:
            return Ruling.passed(f"tokens in another order change the predictions, by {moved:.2g} of what other tokens do")
        if not evidence["attends"]:
            return Ruling.passed("the model takes its tokens as a bag, without attention")
        ordered = evidence["ahead"] or (evidence["surprise"] > SURPRISING and not evidence["sorted"])
        if not ordered:
            return Ruling.unsure("the model is blind to the order of its tokens, as a model of sets is; do they have an order?")
        return Ruling.found(
            Severity.WARNING,
            "The predictions are the same whatever order the tokens are in: the model does not know positions.",
            expected="another order of the tokens gives other predictions",
            observed=f"with the tokens in another order they change by {moved:.1g} of what other tokens change, although "
            + (
                "the next token is to be predicted"
                if evidence["ahead"]
                else f"neighbours repeat {evidence['surprise']:.0f} standard deviations more often than in shuffled rows"
            ),
            fix="Add a positional encoding to the embeddings before the first layer of attention.",
            causes=(
                "no positional encoding is added: read what the first layer of attention gets",
                "it is computed, but not added (the result is thrown away), or zero: print it",
            ),
        )
