"""What chance does: effects against the noise between seeds, with intervals, and how many seeds a question needs.

    >>> effect = paired([0.90, 0.92, 0.91], [0.93, 0.94, 0.95])
    >>> round(effect.difference, 3), effect.low > 0
    (0.03, True)

The unit is the seed. A change is made under the seeds of the baseline, and the differences are taken seed by seed, which
removes what both share (the split, the initial weights, the order of the data).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

from trainrecipe.wrong_use import WrongUse

MISSING = "this needs SciPy and Optuna: pip install 'trainrecipe[lab]'"
LEVEL = 0.95
"""Of intervals; the error rate that is promised for changes that do nothing is 1 - LEVEL over all changes of a stage."""
POWER = 0.8
"""Of the number of seeds that is said to be needed (J. Cohen's convention)."""


@dataclasses.dataclass(frozen=True)
class Noise:
    """A metric over seeds: its mean, the standard deviation between seeds, and the interval of the mean."""

    mean: float
    deviation: float
    low: float
    high: float
    seeds: int


@dataclasses.dataclass(frozen=True)
class Effect:
    """The mean of differences seed by seed, its interval, and the p-value of no difference (two-sided t-test).

    `deviation` is that of the differences, `seeds` their number.
    """

    difference: float
    low: float
    high: float
    p: float
    deviation: float
    seeds: int


def noise(values: Sequence[float]) -> Noise:
    """Of one setting under several seeds (Student 1908). With one seed the interval is all numbers."""
    n, mean = len(values), math.fsum(values) / len(values)
    deviation = _deviation(values, mean)
    half = _quantile(n - 1) * deviation / math.sqrt(n) if n > 1 else math.inf
    return Noise(mean, deviation, mean - half, mean + half, n)


def paired(before: Sequence[float], after: Sequence[float], level: float = LEVEL) -> Effect:
    """Of a change under the same seeds in the same order. Raises ValueError for two numbers of them, or fewer than two."""
    if len(before) != len(after) or len(before) < 2:
        raise ValueError(f"{len(before)} and {len(after)} values; two pairs are the least")
    differences = [b - a for a, b in zip(before, after, strict=True)]
    n, mean = len(differences), math.fsum(differences) / len(differences)
    deviation = _deviation(differences, mean)
    error = deviation / math.sqrt(n)
    half = _quantile(n - 1, level) * error
    p = _tail(abs(mean) / error, n - 1) if error else (1.0 if not mean else 0.0)
    return Effect(mean, mean - half, mean + half, p, deviation, n)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that one false alarm among all is as rare as promised (S. Holm 1979)."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    corrected, most = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = most
    return corrected


def seeds_needed(deviation: float, resolution: float, level: float = LEVEL, power: float = POWER) -> int:
    """Seeds from which a difference of `resolution` is found with this probability, where differences deviate by `deviation`.

    The usual formula (z₁ + z₂)² σ² / δ² with two more for the t-distribution in place of the normal one (G. Snedecor and
    W. Cochran 1989, section 6.14). Raises ValueError for a resolution that is not positive.
    """
    if resolution <= 0:
        raise ValueError(f"a resolution of {resolution:g} is not positive")
    z = _distance(level, power)
    return max(2, math.ceil((z * deviation / resolution) ** 2) + 2) if deviation else 2


def resolution(deviation: float, seeds: int, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest difference that so many seeds find with this probability: the inverse of `seeds_needed`."""
    z = _distance(level, power)
    return z * deviation / math.sqrt(max(1, seeds - 2))


def _distance(level: float, power: float) -> float:
    """z₁ + z₂, in standard errors."""
    return NormalDist().inv_cdf(0.5 + level / 2) + NormalDist().inv_cdf(power)


def _deviation(values: Sequence[float], mean: float) -> float:
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else math.nan


def _quantile(freedom: int, level: float = LEVEL) -> float:
    return float(_student().ppf(0.5 + level / 2, freedom))


def _tail(t: float, freedom: int) -> float:
    return float(2 * _student().sf(t, freedom))


def _student() -> Any:
    """SciPy's t-distribution. Raises WrongUse where SciPy is not installed."""
    try:
        from scipy.stats import t
    except ImportError:
        raise WrongUse(MISSING) from None
    return t
