"""How good predictions are, with intervals, so that two of them can be compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch

WORDS = {"classes": "right", "binary": "right", "numbers": "squared error relative to the mean"}
"""What a score counts, by kind of label."""


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """How good predictions are: the share that is right, or for numbers the squared error relative to that of the mean.

    `low` and `high` bound it at 95 %; `rows` is how many examples were judged. `balanced` is the mean over the classes of the
    share that is right in each (for numbers the same as `value`).
    """

    value: float
    low: float
    high: float
    rows: int
    balanced: float = 0.0

    def plain(self) -> list[float]:
        """As a list for evidence: value, low, high."""
        return [self.value, self.low, self.high]


def share_right(guesses: torch.Tensor, labels: torch.Tensor) -> Score:
    """The share of right guesses with Wilson's interval."""
    n = len(labels)
    p = float((guesses == labels).double().mean()) if n else 0.0
    low, high = wilson(p, n)
    each = [float((guesses[labels == c] == c).double().mean()) for c in torch.unique(labels)] if n else [0.0]
    return Score(p, low, high, n, sum(each) / len(each))


def wilson(p: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a share (E. B. Wilson 1927)."""
    if not n:
        return 0.0, 1.0
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def relative_error(predicted: torch.Tensor, labels: torch.Tensor) -> Score:
    """Squared error over that of the labels' own mean: 1 for a mean, 0 for perfect; with the interval of a ratio of means."""
    if predicted.shape != labels.shape:
        predicted = predicted.reshape(labels.shape)
    errors = (predicted - labels).square().mean(1)
    spread = (labels - labels.mean(0)).square().mean(1)
    base = float(spread.mean())
    if base <= 0:
        return Score(math.inf, 0.0, math.inf, len(labels))
    value = float(errors.mean()) / base
    noise = float((errors - value * spread).std()) / base / math.sqrt(len(labels)) if len(labels) > 1 else math.inf
    return Score(value, max(0.0, value - 1.96 * noise), value + 1.96 * noise, len(labels))


def better(kind: str, a: float, b: float) -> bool:
    """Whether score `a` is better than `b`."""
    return a < b if kind == "numbers" else a > b


def bar(name: str, score: Score | Sequence[float]) -> dict[str, Any]:
    """A score as a row of a picture of ranges."""
    value, low, high = score.plain() if isinstance(score, Score) else score
    return {"name": name, "low": low, "middle": value, "high": high}


def clearly_better(kind: str, a: Score, b: Score) -> bool:
    """Whether score `a` is better than `b` by more than both intervals together."""
    return a.high < b.low if kind == "numbers" else a.low > b.high


def told(kind: str, value: float) -> str:
    """A score in words: a share as per cent, a relative error as a number."""
    return f"{value:.3g}" if kind == "numbers" else f"{value:.0%}"
