"""Images that are flipped at random, and the labels that should be flipped with them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from trainrecipe.subjects.poses import fits
from trainrecipe.subjects.turning import Turning, _look

Parts = tuple[Any, ...]
Reader = Callable[[torch.Tensor, torch.Tensor], Parts]


class Read(Dataset[Parts]):
    """Sixteen examples made of noise, read through a function."""

    def __init__(
        self, read: Callable[[torch.Tensor, torch.Tensor], Parts], mask: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(16, 3, 12, 16, generator=generator)
        self.masks = [mask(image) for image in self.images]
        self.read = read

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Parts:
        return self.read(self.images[index], self.masks[index])


def halves(image: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros(image.shape[-2:], dtype=torch.long)
    mask[: image.shape[1] // 2, :5] = 1
    return mask


def corners(image: torch.Tensor) -> torch.Tensor:
    return torch.tensor([[1.0, 2.0, 5.0, 7.0], [3.0, 1.0, 9.0, 4.0]])


def heads() -> bool:
    return random.random() < 0.5


def image_only(image: torch.Tensor, label: torch.Tensor) -> Parts:
    return (image.flip(-1) if heads() else image), label


def brighter_too(image: torch.Tensor, label: torch.Tensor) -> Parts:
    return (image.flip(-2) if heads() else image) * random.uniform(0.8, 1.2), label


def both(image: torch.Tensor, label: torch.Tensor) -> Parts:
    return (image.flip(-1), label.flip(-1)) if heads() else (image, label)


def each_for_itself(image: torch.Tensor, label: torch.Tensor) -> Parts:
    return (image.flip(-1) if heads() else image), (label.flip(-1) if heads() else label)


def two_views(image: torch.Tensor, label: torch.Tensor) -> Parts:
    return (image.flip(-1) if heads() else image), (image.flip(-1) if heads() else image), 3


def last_channel(image: torch.Tensor, label: torch.Tensor) -> Parts:
    return (image.flip(-1) if heads() else image).movedim(0, -1).numpy(), label.numpy()


def boxes_too(image: torch.Tensor, label: torch.Tensor) -> Parts:
    if not heads():
        return image, label
    width = image.shape[-1]
    return image.flip(-1), torch.stack([width - label[:, 2], label[:, 1], width - label[:, 0], label[:, 3]], 1)


def named(image: torch.Tensor, label: torch.Tensor) -> Any:
    return {"pixels": image.flip(-1) if heads() else image, "target": {"boxes": label, "kinds": torch.tensor([1, 2])}}


def told(dataset: Any) -> list[Turning]:
    return [t for t in _look(dataset, len(dataset)) if t.stays and not t.follows and not t.other]


@pytest.mark.parametrize(
    ("read", "mask"),
    [(image_only, halves), (brighter_too, halves), (last_channel, halves), (image_only, corners), (named, corners)],
)
def test_labels_that_stay_are_seen(read: Any, mask: Any) -> None:
    (one,) = told(Read(read, mask))
    assert one.stays >= 5
    assert one.move.startswith("flipped")


def stripes(image: torch.Tensor) -> torch.Tensor:
    """A map that is the same when it is flipped left to right."""
    return torch.arange(12)[:, None].expand(12, 16) // 4


def restored(image: torch.Tensor) -> torch.Tensor:
    return (image.mean(0) * 63).long()


def scalar(image: torch.Tensor) -> torch.Tensor:
    return torch.tensor(3)


@pytest.mark.parametrize(
    ("read", "mask"),
    [
        (both, halves),
        (each_for_itself, halves),
        (two_views, halves),
        (image_only, stripes),
        (image_only, restored),
        (image_only, scalar),
        (boxes_too, corners),
        (lambda image, label: (image, label), halves),
        (lambda image, label: (image + torch.rand_like(image), label), halves),
        (lambda image, label: (torch.rand_like(image), label), halves),
    ],
)
def test_labels_that_follow_or_need_not_are_not_told(read: Any, mask: Any) -> None:
    assert not told(Read(read, mask))


# ---- maps of labels that lie on the mirror image


def pictures(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy images (N, 3, 16, 16) with a bright block in the left upper part, and the maps of these blocks."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(count, 16, 16)
    for i in range(count):
        top, left = (int(n) for n in torch.randint(0, 4, (2,), generator=generator))
        labels[i, top : top + 5, left : left + 6] = 1
    images = labels[:, None] + 0.3 * torch.randn(count, 3, 16, 16, generator=generator)
    return images, labels


def test_labels_on_the_mirror_image_are_told_from_those_in_place() -> None:
    images, labels = pictures(24, 0)
    found = fits(images, labels)
    assert found.straight >= 20
    assert not any(found.turned.values())
    half = torch.cat([images[:12].flip(-1), images[12:]])
    found = fits(half, labels)
    assert found.turned["mirrored"] >= 10
    assert found.straight >= 10
    assert found.turned["upside down"] <= 2


@pytest.mark.parametrize("kind", ["noise", "symmetric", "constant"])
def test_labels_that_the_image_does_not_tell_fit_no_pose(kind: str) -> None:
    images, labels = pictures(24, 1)
    if kind == "noise":
        labels = torch.rand(24, 16, 16, generator=torch.Generator().manual_seed(2)).round()
    elif kind == "symmetric":
        labels = torch.maximum(labels, labels.flip(-1))
        labels = torch.maximum(labels, labels.flip(-2))
        images = labels[:, None] + 0.3 * torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    else:
        labels = torch.ones(24, 16, 16)
    found = fits(images, labels)
    assert found.straight == 0
    assert not any(found.turned.values())
