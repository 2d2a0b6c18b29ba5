"""How one example looks at each stage on its way into the model: as stored, as given, as drawn, as fed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainrecipe.table.table import Table
from trainrecipe.view.page import pictures

View = Mapping[str, Any]
_STAGES = {
    "raw": ("As stored", "before transforms"),
    "item": ("As the data set gives it", "after transforms"),
    "draws": ("Read again", "random transforms differ"),
    "fed": ("As the model receives it", "the tensor at its input"),
}


@dataclasses.dataclass(frozen=True)
class Piece:
    """One part of an example at one stage; `under` is the image that boxes are drawn on."""

    name: str
    view: View
    under: View | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage with its pieces."""

    key: str
    title: str
    hint: str
    pieces: list[Piece]


@dataclasses.dataclass(frozen=True)
class Look:
    """One example: its row, what identifies it, and its stages."""

    row: int
    key: str
    label: str
    stages: list[Stage]

    def stage(self, *keys: str) -> Stage | None:
        """The first of these stages that the example has."""
        return next((s for key in keys for s in self.stages if s.key == key), None)


def stages(view: View | None, features: Mapping[str, Sequence[str]] | None = None) -> list[Stage]:
    """The stages of a stored view, in the order in which an example goes through them."""
    found = []
    for key, (title, hint) in _STAGES.items():
        value = (view or {}).get(key)
        if not value:
            continue
        several = [{f"input {i}" if i else "input": v for i, v in enumerate(value)}] if key == "fed" else value
        for i, parts in enumerate(several if isinstance(several, list) else [several]):
            name = f"{title} ({i + 1})" if key == "draws" else title
            found.append(Stage(key, name, hint, _pieces(parts, features or {})))
    return found


def _pieces(parts: Mapping[str, View], features: Mapping[str, Sequence[str]]) -> list[Piece]:
    image = next((v for v in parts.values() if v.get("kind") == "image"), None)
    boxed = image is not None and any(v.get("kind") == "boxes" for v in parts.values())
    pieces = []
    for name, view in parts.items():
        kind = view.get("kind")
        if kind == "table":
            names = [*features.get(name, ()), *(f"f{i}" for i in range(len(features.get(name, ())), len(view["values"])))]
            view = {**view, "names": names[: len(view["values"])]}
        if not (boxed and kind == "image"):
            pieces.append(Piece(name, view, image if kind == "boxes" else None))
    return pieces


def values(table: Table, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """All columns of these rows, by row."""
    return {row["row"]: row for row in table.rows(rows)}


def looks(table: Table, rows: Sequence[int]) -> list[Look]:
    """These examples, in this order; without stages where the scan kept no view of them."""
    by_row, views = values(table, rows), table.views(rows)
    names = {part.name: part.features for part in table.manifest.parts}
    return [_look(by_row[r], stages(views.get(r), names)) for r in rows if r in by_row]


def _look(row: Mapping[str, Any], made: list[Stage]) -> Look:
    label = next((row[n] for n in ("label", "labels", "target") if row.get(n) is not None), None)
    return Look(row["row"], f"{row['split']} {row['index']}", "" if label is None else pictures.number(label), made)


def random_looks(table: Table, n: int, seed: int) -> list[Look]:
    """Random examples of which the scan kept a view."""
    return looks(table, viewed(table, "", n, seed))


def kept(table: Table, rows: Sequence[int]) -> set[int]:
    """Those of the rows of which the scan kept a view."""
    return set(rows) & set(table.viewed().tolist())


def viewed(table: Table, where: str, n: int, seed: int) -> list[int]:
    """At most `n` random rows with a view, in random order; the same for the same seed."""
    rows = table.viewed(where)
    return [int(r) for r in np.random.default_rng(seed).permutation(rows)[:n]]


def image(table: Table, row: int, *keys: str) -> View | None:
    """The first image that an example has at one of these stages."""
    return image_of(table.views([row]).get(row) or {}, *keys)


def image_of(view: View, *keys: str) -> View | None:
    """The first image of a view at one of these stages."""
    for key in keys:
        parts = view.get(key) or {}
        for part in parts if isinstance(parts, list) else parts.values():
            if part.get("kind") == "image" and pictures.source(part.get("png")):
                found: View = part
                return found
    return None


def picture(table: Table, row: int, *keys: str) -> np.ndarray | None:
    """The image of an example at the first of these stages, else its thumbnail, as bytes (h, w, 3)."""
    found = image(table, row, *keys)
    if found is not None:
        return pictures.pixels(found)
    thumb = table.thumbs([row]).get(row)
    return None if thumb is None or thumb.ndim != 2 else np.repeat(thumb[:, :, None], 3, axis=2)
