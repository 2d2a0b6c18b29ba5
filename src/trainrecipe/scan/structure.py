"""How the examples of a data set are built: which parts they have, of what kind, and what each is for.

Nothing is asked of the user: kinds follow from types, shapes and values of a few examples, roles from names and places. The
page says what was taken for what.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainrecipe.scan.leaves import Path, at, is_picture, leaves, numbers, shown
from trainrecipe.table.manifest import Part

SMOOTH = 0.6
"""Neighbours in an image or a series differ by less than this share of what any two of its elements differ by."""
FEWEST = 6
"""Pixels on the shorter side of an image at least."""
LONG = 32
"""Elements of a series at least."""
ALIKE = 0.95
"""Share of the first examples that have one shape, from which others are odd ones."""
CHANNELS = (1, 3, 4)
_NO_NUMBERS = ("str", "bytes", "list")
_TARGETS = ("label", "target", "class", "answer", "box", "mask", "segmentation", "category", "categories", "y")
_OTHERS = (
    "attention_mask",
    "token_type_ids",
    "special_tokens_mask",
    "index",
    "idx",
    "id",
    "image_id",
    "path",
    "file",
    "filename",
    "key",
)


@dataclasses.dataclass(frozen=True)
class Leaf:
    """Where one part lies in an example. `flat`: an image that the data set gives as a vector; `last`: channels come last.

    `form` is what the four numbers of a box are: two corners (`xyxy`), a corner and a size (`xywh`), or the centre and a size
    (`cxcywh`).
    """

    part: Part
    path: Path
    flat: bool = False
    last: bool = False
    form: str = "xyxy"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The parts of an example, inputs first."""

    leaves: tuple[Leaf, ...]

    @property
    def parts(self) -> list[Part]:
        """Descriptions for the manifest."""
        return [leaf.part for leaf in self.leaves]

    def take(self, item: Any) -> list[Any]:
        """The parts of one example. Raises LookupError where it is built otherwise than the first ones were."""
        found = []
        for leaf in self.leaves:
            try:
                found.append(at(item, leaf.path))
            except (KeyError, IndexError, AttributeError, TypeError, StopIteration):
                raise LookupError(f"the example has no part {shown(leaf.path)}") from None
        return found

    def fits(self, values: Sequence[Any], arrays: Sequence[np.ndarray | None]) -> str:
        """Why parts of an example, and their numbers, are not as they are in the first examples; empty where they are."""
        for leaf, value, array in zip(self.leaves, values, arrays, strict=True):
            part = leaf.part
            if (array is None) != (part.kind == "text" or part.dtype in _NO_NUMBERS):
                return f"{part.name} is of type {type(value).__name__}, in other examples of {part.dtype}"
            if array is not None and not part.ragged and array.shape != part.shape:
                return f"{part.name} has the shape {array.shape}, in other examples {part.shape}"
        return ""


def layout_of(items: Sequence[Any], classes: Sequence[str] = (), *, ragged: bool = False) -> Layout:
    """The layout that a few examples have in common; with `ragged` others may have other sizes than these have.

    Raises ValueError where they hold nothing that can be measured.
    """
    built = [tuple(path for path, _ in leaves(item)) for item in items]
    usual = max(dict.fromkeys(built), key=built.count)  # single examples may be odd
    alike = [item for item, paths in zip(items, built, strict=True) if paths == usual]
    columns: list[tuple[Path, list[Any]]] = [(path, [at(item, path) for item in alike]) for path in usual]
    if not columns:
        raise ValueError(f"the examples are of type {type(items[0]).__name__} and hold nothing that can be measured")
    roles = _roles(columns)
    found = [_leaf(path, values, role, columns, classes) for (path, values), role in zip(columns, roles, strict=True)]
    if ragged:
        found = [_as_ragged(leaf) for leaf in found]
    found.sort(key=lambda leaf: ("input", "target", "other").index(leaf.part.role))
    return Layout(tuple(_named(found)))


def _as_ragged(leaf: Leaf) -> Leaf:
    """The same with varying sizes, where a part has a size that may vary."""
    vary = leaf.part.kind in ("image", "mask", "series", "tokens", "tensor") and len(leaf.part.shape) and not leaf.flat
    return dataclasses.replace(leaf, part=dataclasses.replace(leaf.part, ragged=True)) if vary else leaf


