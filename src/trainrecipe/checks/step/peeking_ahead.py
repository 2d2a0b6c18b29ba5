from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, heatmap

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

FAINT = 1e-3
"""A leak is counted from this share of the change at later positions on. Masked attention leaks exactly 0, convolution by
FFT and other sums 1e-6 (rounding); a missing mask changes earlier positions as much as later ones."""


class PeekingAhead(Check):
    """A model that predicts the next element of a sequence does not see it.

    What it checks
    --------------
    Where the targets are the inputs shifted by one, everything after position t is replaced on a copy of the model in
    evaluation mode. Predictions at positions up to t that count in the loss must stay as they were.

    Why it matters
    --------------
    The answer is in the input: loss and validation loss fall far below what is possible, and generation, where the
    future is not there, gives junk.

    What healthy looks like
    -----------------------
    The chart of which prediction depends on which position is triangular.

    What to do
    ----------
    Give attention a causal mask (`is_causal=True`, or a mask that is True, or -inf, above the diagonal as its
    function wants it), pad convolutions on the left only, use no bidirectional recurrent layer.

    When it is wrong
    ----------------
    Models whose targets are not the shifted inputs (masked language models, taggers, encoders) are not concerned.
    Positions that do not count in the loss, such as a prefix, may see each other. Where the future arrives only through
    a summary without positions, as in a sequence autoencoder or a text VAE, the check is unsure.

    Source
    ------
    Karpathy's recipe ("position t depends on 1…t-1"); fault catalogue 119.
    """

    title = "The model sees the element it has to predict"
    rows = ("S12",)
    faults = (119,)
    price = Price.FORWARD
    explains = ("overfit-one-batch",)

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.capture.replay import CannotReplay
        from trainrecipe.subjects.positions import looking_ahead

        if step.distrust:
            return Evidence(missing=step.distrust)
        try:
            found = looking_ahead(step, FAINT)
        except CannotReplay as error:
            return Evidence(missing=f"evaluation mode cannot be compared with training: {error}")
        return found or Evidence(
            missing="the targets are not the inputs shifted by one position, so nothing is predicted ahead"
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence.get("no_positions"):
            return Ruling.unsure("the predictions cannot be aligned with the positions of the input")
        if evidence["leak"] <= FAINT:
            return Ruling.passed("predictions do not change when what comes after them is replaced")
        if evidence["through_summary"]:
            return Ruling.unsure(
                "the future reaches the predictions through a summary of the whole sequence, as in an autoencoder"
            )
        return Ruling.found(
            Severity.ERROR,
            f"Predictions depend on later positions, which hold their own targets; this begins at `{evidence['operation']}`.",
            expected="predictions up to a position stay as they are when everything after it is replaced",
            observed=f"they change by {evidence['leak']:.2g} of what the later predictions change by",
            fix="Mask the future at this line: a causal mask for attention, left padding for convolutions, one direction "
            "for recurrent layers.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence.get("chart"):
            return None
        return heatmap(
            "Which prediction depends on which position",
            "Healthy: nothing above the diagonal. Column: the position that was replaced; row: the prediction that changed.",
            evidence["chart"],
            x_title="position replaced",
            y_title="prediction",
            value_title="relative change",
        )
