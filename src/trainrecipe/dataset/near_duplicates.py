"""Rows that are copies of one another, or nearly: pairs, the groups they form, and how alike unrelated rows are.

A pair must stand out twice. Absolutely, for pictures: alike as a re-encoded picture is to its original. And relatively, always:
so much nearer to each other than to what lies around them as does not happen by chance in data of as many dimensions. Windows
of a series, rows of few values and smooth curves are all alike, so their likeness is evidence of nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from trainrecipe.dataset.neighbours import nearest

Array = np.ndarray[Any, Any]
FLAT = 4.0
"""Standard deviation, in grey levels of 255, below which a thumbnail shows little but rounding: two roundings of one picture
this flat agree to 1 - 1/(12 * 4^2) = 0.995 at best, and all smooth shadings agree with each other."""
AROUND = 16
"""Neighbours that tell how far apart rows are in a place."""
MANY = 64
"""Neighbours looked at where the `AROUND` nearest are all copies."""
CHANCE = {"pictures": 0.01, "vectors": 0.001}
"""Share of chance pairs among the pairs that are told, Benjamini and Hochberg 1995. Vectors have no other test to pass."""
TINY = 0.1
"""Distance of a pair over the distance to the rows around, at most."""
UNRELATED = 0.9
"""Share of unrelated rows that must stay below the threshold; else the threshold is raised to where they do."""
RECALL = 0.8
"""Share of all neighbours to be found; of copies, being the nearest, practically all are: 2000 of 2000 at 0.78 measured."""
AXES = 64
"""Dimensions in which neighbours are looked for."""
COMMON = 0.02
"""Share of all rows that makes the value of a column a common one."""
CURVE = 2.0
"""Dimensions below which equal rows are no copies: as many values as there are rows do not fit on a curve."""
RESOLUTION = 1e-5
"""Distances, over the size of a row, that single precision holds apart."""
BLOCK = 2**23
"""Numbers in work at a time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows, a < b, each once, in ascending order: int64, int64 and float32, of one length."""

    a: Array
    b: Array
    similarity: Array

    def __len__(self) -> int:
        return len(self.a)

    @classmethod
    def none(cls) -> Pairs:
        """No pairs."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))

    @classmethod
    def of(cls, a: Array, b: Array, similarity: Array) -> Pairs:
        """Pairs in order, each once, from any order and direction."""
        low, high = np.minimum(a, b).astype(np.int64), np.maximum(a, b).astype(np.int64)
        order = np.lexsort((-similarity, high, low))
        low, high = low[order], high[order]
        first = np.ones(len(low), bool)
        first[1:] = (np.diff(low) != 0) | (np.diff(high) != 0)
        return cls(low[first], high[first], similarity[order][first].astype(np.float32))


