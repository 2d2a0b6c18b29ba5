from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.attention import Astray
    from trainrecipe.subjects.padding import Padded
    from trainrecipe.subjects.step import Step

ATTENTION = frozenset({"softmax", "scaled_dot_product_attention", "multi_head_attention_forward", "special_softmax"})
NOTHING = 0.01
"""What real keys get of attention, relative to evenly spread weights, below which they are masked. Masks leave them 0; without
any mask, sharp or even, they get about 1."""


class AttentionMask(Check):
    """Attention does not look at padding.

    What it checks
    --------------
    Where a batch holds sequences that are padded at the end, a copy of the model in evaluation mode runs on the same
    sequences with less, or more, padding. What attention gives for real positions must not change. Where the weights can be
    seen (a softmax over the keys, or `scaled_dot_product_attention`), also how much of them lies on real positions in
    sequences that are padded: where it is next to nothing, the mask is inverted.

    Why it matters
    --------------
    Padding takes part in every weighted sum, so what a sequence means depends on the longest one in its batch: training is
    noisier, and a single example at inference gives another result than in a batch. With an inverted mask, the model sees
    nothing but padding.

    What healthy looks like
    -----------------------
    A mask over the keys that are padding; with or without more padding, the results are equal up to rounding.

    What to do
    ----------
    Give attention the mask in the form that it wants: `key_padding_mask` and `src_key_padding_mask` are True where a position
    is to be ignored, a boolean `attn_mask` of `scaled_dot_product_attention` is True where it takes part.

    When it is wrong
    ----------------
    Padding is known only where a mask, lengths, a `padding_idx` or the loss's `ignore_index` tells it; otherwise the check is
    skipped, as it is for padding in front. Where all batches have the same width and nothing but `padding_idx` tells the
    padding, it may be meant as a token of its own: a note. An inverted mask is seen
    only where the first axis of the weights is the examples.

    Source
    ------
    PyTorch documentation of `MultiheadAttention`; fault catalogue 120.
    """

    title = "Attention looks at padding"
    rows = ("S12",)
    faults = (120, 119)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.padding import leaks_of, padded_inputs

        if not step.distrust:
            for padded in padded_inputs(step):
                if inverted := _inverted(step, padded):
                    return _evidence(padded, inverted)
        return leaks_of(step, lambda leak: leak.operation in ATTENTION)

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence.get("inverted"):
            return self._inverted(evidence)
        if not evidence["leaks"]:
            return Ruling.passed(f"attention gives the same with padding to {evidence['width']} or another length")
        sure = evidence["varies"] or evidence["known"] in ("mask", "lengths")
        return Ruling.found(
            Severity.WARNING if sure else Severity.NOTE,
            f"Padding changes what `{evidence['operation']}` gives for real positions.",
            expected="more or less padding behind a sequence changes nothing",
            observed=f"values of real positions change by up to {evidence['change']:.0%}, outputs of the model by "
            f"{evidence['outer']:.0%}, when the padding (told by {evidence['known']}) has another length",
            fix="Mask the padded keys: `key_padding_mask`, or -inf in front of the softmax.",
            causes=(
                "no mask is given to attention: print the arguments of the call at this line",
                "the mask is inverted: `key_padding_mask` is True for padding, a boolean `attn_mask` of "
                "scaled_dot_product_attention for what takes part",
                "the mask is multiplied in after the softmax, so that the weights of real positions do not sum to one",
            ),
        )

    def _inverted(self, evidence: Evidence) -> Ruling:
        return Ruling.found(
            Severity.ERROR if evidence["known"] in ("mask", "lengths", "pad_sequence") else Severity.WARNING,
            f"Attention looks at nothing but padding: {evidence['padding']:.0%} of its weights lie there.",
            expected="in a padded sequence, all weights on its real positions",
            observed=f"in padded sequences {evidence['padding']:.0%} of the weights of `{evidence['operation']}` lie there "
            f"(told by {evidence['known']}), in {evidence['inverted']} places: the real positions are masked",
            fix="Invert the mask: fill the scores with -inf where the key is padding, not where it is real.",
        )


def _inverted(step: Step, padded: Padded) -> list[Astray]:
    from trainrecipe.capture.replay import CannotReplay
    from trainrecipe.subjects.attention import on_padding

    try:
        found = on_padding(step, padded.lengths, padded.width)
    except CannotReplay:  # evaluation mode takes another way
        return []
    return [a for a in found if a.real <= NOTHING]


def _evidence(padded: Padded, inverted: list[Astray]) -> Evidence:
    first = inverted[0]
    return Evidence(
        {
            "inverted": len(inverted),
            "known": padded.known,
            "varies": padded.varies,
            "width": padded.width,
            "operation": first.operation,
            "padding": first.padding,
        },
        place=first.place,
    )
