"""Content hashes of what a program consumes: one per example and one per batch (xxh3, PyTorch tensors as bytes)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import xxhash

MOST_ROWS = 4096
MOST_BYTES = 16 * 2**20
"""Larger batches are not hashed row by row in the training process."""


def row_hashes(tensor: torch.Tensor, most: int = MOST_ROWS) -> list[int]:
    """A hash for each entry along the first axis, at most `most` of them; empty where rows make no sense."""
    if tensor.ndim < 2 or tensor.shape[0] == 0 or tensor.is_sparse or tensor.numel() * tensor.element_size() > MOST_BYTES:
        return []
    rows = _as_bytes(tensor[:most])
    return [xxhash.xxh3_64_intdigest(row.tobytes()) for row in rows]


def batch_hash(tensors: Sequence[torch.Tensor]) -> int:
    """One hash for all tensors of a batch: equal batches have equal hashes, whatever the order of their rows."""
    total = 0
    for tensor in tensors[:4]:
        if tensor.numel() * tensor.element_size() > MOST_BYTES or tensor.is_sparse:
            continue
        if tensor.ndim >= 2:
            total ^= sum(row_hashes(tensor)) & (2**64 - 1)
        else:
            values = tensor.detach().reshape(-1)
            ordered = values.sort().values if values.dtype != torch.bool and not values.is_complex() else values
            total ^= xxhash.xxh3_64_intdigest(_as_bytes(ordered.reshape(1, -1)).tobytes())
    return total


def label_columns(tensors: Sequence[torch.Tensor], most: int = 512) -> list[list[float]]:
    """For each tensor of a batch: its values if it holds one number per example (a label, a target), else an empty list."""
    columns = []
    for tensor in tensors[:8]:
        one = tensor.ndim == 1 or (tensor.ndim == 2 and tensor.shape[1] == 1)
        columns.append(tensor.detach().reshape(-1)[:most].double().tolist() if one and not tensor.is_complex() else [])
    return columns


def _as_bytes(tensor: torch.Tensor):  # type: ignore[no-untyped-def]
    whole = tensor.detach().cpu().contiguous()
    return whole.reshape(whole.shape[0], -1).view(torch.uint8).numpy() if whole.numel() else whole.reshape(0, 0).numpy()
