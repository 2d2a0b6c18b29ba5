"""Colours in reverse order are told from everything else that changes colours between two splits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from trainrecipe.subjects.colours import exchanged
from trainrecipe.subjects.contents import Table

PALETTE = torch.tensor([[0.75, 0.2, 0.25], [0.2, 0.3, 0.75], [0.5, 0.75, 0.2], [0.15, 0.4, 0.5], [0.75, 0.6, 0.4]])
TWO_INKS = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def table(x: torch.Tensor, y: torch.Tensor | None) -> Table:
    return Table(x.float(), None if y is None else y.double(), len(x), False, [])


def panels(ink: torch.Tensor, ground: torch.Tensor | None = None) -> torch.Tensor:
    """Pictures (N, 3, 12, 12): a square of the given colour (N, 3) on a ground of any colour."""
    n = len(ink)
    x = (0.2 + 0.5 * torch.rand(n, 3) if ground is None else ground)[:, :, None, None].repeat(1, 1, 12, 12)
    for i, (top, left) in enumerate(torch.randint(0, 6, (n, 2)).tolist()):
        x[i, :, top : top + 7, left : left + 7] = (ink[i] + 0.08 * torch.randn(3))[:, None, None]
    return x + 0.05 * torch.randn_like(x)


def splits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    y, z = torch.randint(5, (600,)), torch.randint(5, (200,))
    return panels(PALETTE[y]), y, panels(PALETTE[z]), z


def found(x: torch.Tensor, y: torch.Tensor | None, other: torch.Tensor, z: torch.Tensor | None) -> bool:
    seen = table(other, z)
    return exchanged(table(x, y), seen, [seen]) is not None


def jitter(x: torch.Tensor) -> torch.Tensor:
    return (x * (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1)) + 0.1 * torch.randn(len(x), 3, 1, 1)).flip(3)


def normalised(x: torch.Tensor) -> torch.Tensor:
    return (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.mark.parametrize("change", [torch.clone, jitter])
def test_exchanged_channels_are_found_behind_augmentation(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x, y, other, z = splits()
    assert found(change(x), y, other.flip(1), z)
    assert not found(change(x), y, other, z)


def test_exchanged_channels_are_found_before_a_normalisation_with_channels_last_and_beside_measured_targets() -> None:
    x, y, other, z = splits()
    assert found(normalised(x), y, normalised(other.flip(1)), z)
    assert found(x.movedim(1, 3), y, other.flip(1).movedim(1, 3), z)
    warmth = PALETTE[:, 0] - PALETTE[:, 2]
    targets = (warmth[v] + 0.05 * torch.randn(len(v)) for v in (y, z))
    assert found(x, next(targets), other.flip(1), next(targets))


def test_grey_images_and_shuffled_channels_have_no_order() -> None:
    x, y, other, z = splits()
    grey, pale = (v.mean(1, keepdim=True).expand_as(v) for v in (x, other))
    assert not found(grey, y, pale, z)
    assert not found(grey, y, other, z)
    shuffled = torch.stack([picture[torch.randperm(3)] for picture in x])
    assert not found(shuffled, y, other, z)
    assert not found(torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(1), x), y, other, z)


def test_other_light_other_paints_and_other_classes_are_no_other_order() -> None:
    x, y, other, z = splits()
    warm = 0.2 * torch.tensor([1.0, 0, -1]).view(3, 1, 1)
    assert not found(x + warm, y, other - warm, z)
    assert not found(x, y, 1 - other, z)
    assert not found(x, y, panels(PALETTE.roll(1, 0)[z]), z)
    assert not found(x, y, panels(torch.rand(5, 3)[z]), z)
    assert not found(x, y[torch.randperm(len(y))], other, z)


def test_an_ink_that_goes_with_the_other_classes_in_the_test_set_is_no_other_order() -> None:
    y, z = torch.randint(6, (600,)), torch.randint(6, (200,))
    own, swapped = (y < 3) ^ (torch.rand(600) < 0.1), (z < 3) ^ (torch.rand(200) < 0.9)
    assert not found(panels(TWO_INKS[own.long()]), y, panels(TWO_INKS[swapped.long()]), z)
    grounds = TWO_INKS[own.long()], TWO_INKS[swapped.long()]
    assert not found(panels(torch.full((600, 3), 0.4), grounds[0]), y, panels(torch.full((200, 3), 0.4), grounds[1]), z)


def test_images_that_are_evaluated_in_both_orders_are_meant_so() -> None:
    x, y, other, z = splits()
    turned, straight = table(other.flip(1), z), table(other, z)
    assert exchanged(table(x, y), turned, [turned, straight]) is None


def test_few_images_and_planes_of_a_board_tell_nothing() -> None:
    x, y, other, z = splits()
    assert not found(x, y, other[:40].flip(1), z[:40])
    assert not found((x > 0.5).float(), y, (other > 0.5).float().flip(1), z)
