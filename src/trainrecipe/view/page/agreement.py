"""How well people and models agree: pure arithmetic on counts and lists of answers, for the human baseline.

Every function takes plain numbers and returns plain numbers; shares are between 0 and 1. Intervals have 95 % coverage.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


class Share(NamedTuple):
    """A share with its interval, and the counts that it comes from."""

    value: float
    low: float
    high: float
    hits: int
    total: int


class Kappa(NamedTuple):
    """Cohen's kappa with its interval, and the share of equal answers that it comes from."""

    value: float
    low: float
    high: float
    agreement: float
    total: int


def share(hits: int, total: int) -> Share:
    """The share of hits with Wilson's score interval, which stays honest near 0 and 1 and for small numbers.

    >>> [round(v, 3) for v in share(9, 10)[:3]]
    [0.9, 0.596, 0.982]

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927; recommended over the
    normal approximation by Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", 2001.
    """
    if total == 0:
        return Share(math.nan, 0.0, 1.0, 0, 0)
    p, z2 = hits / total, Z * Z
    middle = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = Z / (1 + z2 / total) * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total))
    return Share(p, max(middle - half, 0.0), min(middle + half, 1.0), hits, total)


def kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> Kappa:
    """Cohen's kappa of two lists of answers about the same examples: agreement beyond chance; 1 is perfect, 0 is chance.

    >>> round(kappa("aabb", "aabb").value, 3)
    1.0

    The interval is that of the large-sample variance. Not a number where everybody gave one and the same answer, since chance
    would agree as well. Raises ValueError for lists of different lengths.

    Source: J. Cohen, "A coefficient of agreement for nominal scales", 1960; variance: Fleiss, Cohen and Everitt, "Large sample
    standard errors of kappa and weighted kappa", 1969, equation 13.
    """
    if len(first) != len(second):
        raise ValueError(f"the lists have {len(first)} and {len(second)} answers; they must be about the same examples")
    n = len(first)
    if n == 0:
        return Kappa(math.nan, -1.0, 1.0, math.nan, 0)
    cells = {pair: c / n for pair, c in Counter(zip(first, second, strict=True)).items()}
    rows = {a: c / n for a, c in Counter(first).items()}
    columns = {b: c / n for b, c in Counter(second).items()}
    observed = sum(p for (a, b), p in cells.items() if a == b)
    chance = sum(p * columns.get(a, 0.0) for a, p in rows.items())
    if chance >= 1.0:
        return Kappa(math.nan, -1.0, 1.0, observed, n)
    value = (observed - chance) / (1 - chance)
    half = Z * math.sqrt(max(_variance(cells, rows, columns, observed, chance), 0.0) / n) / (1 - chance) ** 2
    return Kappa(value, max(value - half, -1.0), min(value + half, 1.0), observed, n)


def _variance(
    cells: dict[tuple[Hashable, Hashable], float],
    rows: dict[Hashable, float],
    columns: dict[Hashable, float],
    observed: float,
    chance: float,
) -> float:
    """n (1 - chance)^4 times the variance of kappa."""
    sides = {a: rows.get(a, 0.0) + columns.get(a, 0.0) for a, _ in cells}
    agreeing = sum(p * ((1 - chance) - sides[a] * (1 - observed)) ** 2 for (a, b), p in cells.items() if a == b)
    crossing = sum(p * (columns.get(a, 0.0) + rows.get(b, 0.0)) ** 2 for (a, b), p in cells.items() if a != b)
    return agreeing + (1 - observed) ** 2 * crossing - (observed * chance - 2 * chance + observed) ** 2


def ceiling(agreeing: int, total: int, classes: int) -> Share:
    """The noise ceiling: the best accuracy that can be measured against answers that are as unsure as these.

    Two passes over the same examples agree with probability p = a^2 + (1 - a)^2 / (k - 1) where each is right with probability
    a, and errors are independent and spread evenly over the other k - 1 classes; solved for a. The bounds are those of Wilson's
    interval of p, carried through. It is too high where both passes make the same mistake, as a person who has learnt a wrong
    rule does: a second person tells more than a second pass.

    >>> round(ceiling(90, 100, 2).value, 3)
    0.947

    Source: the one-parameter case of A. P. Dawid and A. M. Skene, "Maximum likelihood estimation of observer error-rates using
    the EM algorithm", 1979.
    """
    p = share(agreeing, total)
    value, low, high = (_accuracy(v, classes) for v in p[:3])
    return Share(value, low, high, agreeing, total)


def _accuracy(agreement: float, classes: int) -> float:
    if math.isnan(agreement) or classes < 2:
        return math.nan
    return (1 + math.sqrt(max((classes - 1) * (classes * agreement - 1), 0.0))) / classes


def sign_test(only_first: int, only_second: int) -> float:
    """Two-sided p-value that two raters are equally good, from the examples that only one of them got right.

    >>> round(sign_test(0, 6), 4)
    0.0312

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions", 1947, in its exact form.
    """
    n, k = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    return float(min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n))
