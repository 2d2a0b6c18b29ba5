"""Images: size, brightness, contrast, sharpness, colour, and what the border is like against the middle."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from trainrecipe.scan.measures import Measured, Values
from trainrecipe.scan.measures.stacked import by_shape, ends, odd
from trainrecipe.scan.structure import Leaf
from trainrecipe.table.manifest import Column, Part

THUMB = 16
"""Side of a grey thumbnail in pixels: near-duplicates are told by it."""
COARSE = 8
"""Side of the averages that neighbours are sought with, per channel."""
LARGE = 128
"""Side in pixels beyond which statistics are taken of averages over blocks."""


def columns(part: Part) -> list[Column]:
    """See `measure`."""
    p = part.name
    sizes = [
        Column(f"{p}_width", "integer", "width", p, "pixels across", "px", tail=True),
        Column(f"{p}_height", "integer", "height", p, "pixels down", "px", tail=True),
    ]
    colours = [
        Column(f"{p}_red", "number", "red", p, "mean of the first channel"),
        Column(f"{p}_green", "number", "green", p, "mean of the second channel"),
        Column(f"{p}_blue", "number", "blue", p, "mean of the third channel"),
        Column(f"{p}_colour", "number", "colourfulness", p, "spread and offset of red-green and yellow-blue", tail=True),
    ]
    return [
        *(sizes if part.ragged else []),
        Column(f"{p}_mean", "number", "brightness", p, "mean of all its numbers", tail=True),
        Column(f"{p}_std", "number", "contrast", p, "standard deviation of its pixels", tail=True),
        Column(f"{p}_low", "number", "lowest", p, "its lowest number", hidden=True),
        Column(f"{p}_high", "number", "highest", p, "its highest number", hidden=True),
        Column(f"{p}_sharpness", "number", "sharpness", p, "mean size of the Laplacian against the contrast", tail=True),
        Column(f"{p}_border", "number", "border", p, "brightness of the outermost pixels less that of all", tail=True),
        *(colours if _channels(part) >= 3 else []),
    ]


def measure(leaf: Leaf, values: Values) -> Measured:
    """Statistics, thumbnails (n, 16, 16), and vectors (n, 64 or 192): averages over an 8 x 8 grid for each channel.

    Images larger than 128 pixels are averaged over blocks first. Colourfulness is that of Hasler and Süsstrunk (2003), of the
    averages over a 16 x 16 grid;
    sharpness the mean absolute Laplacian divided by the standard deviation, so that contrast does not count.
    """
    return by_shape(values, lambda stack: _measure(leaf, stack))


def _channels(part: Part) -> int:
    if len(part.shape) != 3:
        return 1
    return min(part.shape[0], part.shape[-1])


def as_channels(leaf: Leaf, stack: np.ndarray) -> torch.Tensor:
    """A stack of images as floats (n, channels, height, width)."""
    images = torch.from_numpy(np.require(stack, requirements=("C", "W")))
    if leaf.flat:
        side = round(images.shape[-1] ** 0.5)
        return images.reshape(len(images), 1, side, side).float()
    if images.ndim == 3:
        return images[:, None].float()
    last = leaf.last or (images.ndim == 4 and images.shape[-1] in (1, 3, 4) and images.shape[1] not in (1, 3, 4))
    if not last:
        return images.float()
    planes = images.movedim(-1, 1)
    return torch.empty(planes.shape).copy_(planes)  # several times as quick to read as the same numbers pixel by pixel


def _measure(leaf: Leaf, stack: np.ndarray) -> Measured:
    p = leaf.part.name
    every = ends(stack)
    images = as_channels(leaf, stack)[:, :3]
    n, _, height, width = images.shape
    low, high = (torch.from_numpy(e).float() for e in (every if images.numel() == stack.size else ends(images.numpy())))
    times = max(height, width) // LARGE
    if times > 1:
        images = F.avg_pool2d(images, times)
    grey = images.mean(1, keepdim=True) if images.shape[1] > 1 else images
    flat = grey.flatten(1)
    mean = flat.mean(1)
    std = spread(flat, mean)
    laplacian = 4 * grey[..., 1:-1, 1:-1]
    for near in (grey[..., :-2, 1:-1], grey[..., 2:, 1:-1], grey[..., 1:-1, :-2], grey[..., 1:-1, 2:]):
        laplacian -= near  # five times as quick as a convolution on one thread
    rim = torch.cat([grey[:, 0, 0], grey[:, 0, -1], grey[:, 0, 1:-1, 0], grey[:, 0, 1:-1, -1]], 1).mean(1)
    found = {
        f"{p}_mean": mean,
        f"{p}_std": std,
        f"{p}_low": low,
        f"{p}_high": high,
        f"{p}_sharpness": laplacian.abs_().flatten(1).mean(1) / std.clamp(min=1e-12),
        f"{p}_border": rim - mean,
    }
    fine = averages(images, THUMB)
    planes = fine if _divides(THUMB, images) else images  # averages of equal blocks have the averages of all
    if leaf.part.ragged:
        found |= {f"{p}_width": torch.full((n,), width), f"{p}_height": torch.full((n,), height)}
    if images.shape[1] == 3:
        found |= dict(zip((f"{p}_red", f"{p}_green", f"{p}_blue"), planes.flatten(2).mean(2).unbind(1), strict=True))
        found[f"{p}_colour"] = _colourfulness(fine)
    coarse = averages(planes, COARSE).flatten(1)
    return Measured(
        {k: v.numpy() for k, v in found.items()},
        _bytes(fine.mean(1), low, high),
        coarse.numpy().astype(np.float16),
        odd(stack, every),
    )


def averages(images: torch.Tensor, side: int) -> torch.Tensor:
    """Averages over a grid (n, channels, side, side), as `adaptive_avg_pool2d` does it; in half its time for equal blocks."""
    if not _divides(side, images):
        return F.adaptive_avg_pool2d(images, side)
    n, channels, height, width = images.shape
    rows = images.reshape(n, channels, side, height // side, width).mean(3)
    return rows.reshape(n, channels, side, side, width // side).mean(4)


def _divides(side: int, images: torch.Tensor) -> bool:
    return images.shape[-2] % side == 0 and images.shape[-1] % side == 0


def _bytes(thumbs: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> np.ndarray:
    """Thumbnails from the lowest number of each image (0) to its highest (255): what they are compared by is relative."""
    span = (high - low).clamp(min=1e-12)[:, None, None]
    scaled: np.ndarray = (
        (255 * (thumbs - low[:, None, None]) / span).nan_to_num(0.0).clamp(0, 255).round().to(torch.uint8).numpy()
    )
    return scaled


def _colourfulness(images: torch.Tensor) -> torch.Tensor:
    red, green, blue = images.flatten(2).unbind(1)
    rg, yb = red - green, (red + green) / 2 - blue
    means = rg.mean(1), yb.mean(1)
    wide = (spread(rg, means[0]) ** 2 + spread(yb, means[1]) ** 2).sqrt()
    return wide + 0.3 * (means[0] ** 2 + means[1] ** 2).sqrt()


def spread(rows: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Standard deviations of rows with known means; several times quicker than `torch.std_mean`."""
    centred = rows - means[:, None]
    return centred.square_().mean(1).sqrt()
