"""Whether columns that should not tell the label do (brightness, size, file order, missingness), and single-feature leaks.

A column is a NumPy array with one entry per row: numbers (NaN is "missing"), truth values, dates, or strings. Everything is
predicted out of fold by a ridge regression on histograms of the columns; its closed form makes permutation tests cheap.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Columns = Mapping[str, np.ndarray]

FOLDS = 5
BINS = 16
"""Bins of a column of numbers, with as many rows in each; more would stay nearly empty in a few hundred rows."""
GAPS = 24
"""Widest gaps of a column that are tried as its borders between classes."""
LEVELS = 32
"""Values of a category that have an indicator of their own; rarer ones share one."""
CLASSES = 20
"""Commonest classes that are predicted; rows of others are left out, since the cost grows with the number of classes."""
ROWS = 5000
"""Rows that are drawn where there are more: an accuracy is then known to within 0.014 at 95 %."""
SHORTCUT_GAIN = 0.5
"""Proposed: metadata whose gain is clearly above this are a shortcut. Metadata that belong to the content tell something, too:
mean, spread, border and share of empty pixels together reach 0.32 on scikit-learn's digits, mean brightness alone 0.01."""
LEAK_GAIN = 0.98
"""Proposed: a feature alone is a leak where the lower end of its gain is above. Honest features of scikit-learn's sets reach
0.85 (iris, petal length), 0.82 (breast cancer, worst perimeter), 0.70 (wine), 0.19 (digits), and an R² of 0.32 (diabetes)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its bounds at 95 %."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """How well some columns tell the label out of fold.

    `gain` is normalised: 0 for chance, 1 for perfect. For classes it is that of the balanced accuracy b,
    (b - 1/C) / (1 - 1/C) (informedness; Powers 2011), so that a rare class counts as much as a common one; for numbers it
    is R². `score` is the plain accuracy (or R²) and `majority` the share of the commonest class (or 0). `p_value` is of the
    permutation test of the gain; for columns tried one by one it is corrected for their number (Westfall & Young 1993).
    """

    name: str
    gain: Interval
    score: float
    majority: float
    p_value: float


@dataclasses.dataclass(frozen=True, slots=True)
class Baseline:
    """What all columns together tell and what each tells alone (the best first), on how many rows.

    `together` is None, with the `reason`, where nothing can be predicted.
    """

    together: Told | None
    alone: tuple[Told, ...]
    rows: int
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Leak:
    """How one feature stands out.

    `alone` is its gain and `rest` that of all others together. `decides`: values of it that repeat do so with one label only.
    `monotone` is the absolute rank correlation with labels that are numbers, or truth values; NaN for other classes.
    """

    name: str
    alone: Interval
    rest: Interval | None
    decides: bool
    monotone: float

    @property
    def suspicious(self) -> bool:
        """Proposed rule: near-perfect alone, while all other features together are clearly worse."""
        return self.alone.low >= LEAK_GAIN and (self.rest is None or self.rest.high < self.alone.low)


def baseline(
    columns: Columns,
    labels: Sequence[Any] | np.ndarray,
    *,
    groups: np.ndarray | None = None,
    permutations: int = 199,
    seed: int = 0,
) -> Baseline:
    """Predict the labels from metadata: from all columns together and from each alone.

    >>> rng = np.random.default_rng(0)
    >>> label = rng.integers(0, 2, 300)
    >>> found = baseline({"brightness": label + rng.normal(0, 0.1, 300), "size": rng.normal(0, 1, 300)}, label)
    >>> found.alone[0].name, found.alone[0].gain.low > 0.9, found.alone[0].p_value
    ('brightness', True, 0.005)

    Labels are classes; they are numbers where they are floating point with more than 20 values. With `groups`, whole groups
    are held out and permuted. A small p-value alone is no fault: metadata that belong to the content tell something (see
    `SHORTCUT_GAIN`), and the order of the files tells the label of any collection sorted by class, which is a shortcut only
    for a model that is fed the order. Raises ValueError where lengths differ.
    """
    tried = _Trial.of(columns, labels, groups, seed)
    if isinstance(tried, str):
        return Baseline(None, (), len(labels), tried)
    blocks = {name: histogram(column) for name, column in tried.columns.items()}
    orders = permuted(len(tried.fold), permutations, seed, tried.groups)
    each = {name: tried.gains(block, orders) for name, block in blocks.items()}
    best = np.max(list(each.values()), 0)
    alone = [tried.told(name, block, p_value(each[name][0], best[1:])) for name, block in blocks.items()]
    whole = np.concatenate(list(blocks.values()), 1)
    chance = tried.gains(whole, orders)
    together = tried.told("all", whole, p_value(chance[0], chance[1:]))
    return Baseline(together, tuple(sorted(alone, key=lambda t: -t.gain.value)), len(tried.fold))


def leaks(
    columns: Columns, labels: Sequence[Any] | np.ndarray, *, groups: np.ndarray | None = None, most: int = 3, seed: int = 0
) -> tuple[Leak, ...]:
    """The `most` features that tell the label best alone, each against all others together; none where nothing can be told.

    A rule on one feature may be the very task, which no measurement can tell from a leak: this is evidence, not a verdict.
    """
    tried = _Trial.of(columns, labels, groups, seed)
    if isinstance(tried, str):
        return ()
    blocks = {name: np.concatenate([histogram(c), segments(c)], 1) for name, c in tried.columns.items()}
    alone = {name: tried.told(name, block).gain for name, block in blocks.items()}
    found = []
    for name in sorted(alone, key=lambda n: -alone[n].value)[:most]:
        others = [block for other, block in blocks.items() if other != name]
        rest = tried.told(name, np.concatenate(others, 1)).gain if others else None
        column = tried.columns[name]
        found.append(Leak(name, alone[name], rest, _decides(column, tried.targets), _monotone(column, tried.targets)))
    return tuple(found)


@dataclasses.dataclass(frozen=True, slots=True)
class _Trial:
    """Rows on which columns are tried. `targets` (rows, classes) are indicators, or (rows, 1) the labels that are numbers."""

    columns: dict[str, np.ndarray]
    targets: Floats
    groups: Ints | None
    fold: Ints

    @classmethod
    def of(cls, columns: Columns, labels: Sequence[Any] | np.ndarray, groups: np.ndarray | None, seed: int) -> _Trial | str:
        """The rows; or the reason why nothing can be predicted."""
        given = np.asarray(labels)
        for name, column in columns.items():
            if len(column) != len(given):
                raise ValueError(f"column {name!r} has {len(column)} rows, but there are {len(given)} labels")
        numeric = given.dtype.kind == "f" and len(np.unique(given)) > 20
        codes = codes_of(given)
        common = np.argsort(-np.bincount(codes, minlength=1), kind="stable")[:CLASSES]
        rows = np.flatnonzero(np.isfinite(given) if numeric else np.isin(codes, common))
        if len(rows) > ROWS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, ROWS, replace=False))
        if not columns or len(rows) < 4 * FOLDS:
            return "there are no columns" if not columns else f"{len(rows)} rows are too few"
        counts = np.unique(codes[rows], return_inverse=True)[1]
        targets = given[rows].astype(float)[:, None] if numeric else np.eye(counts.max() + 1)[counts]
        units = None if groups is None else codes_of(np.asarray(groups)[rows])
        if len(np.unique(codes[rows])) < 2:
            return "all labels are the same"
        if units is not None and units.max() < FOLDS:
            return f"{units.max() + 1} groups are too few"
        chosen = {name: np.asarray(column)[rows] for name, column in columns.items()}
        return cls(chosen, targets, units, folds(len(rows), FOLDS, seed, units))

    def gains(self, block: Floats, orders: Ints) -> Floats:
        """The gain for each order of the targets."""
        ridge, width, made = Ridge(block, self.fold), self.targets.shape[1], []
        step = max(1, 4_000_000 // self.targets.size)
        for first in range(0, len(orders), step):
            part = np.moveaxis(self.targets[orders[first : first + step]], 0, 1)  # (rows, orders, width)
            predicted = ridge(part.reshape(len(part), -1)).reshape(part.shape)
            made.append(_gain(_wins(predicted, part), part) if width > 1 else _explained(predicted[..., 0], part[..., 0]))
        return np.concatenate(made)

    def told(self, name: str, block: Floats, p: float = 1.0) -> Told:
        """What a block tells of the targets as they are."""
        predicted = Ridge(block, self.fold)(self.targets)
        if self.targets.shape[1] == 1:
            truth = self.targets[:, 0]
            value, spread = float(_explained(predicted, self.targets)[0]), (truth - truth.mean()) ** 2
            error = standard_error(((truth - predicted[:, 0]) ** 2 - (1 - value) * spread) / spread.mean(), self.groups)
            return Told(name, _within(value, error), value, 0.0, p)
        truth = self.targets[:, None]
        right = _wins(predicted[:, None], truth)
        value, width, share = float(_gain(right, truth)[0]), self.targets.shape[1], self.targets.mean(0)
        weight = self.targets @ (1 / share) / (width - 1)
        hits = (self.targets * right).sum(0) / self.targets.sum(0)
        error = standard_error((right[:, 0] - self.targets @ hits) * weight, self.groups)
        score = float((predicted.argmax(1) == self.targets.argmax(1)).mean())
        return Told(name, _within(value, error), score, float(share.max()), p)


def _wins(predicted: Floats, truth: Floats) -> np.ndarray:
    """Whether the true class wins (rows, orders) when all classes were equally common: shares are divided by the priors."""
    return np.asarray((predicted / np.maximum(truth.mean(0), 1e-9)).argmax(-1) == truth.argmax(-1))


def _gain(right: np.ndarray, truth: Floats) -> Floats:
    balanced = (np.einsum("rok,ro->ok", truth, right) / np.maximum(truth.sum(0), 1e-9)).mean(-1)
    width = truth.shape[-1]
    return np.asarray((balanced - 1 / width) / (1 - 1 / width))


def _explained(predicted: Floats, truth: Floats) -> Floats:
    return np.asarray(1 - ((truth - predicted) ** 2).mean(0) / np.maximum(truth.var(0), 1e-300))


def _within(value: float, error: float) -> Interval:
    return Interval(value, value - 1.96 * error, min(1.0, value + 1.96 * error))


def _decides(column: np.ndarray, targets: Floats) -> bool:
    """Whether values that repeat come with one label only; False where none repeats, as in an id."""
    codes = codes_of(column)
    label = codes_of(targets[:, 0] if targets.shape[1] == 1 else targets.argmax(1))
    counts = np.bincount(codes)
    kinds = np.bincount(np.unique(np.stack([codes, label]), axis=1)[0])
    return bool((counts > 1).any()) and bool((kinds[counts > 1] == 1).all())


def _monotone(column: np.ndarray, targets: Floats) -> float:
    """The absolute rank correlation (Spearman 1904), with ties."""
    if targets.shape[1] > 2 or not is_numeric(column):
        return float("nan")
    x, y = ranks(numbers(column)), ranks(targets[:, -1])
    return float(abs(np.corrcoef(x, y)[0, 1])) if x.std() and y.std() else float("nan")


# ---- out of fold


class Ridge:
    """Ridge regressions of many targets on one matrix (rows, columns), each row predicted by those of other folds.

    `strength` is the penalty; 1 suits indicators and standardised columns. Predictions are the mean of the fold's training
    targets plus the regression; with `centred` they leave out that mean, which runs against the held-out targets.
    """

    def __init__(self, matrix: Floats, fold: Ints, strength: float = 1.0) -> None:
        self.fold, self.parts = fold, []
        for k in range(int(fold.max()) + 1):
            known, asked = matrix[fold != k], matrix[fold == k]
            known, asked = known - known.mean(0), asked - known.mean(0)
            self.parts.append((asked, known.T, known.T @ known + strength * np.eye(known.shape[1])))

    def __call__(self, targets: Floats, *, centred: bool = False) -> Floats:
        """Predictions of targets (rows, any number of them), of the same shape."""
        made = np.empty_like(targets, dtype=float)
        for k, (asked, known, moments) in enumerate(self.parts):
            mean = targets[self.fold != k].mean(0)
            slopes = np.linalg.solve(moments, known @ (targets[self.fold != k] - mean))
            made[self.fold == k] = asked @ slopes + (0.0 if centred else mean)
        return made


def folds(rows: int, count: int, seed: int, groups: Ints | None = None) -> Ints:
    """A fold for each row, drawn without a look at the labels, which keeps permutation tests exact; groups stay together."""
    units = np.arange(rows) if groups is None else groups
    total = int(units.max()) + 1 if rows else 0
    return np.asarray((np.random.default_rng(seed).permutation(total) % count)[units])


def permuted(rows: int, count: int, seed: int, groups: Ints | None = None) -> Ints:
    """Orders of rows (count + 1, rows) for a permutation test; the first is the one as it is.

    With groups, the r-th row of a group takes the place of the r-th row of another group, wrapped round where that is shorter:
    where all rows of a group have one label, groups exchange their labels.
    """
    rng = np.random.default_rng([seed, 1])
    if groups is None:
        return np.stack([np.arange(rows), *(rng.permutation(rows) for _ in range(count))])
    order, size = np.argsort(groups, kind="stable"), np.bincount(groups)
    start = np.cumsum(size) - size
    place = np.empty(rows, dtype=np.int64)
    place[order] = np.arange(rows) - start[groups[order]]
    made = [np.arange(rows)]
    for _ in range(count):
        other = rng.permutation(len(size))[groups]
        made.append(order[start[other] + place % size[other]])
    return np.stack(made)


def p_value(seen: float, chance: Floats) -> float:
    """The share of values under chance at least as large, counting the seen one (Phipson & Smyth 2010), so never zero."""
    return float((1 + (chance >= seen - 1e-12).sum()) / (1 + len(chance)))


def standard_error(values: Floats, groups: Ints | None = None) -> float:
    """Of the mean of values; with groups from the sums of each, as rows of a group are no independent ones."""
    sums = values - values.mean() if groups is None else np.bincount(groups, values - values.mean())
    return float(np.sqrt((sums**2).sum() * len(sums) / max(1, len(sums) - 1)) / len(values))


# ---- columns


def histogram(column: np.ndarray) -> Floats:
    """A column as indicators: of bins with as many rows each for numbers, of values for few-valued ones and strings."""
    if not is_numeric(column):
        return indicators(codes_of(column))
    values = numbers(column)
    known = np.isfinite(values)
    kinds = np.unique(values[known])
    if len(kinds) > BINS:
        bins = max(2, min(BINS, len(values) // 20))
        kinds = np.unique(np.quantile(values[known], np.arange(1, bins) / bins))
        codes = np.searchsorted(kinds, values, side="right")
    else:
        codes = np.searchsorted(kinds, values)
    return np.concatenate([indicators(np.where(known, codes, len(kinds) + 1)), ranks(values)[:, None]], 1)


def segments(column: np.ndarray) -> Floats:
    """A numeric column as indicators of the stretches between its `GAPS` widest gaps.

    A class that is written into a column with some noise makes islands, which quantiles would cut through.
    """
    if not is_numeric(column):
        return np.zeros((len(column), 0))
    values = numbers(column)
    known = np.isfinite(values)
    kinds = np.unique(values[known])
    if len(kinds) < 3:
        return np.zeros((len(column), 0))
    widest = np.sort(np.argsort(-np.diff(kinds), kind="stable")[:GAPS])
    cuts = (kinds[widest] + kinds[widest + 1]) / 2
    return indicators(np.where(known, np.searchsorted(cuts, values), len(cuts) + 1), GAPS + 2)


def numbers(column: np.ndarray) -> Floats:
    """A numeric column as float64; dates as seconds, NaN where one is missing."""
    if column.dtype.kind not in "mM":
        return column.astype(float)
    kind = "datetime64[us]" if column.dtype.kind == "M" else "timedelta64[us]"
    return np.where(np.isnat(column), np.nan, column.astype(kind).astype(np.int64) / 1e6)


def ranks(values: Floats) -> Floats:
    """Ranks from -1 to 1, ties at their middle; 0 for what is missing or infinite."""
    known = np.isfinite(values)
    made = np.zeros(len(values))
    _, code, count = np.unique(values[known], return_inverse=True, return_counts=True)
    if len(count):
        middle = np.cumsum(count) - (count + 1) / 2
        made[known] = (2 * middle / max(1, known.sum() - 1) - 1)[code]
    return made


def codes_of(values: np.ndarray) -> Ints:
    """Each value's number among the distinct ones, as int64; entries that are None or NaN are one value."""
    given = np.asarray(values)
    if given.dtype.kind == "O":
        given = np.array(["" if v is None or v != v else f"{v}" for v in given.tolist()], dtype=str)
    return np.unique(given, return_inverse=True)[1].astype(np.int64).reshape(-1)


def is_numeric(column: np.ndarray) -> bool:
    """Whether a column holds numbers, truth values or dates, and not strings or objects."""
    return column.dtype.kind in "biufmM"


def indicators(codes: Ints, most: int = LEVELS) -> Floats:
    """One column for each of the commonest `most` codes and one for all others."""
    kinds, code, count = np.unique(codes, return_inverse=True, return_counts=True)
    place = np.empty(len(kinds), dtype=np.int64)
    place[np.argsort(-count, kind="stable")] = np.arange(len(kinds))
    place = np.minimum(place, most)
    return np.asarray(np.eye(int(place.max()) + 1)[place[code]])
