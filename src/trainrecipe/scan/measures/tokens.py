"""Sequences of token ids: length without padding, variety, repetition."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainrecipe.scan.leaves import numbers
from trainrecipe.scan.measures import Measured, Values
from trainrecipe.scan.structure import Leaf
from trainrecipe.table.manifest import Column, Part

HASHED = 64
"""Numbers that neighbours are sought with: signed counts of hashed tokens (Weinberger et al. 2009)."""
PADDED = 0.2
"""Share of the sequences that end in a run of one token, from which it is padding."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def columns(part: Part) -> list[Column]:
    """See `measure`."""
    p = part.name
    return [
        Column(f"{p}_length", "integer", "length", p, "tokens before the padding", tail=True),
        Column(f"{p}_padding", "number", "padding", p, "share of equal tokens at its end", tail=True),
        Column(f"{p}_distinct", "number", "variety", p, "different tokens per token", tail=True),
        Column(f"{p}_commonest", "number", "repetition", p, "share of its commonest token", tail=True),
        Column(f"{p}_highest", "integer", "highest id", p, "the largest token id", hidden=True),
    ]


def measure(leaf: Leaf, values: Values) -> Measured:
    """Statistics of each sequence, without the padding that sequences of one length have."""
    p = leaf.part.name
    ids, whole = _padded(values)
    n, width = ids.shape
    lengths = whole if leaf.part.ragged else _lengths(ids, whole)
    inside = np.arange(width) < lengths[:, None]
    ordered = np.sort(np.where(inside, ids, np.iinfo(np.int64).max), axis=1)
    starts = np.ones_like(inside)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts &= inside  # sorting put what is inside first
    rows, columns = np.nonzero(starts)
    ends = np.append(columns[1:], 0)
    last = np.append(rows[1:] != rows[:-1], True)
    counts = np.where(last, lengths[rows], ends) - columns
    used = np.maximum(lengths, 1)
    commonest = np.zeros(n)
    np.maximum.at(commonest, rows, counts)
    found = {
        f"{p}_length": lengths,
        f"{p}_padding": 1 - lengths / np.maximum(whole, 1),
        f"{p}_distinct": np.where(lengths > 0, starts.sum(1) / used, np.nan),
        f"{p}_commonest": np.where(lengths > 0, commonest / used, np.nan),
        f"{p}_highest": np.where(inside, ids, 0).max(1, initial=0),
    }
    vectors = hashed(rows, ordered[rows, columns].astype(np.uint64), counts, n)
    empty = np.flatnonzero(lengths == 0).tolist() if leaf.part.role == "input" else []
    return Measured(found, None, vectors, dict.fromkeys(empty, "empty"))


def _padded(values: Values) -> tuple[np.ndarray, np.ndarray]:
    """All sequences in one array (n, longest), and how long each was."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        flat = values.reshape(len(values), -1).astype(np.int64)
        return flat, np.full(len(flat), flat.shape[1])
    arrays = [_ids(v) for v in values]
    lengths = np.array([len(a) for a in arrays], np.int64)
    whole = np.zeros((len(arrays), max(1, int(lengths.max(initial=0)))), np.int64)
    for row, array in zip(whole, arrays, strict=True):
        row[: len(array)] = array
    return whole, lengths


def _ids(value: Any) -> np.ndarray:
    array = numbers(value)
    if array is None:
        raise TypeError(f"{type(value).__name__} where token ids were expected")
    return array.reshape(-1)


def _lengths(ids: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Lengths without padding: the token that most runs of two or more at an end consist of, if a fifth of all have one."""
    n, width = ids.shape
    last = ids[np.arange(n), np.maximum(whole - 1, 0)]
    other = (ids != last[:, None]) & (np.arange(width) < whole[:, None])
    kept = np.where(other.any(1), width - other[:, ::-1].argmax(1), 0)
    padded = whole - kept >= 2
    if padded.sum() < PADDED * n:
        return whole
    tokens, counts = np.unique(last[padded], return_counts=True)
    return np.where(padded & (last == tokens[counts.argmax()]), kept, whole)


def hashed(rows: np.ndarray, keys: np.ndarray, counts: np.ndarray, n: int) -> np.ndarray:
    """Signed square roots of counts of `keys` (unsigned, 64 bits) in 64 cells for each of `n` rows, each of length 1."""
    mixed = (keys + np.uint64(1)) * _FACTOR
    cells = (mixed >> np.uint64(58)).astype(np.int64)
    signed = np.where((mixed >> np.uint64(57)) & np.uint64(1), 1.0, -1.0) * np.sqrt(counts)
    vectors = np.bincount(rows * HASHED + cells, signed, n * HASHED).reshape(n, HASHED)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = (vectors / np.maximum(norms, 1e-12)).astype(np.float16)
    return scaled
