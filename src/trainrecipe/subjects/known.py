"""Which of PyTorch's losses a function of the prediction is: found by trying, so that it does not matter how it is written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F

from trainrecipe.finding import Place

PROBES = 4
"""Random predictions on which a function must agree with a known loss; chance cannot make four values agree."""
OF_SOFTMAX = "softmax, "
"""Put before the name of a loss that is applied to a softmax of the prediction."""
CLOSE = 2e-3
"""Relative disagreement that rounding in single precision explains."""


@dataclasses.dataclass(slots=True)
class Known:
    """A term that equals `factor` times PyTorch's loss `name` (with `reduction="mean"`) of `prediction` and `target`, plus
    `offset`.

    `number` is the prediction's number in the recording (None when it is not at its top level); `axis` that of the classes;
    `gradient` that of the step's loss in the prediction.
    """

    name: str
    factor: float
    offset: float
    prediction: torch.Tensor
    target: torch.Tensor
    number: int | None
    place: Place | None
    axis: int = 1
    gradient: torch.Tensor | None = None


def fit(
    evaluate: Callable[[torch.Tensor], float],
    prediction: torch.Tensor,
    targets: Sequence[torch.Tensor],
    number: int | None,
    place: Place | None,
) -> Known | None:
    """The known loss that `evaluate` equals for random predictions, up to a factor and an offset; None without one."""
    candidates = [c for t in targets for c in _candidates(prediction, t)]
    if not candidates:
        return None
    generator = torch.Generator().manual_seed(0)
    wide = [float(t.double().std(correction=0)) for t in targets if t.is_floating_point() and t.numel() == prediction.numel()]
    size = max(float(prediction.double().std(correction=0)), 0.5, *(s for s in wide if math.isfinite(s)), 0.0)
    probes = [prediction]
    for _ in range(PROBES):
        noise = torch.randn(prediction.shape, generator=generator, dtype=torch.float64).to(prediction.device)
        probes.append((noise * size).to(prediction.dtype))
    values = torch.tensor([evaluate(p) for p in probes], dtype=torch.float64)
    if not bool(values.isfinite().all()) or float(values.std()) < 1e-9 * max(1.0, float(values.abs().max())):
        return None
    best: tuple[float, Known] | None = None
    for name, target, axis, loss in candidates:
        wanted = torch.tensor([float(loss(p.double())) for p in probes], dtype=torch.float64)
        line = _line(wanted, values)
        if line is not None and (best is None or line[2] < best[0]):
            best = line[2], Known(name, line[0], line[1], prediction, target, number, place, axis)
    return None if best is None else best[1]


def _line(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float, float] | None:
    """Slope and offset of y over x where all points lie on one line, and how far from it they are."""
    if not bool(x.isfinite().all()) or float(x.std()) <= 1e-6 * max(1.0, float(x.abs().max())):
        return None
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    offset = float(y.mean() - slope * x.mean())
    rest = float((y - slope * x - offset).abs().max())
    range_ = float(y.max() - y.min())
    if not math.isfinite(slope) or rest > CLOSE * range_:
        return None
    return slope, offset if abs(offset) > 10 * CLOSE * float(y.abs().max()) else 0.0, rest / range_


_Candidate = tuple[str, torch.Tensor, int, Callable[[torch.Tensor], torch.Tensor]]


def _candidates(prediction: torch.Tensor, target: torch.Tensor) -> Iterator[_Candidate]:
    """Known losses whose shapes fit."""
    if target.is_complex() or target.is_sparse or prediction.ndim == 0:
        return
    shape = tuple(prediction.shape)
    if not target.is_floating_point() and target.dtype != torch.bool:
        for axis in dict.fromkeys((1, prediction.ndim - 1)):
            if 0 < axis < prediction.ndim and shape[axis] > 1 and target.numel() * shape[axis] == prediction.numel():
                indices = target.reshape(*shape[:axis], *shape[axis + 1 :])
                if int(indices.min()) >= 0 and int(indices.max()) < shape[axis]:
                    yield "cross_entropy", indices, axis, _cross_entropy(indices, axis)
                    yield OF_SOFTMAX + "cross_entropy", indices, axis, _of_softmax(axis, _cross_entropy(indices, axis))
    if target.numel() != prediction.numel():
        return
    wanted = target.reshape(shape).double()
    if prediction.ndim > 1 and shape[-1] > 1 and bool((wanted >= 0).all()):
        for axis in dict.fromkeys((1, prediction.ndim - 1)):
            if bool(((wanted.sum(axis) - 1).abs() < 1e-3).all()):
                yield "cross_entropy", wanted, axis, _cross_entropy(wanted, axis)
                yield OF_SOFTMAX + "cross_entropy", wanted, axis, _of_softmax(axis, _cross_entropy(wanted, axis))
    if bool((wanted != wanted.flatten()[0]).any()):
        name = "binary_cross_entropy_with_logits"
        yield name, wanted, 1, lambda p: F.binary_cross_entropy_with_logits(p, wanted)
        for axis in dict.fromkeys((1, prediction.ndim - 1)) if prediction.ndim > 1 else ():
            if shape[axis] > 1 and bool(((wanted >= 0) & (wanted <= 1)).all()):
                by_hand = _of_softmax(axis, lambda p: -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean())
                yield OF_SOFTMAX + "binary_cross_entropy", wanted, axis, by_hand
    if target.is_floating_point():
        yield "mse_loss", wanted, 1, lambda p: F.mse_loss(p, wanted)
        yield "l1_loss", wanted, 1, lambda p: F.l1_loss(p, wanted)
        yield "smooth_l1_loss", wanted, 1, lambda p: F.smooth_l1_loss(p, wanted)


def _cross_entropy(target: torch.Tensor, axis: int) -> Callable[[torch.Tensor], torch.Tensor]:
    soft = target.movedim(axis, 1) if target.is_floating_point() else target
    return lambda p: F.cross_entropy(p.movedim(axis, 1), soft)


def _of_softmax(axis: int, loss: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda p: loss(p.softmax(axis))
