"""Small models that are measured by repeated cross-validation: neighbours, linear, random features, one small network.

Every model predicts each example once per repetition, by a fit without its fold. The model that is reported for a fold is the
one whose predictions are best on all other examples, in all repetitions: no example has a part in choosing the model that it
is judged by. That is the scheme of Tsamardinos, Greasidou and Borboudakis 2018 (BBC-CV) with folds in place of bootstraps; it
needs no inner fits, and sees four fifths of the examples where an inner fold would see a fifth.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

FOLDS = 5
COMPONENTS = 128
"""Principal components to which wider features are reduced, without a look at the labels."""
NEIGHBOURS = (1, 5, 15)
_NEAREST = 64  # kept for each example: 15 of other folds are among them but for a chance below 1e-6
_PENALTIES = (1e-3, 3e-2, 1.0)  # in units of the mean squared feature
_RANDOM = 256
_HIDDEN, _STEPS, _BATCH = 64, 300, 64
_RATE, _DECAY = 5e-3, 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What is predicted: `wanted` is (N, C), one-hot for classes; `weights` (N,) give every class the same total weight."""

    task: str
    wanted: Tensor
    weights: Tensor

    @classmethod
    def of(cls, labels: np.ndarray, task: str) -> Target:
        """Class numbers 0..C-1 of shape (N,), or numbers of shape (N,) or (N, C), which are standardised."""
        if task == "classes":
            wanted = nn.functional.one_hot(torch.as_tensor(labels).long()).float()
            return cls(task, wanted, _even(wanted))
        numbers = torch.as_tensor(np.asarray(labels, np.float64).reshape(len(labels), -1))
        spread = numbers.std(0).clamp_min(1e-12)
        return cls(task, ((numbers - numbers.mean(0)) / spread).float(), torch.ones(len(labels)))

    def parts(self, predicted: Tensor) -> Tensor:
        """(R, N) what each example adds to the score over all: their mean is balanced accuracy, or R²."""
        if self.task == "classes":
            return (predicted.argmax(-1) == self.wanted.argmax(-1)).float() * self.weights
        low, high = self.wanted.amin(0), self.wanted.amax(0)
        error = (self.wanted - torch.clamp(predicted, low, high)).square().sum(-1)
        return 1 - error / (self.wanted - self.wanted.mean(0)).square().sum(-1).mean()

    @property
    def chance(self) -> float:
        """The most that predictions without any knowledge reach in the mean: one over the classes, or R² of 0."""
        return 1 / self.wanted.shape[1] if self.task == "classes" else 0.0

    def of_rows(self, rows: np.ndarray) -> Target:
        """The target of some of the examples, each class of equal weight among them."""
        wanted = self.wanted[torch.as_tensor(rows)]
        if self.task != "classes":
            return Target(self.task, wanted, self.weights[torch.as_tensor(rows)])
        return Target(self.task, wanted, _even(wanted))


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What each example adds to the score in each repetition, and which model was chosen for each test fold.

    `parts` (R, N) has the score as its mean, `chosen` (R, K) are numbers of models, `model` is the name of the most frequent.
    """

    parts: Tensor
    chosen: Tensor
    model: str


def _even(wanted: Tensor) -> Tensor:
    """(N,) weights of mean 1 by which every class that occurs has the same total."""
    counts = wanted.sum(0)
    return len(wanted) / (int((counts > 0).sum()) * counts[wanted.argmax(1)])


def draw_folds(labels: np.ndarray, task: str, repetitions: int, seed: int) -> Tensor:
    """(R, N) fold of every example in each repetition; the classes are spread over the folds evenly."""
    rng = np.random.default_rng(seed)
    folds = np.empty((repetitions, len(labels)), np.int64)
    for row in folds:
        order = rng.permutation(len(labels))
        if task == "classes":
            order = order[np.argsort(labels[order], kind="stable")]
        row[order] = (np.arange(len(labels)) + rng.integers(FOLDS)) % FOLDS
    return torch.as_tensor(folds)


def measure(
    views: Mapping[str, Tensor],
    target: Target,
    folds: Tensor,
    *,
    judged: Mapping[str, Tensor] | None = None,
    chosen: Tensor | None = None,
    network: bool = True,
    seed: int = 0,
) -> Measured:
    """Scores of the best small model on features `views[name]` (N, D); for each fold all other examples choose it.

    With `judged` the models are fitted on `views` and tested on those features of the same examples; `chosen` then keeps
    the models that were chosen on `views`.
    """
    names, found = [], []
    for view, features in views.items():
        fitted, tested = reduced(features, judged[view] if judged is not None else features, seed)
        for model, predicted in _models(fitted, tested, target, folds, network, seed):
            names.append(f"{model} on {view}")
            found.append(target.parts(predicted))
    parts = torch.stack(found)  # (M, R, N)
    best = _best_elsewhere(parts, folds) if chosen is None else chosen
    picked = parts.gather(0, best.gather(1, folds)[None])[0]
    return Measured(picked, best, names[int(torch.bincount(best.flatten(), minlength=len(names)).argmax())])


def _best_elsewhere(parts: Tensor, folds: Tensor) -> Tensor:
    """(R, K) the model whose mean over all repetitions is best on the examples outside of a fold."""
    inside = nn.functional.one_hot(folds, FOLDS).float()
    means = parts.mean(1)
    return (means.sum(1)[:, None, None] - torch.einsum("mn,rnk->mrk", means, inside)).argmax(0)


def reduced(fitted: Tensor, tested: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Features centred and of total variance 1, by at most COMPONENTS principal components of `fitted`.

    Components by the randomised method of Halko, Martinsson and Tropp 2011 with two power iterations.
    """
    mean = fitted.mean(0)
    x, y = fitted - mean, tested - mean
    if x.shape[1] > COMPONENTS:
        start = torch.randn(x.shape[1], COMPONENTS + 16, generator=torch.Generator().manual_seed(seed))
        basis = torch.linalg.qr(x @ start).Q
        for _ in range(2):
            basis = torch.linalg.qr(x @ (x.T @ basis)).Q
        within = basis.T @ x
        axes = torch.linalg.qr(within.T).Q @ torch.linalg.svd(within @ torch.linalg.qr(within.T).Q).Vh.T[:, :COMPONENTS]
        x, y = x @ axes, y @ axes
    scale = x.var(0).sum().sqrt().clamp_min(1e-9)
    return x / scale, y / scale


