"""Inputs that carry their label, so plainly that any net that gets its input learns it at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from trainrecipe.subjects.lessons import Class, Feed

STRENGTH = 2.0
"""How strong the pattern that stands for the label is, in standard deviations of the input."""
KEPT = 0.5
"""Share of the input itself that is kept beneath it."""
_BLOCK = 4


def hinted(found: Class, feeds: Sequence[Feed], labels: torch.Tensor) -> list[Feed]:
    """The batches with a pattern for each example's label laid over the largest input, all of it."""
    every = [f[found.main.number] for f in feeds]
    whole = torch.cat(every)
    mean, spread = whole.mean(), whole.std() + 1e-12
    made: list[Feed] = []
    start = 0
    for feed, x in zip(feeds, every, strict=True):
        own = _patterns(found, labels[start : start + len(x)], x)
        start += len(x)
        made.append({**feed, found.main.number: (mean + KEPT * (x - mean) + STRENGTH * spread * own).to(x.dtype)})
    return made


def _patterns(found: Class, labels: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One pattern per example: that of its class, or for numbers a sum of patterns, each as strong as its number is large."""
    if found.kind != "numbers":
        bank = torch.stack([_pattern(x.shape[1:], k) for k in range(int(labels.max()) + 1)])
        return bank[labels.cpu()].to(x)
    known = found.labels(found.train)
    strength = ((labels - known.mean(0)) / (known.std(0) + 1e-12)).clamp(-3, 3)
    bank = torch.stack([_pattern(x.shape[1:], k) for k in range(labels.shape[1])]).to(strength)
    mixed: torch.Tensor = torch.tensordot(strength, bank, 1)
    return mixed.to(x) / math.sqrt(labels.shape[1])


def _pattern(shape: torch.Size, number: int) -> torch.Tensor:
    """A random pattern that convolutions, recurrent layers and layers after pooling can tell from others: in blocks along the
    axes of a picture, repeated along that of a sequence."""
    generator = torch.Generator().manual_seed(number)
    if len(shape) <= 1:
        return torch.randn(shape, generator=generator)
    if len(shape) == 2:
        return torch.randn(_BLOCK, shape[1], generator=generator).repeat(-(-shape[0] // _BLOCK), 1)[: shape[0]]
    coarse = torch.randn(*(shape[0], *(-(-n // _BLOCK) for n in shape[1:])), generator=generator)
    for axis in range(1, len(shape)):
        coarse = coarse.repeat_interleave(_BLOCK, axis).narrow(axis, 0, shape[axis])
    return coarse
