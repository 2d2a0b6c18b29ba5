"""Finding and replacing the tensors inside any structure that a program passes around.

Walks lists, tuples, named tuples, dicts, dataclasses, Transformers' model outputs and plain objects that hold tensors, in
a fixed order, so that two structures of the same shape can be aligned tensor by tensor.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

_DEPTH = 6
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.layout})
"""Types that hold no tensor: most arguments of most operations."""


def tensors_in(value: Any, depth: int = _DEPTH) -> Iterator[torch.Tensor]:
    """Every tensor in `value`, in a fixed order."""
    found: list[torch.Tensor] = []
    _collect(value, depth, found)
    return iter(found)


def _collect(value: Any, depth: int, found: list[torch.Tensor]) -> None:
    kind = type(value)
    if kind in _PLAIN:
        return
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif depth:
        for child in value if kind is tuple or kind is list else value.values() if kind is dict else _children(value):
            _collect(child, depth - 1, found)


def size_of(tensor: torch.Tensor) -> int:
    """The bytes that a tensor's values take; of a sparse one those of the values and where they lie."""
    if tensor.layout == torch.strided:
        return tensor.nbytes
    bare, size = tensor.detach(), 0
    for name in ("_values", "_indices", "values", "crow_indices", "col_indices", "ccol_indices", "row_indices"):
        with contextlib.suppress(RuntimeError, AttributeError):
            size += int(getattr(bare, name)().nbytes)
    return size


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, or a sparse one written out."""
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def spread(tensor: torch.Tensor, most: int) -> torch.Tensor:
    """At most about so many elements of a tensor, evenly spread."""
    whole = (tensor.coalesce().values() if tensor.is_sparse else tensor).detach().reshape(-1)
    return whole[:: -(-whole.numel() // most)] if whole.numel() > most else whole


def equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are equal, which those on different devices are not."""
    return a.device == b.device and torch.equal(a, b)


def map_tensors(value: Any, change: Callable[[torch.Tensor], Any], depth: int = _DEPTH) -> Any:
    """`value` with every tensor replaced by `change(tensor)`; containers without tensors are kept as they are."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, torch.Tensor):
        return change(value)
    if not depth or next(tensors_in(value, depth), None) is None:
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return tuple.__new__(type(value), [map_tensors(v, change, depth - 1) for v in value])
    if isinstance(value, list | tuple):
        mapped = [map_tensors(v, change, depth - 1) for v in value]
        return mapped if type(value) is list else _same_type(value, mapped)
    if isinstance(value, Mapping):
        pairs = {k: map_tensors(v, change, depth - 1) for k, v in value.items()}
        return pairs if type(value) is dict else _same_type(value, pairs)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: map_tensors(getattr(value, f.name), change, depth - 1) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **{f.name: fields[f.name] for f in dataclasses.fields(value) if f.init})
    return value


def _children(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, slice):
        return [value.start, value.stop, value.step]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, f.name, None) for f in dataclasses.fields(value)]
    if isinstance(value, torch.nn.Module) or not hasattr(value, "__dict__") or isinstance(value, type) or callable(value):
        return []
    held = vars(value).values()
    return list(held) if any(isinstance(v, torch.Tensor) for v in held) else []


def _same_type(value: Any, content: Any) -> Any:
    try:
        return type(value)(content)
    except Exception:
        return content
