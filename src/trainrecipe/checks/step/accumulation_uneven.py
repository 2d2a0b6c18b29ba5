"""Whether micro-batches that are accumulated into one step count every target alike, however many each of them holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import LossCall, Step

UNEQUAL = 1.5
"""Ratio of the largest to the smallest number of targets from which there is a note in any case."""
NOTED, MATTERS = 0.1, 0.25
"""Distance between the two gradients, in lengths of the right one, from which it is a note, and a warning. Measured on the
gallery: three paragraphs one by one, of 49 to 125 characters, 0.14."""
EVEN = 1.1
"""Ratio of the largest to the smallest number of targets up to which micro-batches are alike."""
WINDOWS, QUARTER = 2, 1.25
"""Steps whose targets must be counted, most of them over micro-batches that are not alike, one of them by this ratio: there a
target weighs a quarter more than another. One step alone may be chance."""
FIX = 'Use reduction="sum", and divide by the number of targets in the whole window.'


class AccumulationUneven(Check):
    """Every target of an accumulated step has the same weight.

    What it checks
    --------------
    Where several backward calls make a step, each with the mean of a cross-entropy over its own micro-batch: how many targets
    each mean is taken over, and how far the sum of these gradients is from the gradient of the mean over all targets. Where
    the first micro-batches happen to be alike, the targets of some later ones are counted, too.

    Why it matters
    --------------
    A mean of means is the mean of all only where all have the same size. With sequences of different lengths a target in a
    short one weighs many times as much as a target in a long one: the accumulated step is not the step of the large batch that
    it stands for, and changes with how examples are put together.

    What healthy looks like
    -----------------------
    `(sum of the losses / number of targets in the whole window).backward()`.

    What to do
    ----------
    Use `reduction="sum"` and divide by the number of targets of the whole window, counted before its first backward call.

    When it is wrong
    ----------------
    A mean per sequence may be meant: then each sequence counts the same. Smaller batches at the end of a pass are left out.
    Gradients are only compared for the first three micro-batches; what is known from counts alone is a note.

    Source
    ------
    Fault catalogue 34: huggingface/transformers#34191, ml-explore/mlx-lm#1413; Hugging Face, "Fixing gradient accumulation"
    (2024). That gradients of means add up to that of the whole mean with weights n_i / n is an identity.
    """

    title = "Accumulated micro-batches count their targets unequally"
    rows = ("S24", "S18")
    faults = (34,)
    price = Price.BACKWARD

    def measure(self, step: Step) -> Evidence:
        """Compare the gradient as it is accumulated with that of the mean over all targets."""
        from trainrecipe.subjects.reductions import weight_of_mean
        from trainrecipe.subjects.targets import LABELLED, averaged

        window = step.window
        if window is None or window.size < 2:
            return Evidence(missing="no step was seen that accumulates the gradients of several backward calls")
        parts = step.each()[: window.size]
        if any(one.distrust for one in parts):
            return Evidence(missing=next(one.distrust for one in parts if one.distrust))
        means = [m for m in map(averaged, parts) if m is not None and m.call.name in LABELLED and m.number]
        counts = [m.number for m in means]
        if len(counts) != len(parts) or len(parts) < 2:
            return Evidence(missing="the loss is not one mean of a cross-entropy in each of the accumulated micro-batches")
        weights = [weight_of_mean(one) or 0.0 for one in parts]
        if not 0 < max(weights) <= EVEN * min(weights):  # a script may weigh its means by their targets itself
            return Evidence(missing="the means are not known to have equal weights")
        later = _later(step, window.size)
        data = {"size": window.size, "most": max(counts), "fewest": min(counts), "seen": len(parts), "later": later}
        if max(counts) <= EVEN * min(counts) or len({m.number / m.rows for m in means}) == 1:
            return Evidence({**data, "apart": 0.0}, place=step.place)
        return Evidence({**data, "apart": _apart(parts, counts)}, place=step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["apart"] < NOTED and e["most"] < UNEQUAL * e["fewest"]:
            return _from_counts(e["later"]) or Ruling.passed(
                f"{e['fewest']} to {e['most']} targets in a micro-batch: weighed by it, the gradient moves by {e['apart']:.0%}"
            )
        return Ruling.found(
            Severity.WARNING if e["apart"] >= MATTERS else Severity.NOTE,
            f"Means over {e['fewest']} to {e['most']} targets are accumulated with equal weights.",
            expected="the same weight for every target of a step",
            observed=f"a target of the smallest micro-batch weighs {e['most'] / e['fewest']:.1f} times as much as one of the "
            f"largest; the gradient of {e['seen']} micro-batches is {e['apart']:.0%} of its length off that of their mean",
            fix=FIX,
        )


def _from_counts(later: list[list[int]]) -> Ruling | None:
    """What the numbers of targets tell alone: a note where the micro-batches of most steps are unequal."""
    uneven = [w for w in later if w[1] > EVEN * w[0]]
    if len(later) < WINDOWS or 2 * len(uneven) <= len(later):
        return None
    fewest, most = max(uneven, key=lambda w: w[1] / w[0])
    if most < QUARTER * fewest:
        return None
    return Ruling.found(
        Severity.NOTE,
        f"Means over {fewest} to {most} targets are accumulated with equal weights.",
        expected="the same weight for every target of a step",
        observed=f"a target of the smallest micro-batch weighs {most / fewest:.1f} times as much as one of the largest; in "
        f"{len(uneven)} of {len(later)} steps the numbers of targets differ by more than {EVEN - 1:.0%}",
        fix=FIX,
    )


def _later(step: Step, size: int) -> list[list[int]]:
    """The fewest and the most targets of a micro-batch, for each step of `size` of them whose batches were kept.

    Only batches with as many rows as the largest are compared. Empty where targets are not among what was kept.
    """
    call = next(c for c in step.losses if c.counts)
    numbers = step.tape.constants()
    if len(call.op.inputs) < 2 or call.op.inputs[1] not in numbers:
        return []
    which = numbers.index(call.op.inputs[1])
    counted = [_count(call, b.constants, which) for b in step.batches_seen if len(b.constants) == len(numbers)]
    full = max((rows for _, rows in counted), default=0)
    steps = [[n for n, rows in counted[i : i + size] if n and rows == full] for i in range(0, len(counted) - size + 1, size)]
    return [[min(s), max(s)] for s in steps if len(s) > 1]


def _count(call: LossCall, constants: list[torch.Tensor | None], which: int) -> tuple[int, int]:
    """The targets of a batch, and its rows."""
    from trainrecipe.subjects.targets import not_ignored

    target = constants[which]
    rows = [t.shape[0] for i, t in enumerate(constants) if t is not None and t.ndim > 1 and i != which]
    if target is None or not rows:
        return 0, 0
    return not_ignored(call, target), rows[0]


def _apart(parts: list[Step], counts: list[int]) -> float:
    """How far the sum of the gradients is from their sum weighted by counts, over the length of the latter."""
    import torch

    mean = sum(counts) / len(counts)
    plain: dict[int, torch.Tensor] = {}
    right: dict[int, torch.Tensor] = {}
    for one, count in zip(parts, counts, strict=True):
        twin = one.twin()
        pairs = [(id(o), w) for o, w in twin.leaves if w.requires_grad]
        gradients = torch.autograd.grad(twin.loss(), [w for _, w in pairs], allow_unused=True)
        for (leaf, _), gradient in zip(pairs, gradients, strict=True):
            if gradient is not None:
                dense = gradient.to_dense().double()
                plain[leaf] = plain[leaf] + dense if leaf in plain else dense
                right[leaf] = right.get(leaf, torch.zeros_like(dense)) + dense * (count / mean)
    length = sum(float(g.square().sum()) for g in right.values()) ** 0.5
    return sum(float((g - right[leaf]).square().sum()) for leaf, g in plain.items()) ** 0.5 / length if length else 0.0
