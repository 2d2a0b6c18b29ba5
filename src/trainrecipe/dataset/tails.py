"""Rows far out along any axis of a table, ranked for review, and values of a target that are repeated suspiciously often.

Every data set has a most extreme row, so nothing here is a verdict: ranks say where to look first.
"""

from __future__ import annotations

import dataclasses
from statistics import NormalDist

import numpy as np

from trainrecipe.dataset.shortcuts import Columns, Floats, Ints, codes_of, is_numeric, numbers

FAR = 3.5
"""Modified z-scores above are outliers by convention (Iglewicz & Hoaglin 1993)."""
NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation, 1 / Φ⁻¹(3/4)."""
NORMAL_MEAN = 1.2533
"""The same over its mean absolute deviation, √(π/2)."""
SENTINELS = frozenset(
    {0.0, 255.0, 65535.0, -32768.0, 2147483647.0, -2147483648.0}
    | {s * (10.0**d - 1) for s in (1, -1) for d in range(1, 7)}
    | {-1.0}
)
"""Values that programs write for "missing": 0, -1, nines, ends of the ranges of integers."""
AROUND = 50
"""Distinct values on either side that are the neighbourhood of one; among so many are several that people round to."""
TIMES = 3.0
"""How often a spike is more frequent than its neighbourhood: counts that fall off, such as 1000, 500, 250, are no spike."""
LEAST = 6.0
"""Standard deviations from which a spike is reported: none is by chance among a million values."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outliers:
    """For each row (N,) the axis along which it is furthest out.

    `score`: modified z-score, on whose scale rare categories are put as well; `axis`: name of that column; `value`: its entry
    there; `rank`: 1 for the row with the highest score. `order` lists the rows, the furthest out first.
    """

    score: Floats
    axis: np.ndarray
    value: np.ndarray
    rank: Ints

    @property
    def order(self) -> Ints:
        """The review queue."""
        return np.argsort(self.rank, kind="stable")


@dataclasses.dataclass(frozen=True, slots=True)
class Spike:
    """A value of a target that repeats far more often than the values around it.

    `count` rows have it, `usual` is the count of frequent values around it, and `surprise` the difference in standard
    deviations of a Poisson count. `edge`: it is the least or largest value, as where values are clipped; `sentinel`: programs
    write it for "missing".
    """

    value: float
    count: int
    usual: int
    surprise: float
    edge: bool
    sentinel: bool


def ranked(columns: Columns, *, distances: np.ndarray | None = None) -> Outliers:
    """Rank rows by how far out they are along their worst axis.

    columns: name to array (N,) of numbers, dates or strings. distances: (N,) or (N, k) distances to nearest neighbours, which
    become the axis "distance to neighbours" (the mean of each row; Angiulli & Pizzuti 2002).

    Numbers: the modified z-score, the distance from the median over 1.4826 times the median absolute deviation; each side by
    its own deviation (a "double MAD"), so that a skewed column does not hide what is far out in its short tail. Where half of
    a side is equal to the median, 1.2533 times the mean absolute deviation takes its place (Iglewicz & Hoaglin 1993). Infinity
    is further out than any number; NaN is not out. Categories: the two-sided normal quantile of the share of rows whose value
    is as rare or rarer; ids, of which all are as rare, score 0. Raises ValueError where lengths differ.

    >>> far = ranked({"width": np.array([1.0, 2.0, 3.0, 2.0, 90.0]), "kind": np.array(list("aaaaa"))})
    >>> int(far.order[0]), str(far.axis[4]), far.value[4]
    (4, 'width', 90.0)
    """
    table = {name: np.asarray(column) for name, column in columns.items()}
    if distances is not None:
        given = np.asarray(distances, dtype=float)
        table["distance to neighbours"] = given.reshape(len(given), -1).mean(1) if len(given) else given.reshape(-1)
    sizes = {len(column) for column in table.values()}
    if len(sizes) > 1:
        raise ValueError(f"columns have different lengths: {', '.join(f'{n} {len(c)}' for n, c in table.items())}")
    if not sizes or not max(sizes):
        return Outliers(np.zeros(0), np.zeros(0, dtype=str), np.zeros(0, dtype=object), np.zeros(0, dtype=np.int64))
    scores = np.stack([_far(numbers(c)) if is_numeric(c) else _rare(codes_of(c)) for c in table.values()])
    worst, score = scores.argmax(0), scores.max(0)
    value = np.empty(len(worst), dtype=object)
    for i, column in enumerate(table.values()):
        value[worst == i] = column[worst == i].tolist()
    rank = np.empty(len(score), dtype=np.int64)
    rank[np.argsort(-score, kind="stable")] = np.arange(1, len(score) + 1)
    return Outliers(score, np.array(list(table))[worst], value, rank)


