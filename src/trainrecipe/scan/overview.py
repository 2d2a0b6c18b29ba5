"""What a report tells of a table at first sight: counts, how examples are built, distributions, what examples look like."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np

from trainrecipe import picture
from trainrecipe.picture import Picture
from trainrecipe.subjects.scan import Scan
from trainrecipe.table.manifest import Split
from trainrecipe.table.store import Store

CLASSES = 30
"""Classes that a picture shows."""
BINS = 40
TILES = 24


def facts(store: Store) -> dict[str, str]:
    """Short facts for people."""
    manifest = store.manifest
    found = {"table": str(store.folder)}
    for split in manifest.splits:
        found[split.name] = _said(split)
    described = []
    for part in manifest.parts:
        shape = " × ".join(map(str, part.shape)) if part.shape and not part.ragged else "of varying size" if part.ragged else ""
        described.append(f"{part.name}: {' '.join(t for t in (part.kind, shape, part.dtype) if t)} ({part.role})")
    if described:
        found["an example"] = "; ".join(described[:6])
    for number, note in enumerate(manifest.notes[:4]):
        found[f"note {number + 1}" if len(manifest.notes) > 1 else "note"] = note
    return found


def _said(split: Split) -> str:
    whole = f"{split.read:,} examples"
    if split.sampled:
        of = f" of {split.length:,}" if split.length is not None else ""
        whole = f"{whole}{of}, drawn at random: shares in it are right to ± {1.96 * 50 / max(1, split.read) ** 0.5:.1f} points"
        whole = whole if split.length is not None else f"the first {split.read:,} examples of a stream"
    per = f", {split.seconds / split.read * 1e6:.0f} µs each" if split.read and split.seconds else ""
    failed = f", {split.failed:,} of them cannot be used" if split.failed else ""
    return f"{whole}{failed}{per}"


def pictures(scan: Scan) -> Iterator[Picture]:
    """Pictures of the data: labels by split, targets, examples."""
    labels, numbers = scan.labels(), scan.numbers()
    if labels is not None:
        yield _labels(scan, labels)
    if numbers is not None:
        yield _targets(scan, numbers)
    tiles = _tiles(scan)
    if tiles:
        caption = "Examples drawn at random, as the data set gives them. Do the labels fit? Could you tell the classes apart?"
        yield picture.grid("Examples", caption, tiles, size="small")


def _labels(scan: Scan, labels: np.ndarray) -> Picture:
    counts = {s.name: Counter(v for v in labels[scan.where(s.name)] if v is not None) for s in scan.splits}
    total = sum(counts.values(), Counter[str]())
    names = [name for name, _ in total.most_common(CLASSES)]
    rows = [
        {"label": name, "split": split, "share": count[name] / max(1, count.total()), "examples": count[name]}
        for split, count in counts.items()
        for name in names
    ]
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container",
        "height": {"step": 20},
        "data": {"values": rows},
        "mark": {"type": "bar", "tooltip": {"content": "data"}},
        "encoding": {
            "y": {"field": "label", "type": "nominal", "title": None, "sort": names},
            "yOffset": {"field": "split", "sort": list(counts)},
            "x": {"field": "share", "type": "quantitative", "title": "share of the split", "axis": {"format": "%"}},
            "color": {"field": "split", "type": "nominal", "title": None, "sort": list(counts)},
        },
    }
    rest = len(total) - len(names)
    caption = "Classes by their share of each split. Healthy: the splits agree" + (
        f"; {rest} more classes are not shown." if rest else "."
    )
    return Picture("vega-lite", "Labels", caption, spec)


def _targets(scan: Scan, numbers: np.ndarray) -> Picture:
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    series = {}
    for split in scan.splits:
        values = numbers[scan.where(split.name)]
        values = values[np.isfinite(values)]
        series[split.name] = (np.histogram(values, edges)[0] / max(1, len(values))).tolist()
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    caption = "The numbers to be predicted, by split. Spikes are often codes for what is missing."
    return picture.lines("Targets", caption, series, x=middles, x_title="target", y_title="share of the split")


def _tiles(scan: Scan) -> list[dict[str, object]]:
    with scan.store.connect() as db:
        found = db.execute(
            "SELECT e.split, e.index, v.view FROM views AS v JOIN examples AS e USING (row) "
            f"USING SAMPLE reservoir({TILES} ROWS) REPEATABLE (0)"
        ).fetchall()
    tiles: list[dict[str, object]] = []
    target = scan.target()
    shown = next(iter(scan.manifest.inputs()), None)
    for split, index, text in found:
        item = json.loads(text).get("item", {})
        seen = item.get(shown.name, {}) if shown is not None else {}
        label = item.get(target.name, {}).get("text", "") if target is not None else ""
        caption = f"{label} · {split} {index}" if label else f"{split} {index}"
        match seen.get("kind"):
            case "image":
                tiles.append({"image": "data:image/png;base64," + seen["png"], "caption": caption})
            case "text":
                tiles.append({"text": seen["text"][:200], "caption": caption})
            case "series":
                tiles.append({"values": seen["values"][0][:200], "caption": caption})
            case "table":
                tiles.append({"values": [v for v in seen["values"][:40] if v is not None], "caption": caption})
    return tiles
