from __future__ import annotations

import dataclasses
from collections import Counter
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
RARE = 0.05
"""Share of all classes but one, in training and in evaluation, up to which it is noted before a training is over."""
FED = 200
"""Labels fed to the loss from which rare ones are told where no evaluation was seen."""
CLASSES = 100
"""More different whole numbers are no classes."""
STEPS = 100
"""Optimiser steps before which a model may well predict one class only."""


class ImbalanceHidden(Check):
    """A trained model predicts more than one class.

    What it checks
    --------------
    The predictions of the last evaluations in a whole run, next to their labels: whether all of them are the class that most
    labels have, so that the accuracy is that class's share. Before a training is over, labels of which 95 % and more are one
    class are a note, unless the loss or the sampling is weighted.

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
            return _unseen(run) or Evidence(missing="no predictions of classes were seen next to their labels")
        if run.steps < STEPS or run.ended in ("rehearsed", "shortened") or any(p.cut for p in run.train_passes()):
            early = _early(run, seen)
            return early or Evidence(missing=f"{run.steps} steps of a shortened training are too few to expect more")
        late = [e for e in seen if e.step >= 0.5 * run.steps and e.complete] or seen[-1:]
        return _look(late, run.steps)

    def judge(self, evidence: Evidence) -> Ruling:
        labels, predicted = evidence["labels"], evidence["predicted"]
        if evidence["rare"]:
            return self._rare(evidence)
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

    def _rare(self, evidence: Evidence) -> Ruling:
        labels = evidence["labels"]
        most = max(labels, key=labels.get)
        share = labels[most] / evidence["examples"]
        where = "evaluation" if evidence["evaluations"] else "training"
        return Ruling.found(
            Severity.NOTE,
            f"{share:.1%} of the {where} labels are class {most}, and neither the loss nor the sampling makes up for it.",
            expected="a score that says more than how common the largest class is",
            observed=f"{evidence['rare']:.1%} of the training labels are of another class; predicting class {most} each time "
            f"is {share:.1%} right",
            fix="Judge by recall per class or average precision; if these are poor, weight the loss or the sampling.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        values = {f"label {c}": float(n) for c, n in evidence["labels"].items()}
        values |= {f"predicted {c}": float(n) for c, n in evidence["predicted"].items()}
        caption = "How often each class is the label, and how often it is predicted, in the late evaluations."
        return bars("Labels and predictions", caption, values, x_title="examples") if len(values) <= 40 else None


def _early(run: Run, seen: list[Evaluation]) -> Evidence | None:
    """Labels that are nearly all of one class, in training, too, where nothing is weighted; None where they are not."""
    counts = _fed(run)
    if counts.total() < EXAMPLES or _weighted(run):
        return None
    rare = 1 - max(counts.values()) / counts.total()
    found = _look(seen[-1:], run.steps)
    labels = found["labels"]
    if not 0 < rare <= RARE or found["examples"] < EXAMPLES or max(labels.values()) < (1 - RARE) * found["examples"]:
        return None
    return dataclasses.replace(found, data={**found.data, "rare": rare})


def _unseen(run: Run) -> Evidence | None:
    """The same of the labels that a loss for classes was fed, where no evaluation was seen."""
    from trainrecipe.capture.criteria import FUNCTIONS

    counts = _fed(run)
    rest = counts.total() - max(counts.values(), default=0)
    if counts.total() < FED or len(counts) > CLASSES or not 0 < rest <= RARE * counts.total() or _weighted(run):
        return None
    losses = [use for use in run.loss_uses if use.function in FUNCTIONS.values()]
    if not losses or any(label != int(label) for label in counts):
        return None
    labels = {int(label): n for label, n in sorted(counts.items())}
    data = {"examples": counts.total(), "labels": labels, "predicted": {}, "evaluations": 0, "late": 0.0}
    return Evidence({**data, "rare": rest / counts.total()}, place=losses[0].place)


def _fed(run: Run) -> Counter[float]:
    """How often each label was fed in training, given by the loaders, or without any."""
    columns = [(p, run.loaders[p.loader].label) for p in run.train_passes() if p.loader is not None]
    given = [batch[column] for p, column in columns if column is not None for batch in p.labels if column < len(batch)]
    return Counter(label for step in given or run.targets for label in step)


def _weighted(run: Run) -> bool:
    """Whether something makes up for rare classes: weights of the loss, or a loss per example that may be weighted."""
    return any("weight" in s for use in run.loss_uses for s in use.settings) or not all(u.reduced for u in run.loss_uses)


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
            "rare": 0.0,
        },
        place=late[-1].place,
    )
