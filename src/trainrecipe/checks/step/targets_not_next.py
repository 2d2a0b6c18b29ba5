from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

FAINT = 1e-3
"""As for `peeking-ahead`: a smaller share of the largest change is rounding."""
ORDER = 8.0
"""Standard deviations by which elements must tell about later ones more than in shuffled sequences (text: dozens)."""
STANDS = {0: "the element at the same position", -1: "the element before", 2: "the element after the next"}


class TargetsNotNext(Check):
    """A causal model of sequences learns to predict the next element.

    What it checks
    --------------
    Where the class targets equal the input at the same position, one before or two ahead: single positions of the input are
    replaced on a copy of the model in evaluation mode, to see whether a prediction depends on the element that is its
    target, on earlier ones, and on none behind its own position.

    Why it matters
    --------------
    A model that is shown what it has to predict copies it: the loss falls to nearly zero within a few steps, perplexity to 1,
    and what it generates repeats its prompt. Shifted twice, it learns to skip every other element.

    What healthy looks like
    -----------------------
    The target at position t is the input at t + 1: `model(tokens[:, :-1])` against `tokens[:, 1:]`, shifted in one place only.

    What to do
    ----------
    Shift once, where the targets are made or in the loss; look whether the model shifts by itself (transformers' do).

    When it is wrong
    ----------------
    A model that sees both directions, or the sequence through a summary, may well reproduce its input (masked language models,
    autoencoders, denoising), and is not concerned. Nor is one whose predictions do not depend on their own target, such as a
    decoder that begins with a start token. It is a note where elements come in random order, as in an echo task, where there is
    nothing to predict, where a prediction depends on its own position only, and where several losses are added up.

    Source
    ------
    Karpathy, nanoGPT ("y is x shifted by one"); transformers' documentation ("labels are shifted inside the model"); fault
    catalogue 119.
    """

    title = "The targets are not the next elements"
    rows = ("S12",)
    faults = (119,)
    price = Price.FORWARD
    explains = ("overfit-one-batch", "loss-at-init", "learning-rate-range", "dumb-baselines")

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.capture.replay import CannotReplay
        from trainrecipe.subjects.next_elements import misplaced

        if step.distrust:
            return Evidence(missing=step.distrust)
        try:
            found = misplaced(step, FAINT)
        except CannotReplay as error:
            return Evidence(missing=f"evaluation mode cannot be compared with training: {error}")
        return found or Evidence(missing="no loss has class targets that equal its input at other places than the next")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["no_positions"]:
            return Ruling.unsure("the predictions cannot be aligned with the positions of the input")
        offset = e["offset"]
        stands = STANDS[offset]
        if not e["causal"]:
            return Ruling.passed("predictions depend on later positions too: the sequence is reproduced, not continued")
        if offset <= 0 and not e["sees"]:
            return Ruling.passed("predictions do not depend on the element that is their target")
        if offset > 0 and e["several"]:
            return Ruling.passed("one of several losses predicts further ahead")
        doubt = _doubt(evidence)
        return Ruling.found(
            Severity.NOTE if doubt else Severity.WARNING if e["recurrent"] or offset > 0 else Severity.ERROR,
            f"Each prediction's target is {stands}, "
            + ("which the model has been shown." if offset <= 0 else "so it learns to skip one."),
            expected="the target at position t is the input at t + 1",
            observed=f"it is the input at t{f' {offset:+d}'.replace('+', '+ ').replace('-', '- ') if offset else ''}"
            + ("; replacing that element changes the prediction, replacing later ones does not" if offset <= 0 else "")
            + doubt,
            fix="Shift the targets by one, in one place: `tokens[:, :-1]` goes in, `tokens[:, 1:]` is the target."
            if offset <= 0
            else "Shift the targets once: either where they are made or in the loss.",
        )


def _doubt(evidence: Evidence) -> str:
    """Why reproducing the input may be what is wanted; empty if nothing speaks for it."""
    if evidence["order"] < ORDER:
        return "; but the elements come in random order, so that there is nothing to predict"
    if not evidence["context"]:
        return "; but each prediction depends on its own position only"
    return "; but it is one of several losses" if evidence["several"] else ""
