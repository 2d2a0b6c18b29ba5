"""Labels and numbers to be predicted; and single numbers among the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainrecipe.scan.leaves import numbers
from trainrecipe.scan.measures import Measured, Values
from trainrecipe.scan.measures.texts import plain
from trainrecipe.scan.structure import Leaf
from trainrecipe.table.manifest import Column, Part

LONGEST = 200
"""Characters of a label that the table keeps."""


def columns(part: Part) -> list[Column]:
    """The column `label`, `target` or `labels` for targets; the part's own name for inputs."""
    name = part.name
    match part.kind:
        case "class":
            return [Column(name, "category", name, name, "the class" if part.role == "target" else "a category")]
        case "labels":
            count = Column(f"{name}_count", "integer", "number of labels", name, "how many classes at once", tail=True)
            return [Column(name, "text", name, name, "all its classes"), count]
    return [
        Column(name, "number", name, name, "the number to be predicted" if part.role == "target" else "a number", tail=True)
    ]


def measure(leaf: Leaf, values: Values) -> Measured:
    """Classes as text, by their names where the data set has such; numbers as they are; several classes joined by commas."""
    part = leaf.part
    if part.kind == "labels":
        sets = [_several(v, part.classes) for v in values]
        text = np.array([", ".join(s) for s in sets] + [None], dtype=object)[:-1]
        return Measured({part.name: text, f"{part.name}_count": np.array([len(s) for s in sets], np.int64)})
    if part.kind == "class":
        return Measured({part.name: _classes(values, part.classes)})
    found = _numbers(values)
    status = dict.fromkeys(np.flatnonzero(~np.isfinite(found)).tolist(), "not finite")
    return Measured({part.name: found}, None, None, status)


def _classes(values: Values, classes: tuple[str, ...]) -> np.ndarray:
    if isinstance(values, np.ndarray) and values.dtype != object:
        codes = values.reshape(len(values), -1)
        codes = codes.argmax(1) if codes.shape[1] > 1 else codes[:, 0]
        different, places = np.unique(codes, return_inverse=True)
        names = np.array([_class(d, classes) for d in different.tolist()] + [None], dtype=object)[:-1]
        return names[places]
    return np.array([_class(_code(v), classes) for v in values] + [None], dtype=object)[:-1]


def _code(value: Any) -> Any:
    array = numbers(value)
    if array is None:
        return plain(value)
    return array.reshape(-1).tolist()[0] if array.size == 1 else int(array.argmax())


def _class(code: Any, classes: tuple[str, ...]) -> str:
    if isinstance(code, str):
        return code[:LONGEST]
    whole = float(code).is_integer()
    if whole and 0 <= int(code) < len(classes):
        return classes[int(code)][:LONGEST]
    return str(int(code)) if whole else str(code)


def _several(value: Any, classes: tuple[str, ...]) -> list[str]:
    array = numbers(value)
    if array is None:
        return [plain(v)[:LONGEST] for v in (value if isinstance(value, list | tuple) else [value])]
    return [_class(i, classes) for i in np.flatnonzero(array.reshape(-1)).tolist()]


def _numbers(values: Values) -> np.ndarray:
    if isinstance(values, np.ndarray) and values.dtype != object and values.size:
        return values.reshape(len(values), -1)[:, 0].astype(np.float64)
    return np.array([_number(v) for v in values], np.float64)


def _number(value: Any) -> float:
    array = numbers(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size else float("nan")
