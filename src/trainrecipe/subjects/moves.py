"""Images that were flipped or turned by right angles, and maps of labels of the same height and width."""

from __future__ import annotations

from collections.abc import Callable

import torch

ALIKE = 0.97
"""Correlation from which one image is another one turned; a change of brightness leaves it at 1."""
APART = 0.9
"""Correlation with the image as it was, above which turning it changes too little to be seen."""
SAME_CONTENT = 0.95
"""Correlation from which a map shows what the image shows: a target that is to be restored, and no labels."""
LOPSIDED = 0.02
"""Share of the pixels of a map that turning it must change."""
LEAST = 6
"""Pixels along each side of an image or map."""
LABELS = 64
"""Distinct values of a map of whole numbers that are taken for classes; of real numbers, four."""

Move = Callable[[torch.Tensor], torch.Tensor]
MOVES: dict[str, Move] = {
    "flipped left to right": lambda t: t.flip(-1),
    "flipped upside down": lambda t: t.flip(-2),
    "turned by 180 degrees": lambda t: t.flip(-1).flip(-2),
    "turned by 90 degrees": lambda t: torch.rot90(t, 1, (-2, -1)),
    "turned by 270 degrees": lambda t: torch.rot90(t, 3, (-2, -1)),
    "transposed": lambda t: t.transpose(-2, -1),
}
TURNS = frozenset({"flip", "fliplr", "flipud", "rot90"})
"""PyTorch's operations that do so, but for transposing, which is done for other reasons as well."""


def plane(tensor: torch.Tensor) -> torch.Tensor | None:
    """An image or map as (..., height, width); None for other shapes."""
    if tensor.ndim not in (2, 3) or tensor.is_complex():
        return None
    if tensor.ndim == 3 and tensor.shape[-1] <= 4 < tensor.shape[0]:
        tensor = tensor.movedim(-1, 0)
    return tensor if min(tensor.shape[-2:]) >= LEAST else None


def is_labels(tensor: torch.Tensor) -> bool:
    """Whether a map holds few values, as one of classes does."""
    distinct = len(torch.unique(tensor))
    return 2 <= distinct <= (4 if tensor.is_floating_point() else LABELS)


def is_lopsided(labels: torch.Tensor, turned: torch.Tensor) -> bool:
    """Whether a map looks another way once it is turned."""
    return labels.shape != turned.shape or bool((turned != labels).float().mean() >= LOPSIDED)


def move(before: torch.Tensor, after: torch.Tensor) -> str:
    """How one image was turned to become another; empty where it was not, or looks the same either way."""
    if correlation(before, after) > APART:
        return ""
    square = before.shape[-1] == before.shape[-2]
    fitting = [n for n, g in MOVES.items() if square or g(before).shape == before.shape]
    best = max(fitting, key=lambda n: correlation(MOVES[n](before), after))
    return best if correlation(MOVES[best](before), after) > ALIKE else ""


def shows(labels: torch.Tensor, image: torch.Tensor) -> bool:
    """Whether a map is the image itself, perhaps turned: what a network is to restore."""
    flat = image.double().reshape(-1, *image.shape[-2:]).mean(0)
    plain = labels.double().reshape(-1, *labels.shape[-2:]).mean(0)
    square = flat.shape[0] == flat.shape[1]
    turned = [g(flat) for g in MOVES.values() if square or g(flat).shape == flat.shape]
    return any(abs(correlation(t, plain)) > SAME_CONTENT for t in (flat, *turned))


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Pearson's correlation of two tensors of one shape, element by element; 1 where both are constant."""
    if one.shape != other.shape:
        return 0.0
    a, b = (t.double().reshape(-1) - t.double().mean() for t in (one, other))
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size else float(torch.equal(one, other))