# ---- roles


def _roles(columns: Sequence[tuple[Path, list[Any]]]) -> list[str]:
    names = [_name(path) for path, _ in columns]
    roles = [_role(name) if name else "" for name in names]
    if "target" not in roles and len({path[0] for path, _ in columns if path}) > 1:
        last = max((path[0] for path, _ in columns if isinstance(path[0], int)), default=None)
        if last is not None:
            roles = ["target" if path[0] == last and r != "other" else r for (path, _), r in zip(columns, roles, strict=True)]
    roles = [r or "input" for r in roles]
    if "input" not in roles:
        roles[0] = "input"
    return roles


def _name(path: Path) -> str:
    return next((str(k).lower() for k in reversed(path) if isinstance(k, str)), "")


def _role(name: str) -> str:
    if name in _OTHERS or name.endswith(("_id", "_index", "_path", "_name")):
        return "other"
    return "target" if any(name == t or (len(t) > 1 and (name.startswith(t) or name.endswith(t))) for t in _TARGETS) else ""


# ---- kinds


def _leaf(path: Path, values: list[Any], role: str, columns: Sequence[tuple[Path, list[Any]]], classes: Sequence[str]) -> Leaf:
    arrays = [numbers(v) for v in values]
    shapes = [a.shape for a in arrays if a is not None]
    usual = max(dict.fromkeys(shapes), key=shapes.count, default=())
    ragged = bool(shapes) and shapes.count(usual) < ALIKE * len(shapes)
    if shapes and not ragged and len(shapes) >= ALIKE * len(values):
        values = [v for v, a in zip(values, arrays, strict=True) if a is not None and a.shape == usual]
        arrays = [a for a in arrays if a is not None and a.shape == usual]
    first = arrays[0]
    flat = last = False
    if first is None or any(a is None for a in arrays):
        kind = _text_kind(values, role)
        shape: tuple[int, ...] = ()
    else:
        known = [a for a in arrays if a is not None]
        kind, flat, last = _kind(known, role, _name(path), ragged, _image_sizes(columns), is_picture(values[0]))
        shape = first.shape
    dtype = str(first.dtype) if first is not None else type(values[0]).__name__
    part = Part(
        name=_name(path),
        path=shown(path),
        kind=kind,
        role=role,
        shape=tuple(int(n) for n in shape),
        dtype=dtype,
        ragged=ragged,
        classes=tuple(str(c) for c in classes) if kind in ("class", "labels", "mask") else (),
        features=tuple(str(c) for c in getattr(values[0], "index", ())) if hasattr(values[0], "to_numpy") else (),
    )
    return Leaf(part, path, flat, last, box_form(arrays, _image_sizes(columns)) if kind == "boxes" else "xyxy")


