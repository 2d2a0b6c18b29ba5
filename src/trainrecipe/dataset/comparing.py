"""Two splits of a scan compared by what was measured of their examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainrecipe.dataset.grouping import ADJACENT, candidate_keys, time_leak
from trainrecipe.dataset.shift import shift
from trainrecipe.finding import Evidence
from trainrecipe.subjects.scan import Scan
from trainrecipe.table.manifest import Split

MOST = 20_000
"""Rows that are compared."""
CERTAIN = 0.05
SURE = 0.01
FEWEST = 10
"""Keys that are groups, rather than a category."""
STRETCH = 4000
"""Rows by which a series is told."""


def compared(scan: Scan, other: Split) -> Evidence:
    """How well examples of a split can be told from those of the training split that it is most like."""
    every = [_compared(scan, train, other) for train in scan.trainings()]
    return min(every, key=lambda e: 2.0 if e["auc"] is None else float(e["auc"]))


def _compared(scan: Scan, train: Split, other: Split) -> Evidence:
    """How well training and other examples can be told apart, and by what; `apart` is a reason why they may be meant to."""
    rows = np.flatnonzero((scan.where(train.name) | scan.where(other.name)) & scan.sound)
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
    split = scan.column("split")[rows]
    described = _inputs(scan)
    titles = [c.title or c.name for c in described]
    names = [t if titles.count(t) == 1 else c.name for t, c in zip(titles, described, strict=True)]
    columns = {name: scan.column(c.name)[rows] for name, c in zip(names, described, strict=True)}
    if other.random or not columns:
        return Evidence(
            _nothing(
                other, "its examples are changed at random as they are read" if other.random else "nothing was measured of it"
            )
        )
    keys = _groups(scan, rows, split == other.name)
    found = shift(columns, split, between=(train.name, other.name), groups=keys)
    features = [
        {"name": f.name, "first": _said(f.first), "second": _said(f.second), "distance": f.distance}
        for f in found.features
        if f.p_value <= CERTAIN and f.distance > f.floor
    ]
    return Evidence(
        {
            "split": other.name,
            "auc": found.auc,
            "low": found.low,
            "high": found.high,
            "p": found.p_value,
            "features": features[:12],
            "reason": found.reason,
            "apart": _apart_by_intent(scan, train, other, keys),
        },
        place=scan.place(other.name),
    )


def _inputs(scan: Scan) -> list[Any]:
    """Measurements of inputs; targets may differ for many reasons, and are told as distributions."""
    inputs = {p.name for p in scan.manifest.inputs()}
    return [c for c in scan.numeric() if c.part in inputs]


def _nothing(other: Split, reason: str) -> dict[str, Any]:
    return {
        "split": other.name,
        "auc": None,
        "low": 0.0,
        "high": 1.0,
        "p": 1.0,
        "features": [],
        "reason": reason,
        "stretch": False,
    }


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float | np.floating) else str(value)


def _groups(scan: Scan, rows: np.ndarray, held: np.ndarray) -> np.ndarray | None:
    """A key that names groups none of which is on both sides, as of persons, where there is one: they differ by nature."""
    columns = {}
    for column in scan.manifest.columns:
        if column.kind in ("category", "integer") and column.name in scan.names and column.part in _others(scan):
            columns[column.name] = scan.column(column.name)[rows]
    paths = [str(p) for p in scan.column("path")[rows]] if "path" in scan.names else None
    for key in candidate_keys(columns, paths).values():
        text = key.astype(str)
        ours, theirs = np.unique(text[~held]), np.unique(text[held])
        if len(ours) + len(theirs) >= FEWEST and not np.isin(theirs, ours).any():
            return text
    return None


def _others(scan: Scan) -> set[str]:
    return {p.name for p in scan.manifest.parts if p.role == "other"}


def _apart_by_intent(scan: Scan, train: Split, other: Split, keys: np.ndarray | None) -> str:
    """Why two splits may differ by intent: they are stretches of one data set, or of a series, or other groups; else empty."""
    if keys is not None:
        return "the splits hold different groups"
    if scan.as_fed:
        return "these are the rows that a model was fed, which a program may change for training only"
    if train.dataset == other.dataset:
        index = scan.column("index")
        here, there = index[scan.where(train.name)], index[scan.where(other.name)]
        sides = np.repeat([0, 1], [len(here), len(there)])[np.argsort(np.concatenate([here, there]), kind="stable")]
        if int((np.diff(sides) != 0).sum()) <= 2:
            return "the split is a stretch of the data set"
    return "the examples are a series" if _is_series(scan, train) else ""


def _is_series(scan: Scan, split: Split) -> bool:
    """Whether examples next to each other are more alike than others of their class."""
    if not scan.has_vectors:
        return False
    rows = np.flatnonzero(scan.where(split.name) & scan.sound)[:STRETCH]
    labels = scan.labels()
    given = None if labels is None else np.array([str(v) for v in labels[rows]])
    half = np.arange(len(rows)) % 2 == 0  # only the order matters here
    found = time_leak(scan.vectors(rows), half, labels=given)
    return found is not None and found.p_value <= SURE and found.adjacent >= ADJACENT
