"""Small experiments on examples of a split: what of them is needed to tell the label (RECIPE D9)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trainrecipe.picture import Picture
from trainrecipe.probes.probes import Probes, probe
from trainrecipe.scan.defaults import usual_defaults
from trainrecipe.scan.leaves import leaves, numbers
from trainrecipe.scan.measures import images, series
from trainrecipe.scan.measures.targets import _code
from trainrecipe.scan.splits import Source
from trainrecipe.scan.structure import Layout, Leaf, layout_of
from trainrecipe.subjects.examples import seed_all

KINDS = {"image": "image", "series": "series", "tokens": "tokens", "table": "table"}
MOST = 3000
"""Examples that are read for the probes."""
LEAST = 100
LARGEST = 2**28
"""Bytes of the examples together."""


def probes(source: Source, seconds: float, tell: Callable[[str], None] | None = None) -> Probes | str:
    """Probe the examples of a split for about so many seconds, or say why that cannot be done."""
    if source.is_stream:
        return "the data are a stream, from which examples cannot be drawn at random"
    items = _drawn(source)
    if len(items) < LEAST:
        return f"{len(items)} examples are too few"
    layout = layout_of(items[:12])
    shown = [leaf for leaf in layout.leaves if leaf.part.role == "input"]
    target = next((leaf for leaf in layout.leaves if leaf.part.role == "target"), None)
    if len(shown) != 1 or shown[0].part.kind not in KINDS:
        return "probes are made of one input: an image, a series, tokens, or a row of features"
    if target is None or target.part.kind not in ("class", "number"):
        return "the examples bear neither classes nor numbers"
    inputs, labels = _arrays(layout, items, shown[0], target)
    task = "classes" if target.part.kind == "class" else "numbers"
    names = list(shown[0].part.features) or None
    kind: Any = KINDS[shown[0].part.kind]
    with usual_defaults():
        return probe(inputs, labels, kind=kind, task=task, seconds=seconds, names=names, tell=tell)  # type: ignore[arg-type]


def _drawn(source: Source) -> list[Any]:
    seed_all(0)
    length = source.length or 0
    positions = np.arange(length) if source.positions is None else np.asarray(source.positions)
    items: list[Any] = []
    size = 0
    for i in np.random.default_rng(0).permutation(positions)[:MOST].tolist():
        with contextlib.suppress(Exception):
            items.append(source.dataset[i])
            size += sum(a.nbytes for _, leaf in leaves(items[-1]) if (a := numbers(leaf)) is not None)
        if size > LARGEST:
            break
    return items


def _arrays(layout: Layout, items: list[Any], shown: Leaf, target: Leaf) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of one shape, the commonest, and the targets that belong to them; tokens are padded with 0."""
    pairs = []
    for item in items:
        with contextlib.suppress(LookupError):
            values = dict(zip(layout.leaves, layout.take(item), strict=True))
            array = numbers(values[shown])
            if array is not None:
                pairs.append((array, values[target]))
    if shown.part.kind == "tokens":
        width = max(a.size for a, _ in pairs)
        pairs = [(np.pad(a.reshape(-1), (0, width - a.size)), y) for a, y in pairs]
    shapes = [a.shape for a, _ in pairs]
    common = max(set(shapes), key=shapes.count)
    stack = np.stack([a for a, _ in pairs if a.shape == common])
    if shown.part.kind == "image":
        stack = images.as_channels(shown, stack).numpy()
    elif shown.part.kind == "series":
        stack = series.as_channels(stack).numpy()
    elif shown.part.kind == "table":
        stack = stack.reshape(len(stack), -1)
    labels = [_label(target, y) for a, y in pairs if a.shape == common]
    return stack, np.asarray(labels)


def _label(target: Leaf, value: Any) -> Any:
    return _code(value) if target.part.kind == "class" else float(np.asarray(numbers(value)).reshape(-1)[0])


def pictures(found: Probes) -> Iterator[Picture]:
    """A picture for each answer."""
    for answer in found.answers:
        yield answer.picture
