"""Small experiments on a data set: what of the input small models need, with error bars.

    from sklearn.datasets import load_digits
    images, labels = load_digits().images[:, None], load_digits().target
    for answer in probe(images, labels, kind="image", task="classes").answers:
        print(answer.question, answer.says)

Every answer holds for the small models that give it: nearest neighbours, ridge, random features and a small network, on raw
numbers and on pooled local features. A network that is trained for hours may use detail that they cannot; it can hardly do
with less than they need.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from trainrecipe.probes.answers import Answer, Interval, Level, Standing, interval, listed, score_interval, shown
from trainrecipe.probes.features import image_views, series_views, table_views
from trainrecipe.probes.models import Measured, Target, draw_folds, measure
from trainrecipe.probes.questions import Change, Question, Views, image_questions, series_questions
from trainrecipe.probes.sample import CannotTell, Sample, draw, feature_names
from trainrecipe.probes.tables import see_tokens, table_questions, token_questions, varying

Kind = Literal["image", "series", "tokens", "table"]
Task = Literal["classes", "numbers"]
See = Callable[[np.ndarray], Views]

WORTH = 0.05
"""Share of what the other models give above chance that networks, which take longest, must add to be asked at every level."""
UNEQUAL = 1.5
"""Largest class over the smallest, from which accuracy is called balanced (it always is)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Probes:
    """Answers of all probes: `says` is about the whole input, `unreached` names what time did not suffice for.

    `metric` is accuracy (each class counts the same) or R²; `chance` is what it is without knowledge. `answers` is empty
    where nothing can be told, and `says` tells why. `notes` are facts on the way: examples left out, constant features.
    """

    says: str
    metric: str
    chance: float
    baseline: Interval | None
    model: str
    examples: int
    answers: tuple[Answer, ...] = ()
    unreached: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data for the journal."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("baseline", "answers")}
        plain |= {"unreached": list(self.unreached), "notes": list(self.notes)}
        baseline = dataclasses.asdict(self.baseline) if self.baseline else None
        return plain | {"baseline": baseline, "answers": [answer.to_json() for answer in self.answers]}


