"""Time series and sound: length, level, peaks, clipping, silence, crossings, trend."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from trainrecipe.scan.measures import Measured, Values
from trainrecipe.scan.measures.stacked import by_shape, odd
from trainrecipe.scan.structure import Leaf
from trainrecipe.table.manifest import Column, Part

LINE = 64
"""Points of a sparkline."""
COARSE = 32
"""Averages over time that neighbours are sought with, per channel, for three channels at most."""
QUIET = 1e-3
"""Share of the peak below which a moment is silent."""


def columns(part: Part) -> list[Column]:
    """See `measure`."""
    p = part.name
    return [
        *([Column(f"{p}_length", "integer", "length", p, "steps of time", tail=True)] if part.ragged else []),
        Column(f"{p}_mean", "number", "mean", p, "mean over time and channels", tail=True),
        Column(f"{p}_std", "number", "spread", p, "standard deviation over time and channels", tail=True),
        Column(f"{p}_peak", "number", "peak", p, "largest absolute value", tail=True),
        Column(f"{p}_clipped", "number", "clipped", p, "share of values equal to the lowest or the highest", tail=True),
        Column(f"{p}_quiet", "number", "silence", p, "share of the values below a thousandth of the peak", tail=True),
        Column(f"{p}_crossings", "number", "crossings", p, "how often it crosses its mean, per step", tail=True),
        Column(f"{p}_trend", "number", "trend", p, "correlation with time", tail=True),
    ]


def measure(leaf: Leaf, values: Values) -> Measured:
    """Statistics of (time,), (channels, time) or (time, channels), where time is the longer; sparklines (n, 64), vectors."""
    return by_shape(values, lambda stack: _measure(leaf, stack))


def as_channels(stack: np.ndarray) -> torch.Tensor:
    """A stack of series as floats (n, channels, time)."""
    series = torch.from_numpy(np.require(stack, requirements=("C", "W"))).float()
    series = series[:, None] if series.ndim == 2 else series
    return series.mT if series.shape[1] > series.shape[2] else series


def _measure(leaf: Leaf, stack: np.ndarray) -> Measured:
    p = leaf.part.name
    series = as_channels(stack)
    n, _, length = series.shape
    flat = series.flatten(1)
    std, mean = torch.std_mean(flat, 1, correction=0)
    low, high = flat.amin(1), flat.amax(1)
    peak = torch.maximum(low.abs(), high.abs())
    at_ends = ((flat == low[:, None]) | (flat == high[:, None])).float().mean(1)
    first = series[:, 0]
    above = first > first.mean(1, keepdim=True)
    time = torch.linspace(-1, 1, length)
    centred = first - first.mean(1, keepdim=True)
    trend = (centred * time).sum(1) / (centred.norm(dim=1) * time.norm()).clamp(min=1e-12)
    found = {
        f"{p}_mean": mean,
        f"{p}_std": std,
        f"{p}_peak": peak,
        f"{p}_clipped": at_ends,
        f"{p}_quiet": (flat.abs() <= QUIET * peak[:, None]).float().mean(1),
        f"{p}_crossings": (above[:, 1:] != above[:, :-1]).float().mean(1),
        f"{p}_trend": trend,
    }
    if leaf.part.ragged:
        found[f"{p}_length"] = torch.full((n,), length)
    line = F.adaptive_avg_pool1d(first[:, None], LINE)[:, 0]
    span = (high - low).clamp(min=1e-12)[:, None]
    thumbs = (255 * (line - low[:, None]) / span).nan_to_num(0.0).clamp(0, 255).round().to(torch.uint8)
    coarse = F.adaptive_avg_pool1d(series[:, :3], COARSE).flatten(1)
    return Measured({k: v.numpy() for k, v in found.items()}, thumbs.numpy(), coarse.numpy().astype(np.float32), odd(stack))
