from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

SHARE = 0.7
"""Share of the steps that must have the same number of backward calls; the last window of a pass may be shorter."""
FEWEST = 3
WHOLE = (0.75, 1.5)
"""Weight of a batch mean that is not divided: 1, or a little less with label smoothing or terms that share it."""
CLIPPED = 0.9


class AccumulationUnscaled(Check):
    """Gradients accumulated over several batches are averaged, not added up.

    What it checks
    --------------
    Where several backward calls, each on a batch of its own, make up the gradient of one step: the weight that the mean over
    one batch has in the loss of its backward call. Averaging k batches takes a weight of 1/k in each.

    Why it matters
    --------------
    `backward` adds. Without the division the accumulated gradient is k times that of the large batch which it stands
    for, and so is every step of SGD: changing the number of batches changes the learning rate. Thresholds of clipping and
    weight decay shift with it.

    What healthy looks like
    -----------------------
    `(loss / k).backward()`, a sum divided by the number of examples in the window, or gradients divided before the step.

    What to do
    ----------
    Divide the loss by the number of batches that are accumulated.

    When it is wrong
    ----------------
    A learning rate that was chosen for the sum is as good as one for the mean. Adam and its relatives divide by the size of
    the gradient, so that they hide the factor: a note. Several losses of tasks or episodes that are meant to be summed look
    the same: where the batches are not known to come from one loader, and backward has a loop of its own, it is a note, too.

    Source
    ------
    Fault catalogue 33; PyTorch forum thread 38229; Hugging Face, "Fixing gradient accumulation" (2024).
    """

    title = "Accumulated gradients are added up instead of averaged"
    rows = ("S24",)
    faults = (33,)
    explains = ("exploding-gradients", "update-ratio")

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.reductions import weight_of_mean

        window = step.window
        if window is None or window.seen < FEWEST:
            return Evidence(missing="too few steps were seen with all backward calls that led to them")
        several = window.size > 1
        weight = weight_of_mean(step) if several else None
        return Evidence(
            {
                "size": window.size,
                "steps": window.steps,
                "seen": window.seen,
                "batches": window.batches,
                "turns": window.turns,
                "same": several and not window.batches and _same_inputs(step),
                "modified": window.modified,
                "clipped": window.clipped,
                "scale_free": window.scale_free,
                "optimizer": window.optimizer,
                "weight": None if weight is None else weight / window.scale,
            },
            place=step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        size, weight, name = evidence["size"], evidence["weight"], evidence["optimizer"]
        if size == 1:
            return Ruling.passed("each step uses the gradient of one backward call")
        if evidence["steps"] < SHARE * evidence["seen"]:
            return Ruling.unsure("the number of backward calls per step changes from step to step")
        if evidence["same"]:
            return Ruling.passed(
                f"{size} backward calls make a step, but on the same batch: their losses are meant to be summed"
            )
        if evidence["modified"]:
            return Ruling.passed(f"the gradients of {size} backward calls are changed before the step")
        if weight is None:
            return Ruling.unsure(f"{size} backward calls make a step, but how each loss is reduced was not seen")
        if not WHOLE[0] <= weight <= WHOLE[1]:
            return Ruling.passed(
                f"{size} backward calls make a step; the mean over a batch has a weight of {weight:.3g} in each"
            )
        hidden = evidence["scale_free"] or evidence["clipped"] < CLIPPED
        why = f"; {name} hides the factor" if evidence["scale_free"] else "; the clipping hides the factor" if hidden else ""
        return Ruling.found(
            Severity.NOTE if hidden or not (evidence["batches"] or evidence["turns"]) else Severity.WARNING,
            f"A step's gradient is the sum of {size} batch means, {size} times their average.",
            expected=f"a weight of 1/{size} for the mean over each batch",
            observed=f"a weight of {weight:.3g} in each of the {size} backward calls before a step of {name}{why}",
            fix=f"Write (loss / {size}).backward(), with the number of accumulated batches; to keep the present step size, "
            "multiply the learning rate by the same number.",
        )


def _same_inputs(step: Step) -> bool:
    """Whether the next backward call at this line consumed the same inputs."""
    from trainrecipe.capture.tensors import equal

    if not step.later:
        return False
    first, second = ([i.tensor for i in s.inputs if i.tensor.ndim] for s in step.each()[:2])
    pairs = list(zip(first, second, strict=False))
    return bool(pairs) and all(equal(a, b) for a, b in pairs)
