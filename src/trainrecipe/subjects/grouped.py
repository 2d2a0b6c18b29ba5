"""Groups of examples, as of the persons they come from, that the script's variables name: whether a split was made row by row.

Groups are told by a key that some array holds one of for each row of an array with the examples, in which each group is one
run of rows, as persons and recordings are stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from trainrecipe.dataset.grouping import FEW, GroupLeak, group_leaks, standardised_units
from trainrecipe.dataset.shortcuts import Ints, codes_of
from trainrecipe.subjects import contents
from trainrecipe.subjects.contents import KNOWN, Table
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.stored_rows import StoredRows, stored_rows

EACH = 3.0
"""Rows that a group has on average, at least."""
SHARED = 0.9
"""Share of the evaluation rows whose group is trained on, from which the split takes no notice of groups."""
ABOUT = 0.5
"""How far the key tells the label, or the label the key, above what the commonest value does, from which they are related."""
CLASSES, LARGE = 20, 50
"""Fewer groups than `CLASSES`, or groups of more than `LARGE` rows, that tell the label: they may be finer classes."""
RANDOM = 0.7
"""Changes of side along the rows of a group, relative to a random split, below which it was cut into stretches, as by time."""
BREAK = 0.65
"""How often rows next to each other are more alike than those with a border of groups between them: 0.5 for a series that is
cut into days or batches. Persons give as much as for other pairs, of which `grouping.SAME_GROUP` is required."""
LAG = 3
"""Distance of rows next to each other, at most."""
NEAR = 25
"""Rows at each border of a large group that are compared."""
ROWS, COLUMNS, KEYS = 3000, 1024, 6
"""Rows, numbers per row, and keys that are compared, where there are more."""
DRAWS = 199


@dataclasses.dataclass(frozen=True, slots=True)
class Mixed:
    """A key whose groups lie on both sides: the test of it, and of the held-out rows with their nearest training row of the
    same label the share `nearest` that has it in the own group, with the share by `chance`."""

    leak: GroupLeak
    nearest: float
    chance: float


# ---- keys


def keys(data: Data, rows: StoredRows) -> dict[str, np.ndarray]:
    """Columns (total,) that may name groups of the rows: each group a run of them, unrelated to the labels or in many small
    groups, not fed to the model, and on both sides as in a random split of rows."""
    kept: dict[str, np.ndarray] = {}
    tried: set[bytes] = set()
    for name, column in contents.held_columns(data, rows.total):
        if len(kept) == KEYS:
            break
        codes = codes_of(column)
        borders = np.flatnonzero(codes[1:] != codes[:-1]).tobytes()
        if borders in tried or not _names_groups(codes):
            continue
        tried.add(borders)
        if _is_ignored(data, rows, codes):
            kept[name] = column
    return kept


def _names_groups(codes: Ints) -> bool:
    sizes, runs = np.bincount(codes), 1 + int((codes[1:] != codes[:-1]).sum())
    return len(sizes) == runs and int((sizes > 1).sum()) >= FEW and bool(sizes.mean() >= EACH)


def _is_ignored(data: Data, rows: StoredRows, codes: Ints) -> bool:
    """Whether neither the labels, nor the model's inputs, nor the split know of the groups."""
    key = codes[rows.places]
    is_label = _told(rows.labels, key) >= ABOUT  # or a coarser one
    if is_label or (_told(key, rows.labels) >= ABOUT and _may_be_classes(codes)):
        return False
    if not _row_by_row(rows.held_out, key) or _by_design(rows, codes):
        return False
    return not _identified(rows.vectors, key) and not _fed(data, rows, key)


