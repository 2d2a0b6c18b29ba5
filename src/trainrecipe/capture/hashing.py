"""Content hashes of what a program consumes: one per example and one per batch (xxh3, PyTorch tensors as bytes)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import xxhash

from trainrecipe.capture import members
from trainrecipe.capture.tensors import dense

MOST_ROWS = 4096
MOST_BYTES = 16 * 2**20
"""Larger batches are not hashed row by row in the training process."""
_SAMPLE = 65_536
_FEW_WEIGHTS = 64
_MASK = 2**64 - 1
_FACTOR = 0x9E3779B97F4A7C15


def row_hashes(tensor: torch.Tensor, most: int = MOST_ROWS) -> list[int]:
    """A hash for each entry along the first axis, at most `most` of them; empty where rows make no sense."""
    if tensor.ndim < 2 or tensor.shape[0] == 0 or not _readable(tensor) or tensor.numel() * tensor.element_size() > MOST_BYTES:
        return []
    rows = _as_bytes(tensor[:most])
    return [xxhash.xxh3_64_intdigest(row.tobytes()) for row in rows]


def example_hashes(tensors: Sequence[torch.Tensor]) -> list[int]:
    """A hash for each example of a batch, over its rows in the first tensors; empty where their lengths differ."""
    kept = [t for t in tensors[:4] if t.ndim]
    size = len(kept[0]) if kept else 0
    if not size or size > MOST_ROWS or any(len(t) != size or not _readable(t) for t in kept):
        return []
    if sum(t.numel() * t.element_size() for t in kept) > MOST_BYTES:
        return []
    columns = [_as_bytes(t) for t in kept if t.numel()]
    return [xxhash.xxh3_64_intdigest(b"".join(c[i].tobytes() for c in columns)) for i in range(size)]


def batch_hash(tensors: Sequence[torch.Tensor]) -> int:
    """One hash for the first tensors of a batch: equal batches have equal hashes, whatever the order of their rows.

    0 where there is nothing that can be hashed.
    """
    total = 0
    for tensor in tensors[:4]:
        total = (total * _FACTOR + _content(tensor)) & _MASK
    return total


def _content(tensor: torch.Tensor) -> int:
    if not _readable(tensor) or not tensor.numel():
        return 0
    values = tensor.detach().reshape(-1)
    if tensor.numel() * tensor.element_size() > MOST_BYTES:
        values = values[:: -(-values.numel() // _SAMPLE)]
        return xxhash.xxh3_64_intdigest(_as_bytes(values.reshape(1, -1)).tobytes())
    if tensor.ndim >= 2:
        return sum(row_hashes(tensor, tensor.shape[0])) & _MASK
    ordered = values.sort().values if values.dtype != torch.bool and not values.is_complex() else values
    return xxhash.xxh3_64_intdigest(_as_bytes(ordered.reshape(1, -1)).tobytes())


def exact_hash(tensor: torch.Tensor) -> str:
    """A hash of every bit of a tensor, whatever its size, in order; empty for an empty one."""
    return xxhash.xxh3_64_hexdigest(_as_bytes(dense(tensor).reshape(1, -1)).tobytes()) if tensor.numel() else ""


def weights_hash(module: torch.nn.Module) -> int | None:
    """A hash of the first numbers of some trainable weights, which training and re-initialising change; None if none."""
    kept = [p.detach() for p in members.parameters(module) if p.requires_grad and p.ndim > 1 and _readable(p) and p.numel()]
    if not kept:
        return None
    whole = xxhash.xxh3_64()
    for weight in kept[:4] + kept[4:][-4:]:
        whole.update(_as_bytes(weight[0].reshape(1, -1)[:, :_FEW_WEIGHTS]).tobytes())
    return whole.intdigest()


def label_columns(tensors: Sequence[torch.Tensor], most: int = 512) -> list[list[float]]:
    """For each tensor of a batch: its values if it holds one number per example (a label, a target), else an empty list."""
    return [column(tensor, most) for tensor in tensors[:8]]


def column(tensor: torch.Tensor, most: int = 512) -> list[float]:
    """One number per example, from (n,), (n, 1) or one-hot rows; empty for every other tensor."""
    if tensor.is_complex() or not _readable(tensor) or not tensor.numel():
        return []
    kept = tensor.detach()[:most] if tensor.ndim else tensor
    if kept.ndim == 1 or (kept.ndim == 2 and kept.shape[1] == 1):
        return kept.reshape(-1).double().tolist()
    if kept.ndim == 2 and kept.shape[1] <= 1000 and bool(((kept == 0) | (kept == 1)).all()):
        chosen = kept.double()
        return chosen.argmax(1).double().tolist() if bool((chosen.sum(1) == 1).all()) else []
    return []


def _readable(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta


def _as_bytes(tensor: torch.Tensor):  # type: ignore[no-untyped-def]
    whole = tensor.detach().cpu().contiguous()
    if not whole.numel():
        return whole.reshape(0, 0).numpy()
    rows = whole.reshape(whole.shape[0], -1)
    rows = rows if rows.stride(-1) == 1 else rows.clone(memory_format=torch.contiguous_format)  # an axis of 1 may have any
    return rows.view(torch.uint8).numpy()
