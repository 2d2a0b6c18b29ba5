"""Inputs with something taken away: detail, colour, order, parts. Every function returns a new array of examples.

Images are (N, C, H, W) floats, series (N, C, T) floats, tokens (N, T) integers with padding at either end, tables (N, F)
floats. What is random is drawn from a NumPy generator made of `seed`.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def area_average(images: Array, side: int) -> Array:
    """Images of which the shorter side has `side` pixels; every new pixel is the mean over its area, fractions counted."""
    height, width = images.shape[2:]
    scale = side / min(height, width)
    rows, columns = (_averaging(size, max(1, round(size * scale))) for size in (height, width))
    return np.asarray(np.einsum("ih,nchw,jw->ncij", rows, images, columns, optimize=True), np.float32)


def _averaging(size: int, parts: int) -> Array:
    """(parts, size) weights of the means over `parts` equal intervals."""
    edges = np.linspace(0, size, parts + 1)
    low, high = np.maximum(edges[:-1, None], np.arange(size)), np.minimum(edges[1:, None], np.arange(size) + 1)
    return np.asarray(np.clip(high - low, 0, None) * (parts / size), np.float32)


def grey(images: Array) -> Array:
    """(N, 1, H, W) luma of RGB images by the weights of ITU-R BT.601."""
    return np.asarray(np.einsum("c,nchw->nhw", [0.299, 0.587, 0.114], images), np.float32)[:, None]


def levels(images: Array, count: int) -> Array:
    """Images of `count` equally spaced values between the least and the greatest of each channel."""
    low, high = (f(images, axis=(0, 2, 3), keepdims=True) for f in (np.min, np.max))
    unit = (images - low) / np.maximum(high - low, 1e-12)
    return np.asarray(np.minimum(np.floor(unit * count), count - 1), np.float32)


def permuted(series: Array, seed: int) -> Array:
    """Places in the one same random order for all examples and channels: (N, C, ...)."""
    flat = series.reshape(*series.shape[:2], -1)
    return flat[:, :, np.random.default_rng(seed).permutation(flat.shape[2])].reshape(series.shape)


def shuffled(series: Array, seed: int) -> Array:
    """Places in a random order of each example's own; channels stay together."""
    flat = series.reshape(*series.shape[:2], -1)
    order = np.random.default_rng(seed).random((len(flat), 1, flat.shape[2])).argsort(2)
    return np.take_along_axis(flat, order, 2).reshape(series.shape)


def ranked(series: Array) -> Array:
    """The values of each channel in rising order: what is left is their distribution."""
    return np.sort(series.reshape(*series.shape[:2], -1), axis=2).reshape(series.shape)


def patches_shuffled(images: Array, height: int, width: int, seed: int) -> Array:
    """Patches of height x width pixels in a random order of each image's own; what does not fill a patch is cut off."""
    n, c, h, w = images.shape
    rows, columns = h // height, w // width
    cut = images[:, :, : rows * height, : columns * width].reshape(n, c, rows, height, columns, width)
    patches = cut.transpose(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, c, height, width)
    order = np.random.default_rng(seed).random((n, rows * columns)).argsort(1)
    patches = np.take_along_axis(patches, order[:, :, None, None, None], 1)
    return (
        patches.reshape(n, rows, columns, c, height, width)
        .transpose(0, 3, 1, 4, 2, 5)
        .reshape(cut.reshape(n, c, rows * height, -1).shape)
    )


def blanked(images: Array, where: Array) -> Array:
    """Places where the mask (H, W) or (T,) holds have the mean over all examples, channel by channel."""
    mean = images.mean(axis=(0, *range(2, images.ndim)), keepdims=True)
    return np.where(where, mean, images).astype(np.float32)


def box(shape: tuple[int, int], top: float, bottom: float, left: float, right: float) -> Array:
    """(H, W) mask of a box given in fractions of the sides, at least one pixel."""
    mask = np.zeros(shape, bool)
    (a, b), (c, d) = (
        (min(round(x * s), s - 1), max(round(y * s), min(round(x * s), s - 1) + 1))
        for x, y, s in ((top, bottom, shape[0]), (left, right, shape[1]))
    )
    mask[a:b, c:d] = True
    return mask


def padding(tokens: Array, pad: int) -> Array:
    """(N, T) mask of padding: the runs of `pad` from the beginning and to the end of each row."""
    is_pad = tokens == pad
    return np.asarray(np.logical_and.accumulate(is_pad, 1) | np.logical_and.accumulate(is_pad[:, ::-1], 1)[:, ::-1])


def order_shuffled(tokens: Array, pad: int, seed: int) -> Array:
    """The tokens of each example in a random order, padding left where it is."""
    keys = np.random.default_rng(seed).random(tokens.shape)
    out = tokens.copy()
    for row, key, gap in zip(out, keys, padding(tokens, pad), strict=True):
        row[~gap] = row[~gap][key[~gap].argsort()]
    return out


def cut(tokens: Array, pad: int, count: int, *, last: bool = False) -> Array:
    """(N, count) the first (or last) tokens of each example that are not padding."""
    gap = padding(tokens, pad)
    out = np.full((len(tokens), count), pad, tokens.dtype)
    for row, source, empty in zip(out, tokens, gap, strict=True):
        kept = source[~empty]
        kept = kept[-count:] if last else kept[:count]
        row[: len(kept)] = kept
    return out


def common_only(tokens: Array, pad: int, count: int) -> Array:
    """All but the `count` most frequent tokens replaced by one that stands for the rest."""
    values, times = np.unique(tokens[~padding(tokens, pad)], return_counts=True)
    kept = values[np.argsort(-times, kind="stable")[:count]]
    rest = max(int(tokens.max()), pad) + 1
    return np.where(np.isin(tokens, kept) | (tokens == pad), tokens, rest)
