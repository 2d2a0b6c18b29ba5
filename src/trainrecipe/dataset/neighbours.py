"""Nearest neighbours of every row by cosine similarity: exact for few rows, within spherical k-means cells for millions.

One search serves both: every query looks into some cells, each cell answers all its queries with one matrix product, and an
exact search is the case of a single cell. How many cells a query needs is measured, not assumed: the exact neighbours of some
queries are found first, and as many cells are opened as hold the wanted share of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

EXACT = {"cpu": 16_384, "cuda": 262_144}
"""Rows up to which comparing all with all is the quicker way, on a CPU core and on a GPU."""
FEWEST, MOST = 4, 32
"""Cells opened per query, at least and at most."""
JUDGED = 256
"""Queries whose exact neighbours tell how many cells to open."""
MARGIN = 0.004
"""Share of neighbours aimed at above the wanted one: two standard errors of what `JUDGED` queries tell."""
NUMBERS = 2**22
"""Numbers of the rows in work at a time."""
PRODUCTS = 2**23
"""Similarities held at a time."""
SAMPLE = 32
"""Rows per cell that k-means sees."""
LARGE = 3
"""A cell with this many times the mean number of rows is split."""

Vectors = torch.Tensor | np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest rows of each query, nearest first: their numbers, int64 (M, k), and similarities, float32 (M, k), with -1 and
    -inf where there are fewer than k. `recall`: the share of true neighbours found, measured on a sample; 1 where exact."""

    rows: np.ndarray[Any, np.dtype[np.int64]]
    similarities: np.ndarray[Any, np.dtype[np.float32]]
    recall: float = 1.0


def nearest(
    vectors: Vectors,
    k: int,
    *,
    queries: Vectors | None = None,
    recall: float = 0.99,
    seed: int = 0,
    tell: Callable[[float], object] | None = None,
) -> Nearest:
    """The k rows of `vectors` most alike to each of `queries`, by cosine similarity; for every row itself if none are given.

        found = nearest(features, 10)
        found.rows[0], found.similarities[0]

    `vectors` is (N, d), a tensor on any device or an array of real numbers, a `np.memmap` included; it is read by blocks and
    never copied. `queries` is (M, d) on the same device. A row is not its own neighbour, but its copies are. Rows with a NaN or
    an infinity, and rows of zeros, have no direction: they are nobody's neighbour and have none.

    `recall` is the share of true neighbours wanted. It is aimed at, and the share reached is measured and returned: data
    without any structure in many dimensions would need more than the `MOST` cells that are opened. Memory beyond the result,
    12 k bytes per query, is about 40 bytes per row and 0.3 GB of blocks. Time grows like N^1.5. Torch's own number of threads
    is used: on a machine with other work to do, one thread is quicker than several that wait for each other.
    `tell` is called with the share of the work that is done.

    Raises ValueError for a k below 1 or arrays that do not match. The cells are those of the inverted file index, Sivic and
    Zisserman 2003, "Video Google"; the means are spherical, Dhillon and Modha 2001.
    """
    index = _Unit(vectors)
    asked = index if queries is None else _Unit(queries)
    if k < 1 or index.width != asked.width:
        raise ValueError(f"nearest() needs k >= 1 and queries as wide as the rows; k={k}, {index.shape} and {asked.shape}")
    copies = _Copies(index, k)
    result = Nearest(np.full((len(asked), k), -1), np.full((len(asked), k), -np.inf, np.float32))
    if queries is None:
        copies.settle(result)
        waiting = copies.unsettled
    else:
        waiting = _valid(asked)
    if not len(waiting) or not len(copies.kept):
        return result
    draw = np.random.default_rng(seed)
    if len(copies.kept) <= EXACT.get(index.device.type, EXACT["cuda"]):
        cells, reached = _Cells.single(index, copies.kept), 1.0
        opened = 1
    else:
        cells = _Cells.clustered(index, copies.kept, draw)
        opened, reached = _openings(cells, asked, np.sort(draw.permutation(waiting)[:JUDGED]), k, recall, queries is None)
        waiting = waiting[np.argsort(cells.of[waiting], kind="stable")] if queries is None else waiting
    for start in range(0, len(waiting), asked.block):
        ids = waiting[start : start + asked.block]
        values, rows = _search(cells, asked, ids, opened, k, queries is None)
        result.similarities[ids], result.rows[ids] = values, np.where(np.isfinite(values), rows, -1)
        if tell is not None:
            tell(min(1.0, (start + asked.block) / len(waiting)))
    return dataclasses.replace(result, recall=reached)


