"""Features that small models are given of an input: the numbers as they are, and local features without their places.

Local features are those of A. Coates and A. Y. Ng 2011-2012: whitened patches, soft assignment to the centres of k-means,
pooled. They stand in for a small convolutional network that need not be trained; with one pool over the whole image they are
a bag of local features as in W. Brendel and M. Bethge 2019 (BagNet): no two places are seen together.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

_CENTRES = 64
_WHITENED = 32
_SAMPLED = 5000
_LOOKED_AT = 500  # images from which patches are sampled
_PLACES = 12  # positions of a patch along a side at most; larger images are walked in strides
_BUCKETS = 1024


def image_views(images: np.ndarray, seed: int) -> dict[str, Tensor]:
    """Pixels, and local features pooled over quadrants (mean) and everywhere (maximum)."""
    x = torch.as_tensor(np.ascontiguousarray(images)).float()
    height, width = x.shape[2:]
    views = {"pixels": _unit_channels(x).flatten(1)}
    if max(height, width) > 1 and height * width >= 4:
        patch = [min(s, max(3, min(8, s // 5))) for s in (height, width)]
        found = local_features(x, patch[0], patch[1], seed)
        grid = (min(2, found.shape[2]), min(2, found.shape[3]))
        pooled = nn.functional.adaptive_avg_pool2d(found, grid).flatten(1)
        views["local features"] = torch.cat([pooled, 0.3 * found.amax((2, 3))], 1)
    return views


def bag_of_patches(images: np.ndarray, height: int, width: int, seed: int) -> dict[str, Tensor]:
    """Mean and maximum of each local feature over the whole image: which there are, not where."""
    found = local_features(torch.as_tensor(np.ascontiguousarray(images)).float(), height, width, seed)
    return {"a bag of local features": torch.cat([found.mean((2, 3)), 0.3 * found.amax((2, 3))], 1)}


def local_features(x: Tensor, height: int, width: int, seed: int) -> Tensor:
    """(N, centres, H', W') how much nearer than the mean the centre of each cluster of whitened patches is ("triangle")."""
    x = _unit_channels(x)
    random = torch.Generator().manual_seed(seed)
    sizes = (height, width)
    stride = (max(1, -(-(x.shape[2] - height + 1) // _PLACES)), max(1, -(-(x.shape[3] - width + 1) // _PLACES)))
    some = x[torch.randperm(len(x), generator=random)[:_LOOKED_AT]]
    rows = nn.functional.unfold(some, sizes, stride=stride).transpose(1, 2).flatten(0, 1)
    sample = rows[torch.randperm(len(rows), generator=random)[:_SAMPLED]]
    mean = sample.mean(0)
    values, axes = torch.linalg.eigh((sample - mean).T @ (sample - mean) / len(sample))
    values, axes = values.flip(0)[:_WHITENED], axes.flip(1)[:, :_WHITENED]
    whiten = axes / (values + 0.05 * values.mean() + 1e-6).sqrt()
    centres = _clusters((sample - mean) @ whiten, random)
    filters = whiten.T.reshape(-1, x.shape[1], height, width)
    white = nn.functional.conv2d(x, filters, -mean @ whiten, stride=stride)  # (N, 32, H', W')
    points = white.permute(0, 2, 3, 1).flatten(0, 2)
    distances = torch.cdist(points, centres, compute_mode="use_mm_for_euclid_dist")
    found = torch.relu(distances.mean(1, keepdim=True) - distances)
    return found.reshape(len(x), *white.shape[2:], -1).permute(0, 3, 1, 2)


def _clusters(rows: Tensor, random: torch.Generator) -> Tensor:
    """Centres by ten rounds of k-means from random rows."""
    centres = rows[torch.randperm(len(rows), generator=random)[:_CENTRES]].clone()
    for _ in range(10):
        nearest = torch.cdist(rows, centres).argmin(1)
        counts = torch.bincount(nearest, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, nearest, rows)
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), centres)
    return centres


def _unit_channels(x: Tensor) -> Tensor:
    """Channels (dimension 1) of mean 0 and variance 1 over all examples and places."""
    over = (0, *range(2, x.ndim))
    return (x - x.mean(over, keepdim=True)) / x.std(over, keepdim=True).nan_to_num(1.0).clamp_min(1e-9)


def series_views(series: np.ndarray, seed: int) -> dict[str, Tensor]:
    """Values of (N, C, T), and local features of windows pooled over both halves and everywhere."""
    views = image_views(series[:, :, None, :], seed)
    return {{"pixels": "values"}.get(name, name): features for name, features in views.items()}


def token_views(tokens: np.ndarray, gap: np.ndarray, seed: int) -> dict[str, Tensor]:
    """Counts of tokens, counts of neighbouring pairs, and random vectors of the tokens at their places (padding: zeros)."""
    rng = np.random.default_rng(seed)
    known, ids = np.unique(tokens, return_inverse=True)
    ids = ids.reshape(tokens.shape)
    buckets = min(len(known), _BUCKETS)
    single = np.arange(len(known)) if len(known) <= _BUCKETS else rng.integers(buckets, size=len(known))
    views = {"a bag of tokens": _counts(single[ids], ~gap, buckets)}
    width = min(16, len(known))
    vectors = np.eye(width) if len(known) <= width else rng.normal(size=(len(known), width)) / np.sqrt(width)
    views["tokens at their places"] = torch.as_tensor((vectors[ids] * ~gap[..., None]).reshape(len(ids), -1)).float()
    if tokens.shape[1] > 1:
        left, right = rng.integers(1 << 30, size=(2, len(known)))
        pairs = (left[ids[:, :-1]] + 3 * right[ids[:, 1:]]) % 1000003 % _BUCKETS
        views["a bag of pairs"] = _counts(pairs, ~gap[:, :-1] & ~gap[:, 1:], _BUCKETS)
    return views


def _counts(buckets: np.ndarray, valid: np.ndarray, size: int) -> Tensor:
    """(N, size) square roots of the counts, which keep frequent tokens from drowning the others."""
    counts = torch.zeros(len(buckets), size)
    return counts.scatter_add_(1, torch.as_tensor(buckets), torch.as_tensor(valid).float()).sqrt()


def table_views(table: np.ndarray) -> dict[str, Tensor]:
    """Standardised columns, missing values as the mean and marked by columns of their own."""
    missing = np.isnan(table)
    counts = np.maximum((~missing).sum(0), 1)
    centred = np.where(missing, 0, table - np.where(missing, 0, table).sum(0) / counts)
    spread = np.sqrt((centred**2).sum(0) / counts)
    columns = centred / np.where(spread > 1e-12, spread, 1)
    marks = missing[:, missing.any(0)].astype(float)
    return {"columns": torch.as_tensor(np.concatenate([np.clip(columns, -10, 10), marks], 1)).float()}
