"""Examples of a scan that are copies of one another: by what is stored, or nearly, by how they look."""

from __future__ import annotations

import dataclasses

import numpy as np

from trainrecipe.dataset.near_duplicates import Pairs, groups, near_duplicates
from trainrecipe.dataset.same_targets import near_by_target
from trainrecipe.dataset.shingles import near_duplicate_texts
from trainrecipe.subjects.scan import Scan
from trainrecipe.table.manifest import Column

FEWEST = 20
"""Tokens or words from which equal sequences are copies: short sentences, and first words of long ones, repeat."""
WINDOW = 64
"""The same for sequences that are hardly ever padded, as windows of a text are: contexts of a few characters repeat."""
PADDED = 0.2
MOST = 1_000_000
"""Examples among which copies are sought by how they look; of more, these many at random. Equal contents are found in all."""
MIRRORED = 200_000
"""Pictures among which mirror images are sought, too, which takes as long again."""


@dataclasses.dataclass(frozen=True)
class Copies:
    """`group` numbers sets of copies by row, -1 for examples without any; `exact` by row: what is stored is equal to that of
    another one. `pairs` are those that look nearly the same."""

    group: np.ndarray
    exact: np.ndarray
    pairs: Pairs

    def across(self, here: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Which rows, among those `here`, have a copy among those `there`."""
        known = np.unique(self.group[there & (self.group >= 0)])
        found: np.ndarray = here & (self.group >= 0) & np.isin(self.group, known)
        return found


def copies(scan: Scan) -> Copies:
    """All copies in a scan, and columns that tell of them; examples that are broken or constant have none."""
    return scan.once("copies", lambda: _copies(scan))


def _copies(scan: Scan) -> Copies:
    sound = scan.sound
    near = _near(scan, sound)
    same = _equal(scan, sound)
    pairs = Pairs.of(
        np.concatenate([near.a, same.a]), np.concatenate([near.b, same.b]), np.concatenate([near.similarity, same.similarity])
    )
    group = groups(pairs, scan.rows)
    exact = np.zeros(scan.rows, bool)
    exact[same.a] = exact[same.b] = True
    if len(pairs):
        scan.note(
            Column("duplicate_group", "integer", "copies", about="examples with the same number are copies"), _or_none(group)
        )
    return Copies(group, exact, pairs)


def _or_none(group: np.ndarray) -> np.ndarray:
    return np.where(group >= 0, group, np.nan).astype(np.float64)


def _equal(scan: Scan, sound: np.ndarray) -> Pairs:
    """Chains of examples with equal contents, where that is no chance."""
    kind = next((p.kind for p in scan.manifest.inputs()), "")
    if kind in ("table", "number", "class"):
        return Pairs.none()  # rows of few values are equal by chance: near_duplicates tells which are not
    counted = sound & _long(scan, kind)
    rows = np.flatnonzero(counted)
    hashes = scan.column("hash")[rows].astype(np.uint64)
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero((np.diff(hashes[order]) == 0) & (hashes[order[1:]] != 0))
    a, b = rows[order[same]], rows[order[same + 1]]
    return Pairs.of(a, b, np.ones(len(a), np.float32))


def _long(scan: Scan, kind: str) -> np.ndarray:
    name = next((p.name for p in scan.manifest.inputs()), "")
    column = {"tokens": f"{name}_length", "text": f"{name}_words"}.get(kind, "")
    if column not in scan.names:
        return np.ones(scan.rows, bool)
    lengths = scan.column(column)
    windows = kind == "tokens" and bool((scan.column(f"{name}_padding") > 0).mean() < PADDED)
    found: np.ndarray = lengths >= (WINDOW if windows else FEWEST)
    return found


def _near(scan: Scan, sound: np.ndarray) -> Pairs:
    rows = np.flatnonzero(sound)
    if len(rows) < 2:
        return Pairs.none()
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
    kind = next((p.kind for p in scan.manifest.inputs()), "")
    name = next((p.name for p in scan.manifest.inputs()), "")
    labels = scan.labels()
    given = None if labels is None else np.array([str(v) for v in labels[rows]])
    if kind == "text":
        column = name if name in scan.names else f"{name}_text"
        found = near_duplicate_texts([str(t) for t in scan.column(column)[rows]])
    elif kind == "image" and scan.thumbs is not None:
        found = _pictures(np.asarray(scan.thumbs)[rows], given)
    elif kind in ("table", "series", "tensor") and scan.has_vectors:
        found = _measured(scan.vectors(rows), scan.numbers() if kind == "table" else None, rows)
    else:
        return Pairs.none()
    return Pairs.of(rows[found.a], rows[found.b], found.similarity)


def _pictures(thumbs: np.ndarray, labels: np.ndarray | None) -> Pairs:
    """Pictures that are nearly copies, of one another or of one another's mirror images."""
    n = len(thumbs)
    if n > MIRRORED:
        return near_duplicates(thumbs, labels=labels)
    both = None if labels is None else np.tile(labels, 2)
    found = near_duplicates(np.concatenate([thumbs, thumbs[:, :, ::-1]]), labels=both)
    a, b = found.a % n, found.b % n
    other = a != b  # a symmetrical picture is its own mirror image
    return Pairs.of(a[other], b[other], found.similarity[other])


def _measured(vectors: np.ndarray, targets: np.ndarray | None, rows: np.ndarray) -> Pairs:
    """Vectors of numbers that are nearly copies, or are so by their targets, too."""
    found = near_duplicates(vectors)
    more = Pairs.none() if targets is None else near_by_target(vectors, targets[rows].astype(float))
    a, b = np.append(found.a, more.a), np.append(found.b, more.b)
    return Pairs.of(a, b, np.append(found.similarity, more.similarity))
