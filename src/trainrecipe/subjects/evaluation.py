"""What a program does with its model's outputs when it evaluates, as it was observed. Plain data.

An evaluation is one pass over a loader with one model, or, where there is no loader, the calls of one model between two
optimiser steps. Some of them are watched (the first, second, fourth, eighth … of each kind), the others are not kept.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from trainrecipe.finding import Place

POOLED = "the mean over this evaluation and the one before"
"""How a number comes about that is added up in an object which is never reset."""


@dataclasses.dataclass(slots=True)
class Score:
    """One number per batch, computed from the model's outputs at one line: `values` and the batches' `sizes`.

    `name` is the operation that made it. `kind`: `mean` (over the examples of the batch), `count` (of examples for which
    something holds), or empty where it cannot be told. `idle`: it is a loss that carries no gradient.
    """

    place: Place | None
    name: str
    kind: str
    values: list[float] = dataclasses.field(default_factory=list)
    sizes: list[int] = dataclasses.field(default_factory=list)
    idle: bool = False


@dataclasses.dataclass(slots=True)
class Comparison:
    """Something computed from the outputs meets, in a comparison or difference, something that is not.

    `shape`, `other_shape` and `result_shape` are of the largest batch, `output_shape` of what the model gave. `chain` are the
    operations from the output to here. `floating`: it holds floating-point numbers, `whole`: all of them are whole.
    `agree` of `total` elements were equal; `better` of `better_total` would be with the output decided properly. `stale`
    counts batches in which the other side was the labels of another pass's batch, `told` those in which that was looked at,
    `squared` those with one result for each pair of examples. `labels` are values of the other side, `repeated`: some occur
    more than once in a batch.
    """

    place: Place | None
    name: str
    chain: list[str]
    output_shape: list[int]
    shape: list[int]
    other_shape: list[int]
    result_shape: list[int]
    floating: bool
    whole: bool = True
    other_whole: bool = True
    times: int = 0
    agree: int = 0
    total: int = 0
    better: int = 0
    better_total: int = 0
    stale: int = 0
    told: int = 0
    squared: int = 0
    repeated: bool = False
    labels: set[float] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(slots=True)
class Decision:
    """Where classes or probabilities are made out of the outputs: `kind` is argmax, softmax, threshold or round.

    `axis` counts from the front, None for all axes; `axis_sizes` are its sizes, batch by batch; `batch` the number of
    examples. For thresholds `low` and `high` bound the values that were decided, `above` of `total` came out as true, and
    `changed` would come out differently at the other threshold (0 for logits, 0.5 for probabilities). `squashed`: a sigmoid
    or softmax was applied before; `compared`: its result met labels, `left`: it left PyTorch as an array. `raw`: its input is
    what the model gave, at most reshaped.
    """

    place: Place | None
    kind: str
    chain: list[str]
    output_shape: list[int]
    shape: list[int]
    axis: int | None = None
    threshold: float | None = None
    squashed: bool = False
    raw: bool = False
    times: int = 0
    axis_sizes: list[int] = dataclasses.field(default_factory=list)
    batch: int = 0
    low: float = math.inf
    high: float = -math.inf
    above: int = 0
    total: int = 0
    changed: int = 0
    compared: bool = False
    left: bool = False


@dataclasses.dataclass(slots=True)
class Reported:
    """A number of the program's that a candidate reproduces: in a variable or in printed text.

    `how` names the candidate, `right` tells whether it weights every example equally. `digits` is the half-width within
    which printed text determines its value (0 for a variable); `exact` that a variable agrees to nine digits.
    """

    score: int
    how: str
    right: bool
    name: str
    value: float
    digits: float
    exact: bool
    place: Place | None


@dataclasses.dataclass(slots=True)
class Predictions:
    """Predictions of an evaluation next to their labels, as far as both were seen.

    `task`: `classes`, `binary` (one output per example, labels 0 and 1) or `numbers`. `confusion` counts pairs (label,
    predicted class); `errors` and `spread` are absolute errors and targets of at most a few thousand examples.
    """

    task: str = ""
    confusion: dict[tuple[int, int], int] = dataclasses.field(default_factory=dict)
    errors: list[float] = dataclasses.field(default_factory=list)
    targets: list[float] = dataclasses.field(default_factory=list)

    @property
    def examples(self) -> int:
        """How many predictions were seen with their labels."""
        return sum(self.confusion.values()) or len(self.errors)

    @property
    def right(self) -> int:
        """How many of the classes were predicted rightly."""
        return sum(n for (label, predicted), n in self.confusion.items() if label == predicted)


@dataclasses.dataclass(slots=True)
class Kinship:
    """An evaluated model's batch-norm layers have seen no batch, but another model's of the same shapes (`donor`) have.

    `equal`: all weights are equal, `cosine` of the largest weights; `mark` tells whether its weights change.
    `later`: they are not those that the training of any such model began with.
    """

    donor: int
    equal: bool
    cosine: float
    mark: str
    later: bool = False


@dataclasses.dataclass(slots=True)
class Evaluation:
    """One watched evaluation of one model. `calls` of the model, with the batches' `sizes`; `complete`: none is missing.

    `aside`: it happened in the middle of a pass that trains, as the forwards of teachers and target networks do. `kinship` is
    filled for models whose batch-norm layers have seen no batch.
    """

    number: int
    model: int
    place: Place | None
    loader: int | None
    in_pass: int | None
    step: int
    training: bool
    aside: bool
    calls: int = 0
    sizes: list[int] = dataclasses.field(default_factory=list)
    scores: list[Score] = dataclasses.field(default_factory=list)
    comparisons: list[Comparison] = dataclasses.field(default_factory=list)
    decisions: list[Decision] = dataclasses.field(default_factory=list)
    reported: list[Reported] = dataclasses.field(default_factory=list)
    predictions: Predictions = dataclasses.field(default_factory=Predictions)
    broken: str = ""
    kinship: Kinship | None = None

    @property
    def judges(self) -> bool:
        """Whether outputs are compared with labels, or with targets by a loss that carries no gradient."""
        return any(c.name == "eq" and c.labels for c in self.comparisons) or any(s.idle for s in self.scores)

    @property
    def complete(self) -> bool:
        """Whether every call of this evaluation was watched."""
        return not self.broken and self.calls == len(self.sizes)

    def alike(self, other: Evaluation) -> bool:
        """Whether two evaluations are of one model, in one mode, on one loader."""
        mine = (self.model, self.training, self.loader, self.aside)
        return mine == (other.model, other.training, other.loader, other.aside)

    @property
    def examples(self) -> int:
        """How many examples went through the model."""
        return sum(self.sizes)


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): never outside 0…1, sound for few examples and for shares near 0 or 1."""
    if total <= 0:
        return 0.0, 1.0
    p = right / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def score_of(predictions: Predictions) -> tuple[float, float, float, str]:
    """Low end, value and high end of a score with 95 % confidence, and what it is: accuracy, or mean absolute error."""
    if predictions.confusion:
        low, high = wilson(predictions.right, predictions.examples)
        return low, predictions.right / predictions.examples, high, "accuracy"
    errors = predictions.errors
    mean = sum(errors) / len(errors)
    spread = math.sqrt(sum((e - mean) ** 2 for e in errors) / max(1, len(errors) - 1) / len(errors))
    return max(0.0, mean - 1.96 * spread), mean, mean + 1.96 * spread, "mean absolute error"


