"""PyTorch's defaults, whatever the user's program has set: our arithmetic on tables is in single precision, on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def usual_defaults() -> Iterator[None]:
    """Inside, new tensors are float32 and on the CPU; a program's own default type is put back afterwards."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)
