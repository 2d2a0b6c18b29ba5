"""Where runs are kept: `.trainrecipe/`, the places to turn to when that is refused, and folders for new runs."""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

FOLDER_NAME = ".trainrecipe"


def homes(directory: Path) -> tuple[Path, ...]:
    """The folders that may hold the runs of a working directory, in the order in which they are tried."""
    # Named after the directory and told apart by a hash of its path, so that the same project meets its runs again.
    name = f"{directory.name or 'root'}-{hashlib.blake2s(os.fsencode(directory), digest_size=4).hexdigest()}"
    return (directory / FOLDER_NAME, *(parent / name for parent in _elsewhere()))


def prepared(home: Path) -> Path:
    """The folder for runs inside a home, created if missing and hidden from git; OSError where that is refused."""
    runs = home / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    ignore = home / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return runs


def new_folder(runs: Path) -> Path:
    """A fresh folder such as `20261125-153042-7f3a`. Making it is what claims the id, so that no two runs share one."""
    while True:
        folder = runs / f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder


def _elsewhere() -> Iterator[Path]:
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    places: tuple[Callable[[], Path], ...] = (
        lambda: Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainrecipe",
        lambda: Path(tempfile.gettempdir()) / f"trainrecipe-{user}",
    )
    for place in places:
        try:
            yield place()
        except (RuntimeError, OSError):  # no home directory, or no temporary folder that can be written
            continue