def corners(boxes: np.ndarray, form: str) -> np.ndarray:
    """Boxes (n, 4) of a form as two corners."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if form == "xywh":
        return np.concatenate([first, first + second], axis=1)
    return np.concatenate([first - second / 2, first + second / 2], axis=1) if form == "cxcywh" else boxes


def box_form(arrays: Sequence[np.ndarray | None], sizes: set[tuple[int, int]]) -> str:
    """The form in which the boxes of a few examples have an area, and lie inside their picture, most often."""
    boxes = np.concatenate(
        [a.reshape(-1, 4).astype(np.float64) for a in arrays if a is not None and a.size] or [np.zeros((0, 4))]
    )
    if not len(boxes):
        return "xyxy"
    limit = 1.0 if boxes.max() <= 1.5 else float(max((max(s) for s in sizes), default=np.inf))

    def wrong(form: str) -> float:
        found = corners(boxes, form)
        inverted = (found[:, 2:] <= found[:, :2]).any(1)
        outside = (
            (found < -0.05 * limit).any(1) | (found > 1.05 * limit).any(1) if np.isfinite(limit) else np.zeros(len(found), bool)
        )
        return float((inverted | outside).mean())

    return min(("xyxy", "xywh", "cxcywh"), key=wrong)


def _text_kind(values: list[Any], role: str) -> str:
    if isinstance(values[0], list):
        return "labels" if role == "target" else "text"
    short = all(isinstance(v, str) and len(v) <= 40 for v in values)
    return "class" if role != "input" and short else "text"


def _image_sizes(columns: Sequence[tuple[Path, list[Any]]]) -> set[tuple[int, int]]:
    sizes = set()
    for _, values in columns:
        first = numbers(values[0])
        if first is not None and first.ndim == 3:
            sizes |= {first.shape[-2:], first.shape[:2]}
    return sizes


def _kind(
    arrays: list[np.ndarray], role: str, name: str, ragged: bool, sizes: set[tuple[int, int]], picture: bool
) -> tuple[str, bool, bool]:
    """The kind of a numeric leaf, whether it is an image as a vector, and whether its channels come last."""
    first = arrays[0]
    whole = first.dtype.kind in "biu"
    if role == "other" and first.ndim:
        return "tensor", False, False
    match first.ndim:
        case 0:
            return ("class" if role != "input" and whole else "number"), False, False
        case 1:
            return _vector(arrays, role, ragged, whole)
        case 2 if (name.startswith("box") or name.endswith(("boxes", "bbox", "bboxes"))) and first.shape[1] == 4:
            return "boxes", False, False
        case 2 if role == "target" and (first.shape in sizes or picture) and whole:
            return "mask", False, False
        case 2 if whole and first.dtype != np.uint8:
            return "tensor", False, False
        case 2:
            grid = min(first.shape) >= FEWEST and (picture or first.dtype == np.uint8 or all(_smooth(a) for a in arrays[:4]))
            return ("image" if grid else "series" if max(first.shape) >= LONG else "tensor"), False, False
        case 3:
            if role == "target" and whole and first.shape[0] not in CHANNELS and not picture:
                return "mask", False, False
            if first.shape[0] in CHANNELS and min(first.shape[1:]) >= FEWEST:
                return "image", False, False
            if first.shape[2] in CHANNELS and min(first.shape[:2]) >= FEWEST:
                return "image", False, True
    return "tensor", False, False


def _vector(arrays: list[np.ndarray], role: str, ragged: bool, whole: bool) -> tuple[str, bool, bool]:
    first = arrays[0]
    binary = all(bool(((a == 0) | (a == 1)).all()) for a in arrays)
    if role == "target":
        if binary and not ragged and len(first) > 1:
            return ("class" if all(a.sum() == 1 for a in arrays) else "labels"), False, False
        if len(first) == 1:
            return ("class" if whole else "number"), False, False
        return ("tokens" if whole else "tensor"), False, False
    if whole and first.dtype != np.uint8 and not binary and all(a.min(initial=0) >= 0 for a in arrays):
        return "tokens", False, False
    if not ragged:
        side = round(len(first) ** 0.5)
        if side >= FEWEST and side * side == len(first) and all(_smooth(a.reshape(side, side)) for a in arrays[:4]):
            return "image", True, False
    long = min(len(a) for a in arrays) >= LONG
    if long and all(_smooth(a[None]) for a in arrays[:4]):
        return "series", False, False
    return ("table" if not ragged else "series" if long else "tensor"), False, False


def _smooth(array: np.ndarray) -> bool:
    """Whether neighbours along every axis longer than one are more alike than any two elements."""
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        return False
    flat = values.ravel()
    aside = array.shape[-1] // 2 if len(flat) > array.shape[-1] else 0  # neither in the same row nor in the same column
    far = np.abs(flat - np.roll(flat, len(flat) // 2 + aside)).mean()
    near = [np.abs(np.diff(values, axis=axis)).mean() for axis in range(values.ndim) if values.shape[axis] > 1]
    return bool(near) and far > 0 and all(n < SMOOTH * far for n in near)


# ---- names


def _named(found: list[Leaf]) -> list[Leaf]:
    """Parts by their names in the code or else by their kinds, each once, as beginnings of columns' names."""
    taken: dict[str, int] = {}
    named = []
    for leaf in found:
        part = leaf.part
        plain = {"class": "label", "number": "target"}.get(part.kind, part.kind) if part.role == "target" else part.kind
        name = "".join(c if c.isalnum() else "_" for c in part.name) or {"number": "value"}.get(plain, plain)
        taken[name] = taken.get(name, 0) + 1
        name = name if taken[name] == 1 else f"{name}{taken[name]}"
        named.append(dataclasses.replace(leaf, part=dataclasses.replace(part, name=name)))
    return named