def near_duplicates(
    rows: Array,
    *,
    threshold: float = 0.998,
    labels: Array | None = None,
    seed: int = 0,
    tell: Callable[[float], object] | None = None,
) -> Pairs:
    """Pairs of rows that are nearly copies: of grey thumbnails, uint8 (N, h, w), or of vectors of numbers (N, d).

        pairs = near_duplicates(thumbnails)      # 16 x 16
        labels = groups(pairs, len(thumbnails))

    Pictures are compared by the cosine of their pixels less their mean, and a pair reaches `threshold`; pictures flatter than
    `FLAT` are left out. The threshold was measured on 16 x 16 thumbnails: re-encoded, brightened and resized copies lie above
    it. Where labels are given and more than a tenth of all rows find a row of another label above it, it is raised. Columns of
    vectors are brought to one scale first, and a pair is at most `TINY` times as far apart as the rows around; the similarity
    told is 1 - that ratio. Rows with a NaN, an infinity or one value throughout are left out.

    All pairs must be unlikely by chance: among points spread evenly in D dimensions, a row has a neighbour r times as near as
    its K-th with probability 1 - (1 - r^D)^(K-1), and D is measured in the place, Levina and Bickel 2004. Pairs are accepted
    so that a share `CHANCE` of them is chance. Of clean tables made at random, 4 in 650 gave pairs, of clean smooth pictures 4
    in 225. Equal rows give a chain of pairs, unless equality is chance too, as in tables of few values.

    Not seen: crops, mirrored, turned and strongly retouched pictures; copies of flat pictures; more than `MANY` pictures, or
    `AROUND` / 4 vectors, that are near copies of one without being equal; near copies of vectors where most rows have one, of
    rows beside each other in data in order of time, of rows that lie on a curve or whose columns mostly have few values, and
    among fewer than `AROUND` vectors; copies that differ in one important column, such as a running number. Neighbouring
    frames of a film are taken for what they are, a film.
    """
    pictures, flat = rows.ndim == 3, rows.reshape(len(rows), math.prod(rows.shape[1:]))
    valid = _usable(flat, pictures)
    given = flat[valid]
    first, number = _distinct(given)
    if len(first) < len(valid) and _by_chance(given):
        return Pairs.none()
    part, near = (_centred if pictures else _scaled)(given[first]), Pairs.none()
    curved = np.zeros(len(first), bool)
    if len(first) > (1 if pictures else AROUND):
        found, distance = _around(part, pictures, seed, tell)
        dimensions = _dimensions(distance, found, everywhere=not pictures)
        unrelated = floor(part, np.asarray(labels)[valid[first]], seed=seed) if pictures and labels is not None else part[:0]
        least = max(threshold, float(np.quantile(unrelated, UNRELATED)) if len(unrelated) else threshold)
        curved = (dimensions < CURVE) & (len(first) > AROUND)
        near = _near(part, found, distance, dimensions, least if pictures else None, seed)
    order = np.argsort(number, kind="stable")
    same = np.flatnonzero((np.diff(number[order]) == 0) & ~curved[number[order[1:]]])
    a, b = np.append(order[same], first[near.a]), np.append(order[same + 1], first[near.b])
    return Pairs.of(valid[a], valid[b], np.append(np.ones(len(same)), near.similarity))


# ---- rows brought into a space where distance means something


