"""Leaks through time and through groups, split by split of a scan."""

from __future__ import annotations

import numpy as np

from trainrecipe.dataset.grouping import candidate_keys, group_leaks, time_leak
from trainrecipe.finding import Evidence
from trainrecipe.subjects.scan import Scan
from trainrecipe.table.manifest import Column, Split

MOST = 20_000
"""Rows that are compared; of more, a stretch in the middle."""
KEYS = 12
MANY = 20
"""Values of a column that may be a label or a category as well, from which they may name groups; of identifiers, 10 suffice."""


def in_time(scan: Scan) -> Evidence | list[Evidence]:
    """For each evaluation split of the data set that is trained on: whether it is a random sample of a series."""
    train = scan.training()
    if train is None or not scan.evaluations():
        return Evidence(missing="there is no split to train on and one to evaluate on")
    if not scan.has_vectors:
        return Evidence(missing="the inputs are of a kind that likeness is not told by")
    made = [e for split in scan.evaluations() if (e := _series(scan, train, split)) is not None]
    return made or Evidence(missing="the splits are not parts of one data set, whose order could tell")


def _series(scan: Scan, train: Split, split: Split) -> Evidence | None:
    if train.dataset != split.dataset or train.sampled or split.sampled:
        return None
    rows = np.flatnonzero((scan.where(train.name) | scan.where(split.name)) & scan.sound)
    index = scan.column("index")
    rows = rows[np.argsort(index[rows], kind="stable")]
    if len(rows) > MOST:
        start = (len(rows) - MOST) // 2
        rows = rows[start : start + MOST]
    held = scan.where(split.name)[rows]
    labels = scan.labels()
    given = None if labels is None else np.array([str(v) for v in labels[rows]])
    found = time_leak(scan.vectors(rows), held, position=index[rows].astype(np.int64), labels=given)
    if found is None:
        return None
    places = index[rows].astype(int)
    blocks = [[int(places[min(i, len(places) - 1)]) for i in block] for block in found.blocks]
    return Evidence(
        {
            "split": split.name,
            "adjacent": found.adjacent,
            "chance": found.chance,
            "alike": found.alike,
            "p": found.p_value,
            "blocks": blocks,
            "suspicious": found.suspicious,
        },
        place=scan.place(split.name),
    )


def in_groups(scan: Scan) -> Evidence | list[Evidence]:
    """For each evaluation split: the key whose groups are most alike across the split."""
    train = scan.training()
    if train is None or not scan.evaluations():
        return Evidence(missing="there is no split to train on and one to evaluate on")
    if not scan.has_vectors:
        return Evidence(missing="the inputs are of a kind that likeness is not told by")
    return [_groups(scan, train, split) for split in scan.evaluations()]


def _groups(scan: Scan, train: Split, split: Split) -> Evidence:
    rows = np.flatnonzero((scan.where(train.name) | scan.where(split.name)) & scan.sound)
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
    held = scan.where(split.name)[rows]
    columns, named = {}, set()
    others = {p.name for p in scan.manifest.parts if p.role == "other"}
    for column in scan.manifest.columns:
        if column.name in scan.names and _may_name_groups(scan, column):
            columns[column.title or column.name] = scan.column(column.name)[rows]
            named |= {column.title or column.name} if column.part in others else set()
    paths = [str(p) for p in scan.column("path")[rows]] if "path" in scan.names else None
    keys = {n: k for n, k in candidate_keys(columns, paths).items() if n in named or len(np.unique(k.astype(str))) >= MANY}
    keys = dict(list(keys.items())[:KEYS])
    labels = scan.labels()
    given = None if labels is None else np.array([str(v) for v in labels[rows]])
    vectors = scan.vectors(rows)
    found = group_leaks(vectors, held, keys, labels=given) if keys else ()
    best = next((f for f in found if f.suspicious and f.p_value * len(keys) <= 0.05), found[0] if found else None)
    told = {"key": "", "keys": 0, "shared": 0.0, "alike": 0.5, "p": 1.0, "leaking": [], "suspicious": False}
    if best is not None:
        told = {
            "key": best.key,
            "keys": best.keys,
            "shared": best.shared,
            "alike": best.alike,
            "p": best.p_value,
            "leaking": [str(v) for v in best.leaking[:8]],
            "suspicious": best.suspicious,
        }
    return Evidence({"split": split.name, "tried": len(keys), **told}, place=scan.place(split.name))


def _may_name_groups(scan: Scan, column: Column) -> bool:
    """Whether a column holds what the data say, rather than what was measured of them: a category, a number, a feature."""
    part = next((p for p in scan.manifest.parts if p.name == column.part), None)
    if part is None or part.role == "target":
        return False
    return part.kind in ("class", "number") or (
        part.kind == "table" and column.name not in (f"{part.name}_missing", f"{part.name}_norm")
    )
