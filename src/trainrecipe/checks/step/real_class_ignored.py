"""Whether the class that the loss ignores, as padding, is one that real positions have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.padded_targets import Tokens
    from trainrecipe.subjects.step import LossCall, Step

OFTEN = 0.05
"""Share of the real positions with the ignored class, from which it is more than a stray end or separator."""
MOSTLY = 0.6
"""Share above which most positions are left out on purpose, as in masked language models."""
PADDED = 0.99
"""Share of the padded positions whose target is the ignored class."""


class RealClassIgnored(Check):
    """The class that the loss ignores is kept for padding.

    What it checks
    --------------
    `cross_entropy` and `nll_loss` whose `ignore_index` is one of the classes, on targets that are filled up with it where the
    input sequences are padded: how many of the other positions, between the first and the last that counts, have it too.

    Why it matters
    --------------
    The positions of that class give no gradient, so the network never learns to name it and gives them to other classes. The
    loss falls as it should, since they are not in it; accuracy is missing exactly that class.

    What healthy looks like
    -----------------------
    Targets are filled up with -100, or with a class that nothing else has.

    What to do
    ----------
    `pad_sequence(targets, padding_value=-100)` and `ignore_index=-100`, which is the default.

    When it is wrong
    ----------------
    Programs mark parts of words, or words without a label, by the padding class on purpose, and leave them out of their
    evaluation as well; the step alone cannot tell. So this is a note.

    Source
    ------
    Fault catalogue 19; documentation of torch.nn.CrossEntropyLoss (`ignore_index`).
    """

    title = "The loss ignores a class that real positions have"
    rows = ("S18",)
    faults = (19,)

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        """Count the ignored class at padded and at real positions."""
        from trainrecipe.subjects.padded_targets import padded

        found: dict[Any, dict[str, int]] = {}
        for one in step.each():
            tokens = [t for t in padded(one) if t.given]
            for call in one.losses:
                classes = _classes(call)
                if not call.counts or not 0 <= _ignored(call) < classes:
                    continue
                counts = next((c for t in tokens if (c := _count(call, t)) is not None), None)
                if counts is not None:
                    total = found.setdefault(call.place, dict.fromkeys(counts, 0) | {"class": _ignored(call)})
                    total |= {k: total[k] + v for k, v in counts.items()}
        if not found:
            return Evidence(missing="no loss ignores one of its classes on targets of padded sequences")
        return [Evidence(data, place=place) for place, data in found.items()]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        share = e["ignored"] / max(1, e["real"])
        says = f"class {e['class']}, which the loss ignores, is that of {share:.0%} of {e['real']} real positions"
        if e["filled"] < PADDED * e["padding"] or not OFTEN <= share <= MOSTLY:
            return Ruling.passed(says)
        return Ruling.found(
            Severity.NOTE,
            f"Targets are filled up with class {e['class']} and the loss ignores it, but real positions have this class, too.",
            expected="a value for padding that no real position has, such as -100",
            observed=f"{e['ignored']} of {e['real']} real positions have class {e['class']} and give no gradient",
            fix="Fill up the targets with -100 and leave ignore_index at that, its default.",
            causes=("meant, if positions with this class have no label and are left out of the evaluation as well",),
        )


def _ignored(call: LossCall) -> int:
    value = call.settings.get("ignore_index", -100)
    return int(value) if isinstance(value, int) else -100


def _classes(call: LossCall) -> int:
    """The number of classes; 0 for losses of another kind."""
    target = call.target
    if call.name not in ("cross_entropy", "nll_loss") or target is None or target.is_floating_point() or not target.ndim:
        return 0
    return call.prediction.shape[1] if call.prediction.ndim > 1 else 0


def _count(call: LossCall, tokens: Tokens) -> dict[str, int] | None:
    """Positions of padding and real ones, with how many of both have the ignored class; None where the shapes do not fit."""
    assert call.target is not None
    target, shape = call.target.detach(), tokens.tensor.shape
    if target.numel() != tokens.tensor.numel():
        return None
    rows = target.reshape(shape[1], shape[0]).T if tokens.turned else target.reshape(shape)
    same = (rows == _ignored(call)).to(tokens.tails.device)
    inside = ~(tokens.tails | _run(same) | _run(same.flip(1)).flip(1))
    padding = tokens.tails
    return {
        "padding": int(padding.sum()),
        "filled": int((padding & same).sum()),
        "real": int(inside.sum()),
        "ignored": int((inside & same).sum()),
    }


def _run(same: torch.Tensor) -> torch.Tensor:
    """The positions of each row before the first that counts."""
    return same.long().cumprod(1).bool()
