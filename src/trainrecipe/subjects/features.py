"""Examples as rows of numbers: features, nearest neighbours, the grid that values lie on, whether they tell the label."""

from __future__ import annotations

import torch

LEVELS = 8
"""Steps of a grid of values (such as the 255 of an 8-bit image) from which it is recognised."""
NEIGHBOURS = 5


def axes_of(x: torch.Tensor) -> list[int]:
    """What a feature is averaged over: the rows of a table; rows and time of sequences; rows and positions of pictures."""
    return [0] if x.ndim == 2 else [0, 1] if x.ndim == 3 else [d for d in range(x.ndim) if d != 1]


def columns(x: torch.Tensor) -> torch.Tensor:
    """One column per feature, at most 256 of them and 20,000 values of each."""
    keep = {2: 1, 3: 2}.get(x.ndim, 1)
    flat = x.movedim(keep, -1).reshape(-1, x.shape[keep]).double()
    flat = flat[:, :: max(1, flat.shape[1] // 256)]
    return flat[:: max(1, len(flat) // 20_000)]


def features(x: torch.Tensor, most: int = 1024) -> torch.Tensor:
    """Rows as vectors of at most `most` numbers for comparison: values, or counts of tokens where they are whole numbers."""
    flat = x.reshape(x.shape[0], -1)
    if not flat.is_floating_point() and flat.shape[1] > 1 and int(flat.max()) > 1 and int(flat.min()) >= 0:
        buckets = (flat.long() * 2654435761 % 2**32) % most if int(flat.max()) >= most else flat.long()
        counts = torch.zeros(flat.shape[0], int(buckets.max()) + 1, device=flat.device)
        return counts.scatter_add_(1, buckets, torch.ones_like(buckets, dtype=torch.float))
    values = flat.float()
    if flat.shape[1] > most:
        values = values[:, :: -(-flat.shape[1] // most)]
    return values.nan_to_num(0.0, 0.0, 0.0)


def nearest(train: torch.Tensor, test: torch.Tensor, k: int = 1, *, leave_out: bool = False) -> torch.Tensor:
    """Indices of the k nearest training rows of each test row; with `leave_out` both are the same rows, and none is its own."""
    mean, spread = train.mean(0), train.std(0, correction=0)
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    a, b = (test - mean) / spread, (train - mean) / spread
    distance = torch.cdist(a, b)
    if leave_out:
        distance.fill_diagonal_(float("inf"))
    return distance.topk(min(k, b.shape[0]), largest=False).indices


def straightness(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Squared correlation of the quantiles of each column."""
    at = torch.linspace(0.02, 0.98, 25, dtype=torch.double, device=a.device)
    p, q = a.quantile(at, 0), b.quantile(at, 0)
    p, q = p - p.mean(0), q - q.mean(0)
    return (p * q).sum(0).square() / (p.square().sum(0) * q.square().sum(0)).clamp_min(1e-30)


def grid_of(values: torch.Tensor) -> tuple[float, float, int] | None:
    """The grid of equal steps that values lie on: (least value, step, number of steps); None where there is none.

    >>> import torch
    >>> least, step, levels = grid_of(torch.arange(17).repeat(20) / 16)
    >>> (least, round(step, 4), levels)
    (0.0, 0.0625, 16)
    """
    kinds = torch.unique(values.double())
    if not LEVELS < len(kinds) <= 2048 or len(values) < 4 * len(kinds):
        return None
    gaps = kinds.diff()
    span = float(kinds[-1] - kinds[0])
    gaps = gaps[gaps > 1e-6 * span]
    step = float(gaps.min())
    places = gaps / step
    if float((places - places.round()).abs().max()) > 0.05:
        return None
    levels = round(span / step)
    return (float(kinds[0]), span / levels, levels) if levels <= 4 * len(kinds) else None


def told(
    x: torch.Tensor, y: torch.Tensor, classes: bool, other: tuple[torch.Tensor, torch.Tensor] | None = None
) -> tuple[float, float, float]:
    """How well the five nearest other examples tell the label: (score, what chance gives, its standard deviation).

    For classes the share of examples whose label most neighbours bear, for numbers the share of the variance that their
    neighbours' mean explains. With `other`, inputs and labels of other examples, those are judged by neighbours in `x`.
    """
    rows = features(x)
    asked, truth = (rows, y) if other is None else (features(other[0].to(x.device)), other[1])
    width = max(rows.shape[1], asked.shape[1])  # counts of tokens may be of different length
    rows, asked = (torch.nn.functional.pad(v, (0, width - v.shape[1])) for v in (rows, asked))
    truth, y = truth.to(rows.device), y.to(rows.device)
    near = y[nearest(rows, asked, NEIGHBOURS, leave_out=other is None)]
    n = len(truth)
    if classes:
        shares = torch.unique(truth, return_counts=True)[1].double() / n
        most = float(shares.max())  # a majority vote at random still finds the commonest label that often
        return float((near.mode(1).values == truth).double().mean()), most, max(1e-9, most * (1 - most) / n) ** 0.5
    left = float((near.mean(1) - truth).square().mean() / truth.var(correction=0).clamp_min(1e-30))
    return 1 - left, 0.0, 2 / n**0.5


def line_told(x: torch.Tensor, y: torch.Tensor, classes: bool, folds: int = 5) -> float:
    """The share of the labels' variance (of each class's indicator) that a ridge regression on the inputs (rows, columns)
    explains in examples that it was not fitted to; at or below 0 where it explains nothing."""
    a = (x.double() - x.double().mean(0)) / x.double().std(0).clamp_min(1e-9)
    told = torch.nn.functional.one_hot(torch.unique(y, return_inverse=True)[1]).double() if classes else y.double()[:, None]
    told = told - told.mean(0)
    fold = torch.arange(len(a), device=a.device) % folds
    left = torch.zeros_like(told)
    for k in range(folds):
        known, asked = a[fold != k], a[fold == k]
        weights = torch.linalg.solve(
            known.T @ known + len(known) * 0.01 * torch.eye(a.shape[1], dtype=a.dtype, device=a.device),
            known.T @ told[fold != k],
        )
        left[fold == k] = told[fold == k] - asked @ weights
    return 1 - float(left.square().sum() / told.square().sum().clamp_min(1e-30))
