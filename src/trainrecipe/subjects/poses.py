"""In which pose a map of labels fits its image best: as it is, mirrored, or upside down."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional as F

POSES: dict[str, tuple[int, ...]] = {"mirrored": (-1,), "upside down": (-2,), "turned by 180°": (-2, -1)}
"""Names of the poses, with the axes along which the map of labels is flipped."""
FITS = 0.2
"""Share of a map's variance that must be predicted from the image, pixel by pixel, in its best pose."""
BETTER = 2.0
"""How many times as well it must fit as in the other pose. A map of labels that has nothing to do with its image fits equally
badly in both, one that is symmetric equally well."""


@dataclasses.dataclass(slots=True)
class Fit:
    """How many of `examples` fit their labels as they are, clearly better than in another pose, and how many the reverse."""

    examples: int
    straight: int
    turned: dict[str, int]


def fits(images: torch.Tensor, labels: torch.Tensor) -> Fit:
    """Compare poses of `labels` (N, H, W), whole numbers or real, with `images` (N, C, H, W), example by example."""
    found = Fit(len(images), 0, dict.fromkeys(POSES, 0))
    for image, label in zip(images, labels, strict=True):
        basis = _basis(image.double())
        own = _fit(basis, label)
        straight = True
        for name, axes in POSES.items():
            other = _fit(basis, label.flip(axes))
            found.turned[name] += other >= FITS and other > BETTER * max(own, 0.0)
            straight &= own >= FITS and own > BETTER * max(other, 0.0)
        found.straight += straight
    return found


def _basis(image: torch.Tensor) -> torch.Tensor:
    """An orthonormal basis (H*W, k) of what a pixel tells: brightness, its square, that of its surroundings, and edges."""
    channels = image[:3, None]
    near = F.avg_pool2d(F.pad(channels, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    down, right = torch.gradient(near.squeeze(1), dim=(-2, -1))
    edges = (down.square() + right.square()).sqrt()
    features = torch.cat([channels.squeeze(1), channels.squeeze(1).square(), near.squeeze(1), near.squeeze(1).square(), edges])
    flat = features.flatten(1).T
    flat = flat - flat.mean(0)
    basis: torch.Tensor = torch.linalg.qr(flat / flat.std(0).clamp_min(1e-9))[0]
    return basis


def _fit(basis: torch.Tensor, label: torch.Tensor) -> float:
    """The share of the map's variance that lies in the span of the basis, corrected for its size; 0 for a constant map."""
    y = label.double().flatten()
    y = y - y.mean()
    whole = float(y.square().sum())
    if whole < 1e-9 or len(y) <= basis.shape[1] + 1:
        return 0.0
    share = float((basis.T @ y).square().sum()) / whole
    return 1 - (1 - share) * (len(y) - 1) / (len(y) - basis.shape[1] - 1)
