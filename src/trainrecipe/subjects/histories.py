"""What became of each example in the course of a training: sums over the times it was fed, in constant memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

Array = np.ndarray


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """Predictions for a batch, one entry for each example: `predicted` class (or number), `confidence` in its label (NaN for
    numbers), `margin` of the label's logit over the best other one, `loss` (cross-entropy, or the squared error), `right`."""

    predicted: Array
    confidence: Array
    margin: Array
    loss: Array
    right: Array


def judged(outputs: Sequence[torch.Tensor], labels: Array) -> Judged | None:
    """Read what a model returned for examples with these labels; None where no output has one prediction for each.

    (n, classes) with whole labels are scores of classes, taken as probabilities where each row adds up to 1 and as logits
    otherwise; (n,) or (n, 1) with labels 0 and 1 are one logit, or a probability where all lie between 0 and 1; with other
    labels they are numbers.
    """
    n = len(labels)
    whole = bool((labels == np.round(labels)).all())
    for tensor in outputs:
        if not tensor.is_floating_point() or not tensor.ndim or tensor.shape[0] != n:
            continue
        values = tensor.float().cpu()
        classes = values.shape[1] if values.ndim == 2 else 0
        if classes > 1 and whole and labels.min(initial=0) >= 0 and labels.max(initial=0) < classes:
            return _of_classes(values, torch.from_numpy(labels.astype(np.int64)))
        if values.numel() == n:
            flat = values.reshape(n)
            return _of_two(flat, labels) if set(np.unique(labels)) <= {0.0, 1.0} else _of_numbers(flat, labels)
    return None


def _of_classes(values: torch.Tensor, labels: torch.Tensor) -> Judged:
    sums = values.sum(1)
    simplex = bool((values >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())
    logits = values.clamp(min=1e-30).log() if simplex else values
    log_p = torch.log_softmax(logits, 1)
    own = logits.gather(1, labels[:, None])[:, 0]
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    chosen = log_p.gather(1, labels[:, None])[:, 0]
    predicted = logits.argmax(1)
    parts = (predicted, chosen.exp(), own - other, -chosen, predicted == labels)
    return Judged(*(p.numpy() for p in parts))


def _of_two(values: torch.Tensor, labels: Array) -> Judged:
    y = torch.from_numpy(labels.astype(np.float32))
    probability = bool(((values >= 0) & (values <= 1)).all())
    logit = torch.logit(values, eps=1e-7) if probability else values
    margin = torch.where(y == 1, logit, -logit)
    predicted = (logit > 0).long()
    parts = (predicted, torch.sigmoid(margin), margin, torch.nn.functional.softplus(-margin), predicted == y)
    return Judged(*(p.numpy() for p in parts))


def _of_numbers(values: torch.Tensor, labels: Array) -> Judged:
    predicted = values.numpy()
    nothing = np.full(len(labels), np.nan, np.float32)
    return Judged(predicted, nothing, nothing, (predicted - labels) ** 2, np.zeros(len(labels), bool))


class History:
    """Sums for `n` examples. Columns are those of dataset cartography (Swayamdipta et al. 2020), AUM (Pleiss et al. 2020) and
    forgetting (Toneva et al. 2019)."""

    def __init__(self, n: int) -> None:
        self.times = np.zeros(n, np.int32)
        self.correct = np.zeros(n, np.int32)
        self.forgotten = np.zeros(n, np.int32)
        self.was_right = np.zeros(n, bool)
        self.last = {name: np.full(n, np.nan, np.float32) for name in ("predicted", "confidence", "loss")}
        self._sums = {name: np.zeros(n) for name in ("confidence", "square", "margin")}

    def add(self, indices: Array, found: Judged) -> None:
        """Examples at these positions were fed once more. Of one that is twice in a batch the last counts for what is last."""
        np.add.at(self.times, indices, 1)
        np.add.at(self.correct, indices, found.right)
        np.add.at(self.forgotten, indices, self.was_right[indices] & ~found.right)
        self.was_right[indices] = found.right
        for name in self.last:
            self.last[name][indices] = getattr(found, name)
        np.add.at(self._sums["confidence"], indices, np.nan_to_num(found.confidence))
        np.add.at(self._sums["square"], indices, np.nan_to_num(found.confidence) ** 2)
        np.add.at(self._sums["margin"], indices, np.nan_to_num(found.margin))

    def columns(self) -> dict[str, Array]:
        """By position: `times` fed, mean `confidence` in the label and its standard deviation (`variability`), mean `margin`,
        the share of times it was right, how often it was `forgotten`, and what was predicted last, with that loss."""
        times = np.maximum(self.times, 1)
        seen = self.times > 0
        mean = self._sums["confidence"] / times
        spread = np.sqrt(np.maximum(self._sums["square"] / times - mean**2, 0.0))
        found = {
            "times": self.times.astype(np.float64),
            "mean_confidence": mean,
            "variability": spread,
            "margin": self._sums["margin"] / times,
            "right_share": self.correct / times,
            "forgotten": self.forgotten.astype(np.float64),
            "confidence": self.last["confidence"],
            "loss": self.last["loss"],
            "predicted": self.last["predicted"],
        }
        return {name: np.where(seen, values, np.nan) for name, values in found.items()}