def _told(by: Ints, what: Ints) -> float:
    """How far `by` tells `what`: 0 if no better than the commonest value, 1 if exactly (Goodman & Kruskal's lambda)."""
    pairs, counts = np.unique(by * (what.max() + 1) + what, return_counts=True)
    most = np.zeros(by.max() + 1)
    np.maximum.at(most, pairs // (what.max() + 1), counts)
    best = np.bincount(what).max() / len(by)
    return float((most.sum() / len(by) - best) / (1 - best)) if best < 1 else 0.0


def _may_be_classes(codes: Ints) -> bool:
    sizes = np.bincount(codes)
    return len(sizes) < CLASSES or float(np.median(sizes)) > LARGE


def _row_by_row(held_out: np.ndarray, key: Ints) -> bool:
    """Whether nearly all held-out rows have rows of their group in training, in no stretches of the order."""
    shared = np.isin(key[held_out], key[~held_out]).mean()
    within = key[1:] == key[:-1]
    share = held_out.mean()
    changes = (held_out[1:] != held_out[:-1])[within].mean() if within.any() else 0.0
    return bool(shared >= SHARED and changes >= RANDOM * 2 * share * (1 - share))


def _by_design(rows: StoredRows, codes: Ints) -> bool:
    """Whether the split takes the same number, or share, of rows out of each group, more evenly than at random."""
    sizes, held = np.bincount(codes), int(rows.held_out.sum())
    seen = np.bincount(codes[rows.places[rows.held_out]], minlength=len(sizes))
    chance = np.random.default_rng(0).multivariate_hypergeometric(sizes, held, size=DRAWS)
    expected = sizes * held / rows.total
    return _is_even(seen, chance) or _is_even((seen - expected) / sizes**0.5, (chance - expected) / sizes**0.5)


def _is_even(seen: np.ndarray, chance: np.ndarray) -> bool:
    """Whether numbers vary less than nearly all that were drawn at random."""
    return bool((chance.var(1) <= seen.var()).mean() < 0.01)


def _identified(values: np.ndarray, key: Ints) -> bool:
    """Whether columns that are constant in each group, as an identifier or its one-hot code, tell nearly all groups apart."""
    several = np.bincount(key)[key] > 1
    order = np.argsort(key[several], kind="stable")
    starts = np.unique(key[several][order], return_index=True)[1]
    if len(starts) < 2:
        return False
    ordered = values[several][order]
    constant = (np.minimum.reduceat(ordered, starts) == np.maximum.reduceat(ordered, starts)).all(0)
    return len(np.unique(ordered[starts][:, constant], axis=0)) >= KNOWN * len(starts) if constant.any() else False


def _fed(data: Data, rows: StoredRows, key: Ints) -> bool:
    """Whether another input, or a target, of any batch identifies the groups."""
    known = dict(zip(contents.hashes(torch.from_numpy(rows.vectors)), key.tolist(), strict=True))
    collected: dict[Any, tuple[list[np.ndarray], list[int]]] = {}
    for batch in data.fed:
        tensors = [*batch.inputs, *([] if batch.target is None else [batch.target])]
        given = [t.detach().cpu().float().reshape(len(t), -1) for t in tensors if t.ndim and len(t) == batch.rows and t.numel()]
        own = next((h for t in given if t.shape[1] == rows.vectors.shape[1] and (h := _keys_of(t, known))), None)
        for number, t in enumerate(given if own is not None else []):
            values, groups = collected.setdefault((batch.trains, number, t.shape[1]), ([], []))
            hit = [i for i, k in enumerate(own or []) if k is not None]
            values.append(t[hit].numpy())
            groups += [k for k in own or [] if k is not None]
    return any(_identified(np.concatenate(v), np.array(k)) for v, k in collected.values() if len(set(k)) > 1)


def _keys_of(tensor: torch.Tensor, known: dict[int, int]) -> list[int | None]:
    found = [known.get(h) for h in contents.hashes(tensor)]
    return found if any(k is not None for k in found) else []


# ---- whether it matters


def mixed(data: Data, train: Table, other: Table) -> tuple[int, Mixed | None]:
    """How many keys there are, and that whose groups are clearly alike across the split, with borders between them."""
    tried, best = 0, None
    lengths = {len(a) for _, a in contents.held_arrays(data)}
    totals = {n for n in lengths if any(_names_groups(codes_of(c)) for _, c in contents.held_columns(data, n))}
    for rows in stored_rows(data, train, other, totals):
        named = keys(data, rows)
        tried += len(named)
        for found in _tested(rows, named):
            if best is None or found.leak.alike > best.leak.alike:
                best = found
    return tried, best


def _tested(rows: StoredRows, named: dict[str, np.ndarray]) -> Iterator[Mixed]:
    for name, column in named.items():
        codes = codes_of(column)[rows.places]
        some = _some_groups(codes)
        x = rows.vectors[some][:, :: -(-rows.vectors.shape[1] // COLUMNS)]
        held, labels = rows.held_out[some], rows.labels[some]
        leaks = group_leaks(x, held, {name: column[rows.places[some]]}, labels=labels, permutations=DRAWS)
        units = standardised_units(x)
        if leaks and leaks[0].suspicious and leaks[0].p_value * len(named) <= 0.05 and _breaks(units, codes[some], labels):
            nearest, chance = _nearest(units, held, codes[some], labels)
            yield Mixed(dataclasses.replace(leaks[0], keys=int(codes.max()) + 1), nearest, chance)


def _some_groups(codes: Ints) -> Ints:
    """As many rows as there is room for: groups that follow each other, of large ones the rows near their borders."""
    starts = np.append(0, np.flatnonzero(codes[1:] != codes[:-1]) + 1)
    size = np.diff(np.append(starts, len(codes)))
    place, of = np.arange(len(codes)) - np.repeat(starts, size), np.repeat(size, size)
    return np.flatnonzero(np.minimum(place, of - 1 - place) < NEAR)[:ROWS]


def _breaks(units: np.ndarray, codes: Ints, labels: Ints) -> bool:
    """Whether likeness of rows next to each other ends at the borders of groups."""
    inside, across = _neighbours(units, codes, labels)
    if len(across) < FEW:  # the label changes with the group: rows are compared without what their label makes alike
        inside, across = _neighbours(_without(units, labels), codes, np.zeros_like(labels))
    if len(across) < FEW or not len(inside):
        return False
    above = 1 - (np.searchsorted(inside, across) + np.searchsorted(inside, across, side="right")) / (2 * len(inside))
    return bool(above.mean() >= BREAK)


def _neighbours(units: np.ndarray, codes: Ints, labels: Ints) -> tuple[np.ndarray, np.ndarray]:
    """The likeness of rows of one label near each other, in one group, sorted, and with a border between them."""
    inside: list[np.ndarray] = []
    across: list[np.ndarray] = []
    for lag in range(1, LAG + 1):
        likeness = (units[lag:] * units[:-lag]).sum(1)
        same, asked = codes[lag:] == codes[:-lag], labels[lag:] == labels[:-lag]
        inside.append(likeness[same & asked])
        across.append(likeness[~same & asked])
    return np.sort(np.concatenate(inside)), np.concatenate(across)


def _without(units: np.ndarray, labels: Ints) -> np.ndarray:
    """Rows less the mean of their label, of length 1 again."""
    kinds, of = np.unique(labels, return_inverse=True)
    means = np.stack([units[labels == kind].mean(0) for kind in kinds])
    rest = units - means[of]
    return np.asarray(rest / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-12))


def _nearest(units: np.ndarray, held: np.ndarray, codes: Ints, labels: Ints) -> tuple[float, float]:
    asked, known = np.flatnonzero(held), np.flatnonzero(~held)
    likeness = units[asked] @ units[known].T
    same = labels[asked][:, None] == labels[known]
    own = (codes[asked][:, None] == codes[known]) & same
    usable = own.any(1)
    best = np.where(same, likeness, -np.inf).argmax(1)
    hit = own[np.arange(len(asked)), best]
    chance = own.sum(1) / np.maximum(same.sum(1), 1)
    return float(hit[usable].mean()), float(chance[usable].mean())
