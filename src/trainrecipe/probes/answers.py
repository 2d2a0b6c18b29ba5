"""Answers of probes: scores with intervals, how far each change of the input lowers them, sentences and pictures."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainrecipe import picture
from trainrecipe.picture import Picture
from trainrecipe.probes.models import Target
from trainrecipe.subjects.scores import wilson

MARGIN = 0.1
"""Share of what the whole input gives above chance that is called little."""


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval from `low` to `high`."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """A changed input: its score and interval, and `change`, its paired difference to the score of the whole input.

    `value` is the level as a number, such as the side in pixels; `model` the small model that was chosen most often.
    """

    name: str
    value: float | None
    score: float
    low: float
    high: float
    change: Interval
    model: str

    @property
    def within_noise(self) -> bool:
        """The interval of the difference to the whole input includes zero."""
        return self.change.low <= 0 <= self.change.high

    @property
    def lost(self) -> bool:
        """The score is lower than that of the whole input, by more than noise."""
        return self.change.high < 0

    def told(self) -> str:
        """Score and interval."""
        return str(Interval(self.score, self.low, self.high))


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a question came out as: a sentence with its figures, the levels that were measured, and a picture."""

    question: str
    says: str
    baseline: Interval
    levels: tuple[Level, ...]
    picture: Picture

    def to_json(self) -> dict[str, Any]:
        """Plain data for the journal."""
        return {
            "question": self.question,
            "says": self.says,
            "baseline": dataclasses.asdict(self.baseline),
            "levels": [dataclasses.asdict(level) for level in self.levels],
            "picture": self.picture.to_json(),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """What levels are compared with: the score of the whole input, what predictions without knowledge reach, its name."""

    metric: str
    chance: float
    whole: Interval
    model: str

    def at_chance(self, level: Level) -> bool:
        """The level cannot be told from knowing nothing."""
        return level.low <= self.chance


def interval(parts: Tensor, target: Target, confidence: float = 0.95) -> Interval:
    """Mean and interval of scores, or of paired differences, from what each example adds in each repetition (R, N).

    Two sources of noise add up. Examples: s²/N of an example's mean over the repetitions, within classes, by the central limit
    theorem for cross-validation of Bayle, Bayle, Janson and Mackey 2020. Repetitions: the variance between them over R, for
    other folds give other fits. Of changes that change nothing, 150 data sets of 100 and 150 of 400 examples, 7 and 3 % were
    flagged where 5 % are promised; 10 and 7 % without the second, and below 1 % by the corrected variance of Nadeau and
    Bengio 2003 over fold scores, which could find little (benchmarks/probes.py). One repetition has no variance between
    repetitions; a quarter is added in its place.
    """
    repetitions, count = parts.shape
    means = parts.double().mean(0)
    strata = target.wanted.double() if target.task == "classes" else torch.ones(count, 1, dtype=torch.float64)
    rest = means - strata @ ((strata.T @ means) / strata.sum(0).clamp_min(1))
    freedom = max(count - strata.shape[1], 4)
    examples = float(rest.square().sum()) / (count * freedom)
    between = float(parts.double().mean(1).var()) / repetitions if repetitions > 1 else examples / 4
    half = student(0.5 + confidence / 2, freedom) * math.sqrt(examples + between)
    mean = float(means.mean())
    return Interval(mean, mean - half, mean + half)


def score_interval(parts: Tensor, target: Target) -> Interval:
    """The same for a score itself; for classes at least as wide as Wilson's interval for a share of that many examples.

    Where every example is right there is no variance, yet no certainty.
    """
    found = interval(parts, target)
    if target.task != "classes":
        return Interval(found.value, found.low, min(found.high, 1.0))
    value = min(max(found.value, 0.0), 1.0)
    low, high = wilson(value, parts.shape[1])
    return Interval(value, max(0.0, min(found.low, low)), min(1.0, max(found.high, high)))


def student(p: float, freedom: int) -> float:
    """Quantile of Student's t by the expansion of Abramowitz and Stegun 26.7.5; within 0.5 % from 4 degrees of freedom."""
    z = statistics.NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(float(term / freedom ** (i + 1)) for i, term in enumerate(terms))


def fall(standing: Standing, level: Level) -> str:
    """What a change does to the score, in words and figures."""
    if level.lost:
        chance = ", which is chance" if standing.at_chance(level) else ""
        return f"{standing.metric} falls from {standing.whole} to {level.told()}{chance}"
    if level.within_noise:
        return f"no loss can be measured: {against(standing, level)}"
    return f"{standing.metric} rises from {standing.whole} to {level.told()}"


def against(standing: Standing, level: Level) -> str:
    """A level's score beside that of the whole input, with the paired difference."""
    d = level.change
    return f"{level.score:.2f} against {standing.whole.value:.2f} (difference {d.value:+.3f}, {d.low:+.3f} to {d.high:+.3f})"


def weight(standing: Standing, level: Level) -> str:
    """How much what a level takes away matters: a little where nine tenths of what is above chance remain."""
    if not level.lost:
        return "makes no measurable difference"
    return "matters a little" if nearly_all(standing, level) else "matters"


def nearly_all(standing: Standing, level: Level) -> bool:
    """The level keeps at least nine tenths of what the whole input gives above chance."""
    return level.change.value >= -MARGIN * (standing.whole.value - standing.chance)


def safe(standing: Standing, level: Level) -> bool:
    """Not lost, and even the low end of the difference keeps nine tenths of what the whole input gives above chance.

    A difference that includes zero is no proof of equality where its interval is wide; MARGIN is that of a test of
    non-inferiority.
    """
    return not level.lost and level.change.low >= -MARGIN * (standing.whole.value - standing.chance)


def enough(standing: Standing, levels: Sequence[Level]) -> str:
    """How far one can go in levels of falling size: the last that is safe, the last undecided, the first that loses."""
    first = next((i for i, level in enumerate(levels) if level.lost), len(levels))
    good = [i for i in range(first) if safe(standing, levels[i])]
    text = []
    if good:
        least = levels[good[-1]]
        verb = "is" if least.value == 1 or least.name.startswith("one ") else "are"
        text.append(f"{capital(least.name)} {verb} enough: {against(standing, least)}.")
    elif first == 0:
        text.append("Nothing less is enough.")
    if first and (not good or good[-1] < first - 1):
        unsure = levels[first - 1]
        text.append(f"With {unsure.name} no loss can be measured, but one cannot be ruled out: {against(standing, unsure)}.")
    if first < len(levels):
        text.append(f"With {levels[first].name}, {fall(standing, levels[first])}.")
    return " ".join(text)


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a sentence, the first few and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def ranges(title: str, caption: str, standing: Standing, levels: Sequence[Level]) -> Picture:
    """The whole input, every level and chance, each with its interval."""
    whole, chance = standing.whole, standing.chance
    rows = [{"name": "whole input", "low": whole.low, "middle": whole.value, "high": whole.high}]
    rows += [{"name": level.name, "low": level.low, "middle": level.score, "high": level.high} for level in levels]
    rows.append({"name": "chance", "low": chance, "middle": chance, "high": chance})
    return picture.ranges(title, caption, rows, x_title=standing.metric)


def curve(title: str, caption: str, standing: Standing, levels: Sequence[Level], x_title: str, whole: float) -> Picture:
    """Score over the level's value with the ends of its interval, up to the whole input, which is of value `whole`."""
    levels = sorted((level for level in levels if level.value is not None), key=lambda level: level.value or 0)
    series = {
        "score": [level.score for level in levels] + [standing.whole.value],
        "low": [level.low for level in levels] + [standing.whole.low],
        "high": [level.high for level in levels] + [standing.whole.high],
    }
    rules = {"whole input": standing.whole.value, "chance": standing.chance}
    x = [float(level.value or 0) for level in levels] + [whole]
    return picture.lines(
        title, caption, series, x=x, x_title=x_title, y_title=standing.metric, rules=rules, log_x=min(x, default=0) > 0
    )


def changes(title: str, caption: str, standing: Standing, levels: Sequence[Level]) -> Picture:
    """Differences to the whole input with their intervals, greatest loss first."""
    rows = [
        {"name": level.name, "low": level.change.low, "middle": level.change.value, "high": level.change.high}
        for level in sorted(levels, key=lambda level: level.change.value)
    ]
    return picture.ranges(title, caption, rows[:40], x_title=f"change of {standing.metric}")


def shown(examples: Sequence[tuple[str, np.ndarray]]) -> Picture:
    """One image (C, H, W) as it is at each level."""
    tiles = [{"image": picture.png(_unit(image)), "caption": name} for name, image in examples]
    return picture.grid(
        "What the levels look like", "One example after each change; each is stretched to full contrast.", tiles
    )


def _unit(image: np.ndarray) -> Any:
    image = image if image.shape[0] == 3 else image[:1].repeat(1, 0)
    low, high = float(image.min()), float(image.max())
    unit = (image - low) / max(high - low, 1e-9)
    return (unit.transpose(1, 2, 0) if len(unit) == 3 else unit[0]).tolist()