class _Unit:
    """Rows of a tensor or an array, given as unit vectors in float32; rows without a direction as zeros."""

    def __init__(self, vectors: Vectors) -> None:
        if vectors.ndim != 2:
            raise ValueError(f"nearest() takes vectors of shape (rows, numbers), not {tuple(vectors.shape)}")
        self.vectors = vectors
        self.shape = tuple(vectors.shape)
        self.width = int(vectors.shape[1])
        self.block = max(1024, NUMBERS // max(1, self.width))
        self.device = vectors.device if isinstance(vectors, torch.Tensor) else torch.device("cpu")

    def __len__(self) -> int:
        return int(self.shape[0])

    def __call__(self, ids: np.ndarray[Any, Any] | slice) -> torch.Tensor:
        if isinstance(self.vectors, torch.Tensor):
            rows = self.vectors[ids if isinstance(ids, slice) else torch.from_numpy(ids).to(self.device)].float()
        else:
            rows = torch.from_numpy(np.array(self.vectors[ids], np.float32))
        largest = rows.abs().amax(1, keepdim=True) if self.width else rows.new_zeros(len(rows), 1)
        rows = rows / torch.where(torch.isfinite(largest) & (largest > 0), largest, torch.inf)  # squares must not overflow
        rows = torch.where(torch.isfinite(largest), rows, 0.0)
        unit: torch.Tensor = rows / rows.norm(dim=1, keepdim=True).clamp(
            min=1.0
        )  # the largest number is one, or the row is none
        return unit


def _valid(index: _Unit) -> np.ndarray[Any, Any]:
    """The rows that have a direction."""
    blocks = (slice(i, i + index.block) for i in range(0, len(index), index.block))
    return np.flatnonzero(np.concatenate([np.empty(0, bool), *((index(b) != 0).any(1).cpu().numpy() for b in blocks)]))


class _Copies:
    """Rows that agree to 2^-20 in every coordinate, so that their similarity is one in float32.

    Where more than k rows are alike they are each other's neighbours without a search, and k + 1 of them are kept to be found
    by others: a storm of copies costs no more than a sort.
    """

    def __init__(self, index: _Unit, k: int) -> None:
        self.k = k
        valid = _valid(index)
        keys = self._keys(index)[valid]
        order = np.argsort(keys, kind="stable")
        self.sorted = valid[order]
        starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order][:1] + np.uint64(1)) != 0)
        sizes = np.diff(starts, append=len(order))
        self.start, self.size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
        rank = np.arange(len(order)) - self.start
        self.kept = np.sort(self.sorted[rank <= k])
        self.unsettled = np.sort(self.sorted[self.size <= k])

    @staticmethod
    def _keys(index: _Unit) -> np.ndarray[Any, Any]:
        weights = np.random.default_rng(0).integers(1, 2**63, index.width, np.int64) | 1
        keys = np.empty(len(index), np.uint64)
        with np.errstate(over="ignore"):
            for i in range(0, len(index), index.block):
                grid = (index(slice(i, i + index.block)) * 2**20).round().cpu().numpy().astype(np.int64)
                keys[i : i + index.block] = (grid * weights).sum(1).view(np.uint64)
        return keys ^ (keys >> np.uint64(29))

    def settle(self, result: Nearest) -> None:
        """Give rows with k copies and more the next k of them, in a ring."""
        many = np.flatnonzero(self.size > self.k)
        for step in range(1, self.k + 1):
            start, size = self.start[many], self.size[many]
            result.rows[self.sorted[many], step - 1] = self.sorted[start + (many - start + step) % size]
        result.similarities[self.sorted[many]] = 1.0


