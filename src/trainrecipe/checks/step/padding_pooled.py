from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

AVERAGES = frozenset({"mean", "sum", "avg_pool1d", "adaptive_avg_pool1d", "__getitem__", "select", "index_select", "flatten"})
"""Operations that take padding in with full weight. A maximum is hardly moved by it and usual without a mask."""


class PaddingPooled(Check):
    """The summary of a sequence does not depend on how much padding is behind it.

    What it checks
    --------------
    Where a batch holds sequences that are padded at the end, a copy of the model in evaluation mode runs on the same
    sequences with less, or more, padding. Means over the positions, and the state or the output taken for the last position,
    must not change.

    Why it matters
    --------------
    A mean over padding shrinks with the longest sequence of the batch, and the last step of a padded sequence is padding.
    The model has to guess through it, and gives a single example another result than in a batch.

    What healthy looks like
    -----------------------
    A sum over real positions divided by their number; the state at each sequence's own last position.

    What to do
    ----------
    Mask before pooling and divide by the lengths; use `pack_padded_sequence`, or gather the output at `lengths - 1`.

    When it is wrong
    ----------------
    Padding is known only where a mask, lengths, a `padding_idx` or the loss's `ignore_index` tells it; otherwise the check is
    skipped, as it is for padding in front. Where all batches have the same width and nothing but `padding_idx` tells the
    padding, it is a note. So is a bidirectional recurrent layer that reads the padding first. Maxima are not counted.

    Source
    ------
    PyTorch documentation of `pack_padded_sequence`; fault catalogue 124.
    """

    title = "Padding takes part in the summary of a sequence"
    rows = ("S12",)
    faults = (124,)
    price = Price.FORWARD
    explains = ("unused-inputs",)

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.padding import RECURRENT, leaks_of

        return leaks_of(step, lambda leak: leak.operation in RECURRENT or (leak.pooled and leak.operation in AVERAGES))

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["leaks"]:
            return Ruling.passed(
                f"summaries of sequences stay as they are with padding to {evidence['width']} or another length"
            )
        known, operation = evidence["known"], evidence["operation"]
        sure = evidence["pooled"] and (evidence["varies"] or known in ("mask", "lengths"))
        what = "the state after the last position" if evidence["pooled"] else "the outputs for real positions"
        through = f"{what} of `{operation}`" if operation in ("lstm", "gru", "rnn_tanh", "rnn_relu") else f"`{operation}`"
        return Ruling.found(
            Severity.WARNING if sure else Severity.NOTE,
            f"Padding changes the summary of a sequence, through {through}.",
            expected="more or less padding behind a sequence changes nothing",
            observed=f"it changes by up to {evidence['change']:.0%}, outputs of the model by {evidence['outer']:.0%}, when the "
            f"padding (told by {known}) has another length",
            fix="Divide the sum over real positions by the lengths; for recurrent layers use pack_padded_sequence, or the "
            "output at each sequence's own last position.",
        )
