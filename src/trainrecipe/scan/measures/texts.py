"""Texts: length, words, variety, and which characters they are made of."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import xxhash

from trainrecipe.scan.measures import Measured, Values
from trainrecipe.scan.measures.tokens import hashed
from trainrecipe.scan.structure import Leaf
from trainrecipe.table.manifest import Column, Part

SHOWN = 2000
"""Characters of a text that the table keeps."""
_WORD = re.compile(r"\w+")


def columns(part: Part) -> list[Column]:
    """See `measure`."""
    p = part.name
    return [
        Column(p if p == "text" else f"{p}_text", "text", "text", p, f"its first {SHOWN} characters"),
        Column(f"{p}_length", "integer", "length", p, "characters", tail=True),
        Column(f"{p}_words", "integer", "words", p, "words", tail=True),
        Column(f"{p}_distinct", "number", "variety", p, "different words per word", tail=True),
        Column(f"{p}_foreign", "number", "non-ASCII", p, "share of characters beyond ASCII", tail=True),
        Column(f"{p}_digits", "number", "digits", p, "share of characters that are digits", tail=True),
        Column(f"{p}_capitals", "number", "capitals", p, "share of characters that are capitals", tail=True),
    ]


def measure(leaf: Leaf, values: Values) -> Measured:
    """Statistics of each text; of a list of texts, of all of them joined."""
    p = leaf.part.name
    n = len(values)
    names = ("length", "words", "distinct", "foreign", "digits", "capitals")
    found = {f"{p}_{name}": np.zeros(n, np.int64 if name in ("length", "words") else np.float64) for name in names}
    kept = np.full(n, None, dtype=object)
    rows: list[int] = []
    keys: list[int] = []
    counts: list[int] = []
    status: dict[int, str] = {}
    for i, value in enumerate(values):
        text = plain(value)
        kept[i] = text[:SHOWN]
        words = Counter(_WORD.findall(text.lower()))
        size, total = max(1, len(text)), sum(words.values())
        found[f"{p}_length"][i], found[f"{p}_words"][i] = len(text), total
        found[f"{p}_distinct"][i] = len(words) / total if total else np.nan
        found[f"{p}_foreign"][i] = 0.0 if text.isascii() else sum(c > "\x7f" for c in text) / size
        found[f"{p}_digits"][i] = sum(map(str.isdigit, text)) / size
        found[f"{p}_capitals"][i] = sum(map(str.isupper, text)) / size
        if not text.strip():
            status[i] = "empty"
        rows += [i] * len(words)
        keys += [xxhash.xxh3_64_intdigest(w.encode("utf-8", "replace")) for w in words]
        counts += words.values()
    vectors = hashed(np.array(rows, np.int64), np.array(keys, np.uint64), np.array(counts, np.int64), n)
    return Measured({(p if p == "text" else f"{p}_text"): kept, **found}, None, vectors, status)


def plain(value: Any) -> str:
    """A text, also one given as bytes or as a list of texts, such that it can be stored."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.encode("utf-8", "replace").decode("utf-8")