@dataclasses.dataclass(slots=True)
class _Cells:
    """Rows sorted by cell: those of cell c are `order[starts[c] : starts[c + 1]]`, in ascending order; `of[row]` is its cell,
    or -1, and `centres[c]` a unit vector."""

    index: _Unit
    centres: torch.Tensor
    order: np.ndarray[Any, Any]
    starts: np.ndarray[Any, Any]
    of: np.ndarray[Any, Any]

    @classmethod
    def single(cls, index: _Unit, rows: np.ndarray[Any, Any]) -> _Cells:
        """All rows in one cell."""
        return cls._sorted(index, rows, np.zeros(len(rows), np.int64), torch.zeros(1, index.width, device=index.device))

    @classmethod
    def clustered(cls, index: _Unit, rows: np.ndarray[Any, Any], draw: np.random.Generator) -> _Cells:
        """About sqrt(N) cells by spherical k-means on a sample; cells that are too large are split by more means within."""
        mean = math.sqrt(len(rows))
        centres = _means(index, rows, round(len(rows) / mean), draw)
        cell = _assigned(index, rows, centres)
        for _ in range(3):
            sizes = np.bincount(cell, minlength=len(centres))
            large = np.flatnonzero(sizes > LARGE * mean)
            if not len(large):
                break
            parts = [_means(index, rows[cell == c], math.ceil(sizes[c] / mean), draw) for c in large]
            keep = torch.from_numpy(np.delete(np.arange(len(centres)), large)).to(index.device)
            centres = torch.cat([centres[keep], *parts])
            cell = _assigned(index, rows, centres)
        return cls._sorted(index, rows, *_capped(cell, centres, 2 * LARGE * int(mean)))

    @classmethod
    def _sorted(cls, index: _Unit, rows: np.ndarray[Any, Any], cell: np.ndarray[Any, Any], centres: torch.Tensor) -> _Cells:
        of = np.full(len(index), -1)
        of[rows] = cell
        starts = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=len(centres)))])
        return cls(index, centres, rows[np.argsort(cell, kind="stable")], starts, of)


