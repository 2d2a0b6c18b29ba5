"""A copy-on-write view of the file system: changes land in an upper folder, everything else is read where it really is.

`Overlay` only answers where a file is and moves files about inside the upper folder; `scratch.py` makes a program ask.
A path is *canonical* here when it is absolute, without links, `.` and `..`, and without a slash at its end (the root is
the empty text). For each canonical path there may be a file *above* (in the upper folder) and one *below* (the real
one). What is above wins; below is invisible where the path or a folder over it was removed. A removal is remembered for
good: something new under the same name is above and needs nothing from below.

Everything is done by the original functions, since those of `os` may be replaced.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import threading
from collections.abc import Sequence
from typing import Any

from trainrecipe.capture.scratch.disk import REAL_OS, copy, is_file, is_folder, mode_of, move, scan, state

_LINKS_AT_MOST = 40
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
"""The flags of `os.open` that announce a change."""
_UNNAMED = getattr(os, "O_TMPFILE", 0)
# What the files of a database in SQLite or of one of the modules behind `dbm` are called after its name.
_ENDINGS = ("", "-wal", "-shm", "-journal", ".db", ".dat", ".dir", ".bak", ".pag")
_DEVICES = ("/dev/", "/proc/", "/sys/")


class Overlay:
    """Where each file is for a program whose changes are kept in `folder`; paths under `leave` are not redirected.

    Neither are those under `temporary`, save for what is under `home`: a project may be in the temporary folder.
    """

    def __init__(self, folder: str, *, home: str, temporary: str, leave: Sequence[str] = ()) -> None:
        self.upper = f"{folder}/files"
        self.nowhere = f"{folder}/nowhere/nothing"
        self._copying = f"{folder}/copying"
        self._always = (*_DEVICES, f"{folder}/", *(f"{place}/" for place in leave))
        self._temporary = f"{temporary}/"
        self._home = f"{home}/"
        self._removed: set[str] = set()
        self._heads: dict[str, str] = {}  # the canonical forms of folders
        self._bare: dict[str, bool] = {}  # whether nothing of a folder is above, so that reading need not look there
        # What was found out about folders holds until a process changes this number, which all that share the folder share:
        # forked workers, and the other ranks of a distributed training.
        self._now = _shared_number(f"{folder}/changes")
        self._then = self._now[:]
        self._borrowed: dict[str, tuple[int, int] | None] = {}
        self._locks: dict[int, threading.RLock] = {}
        with contextlib.suppress(FileExistsError):
            REAL_OS.mkdir(self.upper)

    # -- names

    def cwd(self) -> str:
        """The current folder as the program believes it to be."""
        return self.believed(REAL_OS.getcwd())

    def believed(self, place: str) -> str:
        """The path by which the program knows a place on the disk."""
        return place[len(self.upper) :] or "/" if f"{place}/".startswith(f"{self.upper}/") else place

    def canonical(self, path: str, follow: bool = True) -> str:
        """The canonical form of an absolute path; with `follow`, a link as its last part is followed too."""
        head, _, tail = path.rpartition("/")
        if tail in ("", ".", ".."):
            return self._walk(path)
        whole = f"{self._canonical_head(head)}/{tail}"
        return self._walk(whole) if follow and self._link(whole) is not None else whole

    def _canonical_head(self, head: str) -> str:
        if self._then != self._now[:]:
            self._heads.clear()
            self._bare.clear()
            self._then = self._now[:]
        folder = self._heads.get(head)
        if folder is None:
            if len(self._heads) > 10_000:
                self._heads.clear()
            folder = self._heads[head] = self._walk(head)
        return folder

    def _walk(self, path: str) -> str:
        done, links = "", 0
        left = _parts(path)
        while left:
            name = left.pop()
            if name == "..":
                done = _folder(done)
                continue
            whole = f"{done}/{name}"
            target = self._link(whole)
            if target is not None:
                links += 1
                if links > _LINKS_AT_MOST:
                    raise _error(errno.ELOOP, path)
                done = "" if target.startswith("/") else done
                left += _parts(target)
            elif left and not is_folder(self.at(whole)):
                return "/".join([whole, *left[::-1]])  # names nothing, and the system says why
            else:
                done = whole
        return done

    def _link(self, whole: str) -> str | None:
        # Links under /proc are not texts to follow: the one of a pipe reads "pipe:[1234]".
        if whole.startswith(_DEVICES):
            return None
        place = self.at(whole)
        mode = mode_of(place)
        return str(REAL_OS.readlink(place)) if mode is not None and stat.S_ISLNK(mode) else None

    # -- looking

    def passes(self, whole: str) -> bool:
        """Whether this path is left alone: read and written where it really is."""
        name = f"{whole}/"
        return name.startswith(self._always) or (name.startswith(self._temporary) and not name.startswith(self._home))

    def at(self, whole: str) -> str:
        """The place to read from. Where the program should see nothing, nothing is there either."""
        if not whole or self.passes(whole):
            return whole or "/"
        above = self.upper + whole
        try:
            REAL_OS.lstat(above)
        except NotADirectoryError:
            return above
        except OSError:
            return above if self._hidden(whole) else whole
        return above

    def reach(self, path: str) -> str:
        """The same as `at` for the canonical form of a path of which the last part is not followed, but fast."""
        head, _, tail = path.rpartition("/")
        if tail in ("", ".", ".."):
            return self.at(self._walk(path))
        folder = self._canonical_head(head)
        whole = f"{folder}/{tail}"
        bare = self._bare.get(folder)
        if bare:
            return whole if whole not in self._removed else self.upper + whole
        place = self.at(whole)
        if bare is None and is_folder(folder):
            self._bare[folder] = mode_of(self.upper + folder) is None and not self._hidden(folder)
        return place

    def disk(self, whole: str) -> str:
        """A place on the disk that really holds this path, or would hold it."""
        if mode_of(self.at(whole)) is None:
            return self.at(whole)
        while mode_of(whole or "/") is None:
            whole = _folder(whole)
        return whole or "/"

    def standing(self, whole: str) -> str:
        """The place to make the current folder: the real one if there is one, for the sake of child processes."""
        return whole or "/" if is_folder(whole or "/") and not self._hidden(whole) else self.at(whole)

    def _hidden(self, whole: str) -> bool:
        if self._removed:
            while whole:
                if whole in self._removed:
                    return True
                whole = _folder(whole)
        return False

    def entries(self, whole: str) -> dict[str, Any]:
        """The `os.DirEntry` of everything in a folder, by name; OSError where it is none."""
        place, above = self.at(whole), self.upper + whole
        found: dict[str, Any] = {}
        if place != above or (is_folder(whole) and not self._hidden(whole)):
            found = {e.name: e for e in scan(whole or "/") if f"{whole}/{e.name}" not in self._removed}
        if place == above or not whole:
            found |= {e.name: e for e in scan(above)}
        return found

    # -- changing

    def lock(self) -> threading.RLock:
        """Held while files are moved about. A forked worker has its own: its parent's may never be let go of there."""
        return self._locks.setdefault(REAL_OS.getpid(), threading.RLock())

    def opening(self, whole: str, flags: int) -> str:
        """The place to open with these flags of `os.open`, prepared so that opening it behaves as it really would."""
        if not flags & WRITES:
            return self.at(whole)
        if _UNNAMED and flags & _UNNAMED == _UNNAMED:
            return self.changing(whole)
        mode = mode_of(self.at(whole))
        fails = not flags & os.O_CREAT if mode is None else flags & os.O_CREAT and flags & os.O_EXCL
        if fails or (mode is not None and stat.S_ISDIR(mode)):
            return self.at(whole)
        return self.changing(whole, keep=not flags & os.O_TRUNC)

    def changing(self, whole: str, keep: bool = True) -> str:
        """The place at which to change or make this file; an existing one is copied first, without `keep` emptied."""
        with self.lock():
            place = self.at(whole)
            mode = mode_of(place)
            if self.passes(whole) or mode is None or place == self.upper + whole:
                return place if mode is not None else self.room(whole)
            if stat.S_ISDIR(mode):
                return self._mirror(whole)
            if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
                return place  # a pipe, a socket or a device holds nothing to protect
            above = self.room(whole)
            copying = f"{self._copying}-{REAL_OS.getpid()}"
            copy(place, copying, keep)
            REAL_OS.rename(copying, above)  # at once, so that another thread never reads half a file
            return above

    def family(self, whole: str) -> str:
        """The place of a database, of which every file that exists is copied; merely reading it is not a change."""
        with self.lock():
            for name in (f"{whole}{ending}" for ending in _ENDINGS):
                place = self.at(name)
                if not self.passes(name) and place == name and is_file(place):
                    self._borrowed[name] = state(self.changing(name))
                    self.hide(name)  # so that what the database removes is not seen below again
            return self.at(whole) if mode_of(self.at(whole)) is not None else self.room(whole)

    def making(self, whole: str) -> str:
        """The place at which to make something that must not exist yet: making it fails there if it does."""
        place = self.at(whole)
        self.forget()
        return self.room(whole) if mode_of(place) is None else place

    def room(self, whole: str) -> str:
        """The place above for a new file, in a folder that exists if the program sees one."""
        if self.passes(whole):
            return whole
        folder, _, name = whole.rpartition("/")
        place = self.at(folder)
        if not is_folder(place):
            return f"{place}/{name}"  # whatever is tried there fails as it really would
        self._bare.pop(folder, None)
        with self.lock():
            return f"{self._mirror(folder)}/{name}"

    def _mirror(self, whole: str) -> str:
        above = self.upper + whole
        if whole and not is_folder(above):
            self._mirror(_folder(whole))
            real = REAL_OS.stat(whole)
            with contextlib.suppress(FileExistsError):
                REAL_OS.mkdir(above)
            self.forget()
            # Kept writable: what the program may do there is decided by the real folder, what we must do is not.
            REAL_OS.chmod(above, stat.S_IMODE(real.st_mode) | stat.S_IRWXU)
            REAL_OS.utime(above, ns=(real.st_atime_ns, real.st_mtime_ns))
        return above

    def forget(self) -> None:
        """Give up, in all processes, what is known of folders: one was made, or a link may have come or gone."""
        self._now[:] = REAL_OS.urandom(8)

    def hide(self, whole: str) -> None:
        """Remember that the real file of this name is no longer to be seen."""
        if not self.passes(whole) and mode_of(whole) is not None:
            self._removed.add(whole)
        self.forget()

    def remove(self, whole: str) -> None:
        """What `os.remove` does."""
        with self.lock():
            place = self.at(whole)
            mode = mode_of(place)
            # Trying it on a real folder or on nothing changes nothing and gives the right error.
            if mode is None or stat.S_ISDIR(mode) or place != whole or self.passes(whole):
                REAL_OS.unlink(place)
            self.hide(whole)

    def remove_folder(self, whole: str) -> None:
        """What `os.rmdir` does."""
        with self.lock():
            place = self.at(whole)
            if not is_folder(place) or self.passes(whole):
                REAL_OS.rmdir(place)
                return
            if self.entries(whole):
                raise _error(errno.ENOTEMPTY, whole)
            if place != whole:
                REAL_OS.rmdir(place)
            self.hide(whole)

    def rename(self, old: str, new: str) -> None:
        """What `os.rename` and `os.replace` do; what is moved is copied first unless it is above already."""
        with self.lock():
            target = self.room(new)
            REAL_OS.stat(f"{_folder(target)}/")  # raises where there is no such folder
            mode = REAL_OS.lstat(self.at(old)).st_mode
            if old == new:
                return
            if not self.passes(new):
                self._may_replace(old, new, stat.S_ISDIR(mode))
            if not self.passes(old):
                self._lift(old)
            move(self.at(old), target)
            self.hide(old)
            self.hide(new)

    def check_folder(self, whole: str) -> None:
        """Raise OSError, as the system would, where the folder of this file does not exist or is none."""
        REAL_OS.stat(f"{self.at(_folder(whole))}/")

    def _may_replace(self, old: str, new: str, folder: bool) -> None:
        there = mode_of(self.at(new))
        if folder and new.startswith(f"{old}/"):
            raise _error(errno.EINVAL, old)
        if there is None:
            return
        if old.startswith(f"{new}/"):
            raise _error(errno.ENOTEMPTY, old)
        if folder != stat.S_ISDIR(there):
            raise _error(errno.ENOTDIR if folder else errno.EISDIR, old)
        if folder and self.entries(new):
            raise _error(errno.ENOTEMPTY, old)

    def _lift(self, whole: str) -> None:
        """Copy a file, or a folder with all that is seen in it, to the upper folder."""
        place = self.changing(whole)
        if not is_folder(place):
            return
        before = REAL_OS.stat(place)
        for name in self.entries(whole):
            self._lift(f"{whole}/{name}")
        REAL_OS.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))

    # -- looking back

    def changed(self) -> list[str]:
        """The real paths of all files and links that are above and not only lent to a database, sorted."""
        found, waiting = [], [self.upper]
        while waiting:
            for entry in scan(waiting.pop()):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif (name := self.believed(entry.path)) not in self._borrowed or (state(entry.path) != self._borrowed[name]):
                    found.append(name)
        return sorted(found)


def _shared_number(path: str) -> mmap.mmap:
    """Eight bytes of memory that every process sees that opens this file."""
    file = REAL_OS.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        REAL_OS.ftruncate(file, 8)
        return mmap.mmap(file, 8)
    finally:
        REAL_OS.close(file)


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _parts(path: str) -> list[str]:
    """The names in a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
