"""What `os.scandir` gives for a folder of an overlay."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Any


class Entry:
    """What `os.scandir` finds: like `os.DirEntry`, with the path the program expects."""

    __slots__ = ("_raw", "_whole", "name", "path")

    def __init__(self, name: Any, path: Any, whole: str, raw: Any) -> None:
        self.name = name
        self.path = path
        self._whole = whole
        self._raw = raw

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def inode(self) -> int:
        """The number of the file on its disk."""
        return int(self._raw.inode())

    def is_symlink(self) -> bool:
        """Whether this is a link."""
        return bool(self._raw.is_symlink())

    def is_junction(self) -> bool:
        """Never, outside Windows."""
        return False

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether this is a folder."""
        if follow_symlinks and self.is_symlink():
            return self._leads_to(stat.S_ISDIR)
        return bool(self._raw.is_dir(follow_symlinks=False))

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether this is an ordinary file."""
        if follow_symlinks and self.is_symlink():
            return self._leads_to(stat.S_ISREG)
        return bool(self._raw.is_file(follow_symlinks=False))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """What `os.stat` says; for anything but a link it is asked once."""
        if follow_symlinks and self.is_symlink():
            return os.stat(self._whole)
        return self._raw.stat(follow_symlinks=False)  # type: ignore[no-any-return]

    def _leads_to(self, kind: Callable[[int], bool]) -> bool:
        try:
            return kind(os.stat(self._whole).st_mode)
        except FileNotFoundError:
            return False
        except OSError as error:
            error.filename = self.path
            raise


class Listing:
    """The iterator that `os.scandir` returns, which can also be closed and used in a `with` statement."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries

    def __iter__(self) -> Listing:
        return self

    def __next__(self) -> Entry:
        return next(self._entries)

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration."""
        self._entries = iter(())
