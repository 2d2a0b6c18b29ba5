"""How values are distributed: what the page draws, and the counting behind it. Arrays only; nothing here asks a database."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

_BLOCK = 1 << 17
"""Rows counted at a time: what is made on the way stays within the processor's cache, and memory stays bounded."""
_SAMPLE = 20_000
"""Values from which quantiles are estimated where only the range of a picture depends on them."""
_LESS = 1e-6
"""Bars by which a guess is too low, ten times what rounding may do: so it is right, or one too low, and one look tells."""
_APART = ("below", "above", "nan", "infinite", "missing")
"""What a histogram counts beside its bars, in the order of the codes that follow those of the bars."""


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts between edges: bar `i` holds `edges[i] <= x < edges[i + 1]`, the last one its upper edge too.

    `below` and `above` count finite values outside the edges, `nan`, `infinite` and `missing` what has no place on the axis.
    `whole` tells that every bar is one whole number, in its middle.
    """

    edges: list[float]
    counts: list[int]
    below: int = 0
    above: int = 0
    nan: int = 0
    infinite: int = 0
    missing: int = 0
    whole: bool = False

    @property
    def total(self) -> int:
        """All rows that were counted, whatever they hold."""
        return sum(self.counts) + self.below + self.above + self.nan + self.infinite + self.missing


@dataclasses.dataclass(frozen=True)
class Counts:
    """How often each value occurs: the most frequent ones, largest first, equal ones in order of the values.

    `others` is the number of rows with any other value, `distinct` that of all different values, `missing` of rows without one.
    """

    values: list[tuple[Any, int]]
    others: int = 0
    distinct: int = 0
    missing: int = 0


@dataclasses.dataclass(frozen=True)
class Confusion:
    """`counts[i][j]` rows have the label `labels[i]` and were predicted as `labels[j]`.

    Of many classes only those with the most mistakes are shown: `others` is the number of rows with a class that is not.
    `pairs` are the most frequent mistakes of all classes: label, predicted, rows.
    """

    labels: list[str]
    counts: list[list[int]]
    others: int = 0
    pairs: list[tuple[str, str, int]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Density:
    """`counts[j][i]` rows lie in bar `i` of x and bar `j` of y; `left_out` of them are outside or have no finite values."""

    x_edges: list[float]
    y_edges: list[float]
    counts: list[list[int]]
    left_out: int


def span(values: np.ndarray, bins: int, low: float | None = None, high: float | None = None) -> tuple[np.ndarray, bool]:
    """The edges of a histogram of some values, in increasing order, and whether each bar is one whole number.

    Integers get bars of the same number of whole numbers each, so that no comb appears. Without `low` and `high` the range is
    that of the finite values, less tails that would squeeze the rest into a twentieth of it: these count as below and above.
    """
    integral = values.dtype.kind in "iub"
    finite, first, last = _finite(values)
    inner = _inner(finite, first, last)
    low, high = (inner[0] if low is None else low), (inner[1] if high is None else high)
    high = max(low, high)
    return _whole_edges(low, high, bins) if integral else (_even_edges(low, high, bins), False)


def _finite(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The finite values, the least and the greatest of them."""
    first, last = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if np.isfinite(first) and np.isfinite(last):  # NaN is the least and the greatest of all
        return values, first, last
    finite = values.take(np.flatnonzero(np.isfinite(values)))
    return finite, float(finite.min()) if len(finite) else 0.0, float(finite.max()) if len(finite) else 1.0


def _inner(finite: np.ndarray, first: float, last: float) -> tuple[float, float]:
    """The range without far tails."""
    if not len(finite):
        return first, last
    sample = finite if len(finite) <= _SAMPLE else finite[np.random.default_rng(0).integers(0, len(finite), _SAMPLE)]
    q1, q99 = (float(q) for q in np.quantile(sample, (0.01, 0.99), method="nearest"))
    if not 0 < q99 - q1 < (last / 20 - first / 20):
        return first, last
    return max(first, q1 - (q99 - q1) / 2), min(last, q99 + (q99 - q1) / 2)


