from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import LossCall, Step


class BlankAmongLabels(Check):
    """None of the labels of a CTC loss is its blank.

    What it checks
    --------------
    The targets of `ctc_loss` within their target lengths, padded or one after the other, in every recorded step: whether the
    index of the blank is among them.

    Why it matters
    --------------
    The blank stands for "no label here", and decoding drops it. A label with its index can never be read out again, and
    paths are counted twice, so that the loss is no likelihood any more and goes below zero. It happens when labels start at
    0, which is PyTorch's default for the blank, and when target lengths count the padding.

    What healthy looks like
    -----------------------
    An index of its own for the blank: 0 with labels from 1 on, or the one behind the last label.

    What to do
    ----------
    Say which index is the blank (`CTCLoss(blank=10)`), or shift the labels by one; and give the true target lengths.

    When it is wrong
    ----------------
    Blanks at the end of sequences only, where padding is counted, are a warning, since decoding drops them; others are an
    error. Losses that take the lengths in a way that is not recorded are not looked at.

    Source
    ------
    PyTorch documentation of CTCLoss: "the target index cannot be blank (default=0)". An identity. Graves et al. 2006.
    """

    title = "The blank of the CTC loss is one of the labels"
    rows = ("S18",)
    faults = (22,)
    explains = ("overfit-one-batch", "loss-at-init", "learning-rate-range")

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        found: dict[Any, dict[str, int]] = {}
        for one in step.each():
            for call in one.losses:
                rows = _labels(call) if call.name == "ctc_loss" and call.counts else None
                if rows is None:
                    continue
                blank = int(call.op.argument(4, "blank", 0))
                kept = found.setdefault(call.place, dict.fromkeys(_COUNTS, 0) | {"blank": blank})
                for key, number in zip(_COUNTS, _count(rows, blank), strict=True):
                    kept[key] += number
        if not found:
            return Evidence(missing="the loss has no CTC whose targets and lengths are known")
        return [Evidence(data, place=at) for at, data in found.items()]

    def judge(self, evidence: Evidence) -> Ruling:
        blank, wrong, inside = evidence["blank"], evidence["wrong"], evidence["inside"]
        if not wrong:
            return Ruling.passed(f"none of {evidence['labels']} labels of the CTC loss is the blank, {blank}")
        if not inside:
            return Ruling.found(
                Severity.WARNING,
                f"The target lengths of ctc_loss count padding: {blank}, the blank, at the end of labels.",
                expected="target lengths that end with the last label",
                observed=f"{wrong} of {evidence['labels']} targets within the target lengths are the blank, all of them at the "
                "end of a sequence",
                fix="Keep the length of each label before padding, and give these as target lengths.",
            )
        return Ruling.found(
            Severity.ERROR,
            f"Labels of ctc_loss have the index of the blank, {blank}.",
            expected="a blank that no label uses: it stands for no label, and decoding drops it",
            observed=f"{wrong} of {evidence['labels']} labels are {blank}, {inside} of them with other labels behind",
            fix="Give the blank an index of its own, `CTCLoss(blank=number_of_labels)`, or shift the labels by one.",
        )


_COUNTS = ("labels", "wrong", "inside")


def _count(rows: list[torch.Tensor], blank: int) -> tuple[int, int, int]:
    """How many labels there are, how many are the blank, and how many of these have another label behind them."""
    wrong = inside = 0
    for row in rows:
        hits, others = (row == blank).nonzero().flatten(), (row != blank).nonzero().flatten()
        wrong += len(hits)
        inside += int((hits < others[-1]).sum()) if len(others) else 0
    return sum(len(row) for row in rows), wrong, inside


def _labels(call: LossCall) -> list[torch.Tensor] | None:
    """The labels of each sequence as a CTC loss counts them; None where that cannot be told."""
    import torch

    known = dict(zip(call.op.inputs, call.op.kept, strict=False))
    targets, lengths = (
        known.get(v.value) if hasattr(v := call.op.argument(at, name), "value") else v
        for at, name in ((1, "targets"), (3, "target_lengths"))
    )
    if not isinstance(targets, torch.Tensor) or lengths is None or not isinstance(call.op.argument(4, "blank", 0), int):
        return None
    targets, sizes = targets.detach().cpu(), torch.as_tensor(lengths).reshape(-1).tolist()
    if targets.ndim == 2 and len(sizes) == len(targets):
        return [row[:n] for row, n in zip(targets, sizes, strict=True)]
    if targets.ndim == 1 and sum(sizes) <= len(targets):
        return list(torch.split(targets[: sum(sizes)], sizes))
    return None