def by_line(evaluations: list[Evaluation], pick: str) -> dict[tuple[Any, ...], list[tuple[Evaluation, Any]]]:
    """The comparisons, decisions or scores of several evaluations, gathered by the line and operation they come from."""
    found: dict[tuple[Any, ...], list[tuple[Evaluation, Any]]] = {}
    for evaluation in evaluations:
        for item in getattr(evaluation, pick):
            key = (item.place.file, item.place.line) if item.place else None
            name = item.kind if pick == "decisions" else item.name
            found.setdefault((evaluation.model, key, name), []).append((evaluation, item))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Averaging:
    """How a program turned one number per batch into the number it reports, as its own numbers show.

    `how` names it, `right` whether it weights every example equally; `times` evaluations show it with different values,
    `exact` that a variable agrees to nine digits with something that is not a ratio of small whole numbers. `name` is the
    variable or text, `value` its last value and `proper` what the mean over the examples was there.
    """

    score: Score
    how: str
    right: bool
    times: int
    exact: bool
    name: str
    value: float
    proper: float
    evaluation: Evaluation


def averagings(evaluations: list[Evaluation]) -> list[Averaging]:
    """For each line that computes one number per batch: how it was averaged, where the program's numbers tell."""
    found = []
    for items in by_line([e for e in evaluations if not e.aside], "scores").values():
        ways: dict[str, list[tuple[Evaluation, Score, Reported]]] = {}
        for evaluation, score in items:
            own = [r for r in evaluation.reported if evaluation.scores[r.score] is score and r.how != POOLED]
            if any(r.right for r in own):
                ways.setdefault("", []).append((evaluation, score, next(r for r in own if r.right)))
                continue
            for how in {r.how for r in own}:
                best = max((r for r in own if r.how == how), key=lambda r: (r.exact, -r.digits))
                ways.setdefault(how, []).append((evaluation, score, best))
        if ways and "" not in ways:
            how = max(ways, key=lambda h: len(ways[h]))
            found.append(_averaging(how, ways[how]))
        elif ways:
            found.append(_averaging("", ways[""]))
    return found


def _averaging(how: str, shown: list[tuple[Evaluation, Score, Reported]]) -> Averaging:
    evaluation, score, last = shown[-1]
    return Averaging(
        score=score,
        how=how or last.how,
        right=not how,
        times=len({round(r.value, 9) for _, _, r in shown}),
        exact=score.kind == "mean" and any(r.exact for _, _, r in shown) and not _simple(last.value),
        name=last.name,
        value=last.value,
        proper=over_examples(score),
        evaluation=evaluation,
    )


def pooled(first: Evaluation, second: Evaluation) -> tuple[Score, Reported, Reported] | None:
    """A number that is right after the first of two evaluations, and after the second is that over both, in one place.

    With the score that it is the mean of, and what was reported each time.
    """
    for index, score in enumerate(second.scores):
        own = [r for r in second.reported if r.score == index]
        if any(r.right for r in own):
            continue
        for later in (r for r in own if r.how == POOLED):
            for earlier in first.reported:
                made = first.scores[earlier.score]
                same = (made.place, made.name) == (score.place, score.name)
                if same and earlier.how != POOLED and earlier.place is not None and earlier.place == later.place:
                    return score, earlier, later
    return None


def _simple(value: float) -> bool:
    """Whether a number is so round that equality may be chance."""
    return abs(value * 5040 - round(value * 5040)) < 1e-6


def over_examples(score: Score) -> float:
    """The mean of a score over all examples."""
    total = sum(score.sizes) or 1
    if score.kind == "count":
        return sum(score.values) / total
    return sum(v * n for v, n in zip(score.values, score.sizes, strict=True)) / total