def _whole_edges(low: float, high: float, bins: int) -> tuple[np.ndarray, bool]:
    low, high = float(np.floor(low)), float(np.ceil(high))
    width = max(int(np.ceil((high - low + 1) / bins)), 1)
    return low - 0.5 + width * np.arange(int((high - low) // width) + 2, dtype=np.float64), width == 1


def _even_edges(low: float, high: float, bins: int) -> np.ndarray:
    if low == high:
        margin = max(abs(low) * 1e-6, 0.5)
        return np.array([low - margin, high + margin])
    edges = 2 * np.linspace(low / 2, high / 2, bins + 1)  # halves: the width may exceed the largest float
    edges[0], edges[-1] = low, high
    return np.unique(edges)  # fewer where the range is a few steps between floats


def binned(values: np.ndarray, missing: np.ndarray | None, edges: np.ndarray) -> np.ndarray:
    """For each value the number of its bar; above those, what `Histogram` counts apart. Exact at the edges.

    Of type uint8 or uint16. The bar is guessed by division and put right by a look at the edges, seven times faster than by a
    binary search.
    """
    bars = len(edges) - 1
    codes = np.empty(len(values), dtype=np.uint8 if bars + len(_APART) < 256 else np.uint16)
    ends = np.append(edges[1:-1], np.inf)  # the last bar holds its upper edge
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK].astype(np.float64)
        bar = _bar(block, edges, ends)
        bar[block < edges[0]] = bars
        bar[block > edges[-1]] = bars + 1
        odd = ~np.isfinite(block)
        if odd.any():
            bar[odd] = np.where(np.isnan(block[odd]), bars + 2, bars + 3)
        if missing is not None:
            bar[missing[start : start + _BLOCK]] = bars + 4
        codes[start : start + _BLOCK] = bar
    return codes


def _bar(block: np.ndarray, edges: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The bar of each value, the first or last one for values outside."""
    bars = len(edges) - 1
    with np.errstate(all="ignore"):
        width = edges[-1] - edges[0]
        scale = bars / width
        if not np.isfinite(width * scale) or width / bars < 1e-9 * np.abs(edges).max():  # division would not come close
            return np.searchsorted(edges[1:-1], block, side="right")
        guess = block - edges[0]
        guess *= scale
        guess -= _LESS
        np.clip(guess, 0, bars - 1, out=guess)
    guess[guess != guess] = 0
    bar: np.ndarray = guess.astype(np.intp)
    bar += block >= ends.take(bar)
    return bar


def tally(codes: np.ndarray, size: int, keep: np.ndarray | None = None) -> np.ndarray:
    """How often each code below `size` occurs among the rows that are kept."""
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(codes), _BLOCK):
        block = codes[start : start + _BLOCK]
        if keep is not None:
            block = block.take(np.flatnonzero(keep[start : start + _BLOCK]))  # five times faster than block[keep]
        counts += np.bincount(block, minlength=size)
    return counts


def histogram(counts: np.ndarray, edges: np.ndarray, whole: bool) -> Histogram:
    """A histogram of the tally of `binned` codes."""
    bars = len(edges) - 1
    apart = dict(zip(_APART, (int(n) for n in counts[bars:]), strict=True))
    return Histogram(edges.tolist(), counts[:bars].tolist(), whole=whole, **apart)


def codes_of(edges: np.ndarray) -> int:
    """How many codes `binned` may give for these edges."""
    return len(edges) - 1 + len(_APART)


def ranked(names: Sequence[Any], counts: np.ndarray, most: int) -> Counts:
    """The most frequent of the values; `counts` has one more entry, of what is missing. `names` are in order."""
    order = np.argsort(-counts[:-1], kind="stable")
    there = [int(i) for i in order if counts[i]]
    shown = [(names[i], int(counts[i])) for i in there[:most]]
    rest = int(counts[:-1].sum()) - sum(n for _, n in shown)
    return Counts(shown, rest, len(there), int(counts[-1]))