def _models(x: Tensor, y: Tensor, target: Target, folds: Tensor, network: bool, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Name and predictions (R, N, C) of every model, fitted on x and tested on y."""
    yield from neighbours(x, y, target, folds).items()
    for predicted in ridges(x, y, target, folds, _PENALTIES):
        yield "ridge", predicted
    for predicted in ridges(random_features(x, seed), random_features(y, seed), target, folds, _PENALTIES[:2]):
        yield "random features", predicted
    if network:
        yield "network", networks(x, y, target, folds, seed)


def neighbours(x: Tensor, y: Tensor, target: Target, folds: Tensor) -> dict[str, Tensor]:
    """k nearest neighbours by Euclidean distance; votes weighted so that all classes are equal."""
    distances = torch.cdist(y, x, compute_mode="use_mm_for_euclid_dist")
    near = distances.topk(min(_NEAREST, len(x)), largest=False).indices  # (N, M), nearest first
    kind, weight = target.wanted.argmax(-1)[near], target.weights[near]
    found: dict[str, Tensor] = {}
    for k in NEIGHBOURS:
        rows = []
        for fold in folds:
            allowed = fold[near] != fold[:, None]
            taken = (allowed & (allowed.cumsum(1) <= k)).float()
            if target.task == "classes":
                rows.append(torch.zeros_like(target.wanted).scatter_add_(1, kind, taken * weight))
            else:
                rows.append((taken[..., None] * target.wanted[near]).sum(1) / taken.sum(1, keepdim=True).clamp_min(1))
        found[f"{k} nearest neighbour{'s' * (k > 1)}"] = torch.stack(rows)
    return found


def ridges(x: Tensor, y: Tensor, target: Target, folds: Tensor, penalties: tuple[float, ...]) -> list[Tensor]:
    """Ridge regression in closed form for each penalty; for classes on one-hot targets, each class of equal weight.

    The Gram matrix of a training set is that of all examples less that of the fold that is left out.
    """
    ones = torch.ones(len(x), 1)
    x, y = torch.cat([x, ones], 1), torch.cat([y, ones], 1)
    unit = torch.eye(x.shape[1], dtype=torch.float64)
    unit[-1, -1] = 0  # the bias has no penalty
    found = [torch.empty(len(folds), *target.wanted.shape) for _ in penalties]
    for r, fold in enumerate(folds):
        members = [fold == k for k in range(FOLDS)]
        heavy = [x[m] * target.weights[m, None] for m in members]
        grams = torch.stack([h.T @ x[m] for h, m in zip(heavy, members, strict=True)]).double()
        sides = torch.stack([h.T @ target.wanted[m] for h, m in zip(heavy, members, strict=True)]).double()
        gram, side = grams.sum(0) - grams, sides.sum(0) - sides
        mean_square = gram.diagonal(dim1=1, dim2=2)[:, :-1].mean(1).clamp_min(1e-9)
        for c, predicted in zip(penalties, found, strict=True):
            factor = torch.linalg.cholesky(gram + (c * mean_square)[:, None, None] * unit)
            weights = torch.cholesky_solve(side, factor).float()
            for k, member in enumerate(members):
                predicted[r, member] = y[member] @ weights[k]
    return found


def random_features(x: Tensor, seed: int) -> Tensor:
    """Rectified random projections, the first layer of an extreme learning machine (Huang et al. 2006)."""
    random = torch.Generator().manual_seed(seed + 1)
    directions = torch.randn(x.shape[1], _RANDOM, generator=random)
    return torch.relu(2 * x @ directions + torch.randn(_RANDOM, generator=random))


def networks(x: Tensor, y: Tensor, target: Target, folds: Tensor, seed: int) -> Tensor:
    """One hidden layer, trained by Adam on all training sets at once."""
    repetitions, count = folds.shape
    jobs = [(r, g) for r in range(repetitions) for g in range(FOLDS)]
    left = [torch.nonzero(folds[r] != g)[:, 0] for r, g in jobs]
    sizes = torch.tensor([len(i) for i in left])
    padded = nn.utils.rnn.pad_sequence(left, batch_first=True)
    x, y = (z * math.sqrt(x.shape[1]) for z in (x, y))  # features of variance about 1
    random = torch.Generator().manual_seed(seed + 2)
    widths = (x.shape[1], _HIDDEN, target.wanted.shape[1])
    weights = [torch.randn(len(jobs), a, b, generator=random) * math.sqrt(2 / a) for a, b in itertools.pairwise(widths)]
    weights += [torch.zeros(len(jobs), 1, b) for b in widths[1:]]
    parameters = [w.requires_grad_() for w in weights]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    for step in range(1, _STEPS + 1):
        chosen = (torch.rand(len(jobs), _BATCH, generator=random) * sizes[:, None]).long()
        batch = padded.gather(1, chosen)
        with torch.enable_grad():
            loss = _loss(_forward(parameters, x[batch]), target, batch)
        grads = torch.autograd.grad(loss, parameters)
        rate = _RATE * (1 - (step - 1) / _STEPS)
        with torch.no_grad():
            for p, grad, moment in zip(parameters, grads, moments, strict=True):
                _adam(p, grad, moment, rate, step)
    predicted = torch.empty(repetitions, count, widths[-1])
    with torch.no_grad():
        for j, (r, g) in enumerate(jobs):
            predicted[r, folds[r] == g] = _forward([p[j] for p in parameters], y[folds[r] == g])
    return predicted


def _adam(parameter: Tensor, grad: Tensor, moment: tuple[Tensor, Tensor], rate: float, step: int) -> None:
    """One step of AdamW, in place; torch's own loads its compiler first, which takes longer than the training."""
    first, second = moment
    first.lerp_(grad, 0.1)
    second.lerp_(grad.square(), 0.001)
    scale = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
    parameter.mul_(1 - rate * _DECAY).addcdiv_(first / (1 - 0.9**step), scale, value=-rate)


def _forward(parameters: list[Tensor], x: Tensor) -> Tensor:
    first, second, bias, last = parameters
    return torch.relu(x @ first + bias) @ second + last


def _loss(out: Tensor, target: Target, batch: Tensor) -> Tensor:
    """Cross-entropy or squared error, summed over the networks so that each has its own gradient."""
    wanted, classes = target.wanted[batch], target.task == "classes"
    each = -(wanted * out.log_softmax(-1)).sum(-1) if classes else (out - wanted).square().mean(-1)
    return (each * target.weights[batch]).mean(1).sum()
