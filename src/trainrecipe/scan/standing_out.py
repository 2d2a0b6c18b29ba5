"""Looks of the examples that stand out, which are read once more: a person wants to see these rather than a random part."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trainrecipe.scan.scan import looks
from trainrecipe.scan.splits import Source, flattened, sources
from trainrecipe.subjects.scan import Scan

MOST = 600
"""Examples of a data set whose looks are added."""
SECONDS = 15.0
"""For reading them, about: fewer of them where an example takes long."""
READINGS = 4
"""Times that an example is read for its looks, about."""


def keep_looks(scan: Scan, given: Any) -> None:
    """Keep how copies, suspect labels and outliers look, of the splits `given` as to a scan, as far as looks are missing.

    A stream is not read again, and what cannot be read again, as where the files are on another machine, is left out.
    """
    splits = [flattened(s) for s in sources(given) if not s.is_stream]
    with scan.store.connect() as db:
        known = set(db.execute("SELECT DISTINCT row FROM views").fetchnumpy()["row"].tolist())
    wanted = [row for row in itertools.islice(_by_turns(scan), 2 * MOST) if row not in known][:MOST]
    index, rows, texts = scan.column("index"), [], []
    for source in splits:
        here = scan.where(source.name)
        mine = {int(index[row]): row for row in wanted if here[row]}
        for position, text in _read(source, scan, list(mine)):
            rows.append(mine[position])
            texts.append(text)
    scan.store.add_views(rows, texts)


def _by_turns(scan: Scan) -> Iterator[int]:
    """Rows that stand out, each once: the first of each kind, then the second of each, and so on."""
    kinds = [found for name in ("duplicate_group", "suspect", "outlier") if len(found := _ranked(scan.found, name))]
    seen: set[int] = set()
    for row in itertools.chain.from_iterable(itertools.zip_longest(*kinds)):
        if row is not None and row not in seen:
            seen.add(int(row))
            yield int(row)


def _ranked(found: Mapping[str, tuple[Any, np.ndarray]], name: str) -> np.ndarray:
    """The rows of which a column tells something: copies by their group, others with the highest value first."""
    if name not in found:
        return np.zeros(0, np.int64)
    values = found[name][1].astype(float)
    rows = np.flatnonzero(np.isfinite(values))
    return rows[np.argsort(values[rows] if name == "duplicate_group" else -values[rows], kind="stable")]


def _read(source: Source, scan: Scan, positions: list[int]) -> list[tuple[int, str]]:
    split = scan.manifest.split(source.name)
    each = READINGS * split.seconds / max(1, split.read)
    most = int(SECONDS / max(each, 1e-9) / max(1, len(scan.splits)))
    with contextlib.suppress(Exception):
        return looks(source, positions[:most])
    return []