def spikes(target: np.ndarray) -> tuple[Spike, ...]:
    """Values of a regression target (N,) that repeat far beyond their neighbourhood, the most surprising first.

    What is usual is the third most frequent of the `AROUND` distinct values on either side, so that other sentinels do not
    hide one and round numbers that people prefer are none; or the second most frequent of the four next to it where that is
    more, so that the mode of a count is none. Targets of fewer than 20 distinct values are classes and have no spikes. A true
    share of zeros, such as days without rain, is a spike as well: a person decides.

    >>> found = spikes(np.concatenate([np.linspace(0.1, 5, 300), np.full(12, -1.0)]))
    >>> [(s.value, s.count, s.edge, s.sentinel) for s in found]
    [(-1.0, 12, True, True)]
    """
    finite = np.asarray(target, dtype=float).reshape(-1)
    kinds, counts = np.unique(finite[np.isfinite(finite)], return_counts=True)
    found = []
    for i in np.flatnonzero(counts > LEAST) if len(kinds) >= 20 else ():
        usual = max(_largest(counts, int(i), AROUND, 3), _largest(counts, int(i), 2, 2))
        surprise = float((counts[i] - usual) / usual**0.5)
        if surprise >= LEAST and counts[i] >= TIMES * usual:
            edge, value = i in (0, len(kinds) - 1), float(kinds[i])
            found.append(Spike(value, int(counts[i]), usual, surprise, edge, value in SENTINELS))
    return tuple(sorted(found, key=lambda s: -s.surprise))


def _largest(counts: Ints, i: int, reach: int, place: int) -> int:
    """The count at a place of the most frequent values around one."""
    around = np.concatenate([counts[max(0, i - reach) : i], counts[i + 1 : i + 1 + reach]])
    return int(np.sort(around)[-place])


def _far(values: Floats) -> Floats:
    """Modified z-scores by the double MAD."""
    known = values[np.isfinite(values)]
    middle = float(np.median(known)) if len(known) else 0.0
    score = np.zeros(len(values))
    for sign in (-1.0, 1.0):
        side = sign * (known - middle)
        away = sign * (values - middle)
        score = np.where(away > 0, away / _scale(side[side >= 0]), score)
    return np.where(np.isnan(score), 0.0, np.minimum(score, np.finfo(float).max))


def _scale(side: Floats) -> float:
    """The spread of one side from its distances to the median, at least a rounding error."""
    if not len(side):
        return 1.0
    return max(NORMAL_MAD * float(np.median(side)) or NORMAL_MEAN * float(side.mean()), 1e-300)


def _rare(codes: Ints) -> Floats:
    """The normal quantile of the share of rows whose category is as rare or rarer."""
    counts = np.bincount(codes)[codes]
    share = np.searchsorted(np.sort(counts), counts, side="right") / len(codes)
    normal = NormalDist()
    quantiles = {float(p): abs(normal.inv_cdf(float(p) / 2)) for p in np.unique(share)}
    return np.array([quantiles[p] for p in share.tolist()])
