"""Examples in the order in which an array of the script's holds them, also where their columns were scaled on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Container

import numpy as np
import torch

from trainrecipe.dataset.shortcuts import Ints, codes_of
from trainrecipe.subjects import contents
from trainrecipe.subjects.contents import KNOWN, Table
from trainrecipe.subjects.data import Data

FOLDS = 0.02
"""Share of the evaluation rows that are trained on as well, above which they are those of another fold's net."""
REPEATED = 3.0
"""Rows per value of the target, on average, from which its values are classes; else it counts by tenths."""
COLUMNS, PAIRS = 64, 4e7
"""Columns by which scaled rows are recognised, and pairs of rows that are compared for that, at most."""
LEAST = 4
"""Columns by which they are, at least."""
ROUNDS, EXACT = 3, 1e-3
"""Rounds in which the scale is fitted, and the deviation, in standard deviations of a column, that rounding may leave."""


@dataclasses.dataclass(frozen=True, slots=True)
class StoredRows:
    """Examples of two splits in the order of an array.

    `total` rows the array has; `places` (n,) are the known ones, ascending, `held_out` (n,) those of the evaluation,
    `vectors` (n, d) what is fed, `labels` (n,) their class, or their tenth of the target's values.
    """

    total: int
    places: Ints
    held_out: np.ndarray
    vectors: np.ndarray
    labels: Ints


def stored_rows(data: Data, train: Table, other: Table, totals: Container[int]) -> list[StoredRows]:
    """The examples of both tables as each array, of `totals` rows, orders them that holds nearly all of them."""
    hashes = [contents.hashes(t.x) for t in (train, other)]
    if len(set(hashes[0]) & set(hashes[1])) > FOLDS * other.rows:
        return []
    fed = torch.cat([t.x.reshape(t.rows, -1) for t in (train, other)])
    held_out = np.arange(len(fed)) >= train.rows
    seen = [np.full(t.rows, np.nan) if t.y is None else t.y.numpy() for t in (train, other)]
    found: dict[bytes, StoredRows] = {}
    for _, array in contents.held_arrays(data):
        if len(array) not in totals or len(array) < KNOWN * len(fed) or array[0].numel() != fed.shape[1]:
            continue
        place = _equal(array, [*hashes[0], *hashes[1]], fed.dtype)
        place = _rescaled(array, fed) if place is None else place
        kept = np.flatnonzero(place >= 0) if place is not None else np.zeros(0, dtype=np.int64)
        if place is None or len(np.unique(place[kept])) < KNOWN * len(fed):
            continue
        kept = kept[np.unique(place[kept], return_index=True)[1]]
        y = _targets(data, len(array), place[kept], np.concatenate(seen)[kept])
        if y is not None:
            vectors = fed[torch.from_numpy(kept)].float().numpy()
            made = StoredRows(len(array), place[kept], held_out[kept], vectors, _classes(y))
            found.setdefault(made.places.tobytes() + made.held_out.tobytes(), made)
    return list(found.values())


def _equal(array: torch.Tensor, fed: list[int], dtype: torch.dtype) -> Ints | None:
    """Where each fed row lies in the array, -1 for nowhere; None where few do."""
    first: dict[int, int] = {}
    for i, h in enumerate(contents.hashes(array.to(dtype))):
        first.setdefault(h, i)
    place = np.array([first.get(h, -1) for h in fed])
    return place if (place >= 0).mean() >= KNOWN else None


def _rescaled(array: torch.Tensor, fed: torch.Tensor) -> Ints | None:
    """Where each fed row lies in the array, -1 for nowhere, if an offset and a factor per column were applied since.

    They are first taken from means and standard deviations, then fitted to the rows that are nearest with them.
    """
    a, b = (t.reshape(len(t), -1).double().numpy() for t in (array, fed))
    usable = np.isfinite(a).all() and np.isfinite(b).all() and len(a) * len(b) <= PAIRS
    alive = np.flatnonzero((a.std(0) > 0) & (b.std(0) > 0)) if usable else np.zeros(0, dtype=np.int64)
    if len(alive) < LEAST:
        return None
    columns = alive[:: -(-len(alive) // COLUMNS)]
    a, b = ((v - v.mean(0)) / v.std(0) for v in (a[:, columns], b[:, columns]))
    now = b
    for _ in range(ROUNDS):
        place = _nearest(a, now)
        x = a[place] - a[place].mean(0)
        slope = (x * b).sum(0) / np.maximum((x**2).sum(0), 1e-12)
        now = (b - b.mean(0)) / np.where(slope > 0, slope, np.inf) + a[place].mean(0)
    return np.where(np.abs(now - a[place]).max(1) <= EXACT, place, -1)


def _nearest(a: np.ndarray, b: np.ndarray) -> Ints:
    norms = (a**2).sum(1)
    parts = [(norms - 2 * part @ a.T).argmin(1) for part in np.array_split(b, -(-len(b) // 512))]
    return np.concatenate(parts).astype(np.int64)


def _targets(data: Data, total: int, places: Ints, seen: np.ndarray) -> np.ndarray | None:
    """One number per row as seen, NaN for none, else that of the array that holds those that were seen."""
    told = ~np.isnan(seen)
    if told.all() or not told.any():
        return seen if told.all() else None
    columns = (a.reshape(-1).double().numpy() for _, a in contents.held_arrays(data) if a.numel() == len(a) == total)
    return next((c[places] for c in columns if np.allclose(c[places][told], seen[told], rtol=1e-5, atol=1e-8)), None)


def _classes(y: np.ndarray) -> Ints:
    """Numbers of the labels; of measurements, which hardly repeat, the tenth that they lie in."""
    codes = codes_of(y)
    return codes if len(codes) >= REPEATED * (codes.max() + 1) else np.argsort(np.argsort(y)) * 10 // len(y)