def probe(
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    kind: Kind,
    task: Task,
    seconds: float = 20.0,
    seeds: int = 5,
    names: Sequence[str] | None = None,
    pad: int = 0,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> Probes:
    """Measure how well small models predict `labels` from `inputs` as they are and with something taken away.

    `inputs` are images (N, C, H, W), series (N, T) or (N, C, T), tokens (N, T) of integers with `pad` at the ends, or a table
    (N, F) that may have NaN. `labels` are N classes of any type, or numbers (N,) or (N, C). `names` are those of a table's
    features or a series' channels. `seeds` repetitions of 5-fold cross-validation are made, with the same folds for every
    level. Levels are measured in the order of importance until `seconds` are over; what the whole input scores is measured
    in any case. At most `100 * seconds` examples are looked at, between 500 and 5,000. `tell` is called with a line on what is
    being done. Raises ValueError for inputs that do not fit `kind` and for labels that do not fit `inputs`.
    """
    start = time.monotonic()
    try:
        sample = draw(inputs, labels, kind, task, round(min(max(100 * seconds, 500), 5000)), seed)
    except CannotTell as reason:
        return Probes(f"The probes cannot tell: {reason}.", "R²" if task == "numbers" else "accuracy", 0.0, None, "", 0)
    see, questions = _kind(sample, kind, names, pad, seed)
    if kind == "table":
        sample = _constant_noted(sample, feature_names(names, sample.inputs.shape[1], "feature"))
    with torch.no_grad():
        return _Experiment(sample, task, seeds, seed, start + seconds, tell or (lambda _: None)).run(see, questions)


def _constant_noted(sample: Sample, columns: Sequence[str]) -> Sample:
    constant = [name for name, moves in zip(columns, varying(sample.inputs), strict=True) if not moves]
    if not constant:
        return sample
    return dataclasses.replace(sample, notes=(*sample.notes, f"constant in the sample: {listed(constant, 10)}"))


@dataclasses.dataclass(frozen=True, slots=True)
class _Ground:
    """What levels are compared with: the same examples and folds with the whole input."""

    rows: np.ndarray
    views: Views
    target: Target
    folds: Tensor
    whole: Measured
    standing: Standing


class _Experiment:
    """One data set under all its changes."""

    def __init__(self, sample: Sample, task: Task, seeds: int, seed: int, deadline: float, tell: Callable[[str], None]) -> None:
        self.sample, self.task, self.seeds, self.seed = sample, task, seeds, seed
        self.deadline, self.tell = deadline, tell
        self.target = Target.of(sample.labels, task)
        self.metric = _metric(sample.labels, task)
        self.network = True
        self.longest = 0.0

    def run(self, see: See, questions: Callable[[Target], list[Question]]) -> Probes:
        """The whole input first; the questions only where it is told better than by chance."""
        self.tell("the whole input")
        ground = self._ground(see, np.arange(len(self.sample.labels)))
        standing = ground.standing
        known = standing.whole.low > standing.chance
        found: list[Answer] = []
        unreached: list[str] = []
        for question in questions(self.target) if known else ():
            levels = self._levels(question, see, ground, found)
            unreached += [f"{question.text} ({change.name})" for change in question.changes[levels:]]
        return Probes(
            says=_headline(standing, known),
            metric=self.metric,
            chance=standing.chance,
            baseline=standing.whole,
            model=standing.model,
            examples=len(self.sample.labels),
            answers=tuple(found),
            unreached=tuple(unreached),
            notes=self.sample.notes,
        )

    def _ground(self, see: See, rows: np.ndarray) -> _Ground:
        """The whole input of some examples. Networks, which take longest, are asked later only where they add to it."""
        views, labels = see(self.sample.inputs[rows]), self.sample.labels[rows]
        target = self.target.of_rows(rows)
        folds = draw_folds(labels, self.task, self.seeds, self.seed)
        began = time.monotonic()
        whole = measure(views, target, folds, network=False, seed=self.seed)
        self.longest = max(self.longest, time.monotonic() - began)
        if self.network and self._adds(whole, views, target, folds):
            began = time.monotonic()
            whole = measure(views, target, folds, network=True, seed=self.seed)
            self.longest = max(self.longest, time.monotonic() - began)
        span = score_interval(whole.parts, target)
        return _Ground(rows, views, target, folds, whole, Standing(self.metric, target.chance, span, whole.model))

    def _adds(self, whole: Measured, views: Views, target: Target, folds: Tensor) -> bool:
        """Whether networks add to the other models; seen on two repetitions."""
        more = measure(views, target, folds[:2], network=True, seed=self.seed)
        gain = interval(more.parts - whole.parts[:2], target)
        least = WORTH * max(float(whole.parts.mean()) - target.chance, 0)
        self.network = gain.low > 0 and gain.value > least
        return self.network

    def _levels(self, question: Question, see: See, ground: _Ground, found: list[Answer]) -> int:
        """Measure what time suffices for and add the answer; returns the number of levels."""
        if not self._time():
            return 0
        if question.rows is not None:
            ground = self._ground(see, question.rows)
        confidence = 1 - 0.05 / len(question.changes) if question.many else 0.95
        levels: list[Level] = []
        examples: list[tuple[str, np.ndarray]] = [("whole input", self.sample.inputs[0])]
        for change in question.changes:
            if not self._time():
                break
            self.tell(f"{question.text} {change.name}")
            began = time.monotonic()
            changed = change.inputs()
            levels.append(self._level(change, changed[ground.rows], ground, confidence))
            examples.append((change.name, changed[0]))
            self.longest = max(self.longest, time.monotonic() - began)
        if levels:
            drawn = question.draw(ground.standing, levels)
            if self.sample.inputs.ndim == 4:
                drawn = dataclasses.replace(drawn, beside=shown(examples))
            says = question.says(ground.standing, levels)
            found.append(Answer(question.text, says, ground.standing.whole, tuple(levels), drawn))
        return len(levels)

    def _level(self, change: Change, changed: np.ndarray, ground: _Ground, confidence: float) -> Level:
        seen, whole = change.features(changed), ground.whole
        fitted, judged, chosen = (ground.views, seen, whole.chosen) if change.judged_only else (seen, None, None)
        measured = measure(
            fitted, ground.target, ground.folds, judged=judged, chosen=chosen, network=self.network, seed=self.seed
        )
        span = score_interval(measured.parts, ground.target)
        gap = interval(measured.parts - whole.parts, ground.target, confidence)
        return Level(change.name, change.value, span.value, span.low, span.high, gap, measured.model)

    def _time(self) -> bool:
        """Another level is over before the deadline, if it takes as long as the longest so far."""
        return time.monotonic() + self.longest < self.deadline


def _kind(
    sample: Sample, kind: Kind, names: Sequence[str] | None, pad: int, seed: int
) -> tuple[See, Callable[[Target], list[Question]]]:
    """What models see of examples of this kind, and the questions about them."""
    x = sample.inputs
    if kind == "image":
        return partial(image_views, seed=seed), lambda _: image_questions(x, seed)
    if kind == "series":
        channels = feature_names(names, x.shape[1], "channel")
        return partial(series_views, seed=seed), lambda _: series_questions(x, channels, seed)
    if kind == "tokens":
        return partial(see_tokens, pad=pad, seed=seed), lambda _: token_questions(x, pad, seed)
    columns = feature_names(names, x.shape[1], "feature")
    return table_views, lambda target: table_questions(x, target, columns, seed)


def _metric(labels: np.ndarray, task: str) -> str:
    if task == "numbers":
        return "R²"
    counts = np.bincount(labels)
    return "balanced accuracy" if counts.max() > UNEQUAL * counts.min() else "accuracy"


def _headline(standing: Standing, known: bool) -> str:
    figures = f"{standing.metric} {standing.whole}, chance {standing.chance:.2f}"
    if not known:
        return f"The probes cannot tell: no small model learns this ({figures})."
    return f"The whole input gives {figures}; the best small model is {standing.model}."