def _blocks(flat: Array) -> Iterator[slice]:
    size = max(1, BLOCK // max(1, flat.shape[1]))
    return (slice(i, i + size) for i in range(0, len(flat), size))


def _usable(flat: Array, pictures: bool) -> Array:
    """The rows that are finite and not flat: one value throughout is an empty row, or silence."""
    good = np.zeros(len(flat), bool)
    for i in _blocks(flat):
        if pictures:
            good[i] = flat[i].std(1, dtype=np.float32) >= FLAT
        else:
            good[i] = np.isfinite(flat[i]).all(1) & ((flat[i] != flat[i][:, :1]).any(1) | (flat.shape[1] < 3))
    return np.flatnonzero(good)


def _centred(flat: Array) -> Array:
    """Unit rows of mean zero."""
    made = np.empty(flat.shape, np.float32)
    for i in _blocks(flat):
        made[i] = flat[i] - flat[i].mean(1, keepdims=True, dtype=np.float32)
        made[i] /= np.linalg.norm(made[i], axis=1, keepdims=True)
    return made


def _scaled(flat: Array) -> Array:
    """Columns about their medians, scaled as a normal column of deviation one by its middle half."""
    if not len(flat):
        return flat.astype(np.float32)
    some = flat[:: -(-len(flat) // 100_000)].astype(np.float64)
    least, low, middle, high, most = np.quantile(some, (0.01, 0.25, 0.5, 0.75, 0.99), axis=0)
    # Columns that are mostly one value have no middle half, or one of noise only; a tail alone must not set the scale.
    scale = np.max([(high - low) / 1.349, (most - least) / 20, some.std(0) / 3], axis=0)
    scale[scale == 0] = 1.0
    made = np.empty(flat.shape, np.float32)
    for i in _blocks(flat):
        made[i] = (flat[i] - middle) / scale
    return made


def _size(part: Array) -> float:
    """The length of a row, in the middle."""
    return float(np.median(np.linalg.norm(part, axis=1))) or 1.0


# ---- equal rows


def _distinct(flat: Array) -> tuple[Array, Array]:
    """The first row of each kind of equal rows, in order, and the number of each row's kind."""
    _, first, number = np.unique(_keys(flat), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.sort(first), rank[number.reshape(-1)]


def _keys(flat: Array) -> Array:
    """A 64-bit key per row, equal for equal rows."""
    weights = np.random.default_rng(0).integers(1, 2**63, flat.shape[1], np.uint64) | np.uint64(1)
    keys = np.empty(len(flat), np.uint64)
    for i in _blocks(flat):
        values = np.ascontiguousarray(flat[i])
        if values.dtype.kind == "f":
            values = (values + 0.0).view(f"u{values.dtype.itemsize}")  # -0.0 is 0.0
        values = values.astype(np.uint64)
        for _ in range(2):  # scattered, for a sum of nearby numbers is easily met by another
            values = (values ^ (values >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
        keys[i] = ((values ^ (values >> np.uint64(32))) * weights).sum(1, dtype=np.uint64)
    return keys


def _by_chance(flat: Array) -> bool:
    """Whether as many equal rows come about by chance, judged by the rows that are equal in part.

    If two rows that agree elsewhere agree in a block of columns as often as any two rows do, the equal pairs are to those
    that differ only there as c to 1 - c, with c the share of all pairs that agree in the block; copies are many more. One-hot
    columns change two at once, so the product of all c is asked too. And where more pairs agree in the first half and in the
    second half of their columns than in both, rows are made of parts that return, as words do in windows of a text.
    """
    equal, everywhere = _agreeing(_keys(flat)), len(flat) * (len(flat) - 1) / 2
    left, right = np.array_split(flat, 2, axis=1)
    if min(_agreeing(_keys(left)), _agreeing(_keys(right))) >= 2 * equal:
        return True
    blocks = [_keys(b) * np.uint64(2 * i + 3) for i, b in enumerate(np.array_split(flat, min(8, flat.shape[1]), axis=1))]
    whole = np.array(blocks).sum(0, dtype=np.uint64)
    apart = sum(_agreeing(whole - block) - equal for block in blocks)
    shares = np.clip([_agreeing(block) / everywhere for block in blocks], 1 / everywhere, 1 - 1e-9)
    expected = max(apart / float(((1 - shares) / shares).sum()), everywhere * float(shares.prod()))
    return equal < 4 * expected


def _agreeing(keys: Array) -> float:
    """Pairs with equal keys."""
    counts = np.unique(keys, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1) / 2).sum())


# ---- nearly equal rows


@dataclasses.dataclass(frozen=True, slots=True)
class _Places:
    """What lies around each row: the distance of its K-th neighbour, K, and the dimensions the rows spread in there."""

    scale: Array
    most: Array
    dimensions: Array

    def chance(self, rows: Array, distance: Array, most: Array) -> Array:
        """How likely a row has a neighbour at this distance by chance: 1 - (1 - r^D)^(K-1), with D at most `most`."""
        ratio = np.minimum(distance / np.maximum(self.scale[rows], 1e-300), 1.0)
        share = np.minimum(ratio ** np.minimum(self.dimensions[rows], most), 1 - 1e-16)
        return np.asarray(-np.expm1((self.most[rows] - 1) * np.log1p(-share)))


def _near(part: Array, found: Array, distance: Array, dimensions: Array, least: float | None, seed: int) -> Pairs:
    """The pairs too near to be chance, seen from both sides; among pictures, unit rows, also as alike as `least`."""
    places = _Places(distance.max(1), np.full(len(part), found.shape[1]), dimensions)
    close = distance <= (TINY * places.scale[:, None] if least is None else np.sqrt(max(0.0, 2 - 2 * least)))
    if least is None:
        close &= (close.sum(1) <= AROUND // 4)[:, None]  # more are a cluster
        beside = np.abs(found - np.arange(len(found))[:, None]) <= AROUND
        close &= ~(beside & (beside[:, 0].mean() > 0.5))  # rows in order of time, each like the next
    a, slot = np.nonzero(close)
    b, apart = found[a, slot], distance[a, slot]
    if least is not None and found.shape[1] == AROUND:
        more = _crowded(part, np.flatnonzero(close.all(1)), places, least, seed)
        a, b, apart = (np.append(*both) for both in zip((a, b, apart), more, strict=True))
    accepted = np.minimum(places.scale[a], places.scale[b]) > RESOLUTION * _size(part)
    if len(part) > AROUND:
        free = np.full(len(a), np.inf) if least is not None else _free(part, a, b)
        p = np.maximum(places.chance(a, apart, free), places.chance(b, apart, free))
        accepted &= p <= _limit(p, max(len(part), len(p)), CHANCE["vectors" if least is None else "pictures"])
    told = 1 - (apart**2 / 2 if least is not None else apart / np.maximum(places.scale[a], 1e-300))
    return Pairs.of(a[accepted], b[accepted], told[accepted])


def _crowded(part: Array, rows: Array, places: _Places, least: float, seed: int) -> tuple[Array, Array, Array]:
    """Pairs and distances of rows whose `AROUND` nearest are all copies; their place reaches to the `MANY`-th from now on."""
    if not len(rows):
        return rows, rows, np.empty(0)
    found = nearest(part, min(MANY, len(part) - 1) + 1, queries=part[rows], recall=RECALL, seed=seed).rows
    distance = np.where(found == rows[:, None], np.nan, _distances(part, rows, found))
    places.scale[rows], places.most[rows] = np.nanmax(distance, 1), found.shape[1] - 1
    a, slot = np.nonzero(distance**2 <= 2 - 2 * least)
    return rows[a], found[a, slot], distance[a, slot]


def _free(part: Array, a: Array, b: Array) -> Array:
    """The columns in which each pair does not share a value that many rows have, as zeros and limits of a range are: two rows
    that share all but one of those lie on a line."""
    free = np.zeros(len(a))
    some = part[:: -(-len(part) // 10_000)]
    for column, here, there in zip(np.sort(some, axis=0).T, part[a].T, part[b].T, strict=True):
        shared = np.searchsorted(column, here, "right") - np.searchsorted(column, here, "left")
        free += (here != there) | (shared <= COMMON * len(some))
    return free


def _around(part: Array, unit: bool, seed: int, tell: Callable[[float], object] | None) -> tuple[Array, Array]:
    """The `AROUND` nearest rows of each row by distance, and the distances.

    Twice as many candidates come from a search by angle in fewer dimensions; a further coordinate, large beside the rows, turns
    distances into angles. The true distance among the candidates sets right what this distorts.
    """
    most, space = min(AROUND, len(part) - 1), _principal(part)
    lifted = space if unit else np.append(space, np.full((len(part), 1), 3 * _size(part), np.float32), 1)
    found = nearest(lifted, min(2 * most, len(part) - 1), recall=RECALL, seed=seed, tell=tell).rows
    distance = _distances(part, np.arange(len(part)), found)
    order = np.argsort(distance, axis=1, kind="stable")[:, :most]
    return np.take_along_axis(found, order, 1), np.take_along_axis(distance, order, 1)


def _principal(part: Array) -> Array:
    """The rows along their principal axes, where they have many more numbers than that: copies stay where they are."""
    if not AXES < part.shape[1] <= len(part) // 4:
        return part
    some = part[:: -(-len(part) // 10_000)].astype(np.float64)
    axes = np.linalg.eigh(some.T @ some)[1][:, -AXES:].astype(np.float32)
    return np.concatenate([part[i] @ axes for i in _blocks(part)])


def _distances(part: Array, rows: Array, neighbours: Array) -> Array:
    """Distances in double precision: what is nearly equal is not told apart by a cosine in single precision."""
    distance = np.empty(neighbours.shape)
    size = max(1, BLOCK // (max(1, part.shape[1]) * neighbours.shape[1]))
    for i in range(0, len(rows), size):
        there, here = part[neighbours[i : i + size]].astype(float), part[rows[i : i + size]].astype(float)
        distance[i : i + size] = np.linalg.norm(there - here[:, None], axis=2)
    return np.where(neighbours < 0, np.nan, distance)


def _dimensions(distance: Array, neighbours: Array, *, everywhere: bool) -> Array:
    """How many dimensions the rows around each row spread in: the lesser of that of its place and that of all the data.

    From the outer half of the neighbours, which copies do not disturb: log(d_K / d_j) is (1/j + ... + 1/(K-1)) / D on average.
    `everywhere`: also by the nearest of all, whose r^D has the median 1 - 2^(-1/(K-1)). Where each row has a near one, as a
    window has the next window, this is the way of the data and no copying.
    """
    most = distance.shape[1]
    outer = np.arange(most // 2, most - 1)
    if len(outer) < 2:
        return np.ones(len(distance))
    expected = np.mean([sum(1 / i for i in range(j + 1, most)) for j in outer])
    ordered = np.maximum(np.sort(distance, axis=1), 1e-12)
    slope = np.log(ordered[:, -1:] / ordered[:, outer]).mean(1)
    around = (slope + slope[neighbours].sum(1)) / (1 + most)
    least = expected / np.maximum(np.maximum(around, slope.mean()), 1e-12)
    if everywhere:
        nearest_ = np.median(np.log(ordered[:, -1] / ordered[:, 0]))
        least = np.minimum(least, -math.log(1 - 0.5 ** (1 / (most - 1))) / max(nearest_, 1e-12))
    return np.asarray(least)


def _limit(p: Array, tests: int, share: float) -> float:
    """The largest p at which chance is this share of what is accepted; -1 if there is none."""
    ordered = np.sort(p)
    good = np.flatnonzero(ordered <= share * np.arange(1, len(p) + 1) / tests)
    return float(ordered[good[-1]]) if len(good) else -1.0


# ---- unrelated rows


def floor(vectors: Array, labels: Array | None = None, *, seed: int = 0) -> Array:
    """How alike unrelated rows are: for each of a thousand rows of (N, d), the cosine similarity of the nearest row of another
    label, or of the nearest row at all where no labels are given; ascending, float32. Empty where there is no other label.
    """
    unit = torch.nn.functional.normalize(torch.from_numpy(np.asarray(vectors, np.float32)), dim=1)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(unit))[:1000])
    kinds = np.arange(len(unit)) if labels is None else np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)
    best = torch.full((len(chosen),), -torch.inf)
    size = max(1, BLOCK // max(1, len(chosen)))
    for i in range(0, len(unit), size):
        alike = unit[chosen] @ unit[i : i + size].T
        alike[torch.from_numpy(kinds[chosen, None] == kinds[None, i : i + size])] = -torch.inf
        best = torch.maximum(best, alike.amax(1))
    return np.sort(best[torch.isfinite(best)].numpy())


# ---- groups


def groups(pairs: Pairs, n: int) -> Array:
    """The connected components of the pairs over n rows: int64 (n,), numbered from 0 by their first row, -1 for rows alone.

    Roots are hooked onto smaller ones and paths halved until nothing changes, Shiloach and Vishkin 1982: O(log n) passes.
    """
    parent = np.arange(n)
    while True:
        one, two = parent[pairs.a], parent[pairs.b]
        apart = one != two
        if not apart.any():
            break
        np.minimum.at(parent, np.maximum(one, two)[apart], np.minimum(one, two)[apart])
        while not np.array_equal(parent, above := parent[parent]):
            parent = above
    label = np.full(n, -1)
    members = np.unique(np.concatenate([pairs.a, pairs.b]))
    label[members] = np.unique(parent[members], return_inverse=True)[1].reshape(-1)
    return label
