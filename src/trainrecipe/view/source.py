"""The user's code around a place: read from disk when it is still what the run saw, else the recorded line alone."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from trainrecipe.finding import Place
from trainrecipe.view.phrases import clean

_LARGEST = 4_000_000  # a file beyond this is no source that a person wrote


@dataclasses.dataclass(frozen=True, slots=True)
class Excerpt:
    """The lines `first` to `last` of a source, `focus` the one that is meant.

    `text` is the whole source, since a highlighter must see a string's beginning to know its end; it starts at line
    `offset`, which is 1 unless only the recorded line is known.
    """

    text: str
    offset: int
    first: int
    last: int
    focus: int


def excerpt(place: Place, around: int = 2) -> Excerpt | None:
    """The line with up to `around` lines before and after it; None when neither the file nor the line is known."""
    whole = _read(place)
    if whole is None:
        lone = clean(place.source).strip()
        return Excerpt(lone, place.line, place.line, place.line, place.line) if lone else None
    lines = whole.split("\n")
    first, last = max(1, place.line - around), min(len(lines), place.line + around)
    while first < place.line and not lines[first - 1].strip():
        first += 1
    while last > place.line and not lines[last - 1].strip():
        last -= 1
    return Excerpt(whole, 1, first, last, place.line)


def shown(file: str, cwd: str) -> str:
    """`file` relative to `cwd` when it lies below it, else as it is."""
    path = os.path.normpath(os.path.join(cwd, file))
    below = cwd and Path(path).is_relative_to(os.path.normpath(cwd))
    return clean(os.path.relpath(path, cwd) if below else file)


def spot(place: Place, cwd: str) -> str:
    """`file:line` as editors and terminals open it."""
    return f"{shown(place.file, cwd)}:{place.line}"


def _read(place: Place) -> str | None:
    """The file with its tabs expanded, or None when it cannot be read or its line is no longer the recorded one."""
    try:
        path = Path(place.file)
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except (OSError, ValueError):
        return None
    if not 1 <= place.line <= len(lines) or (place.source and lines[place.line - 1].strip() != place.source.strip()):
        return None
    return "\n".join(clean(line.rstrip("\r").expandtabs(4)) for line in lines)
