"""How an example looks: each of its parts as plain data that the page draws."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from trainrecipe.scan.leaves import is_picture, numbers
from trainrecipe.scan.measures import images, series
from trainrecipe.scan.measures.targets import _class, _code, _several
from trainrecipe.scan.measures.texts import plain
from trainrecipe.scan.structure import Layout, Leaf, corners, layout_of

SIDE = 160
"""Pixels of the longer side of a picture; larger ones are averaged."""
POINTS = 500
TOKENS = 512
CELLS = 32
CHARACTERS = 4000


def view(layout: Layout, item: Any) -> dict[str, Any]:
    """Every part of an example, by name."""
    found = {}
    for leaf, value in zip(layout.leaves, layout.take(item), strict=True):
        try:
            found[leaf.part.name] = drawn(leaf, value)
        except Exception as error:
            found[leaf.part.name] = {"kind": "text", "text": f"cannot be drawn: {error}"}
    return found


def stored_view(raw: Any) -> dict[str, Any] | None:
    """What was stored, whatever it is; None where nothing is known of it."""
    if raw is None:
        return None
    try:
        layout = layout_of([raw])
        return view(layout, raw)
    except Exception:
        return None


def fed_view(tensors: Sequence[torch.Tensor]) -> list[dict[str, Any]]:
    """What a model was given of one example: one entry for each tensor, shaped without the batch."""
    found = []
    for tensor in tensors:
        value = tensor.detach().cpu()
        found.append(drawn(layout_of([value]).leaves[0], value))
    return found


def dumps(seen: dict[str, Any]) -> str:
    """As JSON, without NaN."""
    return json.dumps(_finite(seen), separators=(",", ":"))


def drawn(leaf: Leaf, value: Any) -> dict[str, Any]:
    """One part."""
    part = leaf.part
    match part.kind:
        case "image":
            return _image(leaf, value)
        case "mask":
            return _mask(value)
        case "boxes":
            boxes = numbers(value)
            placed = np.zeros((0, 4)) if boxes is None else corners(boxes.reshape(-1, 4).astype(float), leaf.form)
            unit = {"width": 1, "height": 1} if placed.size and placed.max() <= 1.5 else {}
            return {"kind": "boxes", "boxes": placed[:200].tolist(), **unit}
        case "series":
            return _series(value)
        case "tokens":
            ids = numbers(value)
            flat = [] if ids is None else ids.reshape(-1).tolist()
            return {"kind": "tokens", "ids": flat[:TOKENS], "text": None, "shape": [len(flat)]}
        case "text":
            return {"kind": "text", "text": plain(value)[:CHARACTERS]}
        case "class":
            return {"kind": "class", "text": _class(_code(value), part.classes)}
        case "labels":
            return {"kind": "labels", "text": ", ".join(_several(value, part.classes))}
        case "number":
            array = numbers(value)
            return {"kind": "number", "text": "" if array is None or not array.size else f"{float(array.reshape(-1)[0]):.6g}"}
        case "table":
            array = numbers(value)
            return {"kind": "table", "values": [] if array is None else array.reshape(-1).astype(float).tolist()[:1000]}
    return _tensor(value)


def _image(leaf: Leaf, value: Any) -> dict[str, Any]:
    array = _must(value)
    pixels = images.as_channels(leaf, array[None])[0]
    finite = pixels.nan_to_num(0.0, 0.0, 0.0)
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)
    floor, ceiling = (0.0, 255.0) if array.dtype == np.uint8 else (0.0, 1.0) if low >= 0 and 0.1 < high <= 1 else (low, high)
    small = _small(finite[:3] if len(finite) != 2 else finite[:1])
    scaled = ((small - floor) / max(ceiling - floor, 1e-12)).clamp(0, 1).mul(255).round().to(torch.uint8)
    return {"kind": "image", "png": png(scaled.numpy()), **_about(value, array, low, high)}


def _mask(value: Any) -> dict[str, Any]:
    array = _must(value)
    flat = array if array.ndim == 2 else array.reshape(-1, *array.shape[-2:]).max(0)
    step = max(1, -(-max(flat.shape) // SIDE))
    kept = flat[::step, ::step].astype(np.int64)
    hue = (kept * 47) % 256
    colours = np.stack([hue, (hue * 3 + 90) % 256, (hue * 7 + 40) % 256]).astype(np.uint8) * (kept > 0)
    return {
        "kind": "mask",
        "png": png(colours.astype(np.uint8)),
        **_about(value, array, float(array.min()), float(array.max())),
    }


def _series(value: Any) -> dict[str, Any]:
    array = _must(value)
    channels = series.as_channels(array[None])[0][:8]
    step = max(1, -(-channels.shape[1] // POINTS))
    found = {"kind": "series", "values": [[round(v, 5) for v in c] for c in channels[:, ::step].tolist()]}
    return {**found, "shape": list(array.shape), "dtype": str(array.dtype)}


def _tensor(value: Any) -> dict[str, Any]:
    array = numbers(value)
    if array is None:
        return {"kind": "text", "text": plain(value)[:CHARACTERS]}
    flat = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1)
    steps = [max(1, -(-n // CELLS)) for n in flat.shape]
    return {
        "kind": "tensor",
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "values": flat[:: steps[0], :: steps[1]].astype(float).tolist(),
    }


def png(planes: np.ndarray) -> str:
    """Bytes (1 or 3, height, width) as a PNG in base64."""
    from PIL import Image

    image = Image.fromarray(planes[0] if len(planes) == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)  # half the time, and smaller for small pictures
    return base64.b64encode(buffer.getvalue()).decode()


def _small(pixels: torch.Tensor) -> torch.Tensor:
    longer = max(pixels.shape[-2:])
    if longer <= SIDE:
        return pixels
    height, width = (max(1, round(n * SIDE / longer)) for n in pixels.shape[-2:])
    return F.adaptive_avg_pool2d(pixels[None], (height, width))[0]


def _about(value: Any, array: np.ndarray, low: float, high: float) -> dict[str, Any]:
    dtype = str(getattr(value, "dtype", array.dtype)).removeprefix("torch.")
    kind = f"{value.mode} image" if is_picture(value) else dtype
    return {"shape": list(array.shape), "dtype": kind, "low": low, "high": high}


def _must(value: Any) -> np.ndarray:
    array = numbers(value)
    if array is None:
        raise TypeError(f"{type(value).__name__} holds no numbers")
    return array


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
