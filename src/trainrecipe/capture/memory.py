"""Whether copies of a model fit beside the program: a twin must never cost the program its memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil
import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.tensors import size_of

COPIES = 8
"""Copies of the weights that may exist at once: recorded steps, the latest and a broken one, and a twin with Adam's state."""
SHARE = 0.5
"""Of the memory that is free when the model is first called, what the copies may take: activations need the rest."""
BURDEN = 0.05
"""Share of the program's own memory above which a whole run lets go of what was recorded once that is examined."""
_SMALL = 64 * 2**20
"""Bytes of weights below which nothing is asked."""
_CGROUP = Path("/sys/fs/cgroup")


def too_large(module: nn.Module) -> str:
    """Why no twin of `module` is made; empty when its copies fit into the memory that is free now."""
    sizes: dict[torch.device, int] = {}
    for tensor in (*members.parameters(module), *members.buffers(module)):
        sizes[tensor.device] = sizes.get(tensor.device, 0) + size_of(tensor)
    for device, size in sizes.items():
        free = free_bytes(device) if size >= _SMALL else None
        if free is not None and size * COPIES > free * SHARE:
            return (
                f"{type(module).__name__} holds {_gigabytes(size)}, and {COPIES} copies of it do not fit into half of the "
                f"{_gigabytes(free)} that are free on {device.type}: examine a smaller version of the model, or free memory"
            )
    return ""


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a device in bytes, within the limit of a container; None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or one without a limit ("max")
        limit = int((_CGROUP / "memory.max").read_text())
        free = min(free, limit - int((_CGROUP / "memory.current").read_text()))
    return free


def is_burden(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether tensors of ours take more than `BURDEN` of the memory that the program itself uses."""
    held: dict[str, int] = {}
    for tensor in {id(t): t for t in tensors}.values():
        held[tensor.device.type] = held.get(tensor.device.type, 0) + _storage_size(tensor)
    used = {"cpu": int(psutil.Process().memory_info().rss)}
    if "cuda" in held:
        used["cuda"] = torch.cuda.memory_allocated()
    return any(size > BURDEN * (used[kind] - size) for kind, size in held.items() if kind in used)


def _storage_size(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes() if tensor.layout == torch.strided else size_of(tensor)


def _gigabytes(size: float) -> str:
    return f"{size / 2**30:.1f} GB"
