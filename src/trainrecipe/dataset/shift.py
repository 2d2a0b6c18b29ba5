"""Whether two parts of a data set, such as training and validation rows, come from one distribution, and what differs.

Two questions, with one permutation test each: can a small classifier tell the parts apart, and which single features differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from trainrecipe.dataset.shortcuts import (
    FOLDS,
    Columns,
    Floats,
    Ints,
    Ridge,
    codes_of,
    folds,
    indicators,
    is_numeric,
    numbers,
    p_value,
    permuted,
    ranks,
    standard_error,
)

ROWS = 5000
"""Rows that are drawn where there are more, each part in proportion: a Kolmogorov-Smirnov distance of 0.04 is then significant
at 1 % for two halves, half the smallest effect that counts."""
NEIGHBOURS = 15
LEAST = 10
"""Rows that each part must have."""
WIDTH = 128
"""Principal components that the table is reduced to where it is wider."""
SMALL_AUC = 0.556
"""Effects below are small whatever their p-value. Cohen (1988) calls a shift of 0.2 standard deviations small and one of 0.5
medium; for normal distributions they are an AUC of 0.556 and 0.638 and a Kolmogorov-Smirnov distance of 0.080 and 0.197. The
total variation distance is on the scale of the latter."""
MEDIUM_AUC = 0.638
SMALL_DISTANCE = 0.080
MEDIUM_DISTANCE = 0.197


@dataclasses.dataclass(frozen=True, slots=True)
class FeatureShift:
    """How one feature differs between the parts.

    `distance` is 0 for equal and 1 for disjoint: the Kolmogorov-Smirnov distance of numbers, the total variation distance of
    categories, the difference of the shares of missing values (`kind` "numbers", "categories", "missing"). `floor` is what
    95 % of random splits stay below; `p_value` is corrected for the number of features. `first` and `second` describe the
    parts: the median, the commonest value, the share that is missing.
    """

    name: str
    kind: str
    distance: float
    floor: float
    p_value: float
    first: Any
    second: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Shift:
    """How well a classifier tells two parts apart: an `auc` of 0.5 not at all, 1 perfectly; `low` and `high` bound it at 95 %.

    `model` is which of the two classifiers; `features` are ordered by distance above their floor; `rows` were compared in each
    part. `auc` is None, with the `reason`, where nothing could be tested.
    """

    auc: float | None
    low: float
    high: float
    p_value: float
    features: tuple[FeatureShift, ...] = ()
    model: str = ""
    rows: tuple[int, int] = (0, 0)
    reason: str = ""


def shift(
    columns: Columns | np.ndarray,
    split: Sequence[Hashable] | np.ndarray,
    *,
    between: tuple[Hashable, Hashable] | None = None,
    groups: np.ndarray | None = None,
    permutations: int = 199,
    seed: int = 0,
) -> Shift:
    """Compare two parts of a table.

    columns: name to array (N,) of numbers, dates or strings; or vectors (N, d). split: the part of each row; `between` names
    the two that are compared and may be left out where there are only two. The classifier two-sample test (Lopez-Paz & Oquab
    2017): a ridge regression and 15 nearest neighbours predict the part out of fold; the statistic is the AUC of the one that
    stands out more. Its p-value and those of the features (the largest standardised distance of any feature; Westfall & Young
    1993) come from the same permutations of the parts, hence are exact, ties or not; the smallest is 1 / (permutations + 1).

    With `groups` (patients, recordings) whole groups exchange their parts and are held out, since rows of a group resemble
    each other: other patients are no shift. A significant effect may still be tiny; see `SMALL_AUC`.

    >>> rng = np.random.default_rng(0)
    >>> part = np.repeat(["train", "val"], 200)
    >>> found = shift({"width": rng.normal(part == "val", 1), "height": rng.normal(0, 1, 400)}, part)
    >>> found.auc > MEDIUM_AUC, found.p_value, found.features[0].name
    (True, 0.005, 'width')

    Raises ValueError where lengths differ, or where there are not two parts.
    """
    given = {str(i): columns[:, i] for i in range(columns.shape[1])} if isinstance(columns, np.ndarray) else columns
    parts = np.asarray(split)
    for name, column in given.items():
        if len(column) != len(parts):
            raise ValueError(f"column {name!r} has {len(column)} rows, the split has {len(parts)}")
    first, second = between or _both(parts)
    rows = _drawn(np.flatnonzero((parts == first) | (parts == second)), seed)
    side = parts[rows] == second
    table = {name: np.asarray(column)[rows] for name, column in given.items()}
    units = None if groups is None else codes_of(np.asarray(groups)[rows])
    sizes = int((~side).sum()), int(side.sum())
    if not table or min(sizes) < LEAST or (units is not None and len(np.unique(units)) < FOLDS):
        reason = f"{sizes[0]} and {sizes[1]} rows" + ("" if units is None else f" in {len(np.unique(units))} groups")
        return Shift(None, 0.0, 1.0, 1.0, rows=sizes, reason=f"{reason} are too few" if table else "there are no columns")
    sides = side[permuted(len(rows), permutations, seed, units)].T
    scores = _scores(_matrix(table), sides, folds(len(rows), FOLDS, seed, units))
    aucs = {name: _aucs(score, sides) for name, score in scores.items()}
    clear = {name: _standardised(auc) for name, auc in aucs.items()}
    model = max(clear, key=lambda name: float(clear[name][0]))
    best = np.max(list(clear.values()), 0)
    error = _error(scores[model][:, 0], side, units)
    auc = float(aucs[model][0])
    low, high = max(0.0, auc - 2.24 * error), min(1.0, auc + 2.24 * error)  # 97.5 %, as the better of two is reported
    return Shift(auc, low, high, p_value(best[0], best[1:]), _features(table, sides), model, sizes)


def _both(parts: np.ndarray) -> tuple[Any, Any]:
    kinds = np.unique(parts)
    if len(kinds) != 2:
        raise ValueError(f"the split has {len(kinds)} parts ({', '.join(map(str, kinds[:5]))}): name two of them as `between`")
    return kinds[0], kinds[1]


def _drawn(rows: Ints, seed: int) -> Ints:
    return rows if len(rows) <= ROWS else np.sort(np.random.default_rng(seed).choice(rows, ROWS, replace=False))


# ---- the classifiers; `sides` (rows, permutations + 1) is True for the second part, its first column as it is


def _matrix(table: Columns) -> Floats:
    """A table as standardised columns: ranks of numbers and their squares (for a change of spread), indicators of the rest."""
    blocks = []
    for column in table.values():
        if is_numeric(column):
            place = ranks(numbers(column))[:, None]
            missing = ~np.isfinite(numbers(column))[:, None]
            blocks += [place, place**2, missing.astype(float)]
        else:
            blocks.append(indicators(codes_of(column)))
    x = np.concatenate(blocks, 1)
    x = x - x.mean(0)
    x = x[:, x.std(0) > 0] / x.std(0)[x.std(0) > 0]
    if x.shape[1] > WIDTH:
        x = x @ np.linalg.eigh(x.T @ x)[1][:, -WIDTH:]
    return x if x.shape[1] else np.zeros((len(x), 1))


def _scores(x: Floats, sides: np.ndarray, fold: Ints) -> dict[str, Floats]:
    """Out-of-fold scores (rows, permutations + 1). The mean of a fold's training rows is left out: it runs against the sides
    of the rows that are held out, which would push the AUC below 0.5."""
    near = _neighbours(x, fold)
    votes = np.mean([sides[near[:, j]] for j in range(near.shape[1])], axis=0)
    known = np.stack([sides[fold != k].mean(0) for k in range(int(fold.max()) + 1)])
    linear = Ridge(x, fold, strength=0.01 * len(x))(sides.astype(float), centred=True)
    return {"linear": linear, "nearest neighbours": votes - known[fold]}


def _neighbours(x: Floats, fold: Ints) -> Ints:
    """The nearest rows of other folds."""
    near = np.empty((len(x), min(NEIGHBOURS, int((fold != fold[:, None]).sum(1).min()))), dtype=np.int64)
    for k in range(int(fold.max()) + 1):
        known = np.flatnonzero(fold != k)
        distance = (x[known] ** 2).sum(1) - 2 * x[fold == k] @ x[known].T
        near[fold == k] = known[np.argpartition(distance, near.shape[1] - 1, axis=1)[:, : near.shape[1]]]
    return near


def _aucs(scores: Floats, sides: np.ndarray) -> Floats:
    """The area under the ROC curve of each column, from ranks (Mann & Whitney 1947)."""
    rows = len(scores)
    second = sides.sum(0)
    mean = np.array([(ranks(s) * side).sum() for s, side in zip(scores.T, sides.T, strict=True)]) / np.maximum(second, 1)
    return np.asarray(((mean + 1) / 2 * (rows - 1) + 1 - (second + 1) / 2) / np.maximum(rows - second, 1))


def _error(scores: Floats, side: np.ndarray, groups: Ints | None) -> float:
    """The standard error of an AUC (DeLong et al. 1988): from how each row fares against the other part."""
    overall, fares = (ranks(scores) + 1) / 2 * (len(scores) - 1), np.empty(len(scores))
    for part in (side, ~side):
        count = int(part.sum())
        inside = (ranks(scores[part]) + 1) / 2 * (count - 1)
        fares[part] = (overall[part] - inside) / (len(scores) - count)
        fares[part] = (fares[part] - fares[part].mean()) * len(scores) / count * (1 if part is side else -1)
    return standard_error(fares, groups)


def _standardised(values: Floats) -> Floats:
    """Values (..., permutations + 1) in standard deviations under permutation."""
    spread = values.std(-1, keepdims=True)
    return np.where(spread > 1e-12, (values - values.mean(-1, keepdims=True)) / np.maximum(spread, 1e-12), 0.0)


# ---- single features


def _features(table: Columns, sides: np.ndarray) -> tuple[FeatureShift, ...]:
    measured = []
    for name, column in table.items():
        known = (
            np.isfinite(numbers(column))
            if is_numeric(column)
            else np.array([v is not None and v == v for v in column.tolist()])
        )
        if 0 < known.sum() < len(known):
            measured.append((name, "missing", _variation((~known).astype(np.int64), sides), ~known))
        if known.any():
            kind, values = ("numbers", numbers(column)[known]) if is_numeric(column) else ("categories", column[known])
            distances = _gap(values, sides[known]) if kind == "numbers" else _variation(_common(values), sides[known])
            measured.append((name, kind, distances, column))
    if not measured:
        return ()
    clear = _standardised(np.stack([m[2] for m in measured]))
    worst, found = clear.max(0), []
    for (name, kind, distances, values), own in zip(measured, clear, strict=True):
        first, second = (_middle(values[sides[:, 0] == side], kind) for side in (False, True))
        p = p_value(own[0], worst[1:])
        found.append(FeatureShift(name, kind, float(distances[0]), float(np.quantile(distances, 0.95)), p, first, second))
    return tuple(sorted(found, key=lambda f: f.floor - f.distance))


def _gap(values: Floats, sides: np.ndarray) -> Floats:
    """The Kolmogorov-Smirnov distance for each column of sides: the largest gap of the distribution functions, after ties."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf) > 0)
    second = np.cumsum(np.add.reduceat(sides[order].astype(np.int64), starts, axis=0), 0)
    reached = np.append(starts[1:], len(values))[:, None]
    totals = second[-1]
    return np.asarray(np.abs(second / np.maximum(totals, 1) - (reached - second) / np.maximum(len(values) - totals, 1)).max(0))


def _variation(codes: Ints, sides: np.ndarray) -> Floats:
    """The total variation distance for each column of sides: half the sum of the differences of the shares."""
    second = indicators(codes, int(codes.max()) + 1).T @ sides
    first = np.bincount(codes)[np.argsort(-np.bincount(codes), kind="stable")][: len(second), None] - second
    return np.asarray(np.abs(second / np.maximum(second.sum(0), 1) - first / np.maximum(first.sum(0), 1)).sum(0) / 2)


def _common(values: np.ndarray) -> Ints:
    return np.asarray(indicators(codes_of(values)).argmax(1))


def _middle(values: np.ndarray, kind: str) -> Any:
    if kind == "missing":
        return float(values.mean())
    if kind == "numbers":
        known = numbers(values)[np.isfinite(numbers(values))]
        return float(np.median(known)) if len(known) else float("nan")
    kinds, counts = np.unique(np.array([str(v) for v in values.tolist()]), return_counts=True)
    return str(kinds[counts.argmax()])
