"""What is done to files where they really are, whatever has been put in place of the functions of `os`."""

from __future__ import annotations

import _io
import contextlib
import errno
import importlib
import os
import shutil
import stat
from collections.abc import Callable
from typing import Any

REAL_OS: Any = importlib.import_module(os.name)
"""The built-in module behind `os`; its functions are the originals, for nobody changes it."""


def mode_of(place: str) -> int | None:
    """Type and permissions of a file or link, or None where there is none."""
    try:
        return int(REAL_OS.lstat(place).st_mode)
    except OSError:
        return None


def is_folder(place: str) -> bool:
    """Whether this is a folder, and not a link to one."""
    mode = mode_of(place)
    return mode is not None and stat.S_ISDIR(mode)


def is_file(place: str) -> bool:
    """Whether this is an ordinary file, and not a link to one."""
    mode = mode_of(place)
    return mode is not None and stat.S_ISREG(mode)


def scan(place: str) -> list[Any]:
    """The `os.DirEntry` of everything in a folder."""
    with REAL_OS.scandir(place) as found:
        return list(found)


def copy(source: str, target: str, keep: bool = True) -> None:
    """Copy a file or link with its permissions and times; without `keep` all but the contents and the times."""
    before = REAL_OS.lstat(source)
    with contextlib.suppress(FileNotFoundError):
        REAL_OS.unlink(target)
    if stat.S_ISLNK(before.st_mode):
        REAL_OS.symlink(REAL_OS.readlink(source), target)
        return
    with _io.open(target, "xb") as new:
        if keep:
            with _io.open(source, "rb", buffering=0) as old:
                shutil.copyfileobj(old, new, 1 << 20)
    REAL_OS.chmod(target, stat.S_IMODE(before.st_mode))
    if keep:
        REAL_OS.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def move(source: str, target: str) -> None:
    """Rename, also to another disk."""
    try:
        REAL_OS.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _carry(source, target)


def _carry(source: str, target: str) -> None:
    """Move to another disk. Scratch and temporary folder may be on two where the real places are on one."""
    remove: Callable[[str], None] = REAL_OS.unlink
    if is_folder(source):
        with contextlib.suppress(FileExistsError):
            REAL_OS.mkdir(target)
        for entry in scan(source):
            _carry(entry.path, f"{target}/{entry.name}")
        remove = REAL_OS.rmdir
    else:
        copy(source, target)
    remove(source)


def state(place: str) -> tuple[int, int] | None:
    """Size and time of the last change of a file, to see later whether it was written to."""
    try:
        found = REAL_OS.stat(place)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