def _means(index: _Unit, rows: np.ndarray[Any, Any], count: int, draw: np.random.Generator) -> torch.Tensor:
    """Directions of `count` spherical means of a sample of rows."""
    sample = index(np.sort(draw.permutation(rows)[: SAMPLE * count]))
    centres = sample[torch.from_numpy(draw.permutation(len(sample))[:count]).to(sample.device)]
    for _ in range(5):
        own = torch.cat([(part @ centres.T).argmax(1) for part in torch.split(sample, max(1, PRODUCTS // len(centres)))])
        # Summed on the CPU, where the order of the summands, and so the last bit, is always the same.
        sums = torch.zeros(centres.shape).index_add_(0, own.cpu(), sample.cpu()).to(sample.device)
        length = sums.norm(dim=1, keepdim=True)
        centres = torch.where(length > 0, sums / length.clamp(min=1e-12), centres)
    return centres


def _assigned(index: _Unit, rows: np.ndarray[Any, Any], centres: torch.Tensor) -> np.ndarray[Any, Any]:
    """The nearest centre of each row."""
    size = max(1, PRODUCTS // len(centres))
    blocks = (index(rows[i : i + size]) for i in range(0, len(rows), size))
    return np.concatenate([(block @ centres.T).argmax(1).cpu().numpy() for block in blocks])


def _capped(cell: np.ndarray[Any, Any], centres: torch.Tensor, most: int) -> tuple[np.ndarray[Any, Any], torch.Tensor]:
    """Cells of at most `most` rows: what k-means cannot part, rows alike to the last bits, is cut in the order given."""
    order = np.argsort(cell, kind="stable")
    sizes = np.bincount(cell, minlength=len(centres))
    rank = np.empty(len(cell), np.int64)
    rank[order] = np.arange(len(cell)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    pieces = np.maximum(1, -(-sizes // most))
    first = np.cumsum(pieces) - pieces
    again = torch.from_numpy(np.repeat(np.arange(len(centres)), pieces)).to(centres.device)
    return first[cell] + rank // most, centres[again]


def _openings(cells: _Cells, asked: _Unit, ids: np.ndarray[Any, Any], k: int, recall: float, same: bool) -> tuple[int, float]:
    """How many cells to open for a recall, and the recall this gave for some queries whose exact neighbours were found."""
    everything = _Cells.single(cells.index, np.sort(cells.order))
    values, rows = _search(everything, asked, ids, 1, k, same)
    ranking = (asked(ids) @ cells.centres.T).argsort(dim=1, descending=True, stable=True)
    place = ranking.argsort(dim=1).cpu().numpy()
    rank = np.take_along_axis(place, cells.of[rows], 1)[np.isfinite(values)]
    shares = np.array([np.mean(rank < n) for n in range(FEWEST, MOST + 1)])
    enough = np.flatnonzero(shares >= min(1.0, recall + MARGIN))
    best = int(enough[0]) if len(enough) else len(shares) - 1
    return min(FEWEST + best, len(cells.centres)), float(shares[best])


def _search(
    cells: _Cells, asked: _Unit, ids: np.ndarray[Any, Any], opened: int, k: int, same: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Similarities and rows of the k nearest of each query among the rows of its `opened` nearest cells."""
    unit = asked(ids)
    device = unit.device
    values = torch.full((len(ids) * opened, k), -torch.inf, device=device)
    rows = torch.full((len(ids) * opened, k), -1, dtype=torch.int64, device=device)
    parts = torch.split(unit, max(1, PRODUCTS // len(cells.centres)))
    cell = torch.cat([(part @ cells.centres.T).topk(opened, 1).indices for part in parts]).reshape(-1).cpu().numpy()
    slots = np.argsort(cell, kind="stable")
    ends = np.searchsorted(cell[slots], np.arange(len(cells.centres) + 1))
    for c in np.flatnonzero(np.diff(ends)):
        members = cells.order[cells.starts[c] : cells.starts[c + 1]]
        if not len(members):
            continue
        there, numbers = cells.index(members), torch.from_numpy(members).to(device)
        size = max(1, PRODUCTS // len(members))
        for start in range(ends[c], ends[c + 1], size):
            chosen = slots[start : min(start + size, ends[c + 1])]
            queries = torch.from_numpy(chosen // opened).to(device)
            alike = unit[queries] @ there.T
            if same:
                _forbid_own(alike, ids[chosen // opened], members)
            best = alike.topk(min(k, len(members)), 1)
            slot = torch.from_numpy(chosen).to(device)
            values[slot, : best.values.shape[1]] = best.values
            rows[slot, : best.values.shape[1]] = numbers[best.indices]
    best = values.view(len(ids), -1).topk(k, 1)
    found = rows.view(len(ids), -1).gather(1, best.indices)
    return best.values.cpu().numpy(), found.cpu().numpy()


def _forbid_own(alike: torch.Tensor, ids: np.ndarray[Any, Any], members: np.ndarray[Any, Any]) -> None:
    """A row is not its own neighbour."""
    place = np.minimum(np.searchsorted(members, ids), len(members) - 1)
    own = np.flatnonzero(members[place] == ids)
    alike[torch.from_numpy(own).to(alike.device), torch.from_numpy(place[own]).to(alike.device)] = -torch.inf
