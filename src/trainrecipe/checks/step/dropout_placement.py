from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.dropping import Dropped
    from trainrecipe.subjects.step import Step

STRONG = 0.75
"""Probability from which on a dropout may be a probability of keeping by mistake; the largest in common use is 0.6."""
STARVED = 0.5
"""Share of the fall of the loss with the inverted probability, below which strong dropout keeps the model from learning."""


class DropoutPlacement(Check):
    """Dropout lies on hidden features, and drops at most about half of them.

    What it checks
    --------------
    Where the dropouts of a step lie: whether what one gives is compared with the targets, whether batch norm follows
    directly, and its probability. With a probability of 0.75 or more, a copy is trained for a few steps with it and with the
    inverted one.

    Why it matters
    --------------
    Dropout on predictions sets some of them to zero at random, whatever the model says: the loss has a floor that no
    training gets below. A probability of keeping, as some libraries want it, given as one of dropping leaves few features.

    What healthy looks like
    -----------------------
    Dropout with a probability of 0.1 to 0.5 between hidden layers, none behind the last one.

    What to do
    ----------
    Move dropout in front of the last layer; give 1 - p where p was meant as the share to keep; put dropout behind batch
    norm.

    When it is wrong
    ----------------
    Where a model is wide enough to learn in spite of strong dropout, the probability is a note, as is dropout in front of
    batch norm. Dropout on what two views of one example are compared by (consistency, contrast) is not reported.

    Source
    ------
    PyTorch documentation of `Dropout` (p is the probability of an element to be zeroed); X. Li et al., 2018, on dropout and
    batch norm; fault catalogue 115.
    """

    title = "Dropout drops the wrong values, or too many"
    rows = ("S18", "S19")
    faults = (115, 114)
    price = Price.TRAIN
    explains = ("overfit-one-batch", "learning-rate-range")

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.dropping import STEPS, dropouts, weakened

        if step.distrust:
            return Evidence(missing=step.distrust)
        found = dropouts(step)
        if not found:
            return Evidence(missing="no dropout is active in the step")
        strong = [d for d in found if d.rate >= STRONG]
        falls = weakened(step, STRONG, found) if strong and step.optimizer is not None else None
        kinds = [("prediction", [d for d in found if d.loss]), ("strong", strong), ("norm", [d for d in found if d.norm])]
        made = [self._look(kind, some, len(found), falls, STEPS) for kind, some in kinds if some]
        return made or Evidence({"kind": "", "rate": max(d.rate for d in found), "count": 0, "of": len(found)})

    def _look(self, kind: str, some: list[Dropped], count: int, falls: tuple[float, float] | None, steps: int) -> Evidence:
        first = max(some, key=lambda d: d.rate)
        data: dict[str, Any] = {"kind": kind, "rate": first.rate, "count": len(some), "of": count, "width": first.width}
        data |= {"loss": first.loss, "falls": falls, "steps": steps}
        return Evidence(data, place=first.place)

    def judge(self, evidence: Evidence) -> Ruling:
        kind, rate = evidence["kind"], evidence["rate"]
        if not kind:
            return Ruling.passed(f"{evidence['of']} dropouts lie on hidden features and drop at most {rate:.0%}")
        if kind == "prediction":
            return Ruling.found(
                Severity.WARNING,
                f"Dropout is applied to the predictions: {rate:.0%} of them are set to zero in training.",
                expected="nothing random between the last layer and the loss",
                observed=f"`{evidence['loss']}` compares targets with what a dropout of {rate:g} gives",
                fix="Move the dropout in front of the last layer.",
            )
        if kind == "norm":
            return Ruling.found(
                Severity.NOTE,
                f"Batch norm follows behind a dropout ({evidence['count']} of {evidence['of']}).",
                expected="batch norm sees the same distribution in training and in evaluation",
                observed=f"with a dropout of {rate:g} the variance in training is larger than in evaluation, where running "
                "statistics of training are used",
                fix="Put the dropout behind batch norm and activation.",
            )
        return self._strong(evidence)

    def _strong(self, evidence: Evidence) -> Ruling:
        rate, falls = evidence["rate"], evidence["falls"]
        starved = falls is not None and falls[1] > 0 and falls[0] < STARVED * falls[1]
        tried = (
            f"; in {evidence['steps']} steps on one batch the loss without dropout falls by {falls[0]:.3g} with it, and by "
            f"{falls[1]:.3g} with {1 - rate:.2g}"
            if falls is not None
            else ""
        )
        return Ruling.found(
            Severity.WARNING if starved else Severity.NOTE,
            f"A dropout drops {rate:.0%} of its features ({evidence['count']} of {evidence['of']} dropouts are that strong)"
            + (": the model hardly learns." if starved else "."),
            expected="a probability of dropping of at most about 0.5",
            observed=f"p={rate:g} leaves {(1 - rate) * evidence['width']:.3g} of {evidence['width']} features on average"
            + tried,
            fix=f"If {rate:g} is the share to keep, give {1 - rate:.2g}: PyTorch's p is the probability of dropping.",
        )
