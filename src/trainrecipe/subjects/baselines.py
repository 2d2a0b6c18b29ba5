"""What predicts without a net: a constant, a linear model and the nearest neighbour, fitted on captured examples."""

from __future__ import annotations

import torch

from trainrecipe.subjects.lessons import Class
from trainrecipe.subjects.scores import Score, relative_error, share_right


def baselines(found: Class) -> dict[str, Score]:
    """What needs no net, fitted on the training examples and judged on the held-out ones: a constant, a linear model, and the
    nearest neighbour. Remembered."""
    known = found.step.known
    if "baselines" not in known:
        keep = torch.cat(found.keep)
        x, y = found.rows(found.train), found.labels(found.train)
        new, labels = found.rows(found.held)[keep], found.held_labels()
        mean, spread = x.mean(0), x.std(0, correction=0)
        spread = torch.where(spread > 1e-9 * spread.max().clamp(min=1e-30), spread, torch.ones_like(spread))
        x, new = (x - mean) / spread, (new - mean) / spread
        near = y[torch.cdist(new, x).argmin(1)]
        if found.kind == "numbers":
            known["baselines"] = {
                "mean": relative_error(y.mean(0).expand_as(labels), labels),
                "linear model": relative_error(_ridge(x, y, new), labels),
                "nearest neighbour": relative_error(near, labels),
            }
        else:
            classes = int(max(y.max(), labels.max())) + 1
            wanted = torch.nn.functional.one_hot(y.clamp(min=0), classes).double()
            known["baselines"] = {
                "commonest class": share_right(y.mode().values.expand_as(labels), labels),
                "linear model": share_right(_ridge(x, wanted, new).argmax(1), labels),
                "nearest neighbour": share_right(near, labels),
            }
    return known["baselines"]  # type: ignore[no-any-return]


def _ridge(x: torch.Tensor, y: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Ridge regression, its strength chosen by leaving each training example out in turn (in closed form)."""
    centre = y.mean(0)
    kernel, cross = x @ x.T / x.shape[1] + 1e-9, new @ x.T / x.shape[1] + 1e-9
    values, vectors = torch.linalg.eigh(kernel)
    best: tuple[float, torch.Tensor] | None = None
    for strength in (1e-3, 1e-2, 1e-1, 1.0, 10.0):
        inverse = vectors @ torch.diag(1 / (values.clamp(min=0) + strength)) @ vectors.T
        weights = inverse @ (y - centre)
        error = float((weights / inverse.diagonal()[:, None]).square().mean())
        if best is None or error < best[0]:
            best = error, weights
    assert best is not None
    return cross @ best[1] + centre
