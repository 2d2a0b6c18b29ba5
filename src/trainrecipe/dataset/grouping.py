"""Order and groups: labels sorted along the index, a random split of a series, groups that lie on both sides of a split.

Each returns an effect with a permutation p-value; pairs of rows are only compared with pairs of the same label, as all rows of
a class resemble each other. Vectors are (N, d) numbers, compared by cosine similarity after standardising the columns.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainrecipe.dataset.shortcuts import Columns, Floats, Ints, codes_of, p_value

ASKED, ROWS = 500, 4000
"""Rows on the held-out side that are compared with rows on the other side, where there are more."""
STRETCHES, LONG = 10, 2000
"""Stretches of a long series in which neighbours are compared, and their rows."""
SAME_GROUP = 0.714
"""Proposed: rows that share a key are a group where a pair across the split is more alike than that share of pairs with other
keys. 0.5 is chance; 0.714 is a large effect (Cohen's d of 0.8; Cohen 1988). A column of the vectors themselves with two values,
such as sex, reaches 0.58; patients that differ as much as their scans do reach 0.9, half as much 0.71."""
ADJACENT = 0.3
"""Proposed: a split leaks in time where that share of held-out rows has its nearest training row beside it in the series. An
autoregressive series (0.9 per step) of six numbers reaches 0.39, a random walk 0.71; of scikit-learn's sets, whose rows are in
no order or sorted by class, wine reaches 0.17 and the others 0.12 or less."""
FEW = 10
"""Fewer keys than these are no groups but a category, all of whose values every split has to contain."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sorted:
    """How labels follow the index.

    `effect` is 1 where each label is one block, 0 for a random order, below 0 where labels alternate as in a balanced sampler:
    the share of equal neighbours above chance, (s - e) / (1 - e) (as in Cohen's kappa; a multi-class runs test), for numbers
    the correlation of neighbours. `blocks` counts the runs of equal labels. `p_value`: labels cluster by chance.
    """

    effect: float
    p_value: float
    blocks: int


@dataclasses.dataclass(frozen=True, slots=True)
class TimeLeak:
    """Whether a split is a random sample of a series.

    `alike`: share of random pairs with the same label that are less alike than rows next to each other in the order, 0.5 for
    rows in no order; `p_value` is of that under permutation. `mixed`: how many runs the split has along the order, relative to
    a random split: 1 for random, near 0 for blocks. `adjacent`: the share of held-out rows whose most similar training row is
    one of the two that lie next to it in the order, and `chance` the share expected for rows in no order. `reach`: the
    distance in the order at which rows are no longer alike. `blocks`: (first, last) positions in the order of a leak-free
    training part, with a gap of `reach` between them, and held-out part as large as it is now.
    """

    alike: float
    p_value: float
    mixed: float
    adjacent: float
    chance: float
    reach: int
    blocks: tuple[tuple[int, int], tuple[int, int]]

    @property
    def suspicious(self) -> bool:
        """Proposed rule: an ordered series, cut at random, whose held-out rows mostly are neighbours of training rows."""
        return self.p_value <= 0.01 and self.mixed > 0.5 and self.adjacent >= max(ADJACENT, 3 * self.chance)


@dataclasses.dataclass(frozen=True, slots=True)
class GroupLeak:
    """Whether rows that share a key lie on both sides of a split and resemble each other.

    `keys`: how many there are; `shared`: the share of held-out rows whose key also occurs in training; `alike`: the share of
    pairs across the split with other keys, and the same label, that are less alike than a pair with the same key; 0.5 where
    the key means nothing. `p_value`: keys exchanged among training rows of a label. `pairs` is the number of such pairs.
    `leaking` are the keys on both sides (at most 20), which a leak-free split keeps together.
    """

    key: str
    keys: int
    shared: float
    alike: float
    p_value: float
    pairs: int
    leaking: tuple[Any, ...]

    @property
    def suspicious(self) -> bool:
        """Proposed rule: enough keys to be groups, and pairs across the split that are clearly more alike than by chance."""
        return self.keys >= FEW and self.p_value <= 0.01 and self.alike >= SAME_GROUP


def sorted_labels(labels: Sequence[Any] | np.ndarray, *, permutations: int = 199, seed: int = 0) -> Sorted | None:
    """Whether neighbours along the index have equal labels more often than by chance; None for one label or under 3 rows.

    >>> sorted_labels([0] * 50 + [1] * 50).effect > 0.9
    True
    """
    given = np.asarray(labels)
    codes = codes_of(given)
    if len(codes) < 3 or codes.max() == 0:
        return None
    numeric = given.dtype.kind == "f" and codes.max() >= 20
    values = np.where(np.isfinite(given), given, given[np.isfinite(given)].mean()) if numeric else codes
    rng, tried = np.random.default_rng(seed), values[_stretches(len(values))]
    null = np.array([_neighbourly(rng.permutation(tried), numeric) for _ in range(permutations)])
    share = np.bincount(codes) / len(codes)
    chance = 0.0 if numeric else float((share * (share * len(codes) - 1)).sum() / (len(codes) - 1))
    effect = (_neighbourly(values, numeric) - chance) / max(1 - chance, 1e-12)
    return Sorted(effect, p_value(_neighbourly(tried, numeric), null), int((np.diff(codes) != 0).sum()) + 1)


def time_leak(
    vectors: np.ndarray,
    held_out: np.ndarray,
    *,
    position: np.ndarray | None = None,
    labels: Sequence[Any] | np.ndarray | None = None,
    permutations: int = 199,
    seed: int = 0,
) -> TimeLeak | None:
    """Whether held-out rows (True in `held_out` (N,)) are a random sample of a series in the order of `position` (the index).

    None where a side has fewer than 10 rows. Classes in sorted folders are no series (pairs have the same label), nor are
    periodic data, whose most similar rows lie a period away. Rows next to each other that are alike for another reason than
    time, such as crops of one picture, are found as well and leak just so. Raises ValueError where lengths differ.
    """
    held = np.asarray(held_out, dtype=bool)
    _same_length(len(vectors), {"held_out": held, "position": position, "labels": labels})
    if min(held.sum(), (~held).sum()) < 10:
        return None
    order = np.arange(len(held)) if position is None else np.argsort(position, kind="stable")
    held, x = held[order], standardised_units(vectors)[order]
    codes = np.zeros(len(held), dtype=np.int64) if labels is None else codes_of(np.asarray(labels))[order]
    rng = np.random.default_rng(seed)
    kept = _stretches(len(x))
    alike, p = _continuity(x[kept], codes[kept], permutations, rng)
    runs = 1 + int((held[1:] != held[:-1]).sum())
    expected = 1 + 2 * held.sum() * (~held).sum() / len(held)  # Wald & Wolfowitz 1940
    adjacent, chance = _adjacent(x, held, codes, rng)
    reach = _reach(x[kept], codes[kept], rng) if p <= 0.01 else 0
    start = int((~held).sum())
    blocks = ((0, max(0, start - reach - 1)), (start, len(held) - 1))
    return TimeLeak(alike, p, float(runs / expected), adjacent, chance, reach, blocks)


def group_leaks(
    vectors: np.ndarray,
    held_out: np.ndarray,
    keys: Columns,
    *,
    labels: Sequence[Any] | np.ndarray | None = None,
    permutations: int = 199,
    seed: int = 0,
) -> tuple[GroupLeak, ...]:
    """Test candidate group keys (name to array (N,)), the most alike first; p-values are not corrected for their number.

    Left out are keys without a pair across the split, and keys that are the label: then no pair with the same label has
    another key. Groups that a key cuts finer than they are, or lumps together, are found weaker. Folders of a finer class
    (breeds below "dog") are alike as patients are, and only a person can tell them apart. Raises ValueError where lengths
    differ.
    """
    held = np.asarray(held_out, dtype=bool)
    _same_length(len(vectors), {**keys, "held_out": held, "labels": labels})
    codes = np.zeros(len(held), dtype=np.int64) if labels is None else codes_of(np.asarray(labels))
    if min(held.sum(), (~held).sum()) < 10:
        return ()
    found = [_group_leak(n, np.asarray(c), vectors, held, codes, permutations, seed) for n, c in keys.items()]
    return tuple(sorted((f for f in found if f is not None), key=lambda f: -f.alike))


def _group_leak(
    name: str, column: np.ndarray, vectors: np.ndarray, held: np.ndarray, codes: Ints, permutations: int, seed: int
) -> GroupLeak | None:
    rng, key = np.random.default_rng(seed), codes_of(column)
    both = np.intersect1d(key[held], key[~held])
    shared = np.isin(key, both)
    # Rows are picked by key and side only, never by vector: keys stay exchangeable where they mean nothing.
    asked = _sample(np.flatnonzero(held & shared), ASKED, rng)
    partners = _sample(np.flatnonzero(~held & np.isin(key, key[asked])), ROWS // 2, rng)
    known = np.union1d(partners, _sample(np.flatnonzero(~held), ROWS // 2, rng))
    x = standardised_units(np.asarray(vectors)[np.concatenate([asked, known])])
    likeness = _percentiles(x[: len(asked)] @ x[len(asked) :].T, codes[asked], codes[known], rng)
    alike = _pairs(likeness, key[asked], key[known], codes[asked], codes[known])
    if alike is None:
        return None
    exchanges = (_exchanged(codes[known], rng) for _ in range(permutations))
    chance = [_pairs(likeness, key[asked], key[known][e], codes[asked], codes[known]) for e in exchanges]
    null = np.array([c[0] for c in chance if c is not None])
    leaking = tuple(column[np.unique(key, return_index=True)[1][both[:20]]].tolist())
    share = float(shared[held].mean())
    return GroupLeak(name, int(key.max()) + 1, share, alike[0], p_value(alike[0], null), alike[1], leaking)


def candidate_keys(columns: Columns, paths: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Columns that may be group keys: repeated values, between 2 and half as many as rows; and parts of the paths.

    Of a path each folder, counted from the file, and the name up to its last number, `-` or `_`: "scans/p7/slice_03.png"
    gives "scans/p7", "scans" and "scans/p7/slice".
    """
    candidates = dict(columns)
    if paths:
        split = [re.split(r"[/\\]+", p) for p in paths]
        for depth in range(1, max(map(len, split))):
            candidates[f"folder {depth} up"] = np.array(["/".join(s[:-depth]) for s in split])
        candidates["name without number"] = np.array([re.sub(r"[-_. ]*\d*(\.\w+)?$", "", p) for p in paths])
    kept, seen = {}, set()
    for name, column in candidates.items():
        codes = codes_of(np.asarray(column))
        kind = codes.tobytes()
        if 2 <= len(np.unique(codes)) <= len(codes) / 2 and kind not in seen and not _continuous(np.asarray(column)):
            kept[name] = np.asarray(column)
            seen.add(kind)
    return kept


def _continuous(column: np.ndarray) -> bool:
    """Whether a column holds fractions: a measurement that repeats by rounding, not a key."""
    return column.dtype.kind == "f" and bool((np.nan_to_num(column) % 1 != 0).any())


def _same_length(rows: int, given: Mapping[str, Any]) -> None:
    for name, values in given.items():
        if values is not None and len(values) != rows:
            raise ValueError(f"{name} has {len(values)} rows, the vectors have {rows}")


def standardised_units(vectors: np.ndarray) -> Floats:
    """Standardised columns, then rows of length 1; what is not finite counts as the mean."""
    x = np.asarray(vectors, dtype=np.float32).reshape(len(vectors), math.prod(vectors.shape[1:]))
    x = np.where(np.isfinite(x), x, np.nan)
    known = ~np.isnan(x)
    count = np.maximum(known.sum(0), 1)
    x = np.where(known, x - np.where(known, x, 0.0).sum(0) / count, 0.0)
    x = x / np.maximum(np.sqrt((x**2).sum(0) / count), 1e-12)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def _sample(rows: Ints, most: int, rng: np.random.Generator) -> Ints:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _neighbourly(values: np.ndarray, numeric: bool) -> float:
    if numeric:
        centred = values - values.mean()
        return float((centred[1:] * centred[:-1]).sum() / max((centred**2).sum(), 1e-300))
    return float((values[1:] == values[:-1]).mean())


def _exchanged(codes: Ints, rng: np.random.Generator) -> Ints:
    """An order of rows that exchanges them within each label only."""
    made = np.empty(len(codes), dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    made[order] = np.lexsort((rng.random(len(codes)), codes))
    return made


def _stretches(rows: int) -> Ints:
    """All rows of a short series, stretches at equal distances of a long one; their few seams do not count."""
    if rows <= STRETCHES * LONG:
        return np.arange(rows)
    return np.concatenate([np.arange(s, s + LONG) for s in np.linspace(0, rows - LONG, STRETCHES).astype(np.int64)])


def _lagged(x: Floats, codes: Ints, lag: int) -> Floats:
    same = codes[lag:] == codes[:-lag]
    return np.asarray((x[lag:][same] * x[:-lag][same]).sum(1))


def _continuity(x: Floats, codes: Ints, permutations: int, rng: np.random.Generator) -> tuple[float, float]:
    """How much more alike rows next to each other are than random ones of a label, and its p-value."""
    seen = _lagged(x, codes, 1)
    orders = [_exchanged(codes, rng) for _ in range(permutations)]
    chance = [_lagged(x[order], codes, 1) for order in orders]
    if not len(seen):
        return 0.5, 1.0
    pool = np.sort(np.concatenate(chance[:20]))
    alike = (np.searchsorted(pool, seen) + np.searchsorted(pool, seen, side="right")).mean() / (2 * len(pool))
    return float(alike), p_value(float(seen.mean()), np.array([c.mean() for c in chance]))


def _adjacent(x: Floats, held: np.ndarray, codes: Ints, rng: np.random.Generator) -> tuple[float, float]:
    """The share of held-out rows whose most similar training row of the label is next to them, and what chance gives."""
    train = np.flatnonzero(~held)
    asked, others = _sample(np.flatnonzero(held), ASKED, rng), _sample(train, STRETCHES * LONG, rng)
    hits, chance = [], []
    for row in asked:
        after = int(np.searchsorted(train, row))
        beside = train[max(0, after - 1) : after + 1]
        rivals = np.union1d(others, beside) if len(others) < len(train) else train
        rivals = rivals[codes[rivals] == codes[row]]
        if len(rivals) > 2:
            best = rivals[(x[rivals] @ x[row]).argmax()]
            hits.append(best in beside)
            chance.append((codes[beside] == codes[row]).sum() / len(rivals))
    return (float(np.mean(hits)), float(np.mean(chance))) if hits else (0.0, 0.0)


def _reach(x: Floats, codes: Ints, rng: np.random.Generator) -> int:
    """The first lag, among powers of two, at which rows are no more alike than 95 % of random orders; at most a quarter."""
    lag = 1
    while lag < len(x) // 4:
        order = [_exchanged(codes, rng) for _ in range(19)]
        if not len(seen := _lagged(x, codes, lag)) or seen.mean() <= max(_lagged(x[o], codes, lag).mean() for o in order):
            break
        lag *= 2
    return lag


def _percentiles(likeness: Floats, asked: Ints, known: Ints, rng: np.random.Generator) -> Floats:
    """For each held-out row, the rank from 0 to 1 of each training row of its label by similarity; NaN for other labels.

    Ties are broken at random, not by the index, which a key may follow.
    """
    made, drawn = np.where(asked[:, None] == known, likeness, -np.inf), rng.permutation(len(known))
    order = np.empty(made.shape)
    order[:, drawn] = made[:, drawn].argsort(1, kind="stable").argsort(1, kind="stable")
    others = (asked[:, None] != known).sum(1, keepdims=True)
    rivals = np.maximum(len(known) - others - 1, 1)
    return np.where(asked[:, None] == known, (order - others) / rivals, np.nan)


def _pairs(likeness: Floats, asked: Ints, known: Ints, labels: Ints, others: Ints) -> tuple[float, int] | None:
    """The mean rank of pairs with the same key among all of the label, and their number; None where there are none, or none
    with another key. The mean over held-out rows, so that a large group does not outvote the rest."""
    same_label = labels[:, None] == others
    same = (asked[:, None] == known) & same_label
    count, total = same.sum(1), same_label.sum(1)
    use = (count > 0) & (count < total)
    if not use.any():
        return None
    mine = np.where(same, likeness, 0.0).sum(1)[use] / count[use]
    return float(mine.mean()), int(count[use].sum())
