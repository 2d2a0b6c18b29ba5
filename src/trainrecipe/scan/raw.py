"""Examples as they are stored, before transforms: a data set is read through copies of its transforms that note what they get.

Leakage is found by lineage: two readings of one stored example differ once it was flipped and cropped at random, what went
into the transforms is the same. A `Tracer` makes a shallow copy of a data set, and of those inside it, in which every callable
attribute (`transform`, `augment`, `tokenizer`, …) notes its first argument; the user's own objects are left alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from trainrecipe.scan.leaves import is_picture, numbers

DEEPEST = 6
"""Data sets inside one another that are followed."""


class Tracer:
    """Reads a data set, and tells what was stored.

    `item = tracer[i]` reads an example; afterwards `tracer.raw` is what its first transform was given (an array, a tensor, an
    image, a text; None where no transform was called), and `tracer.path` the file it was read from, if that could be seen.
    """

    def __init__(self, dataset: Any) -> None:
        self.raw: Any = None
        self.path = ""
        self.traced = False
        self.dataset = self._copied(dataset, DEEPEST)

    def __getitem__(self, index: int) -> Any:
        self.raw, self.path = None, ""
        return self.dataset[index]

    def _copied(self, dataset: Any, depth: int) -> Any:
        """A shallow copy whose transforms are watched, or the data set itself where there is nothing to watch."""
        held = getattr(dataset, "__dict__", None)
        if not isinstance(held, dict) or not depth:
            return dataset
        changed: dict[str, Any] = {}
        for name, value in held.items():
            if isinstance(value, Dataset) or (name == "dataset" and hasattr(value, "__getitem__")):
                inner = self._copied(value, depth - 1)
                if inner is not value:
                    changed[name] = inner
            elif isinstance(value, list) and value and all(isinstance(v, Dataset) for v in value):
                changed[name] = [self._copied(v, depth - 1) for v in value]
            elif _is_transform(value):
                changed[name] = _Watched(value, self)
                self.traced = True
        if not changed:
            return dataset
        try:
            other = copy.copy(dataset)
            other.__dict__.update(changed)
        except Exception:
            return dataset
        return other

    def note(self, given: Sequence[Any]) -> None:
        """A transform was called with these arguments: the first that is content is what was stored."""
        for value in given:
            if isinstance(value, str | Path) and not self.path and _names_file(value):
                self.path = str(value)
            elif self.raw is None and _is_content(value):
                self.raw = copied(value)


class _Watched:
    """A transform that tells what it is given; in every other respect it is the transform."""

    def __init__(self, transform: Callable[..., Any], tracer: Tracer) -> None:
        self.__dict__.update(_transform=transform, _tracer=tracer)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._tracer.note([*args, *kwargs.values()])
        return self._transform(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["_transform"], name)

    def __reduce__(self) -> Any:
        return (_Watched, (self.__dict__["_transform"], self.__dict__["_tracer"]))


def _is_transform(value: Any) -> bool:
    return callable(value) and not isinstance(value, type | Dataset | torch.Tensor) and not hasattr(value, "__array__")


def _names_file(value: str | Path) -> bool:
    return isinstance(value, Path) or (len(value) < 500 and "\n" not in value and ("/" in value or "\\" in value))


def _is_content(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value)
    if is_picture(value):
        return True
    array = numbers(value) if not isinstance(value, int | float | bool) else None
    return array is not None and array.ndim >= 1 and array.size > 1


def copied(value: Any) -> Any:
    """What later transforms cannot change: images are replaced by transforms, tensors and arrays may be written to."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    return value if isinstance(value, str) or is_picture(value) else copy.copy(value)


def stored(dataset: Any) -> Callable[[int], Any] | None:
    """The stored example by position, where a data set holds all of them in one attribute; None where none can be told.

    Of several attributes with an entry for each example the one with the most in an entry is taken, such as images before
    labels.
    """
    inner, part = dataset, None
    for _ in range(DEEPEST):
        below = getattr(inner, "dataset", None)
        indices = getattr(inner, "indices", None)
        if below is None or not hasattr(below, "__getitem__"):
            break
        if indices is not None:
            part = list(indices) if part is None else [indices[i] for i in part]
        inner = below
    try:
        length = len(inner)
        candidates = [
            v for v in vars(inner).values() if not isinstance(v, dict | str) and hasattr(v, "__len__") and len(v) == length
        ]
        sized = [(_size(v[0]), n, v) for n, v in enumerate(candidates) if hasattr(v, "__getitem__") and length]
    except Exception:
        return None
    sized = [s for s in sized if s[0] > 1]
    if not sized:
        return None
    _, _, held = max(sized, key=lambda s: (s[0], -s[1]))
    return (lambda i: held[i]) if part is None else (lambda i: held[part[i]])


def _size(entry: Any) -> int:
    if isinstance(entry, str):
        return len(entry)
    array = numbers(entry)
    return (
        int(array.size) if array is not None else max((_size(e) for e in entry), default=0) if isinstance(entry, tuple) else 0
    )
