"""The program's own files as they were when a run began: copied beside its log, and compared between runs."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from pathlib import Path

from trainrecipe.intervene.knob import own_trees, source_of

FOLDER = "code"
MOST = 4 << 20
"""Bytes of sources that are kept of a run; of larger programs the first files, the script before what it imports."""


@dataclasses.dataclass(frozen=True)
class Changed:
    """A file that differs between two runs: lines that were `removed` and `added`, and the `diff` as text."""

    file: str
    removed: int
    added: int
    diff: str


def keep(folder: Path, script: str, module: bool = False) -> None:
    """Copy the script, and the modules beside it that it imports, into the folder of a run. The disk raises nothing here."""
    path = source_of(script) if module else Path(script)
    if path is None or not path.is_file():
        return
    root = Path.cwd() if module else path.parent
    left = MOST
    with contextlib.suppress(OSError):
        for file, _ in own_trees(path, root):
            text = file.read_bytes()
            left -= len(text)
            if left < 0:
                return
            inside = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
            copy = folder / FOLDER / inside
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(text)


def kept(folder: Path) -> dict[str, str]:
    """The files of a run by their names; empty where none were kept."""
    root = folder / FOLDER
    return {str(p.relative_to(root)): p.read_text(errors="replace") for p in sorted(root.rglob("*")) if p.is_file()}


def changes(before: dict[str, str], after: dict[str, str]) -> list[Changed]:
    """What differs between the files of two runs, file by file."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        a, b = before.get(name, "").splitlines(), after.get(name, "").splitlines()
        lines = list(difflib.unified_diff(a, b, f"before/{name}", f"after/{name}", lineterm=""))
        if lines:
            removed = sum(line.startswith("-") for line in lines[2:])
            added = sum(line.startswith("+") for line in lines[2:])
            found.append(Changed(name, removed, added, "\n".join(lines)))
    return found
