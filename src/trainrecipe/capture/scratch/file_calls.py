"""Stand-ins for the functions of `os` and `io` that take a path; each asks an `Overlay` and then calls the original.

Results and errors are those the program would see without them: an error names the path that was given, a listing holds
what is above and below, and while `FileCalls.active` is false a stand-in is the original.
"""

from __future__ import annotations

import _io
import errno
import functools
import os
import stat
import types
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

from trainrecipe.capture.scratch.disk import REAL_OS
from trainrecipe.capture.scratch.listing import Entry, Listing
from trainrecipe.capture.scratch.overlay import WRITES, Overlay

Call = Callable[..., Any]
_PATHS = (str, bytes, os.PathLike)
_NOT_MERELY_READING = WRITES | getattr(os, "O_PATH", 0)
_IS_LINK = (errno.ELOOP, errno.EMLINK)  # how Linux and macOS, and how FreeBSD refuses to open a link


class FileCalls:
    """The stand-ins for one overlay."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.active = False

    def pairs(self) -> Iterator[tuple[Call, Call]]:
        """Every original with its stand-in."""
        for original, function in _stand_ins(self.overlay):
            functools.update_wrapper(function, original)
            del function.__wrapped__  # else its signature would lose `path`
            function.__name__ = _pickled_name(original)
            # A method, since like a builtin it does not bind again as the attribute of a class.
            yield original, types.MethodType(function, self)

    def __deepcopy__(self, memo: object) -> FileCalls:
        return self

    def __reduce__(self) -> tuple[Call, tuple[()]]:
        return _originals, ()  # a stand-in is pickled for other processes, which get the original

    def place(self, path: Any, flags: int, dir_fd: int | None = None) -> Any:
        """Where to open a path with these flags of `os.open`; anything but a path is returned as it is."""
        if not self.active or not isinstance(path, _PATHS):
            return path
        new = flags & os.O_CREAT and flags & os.O_EXCL
        whole = self.whole(path, dir_fd, follow=not new and not flags & os.O_NOFOLLOW)
        return _like(path, self.overlay.opening(whole, flags))

    def database(self, path: Any) -> Any:
        """Where to open the database of this path or SQLite URI; one in memory has neither."""
        if not self.active or not isinstance(path, _PATHS) or path in ("", b"", ":memory:", b":memory:"):
            return path
        if not isinstance(path, str) or not path.startswith("file:"):
            return _like(path, self.overlay.family(self.whole(path)))
        parts = urllib.parse.urlsplit(path)
        if "mode=memory" in parts.query or parts.path in ("", ":memory:"):
            return path
        place = self.overlay.family(self.whole(urllib.parse.unquote(parts.path)))
        return parts._replace(path=urllib.parse.quote(place)).geturl()

    def whole(self, path: Any, dir_fd: int | None = None, follow: bool = True) -> str:
        """The canonical form of a path or of an open folder."""
        return self.overlay.canonical(self.absolute(path, dir_fd), follow)

    def absolute(self, path: Any, dir_fd: int | None = None) -> str:
        """A path, or that of an open folder, as text that begins at the root."""
        if isinstance(path, int):
            return self._of(path)
        text = path if type(path) is str else os.fsdecode(path)
        if text.startswith("/"):
            return text
        if not text:
            return self.overlay.nowhere  # the empty path never names a file
        return f"{self.overlay.cwd() if dir_fd is None else self._of(dir_fd)}/{text}"

    def _of(self, descriptor: int) -> str:
        if hasattr(os, "O_SYMLINK"):  # macOS, which has no /proc
            import fcntl

            place = fcntl.fcntl(descriptor, 50, bytes(1024)).rstrip(b"\0").decode()  # F_GETPATH
        else:
            place = REAL_OS.readlink(f"/proc/self/fd/{descriptor}")
        return self.overlay.believed(place)


def _pickled_name(original: Call) -> str:
    return "os_open" if original is REAL_OS.open else original.__name__


def _originals() -> types.SimpleNamespace:
    return types.SimpleNamespace(**vars(REAL_OS) | {"open": _io.open, "os_open": REAL_OS.open})


def _stand_ins(look: Overlay) -> Iterator[tuple[Call, Any]]:
    for names, place, follow in (
        ("access getxattr listxattr pathconf", look.at, True),
        ("readlink", look.at, False),
        ("chmod chown utime truncate setxattr removexattr chflags", look.changing, True),
        ("lchown lchmod lchflags", look.changing, False),
        ("mkdir mkfifo mknod", look.making, False),
        ("statvfs", look.disk, True),
    ):
        for name in names.split():
            if hasattr(REAL_OS, name):
                yield getattr(REAL_OS, name), _elsewhere(getattr(REAL_OS, name), place, follow)
    for name, do in (("unlink", look.remove), ("remove", look.remove), ("rmdir", look.remove_folder)):
        yield getattr(REAL_OS, name), _done(getattr(REAL_OS, name), do)
    for name in ("rename", "replace"):
        yield getattr(REAL_OS, name), _renaming(getattr(REAL_OS, name))
    yield _io.open, _open
    yield REAL_OS.open, _os_open
    yield REAL_OS.stat, _stat
    yield REAL_OS.lstat, _lstat
    yield REAL_OS.listdir, _listdir
    yield REAL_OS.scandir, _scandir
    yield REAL_OS.getcwd, _getcwd
    yield REAL_OS.getcwdb, _getcwdb
    yield REAL_OS.chdir, _chdir
    yield REAL_OS.fchdir, _fchdir
    yield REAL_OS.link, _link
    yield REAL_OS.symlink, _symlink


def _elsewhere(original: Call, place: Callable[[str], str], follows: bool) -> Call:
    """`original(path, ...)` at another place."""

    def call(self: FileCalls, path: Any = None, *args: Any, **options: Any) -> Any:
        if not self.active or not isinstance(path, _PATHS):
            return original(path, *args, **options)
        follow = follows and options.get("follow_symlinks", True)
        try:
            whole = self.whole(path, options.pop("dir_fd", None), follow)
            return original(_like(path, place(whole)), *args, **options)
        except OSError as error:
            _name(error, path)
            raise

    return call


def _done(original: Call, do: Callable[[str], None]) -> Call:
    """`do` in place of `original(path)`."""

    def call(self: FileCalls, path: Any, *, dir_fd: int | None = None) -> None:
        if not self.active or not isinstance(path, _PATHS):
            original(path, dir_fd=dir_fd)
            return
        try:
            do(self.whole(path, dir_fd, follow=False))
        except OSError as error:
            _name(error, path)
            raise

    return call


def _renaming(original: Call) -> Call:
    def call(self: FileCalls, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        if not self.active or not isinstance(src, _PATHS) or not isinstance(dst, _PATHS):
            original(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            return
        try:
            old = self.whole(src, src_dir_fd, follow=False)
            self.overlay.check_folder(old)  # what is wrong with the first path is told before the second is looked at
            self.overlay.rename(old, self.whole(dst, dst_dir_fd, follow=False))
        except OSError as error:
            raise _two_names(error, src, dst) from None

    return call


def _open(
    self: FileCalls,
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Call | None = None,
) -> Any:
    # An opener keeps the given path as the name of the file, and gets the flags that the mode stands for. One that the
    # program brings calls `os.open` itself.
    if opener is None and self.active and isinstance(file, _PATHS):
        opener = functools.partial(_os_open, self, mode=0o666)
    return _io.open(file, mode, buffering, encoding, errors, newline, closefd, opener)


def _os_open(self: FileCalls, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    if not self.active or not isinstance(path, _PATHS):
        return int(REAL_OS.open(path, flags, mode, dir_fd=dir_fd))
    try:
        if not flags & _NOT_MERELY_READING:
            try:
                return int(REAL_OS.open(self.overlay.reach(self.absolute(path, dir_fd)), flags | os.O_NOFOLLOW))
            except OSError as error:
                if error.errno not in _IS_LINK:
                    raise
        return int(REAL_OS.open(self.place(path, flags, dir_fd), flags, mode))
    except OSError as error:
        _name(error, path)
        raise


def _stat(self: FileCalls, path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Any:
    if not self.active or not isinstance(path, _PATHS):
        return REAL_OS.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    try:
        found = REAL_OS.lstat(self.overlay.reach(self.absolute(path, dir_fd)))
        if follow_symlinks and stat.S_ISLNK(found.st_mode):
            return REAL_OS.stat(self.overlay.at(self.whole(path, dir_fd)))
    except OSError as error:
        _name(error, path)
        raise
    return found


def _lstat(self: FileCalls, path: Any, *, dir_fd: int | None = None) -> Any:
    return _stat(self, path, dir_fd=dir_fd, follow_symlinks=False)


def _listdir(self: FileCalls, path: Any = None) -> list[Any]:
    if not self.active:
        return list(REAL_OS.listdir(path))
    try:
        names = list(self.overlay.entries(self.whole("." if path is None else path)))
    except OSError as error:
        _name(error, path)
        raise
    return [os.fsencode(name) for name in names] if isinstance(path, bytes) else names


def _scandir(self: FileCalls, path: Any = None) -> Any:
    if not self.active:
        return REAL_OS.scandir(path)
    try:
        whole = self.whole("." if path is None else path)
        found = self.overlay.entries(whole)
    except OSError as error:
        _name(error, path)
        raise
    if isinstance(path, int):
        return Listing(Entry(name, name, f"{whole}/{name}", raw) for name, raw in found.items())
    folder = "." if path is None else os.fspath(path)
    names = ((_like(folder, name), raw) for name, raw in found.items())
    return Listing(Entry(name, os.path.join(folder, name), f"{whole}/{os.fsdecode(name)}", raw) for name, raw in names)


def _getcwd(self: FileCalls) -> str:
    return self.overlay.cwd() if self.active else str(REAL_OS.getcwd())


def _getcwdb(self: FileCalls) -> bytes:
    return os.fsencode(_getcwd(self))


def _chdir(self: FileCalls, path: Any) -> None:
    if not self.active or not isinstance(path, (*_PATHS, int)):
        REAL_OS.chdir(path)
        return
    try:
        REAL_OS.chdir(self.overlay.standing(self.whole(path)))
    except OSError as error:
        _name(error, path)
        raise


def _fchdir(self: FileCalls, fd: Any) -> None:
    _chdir(self, fd if isinstance(fd, int) else fd.fileno())


def _link(
    self: FileCalls,
    src: Any,
    dst: Any,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> None:
    if not self.active or not isinstance(src, _PATHS) or not isinstance(dst, _PATHS):
        REAL_OS.link(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        return
    try:
        # Even where links are to be followed, Linux makes a second name for the link itself.
        old = self.whole(src, src_dir_fd, follow=False)
        REAL_OS.lstat(self.overlay.at(old))
        new = self.overlay.making(self.whole(dst, dst_dir_fd, follow=False))
        REAL_OS.link(self.overlay.changing(old), new)
    except OSError as error:
        raise _two_names(error, src, dst) from None


def _symlink(self: FileCalls, src: Any, dst: Any, target_is_directory: bool = False, *, dir_fd: int | None = None) -> None:
    if not self.active or not isinstance(src, _PATHS) or not isinstance(dst, _PATHS):
        REAL_OS.symlink(src, dst, target_is_directory, dir_fd=dir_fd)
        return
    try:
        REAL_OS.symlink(os.fsdecode(src), self.overlay.making(self.whole(dst, dir_fd, follow=False)))
    except OSError as error:
        raise _two_names(error, src, dst) from None
    self.overlay.forget()


def _like(path: Any, text: Any) -> Any:
    """`text` as bytes where the path was given so."""
    return os.fsencode(text) if isinstance(path, bytes) else text


def _name(error: OSError, path: Any) -> None:
    """Let an error name the path that the program gave."""
    if error.filename is not None:  # os.utime tells no name
        error.filename = path


def _two_names(error: OSError, src: Any, dst: Any) -> OSError:
    return OSError(error.errno, error.strerror, src, None, dst).with_traceback(error.__traceback__)
