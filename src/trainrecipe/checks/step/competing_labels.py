"""Whether labels that can hold together are predicted by a softmax, which lets only one of them win."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Step

ONES = 1e-2
"""How far from 1 the sum of probabilities may be after rounding in half precision."""
MANY = 0.05
"""Share of the examples with no label or several from which labels are independent ones."""


class CompetingLabels(Check):
    """Independent labels get a sigmoid each, exclusive classes a softmax together.

    What it checks
    --------------
    What binary cross-entropy, by PyTorch's function or written by hand, gets as prediction: a softmax over the labels,
    whose rows sum to one, while the targets are 0 and 1 with none or several ones in a row.

    Why it matters
    --------------
    Probabilities that sum to one cannot all be high: with two true labels each gets at most one half, with none the
    model must still name one. The loss stays far above zero, and with the usual threshold of one half at most one
    label is ever predicted.

    What healthy looks like
    -----------------------
    `binary_cross_entropy_with_logits` on raw outputs for labels that can hold together; `cross_entropy` on raw outputs
    where exactly one class is true.

    What to do
    ----------
    Replace softmax by sigmoid, or give the outputs to `BCEWithLogitsLoss`.

    When it is wrong
    ----------------
    One-hot targets are left alone, and so are targets that are shares summing to one.

    Source
    ------
    Fault catalogue 4 (forum thread 80482). The sum of a softmax is an identity.
    """

    title = "A softmax makes independent labels compete"
    rows = ("S18",)
    faults = (4,)
    price = Price.FORWARD
    explains = ("overfit-one-batch", "learning-rate-range", "loss-at-init", "output-bias-at-init", "bounded-head")

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Look for binary cross-entropies of a softmax."""
        if step.distrust:
            return Evidence(missing=step.distrust)
        found = _given(step)
        if not found:
            return Evidence(missing="the loss has no binary cross-entropy with several labels per example")
        return [
            Evidence({"labels": labels, "softmax": softmax, "examples": examples, "odd": odd, "most": most}, place=place)
            for softmax, labels, examples, odd, most, place in found
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["softmax"]:
            return Ruling.passed(f"the probabilities of the {e['labels']} labels are independent of each other")
        if e["odd"] < MANY * e["examples"]:
            return Ruling.passed(f"each example has one of {e['labels']} labels, as a softmax supposes")
        return Ruling.found(
            Severity.ERROR,
            f"A softmax over {e['labels']} labels goes into binary cross-entropy, but examples have none or several.",
            expected="a sigmoid for each label",
            observed=f"{e['odd']} of {e['examples']} examples have a number of labels other than one (up to {e['most']}), "
            "and the probabilities of each example sum to one",
            fix="Remove the softmax and use binary_cross_entropy_with_logits on the raw outputs.",
        )


def _given(step: Step) -> list[tuple[bool, int, int, int, int, Any]]:
    """For each binary cross-entropy of several labels: whether of a softmax, labels, examples, odd ones, most, line."""
    from trainrecipe.subjects.known import OF_SOFTMAX
    from trainrecipe.subjects.loss_calls import live_calls
    from trainrecipe.subjects.terms import parts

    found = []
    for call in live_calls(step):
        if call.name != "binary_cross_entropy" or call.prediction.ndim < 2 or call.prediction.shape[1] < 2:
            continue
        softmax = "softmax" in call.made_by and bool(((call.prediction.double().sum(1) - 1).abs() < ONES).all())
        place = call.made_at if softmax else call.place
        found.append((softmax, *_count(call.target), place))
    for term in parts(step).terms if not found else ():
        if term.known is not None and term.known.name == OF_SOFTMAX + "binary_cross_entropy" and term.known.axis == 1:
            found.append((True, *_count(term.known.target), term.place))
    return found


def _count(target: torch.Tensor) -> tuple[int, int, int, int]:
    """Labels, examples, examples whose number of labels is not one, the most labels of one; none odd unless 0 and 1."""
    rows = target.double().movedim(1, -1).reshape(-1, target.shape[1])
    binary = bool(((rows == 0) | (rows == 1)).all())
    sums = rows.sum(1)
    return target.shape[1], len(rows), int((sums != 1).sum()) if binary else 0, int(sums.max())
