"""The leaves of an example: tensors, arrays, pictures, numbers and texts inside tuples, mappings and records, by path."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

Path = tuple[str | int, ...]
"""Keys and positions from the whole example to a leaf."""
_NUMERIC = (np.ndarray, np.generic, int, float, bool, list)
MOST_LEAVES = 64
DEEPEST = 6


def leaves(item: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf of an example with its path; lists of numbers are one leaf, and so are lists of texts.

    >>> [(path, leaf) for path, leaf in leaves(({"x": 1.5}, [1, 2]))]
    [((0, 'x'), 1.5), ((1,), [1, 2])]
    """
    if len(path) >= DEEPEST:
        return
    if isinstance(item, Mapping):
        for key, value in item.items():
            yield from leaves(value, (*path, str(key)))
    elif dataclasses.is_dataclass(item) and not isinstance(item, type):
        for field in dataclasses.fields(item):
            yield from leaves(getattr(item, field.name), (*path, field.name))
    elif isinstance(item, tuple) and hasattr(item, "_fields"):
        for name, value in zip(item._fields, item, strict=True):
            yield from leaves(value, (*path, name))
    elif isinstance(item, list | tuple) and not is_flat(item):
        for number, value in enumerate(item[:MOST_LEAVES]):
            yield from leaves(value, (*path, number))
    elif item is not None:
        yield path, item


def at(item: Any, path: Path) -> Any:
    """The leaf at a path. Raises KeyError, IndexError, AttributeError or TypeError where the example is built otherwise."""
    for key in path:
        if isinstance(item, Mapping):
            item = item[key] if key in item else next(v for k, v in item.items() if str(k) == key)
        else:
            item = item[key] if isinstance(key, int) else getattr(item, key)
    return item


def is_flat(item: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list is a leaf: numbers only, or texts only. A tuple is not, since data sets give pairs as tuples."""
    return isinstance(item, list) and bool(item) and (_all(item, (int, float, np.generic)) or _all(item, (str,)))


def _all(item: list[Any], kinds: tuple[type, ...]) -> bool:
    return all(isinstance(v, kinds) for v in item)


def is_picture(value: Any) -> bool:
    """Whether it is an image of Pillow."""
    if isinstance(value, torch.Tensor | np.ndarray):  # which are slow to tell what they have not
        return False
    return hasattr(value, "mode") and hasattr(value, "convert") and hasattr(value, "getbbox")


def numbers(value: Any) -> np.ndarray | None:
    """A leaf as an array, sharing memory where possible; None where it holds no numbers."""
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_meta or value.is_complex():
            return None
        array: np.ndarray = (value.float() if value.dtype is torch.bfloat16 else value).numpy(force=True)
        return array
    if isinstance(value, _NUMERIC) or hasattr(value, "to_numpy"):
        try:
            array = np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value)
        except (ValueError, TypeError, OverflowError):
            return None
        return array if array.dtype.kind in "biuf" else None
    if is_picture(value):
        value = value.convert("RGB") if value.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV") else value
        return np.asarray(value)
    return None


def shown(path: Path) -> str:
    """A path as it is written in code, such as `[0]['image']`."""
    return "".join(f"[{key!r}]" for key in path) or "the example"
