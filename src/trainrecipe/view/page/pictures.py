"""From what a table stores to what a browser draws: cleaned text, PNG as data, points of lines, difference images."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainrecipe.view.phrases import clean

# Marks that reverse the direction of text: shown as they are, they could make a label read as another.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
_BASE64 = re.compile(r"[A-Za-z0-9+/=]*")
LONGEST = 300
_LARGEST = 4096 * 4096


def visible(text: str) -> str:
    """Text in which nothing acts in secret: control and direction marks become U+FFFD; its lines remain."""
    return _BIDI.sub("\ufffd", clean(text))


def long_text(value: Any, limit: int) -> str:
    """Text from data with its lines; what is longer than the limit is cut, and that is said."""
    text = "" if value is None else str(value)
    return visible(text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)")


def legible(value: Any, limit: int = LONGEST) -> str:
    """The same in one line."""
    return long_text(value, limit).replace("\n", " ⏎ ")


def sentences(text: str, limit: int) -> str:
    """As many whole sentences as fit; the first is cut where not even that does."""
    if len(text) <= limit:
        return text
    end = text.rfind(". ", 0, limit)
    return text[: end + 1] if end > 0 else text[: text.rfind(" ", 0, limit)] + " …"


def number(value: Any) -> str:
    """A number in at most six characters or so; other values as legible text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no"}.get(value, "–") if value is not None else "–"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 1e12 else str(value)
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.3e}"
    return legible(value)


def png(pixels: np.ndarray) -> str:
    """An image (h, w) or (h, w, 3) of bytes as base64 of a PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def source(text: Any) -> str:
    """The address of a PNG that a table stores; empty for what is not base64."""
    return f"data:image/png;base64,{text}" if isinstance(text, str) and _BASE64.fullmatch(text) else ""


def pixels(view: Mapping[str, Any]) -> np.ndarray | None:
    """The image of a view as bytes (h, w, 3), or None where it has none that can be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(view["png"], validate=True)), formats=("PNG",)) as image:
            if image.width * image.height > _LARGEST:
                return None
            return np.asarray(image.convert("RGB"))
    except (KeyError, TypeError, ValueError, OSError, SyntaxError):
        return None


def difference(a: np.ndarray, b: np.ndarray) -> tuple[str, float, int]:
    """The absolute difference of two images stretched to the full range, its mean and its maximum in grey levels 0..255.

    Images of different sizes are compared at the size of the first.
    """
    from PIL import Image

    if a.shape != b.shape:
        size = (a.shape[1], a.shape[0])
        b = np.asarray(Image.fromarray(b).resize(size))
    gap = np.abs(a.astype(np.int16) - b.astype(np.int16))
    top = int(gap.max(initial=0))
    return png((gap * (255.0 / max(top, 1))).astype(np.uint8)), float(gap.mean()), top


def lines(channels: Sequence[Sequence[Any]], width: float = 300, height: float = 80) -> list[str]:
    """One list of SVG points for each channel of a series, all on one scale; what is no number is left out."""
    values = [[v if isinstance(v, int | float) else np.nan for v in channel] for channel in channels[:8]]
    finite = [v for channel in values for v in channel if np.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    scale = height / ((high - low) or 1)
    drawn = []
    for channel in values:
        step = width / max(len(channel) - 1, 1)
        drawn.append(
            " ".join(f"{i * step:.1f},{height - (v - low) * scale:.1f}" for i, v in enumerate(channel) if np.isfinite(v))
        )
    return drawn


def heat(values: Sequence[Sequence[Any]]) -> str:
    """A slice of a tensor as a grey PNG, dark to light from its lowest to its highest finite number."""
    width = max((len(row) for row in values), default=0)
    table = np.full((len(values), width), np.nan)
    for i, row in enumerate(values):
        table[i, : len(row)] = [v if isinstance(v, int | float) else np.nan for v in row]
    finite = table[np.isfinite(table)]
    if finite.size == 0:
        return ""
    low, high = finite.min(), finite.max()
    grey = np.nan_to_num((table - low) / ((high - low) or 1), nan=0.0, posinf=1.0, neginf=0.0)
    return png((grey.clip(0, 1) * 255).astype(np.uint8))
