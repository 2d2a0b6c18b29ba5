from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    from trainrecipe.subjects.evaluation import Evaluation
    from trainrecipe.subjects.run import Run

PRIOR = 0.7
"""Share of the largest class from which an accuracy looks good without any prediction."""
EXAMPLES = 50
STEPS = 100
"""Optimiser steps before which a model may well predict one class only."""


class ImbalanceHidden(Check):
    """A trained model predicts more than one class.

    What it checks
    --------------
    The predictions of the last evaluations in a whole run, next to their labels: whether all of them are the class that most
    labels have, so that the accuracy is that class's share.

    Why it matters
    --------------
    With 95 % of the labels in one class, an accuracy of 95 % says nothing. The model has learned the prior only, and the
    classes one cares about are never predicted.

    What healthy looks like
    -----------------------
    Every class is predicted now and then, and a balanced score (recall per class, average precision) is above chance.

    What to do
    ----------
    Look at recall per class. Weight the loss or the sampling, move the threshold, or collect more of the rare classes.

    When it is wrong
    ----------------
    Rankings that are cut elsewhere (average precision, ROC) can be good although no score passes the threshold: then this is
    worth a look all the same. Rehearsals are too short to tell.

    Source
    ------
    Fault catalogue 139.
    """

    title = "Only the majority class is ever predicted"
    rows = ("S6", "D2")
    faults = (139,)

    def measure(self, run: Run) -> Evidence:
        seen = [e for e in run.evaluated if not e.aside and e.predictions.task in ("classes", "binary")]
        if not seen:
            return Evidence(missing="no predictions of classes were seen next to their labels")
        if run.steps < STEPS or run.ended == "rehearsed":
            return Evidence(missing=f"{run.steps} steps are too few to expect more than the majority class")
        late = [e for e in seen if e.step >= 0.5 * run.steps and e.complete] or seen[-1:]
        return _look(late, run.steps)

    def judge(self, evidence: Evidence) -> Ruling:
        labels, predicted = evidence["labels"], evidence["predicted"]
        prior = max(labels.values()) / max(1, evidence["examples"])
        if len(predicted) > 1 or len(labels) < 2:
            return Ruling.passed(f"{len(predicted)} classes are predicted in {evidence['examples']} evaluation examples")
        if evidence["examples"] < EXAMPLES or prior < PRIOR or evidence["late"] < 0.5:
            return Ruling.unsure("one class only was predicted, but in too few examples, or too early, to tell more")
        return Ruling.found(
            Severity.WARNING,
            f"All {evidence['examples']} predictions are the same class; the accuracy of {prior:.1%} is that class's share.",
            expected=f"predictions of more than one of the {len(labels)} classes",
            observed=f"class {next(iter(predicted))} each time, in {evidence['evaluations']} late evaluations; labels: "
            + ", ".join(f"{n}× class {c}" for c, n in list(labels.items())[:5]),
            fix="Judge by recall per class or average precision, and weight the loss or the sampling.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        values = {f"label {c}": float(n) for c, n in evidence["labels"].items()}
        values |= {f"predicted {c}": float(n) for c, n in evidence["predicted"].items()}
        caption = "How often each class is the label, and how often it is predicted, in the late evaluations."
        return bars("Labels and predictions", caption, values, x_title="examples") if len(values) <= 40 else None


def _look(late: list[Evaluation], steps: int) -> Evidence:
    labels: dict[int, int] = {}
    predicted: dict[int, int] = {}
    for e in late:
        for (label, guess), n in e.predictions.confusion.items():
            labels[label] = labels.get(label, 0) + n
            predicted[guess] = predicted.get(guess, 0) + n
    return Evidence(
        {
            "examples": sum(labels.values()),
            "labels": dict(sorted(labels.items())),
            "predicted": dict(sorted(predicted.items())),
            "evaluations": len(late),
            "late": late[-1].step / max(1, steps),
        },
        place=late[-1].place,
    )
