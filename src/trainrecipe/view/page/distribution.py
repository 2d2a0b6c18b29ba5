"""How labels, or the numbers to be predicted, are spread in each split: bars on one axis, as coordinates for a drawing."""

from __future__ import annotations

import dataclasses
import itertools

from trainrecipe.table.confusion import natural
from trainrecipe.table.table import Counts, Histogram, Table
from trainrecipe.view.page.pictures import legible

MOST = 40
WIDTH, HEIGHT = 720.0, 104.0


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar: where it stands, the split that it belongs to by number, what it says, and whose examples it opens."""

    x: float
    y: float
    width: float
    height: float
    split: int
    says: str
    where: str


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Bars in a box of WIDTH x HEIGHT with ticks (x, text) beneath; `top` is the share at the upper end of the axis."""

    title: str
    splits: list[str]
    bars: list[Bar]
    ticks: list[tuple[float, str]]
    top: float
    note: str


def distribution(table: Table) -> Distribution | None:
    """Shares within each split, so that splits of different sizes lie on one axis; None without labels and targets."""
    splits = [split.name for split in table.manifest.splits]
    if "label" in table.columns:
        return _labels(table, splits)
    return _targets(table, splits) if "target" in table.columns else None


def _labels(table: Table, splits: list[str]) -> Distribution | None:
    found = {s: c for s, c in table.by_split("label", most=MOST).items() if isinstance(c, Counts)}
    splits = [s for s in splits if s in found]
    if not splits:
        return None
    labels = sorted((str(v) for v, _ in found[splits[0]].values), key=natural)
    heights = []
    for split in splits:
        counts = {str(v): n for v, n in found[split].values}
        total = max(sum(counts.values()) + found[split].others, 1)
        where = f"split == {split!r} and label == "
        heights.append([(counts[v] / total, f"{split}, {legible(v, 60)}: {counts[v]:,}", f"{where}{v!r}") for v in labels])
    distinct = table.counts("label", most=1).distinct
    note = f"and {distinct - len(labels):,} rarer classes" if distinct > len(labels) else ""
    return _drawn("Labels", splits, heights, labels, note)


def _targets(table: Table, splits: list[str]) -> Distribution | None:
    found = {s: h for s, h in table.by_split("target", bins=30).items() if isinstance(h, Histogram)}
    splits = [s for s in splits if s in found]
    if not splits:
        return None
    heights, ticks = [], []
    for split in splits:
        histogram = found[split]
        edges, total = [float(e) for e in histogram.edges], max(int(sum(histogram.counts)), 1)
        rows = []
        for low, high, n in zip(edges, edges[1:], histogram.counts, strict=False):
            where = f"split == {split!r} and {low!r} <= target <= {high!r}"
            rows.append((int(n) / total, f"{split}, {low:.4g} to {high:.4g}: {int(n):,}", where))
        heights.append(rows)
        ticks = [f"{(a + b) / 2:.3g}" for a, b in itertools.pairwise(edges)]
    return _drawn("The number to be predicted", splits, heights, ticks, "")


def _drawn(
    title: str, splits: list[str], heights: list[list[tuple[float, str, str]]], names: list[str], note: str
) -> Distribution | None:
    top = max((h for rows in heights for h, _, _ in rows), default=0.0)
    if not top:
        return None
    slot = WIDTH / len(names)
    width = slot * 0.82 / len(splits)
    bars = [
        Bar(i * slot + slot * 0.09 + s * width, HEIGHT * (1 - h / top), max(width - 0.6, 0.4), HEIGHT * h / top, s, says, where)
        for s, rows in enumerate(heights)
        for i, (h, says, where) in enumerate(rows)
        if h > 0
    ]
    step = max(1, -(-len(names) * max(len(n[:8]) for n in names) * 7 // int(WIDTH)))
    ticks = [((i + 0.5) * slot, name) for i, name in enumerate(names) if i % step == 0]
    return Distribution(title, splits, bars, ticks, top, note)
