"""Where in the user's code something happened: the innermost frame that belongs to them, not to a library.

A file is the user's unless it lies in the standard library, in site-packages, in PyTorch or in this package. The script's
own folder always counts, wherever it lies.
"""

from __future__ import annotations

import functools
import linecache
import os
import re
import site
import sys
import sysconfig
from types import FrameType

from trainrecipe.finding import Place

OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
"""The folder of this package."""
_LIBRARIES = tuple(
    os.path.realpath(p) + os.sep
    for p in {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    if p and os.path.realpath(p) != os.path.realpath(sys.prefix)
)
_INSTALLED = re.compile(rf"(.*{re.escape(os.sep)}(?:site|dist)-packages{re.escape(os.sep)})")
"""Packages installed elsewhere than in this interpreter's own folders: another environment's on the path, `pip --target`."""
HARNESS: set[str] = set()
"""Names of modules that are not the program's, though they are no library: of tests and benchmarks that run it by forking."""
_roots: list[str] = []

Spot = tuple[str, int, str]
"""File, line and function of a frame: what is kept while recording; `place` turns it into a `Place`."""


def add_user_root(folder: str) -> None:
    """Count every file below `folder` as the user's, even inside site-packages."""
    _roots.append(os.path.realpath(folder) + os.sep)
    is_user_file.cache_clear()


_real = functools.cache(os.path.realpath)  # a lookup in the file system for every part of the path; folders repeat


@functools.cache
def is_user_file(filename: str) -> bool:
    """Whether code compiled from `filename` is the user's own."""
    if filename.startswith(("<frozen", "<string>", "<__array_function__", "<eval_with_key>")):
        return False
    if filename.startswith("<"):
        return "ipython" in filename or filename == "<stdin>"
    folder, name = os.path.split(filename)
    path = os.path.join(_real(folder), name)
    if path.startswith(OWN):
        return False
    libraries = [lib for lib in _LIBRARIES if path.startswith(lib)] + _INSTALLED.findall(path)
    roots = [root for root in _roots if path.startswith(root)]
    return bool(roots and (not libraries or max(map(len, roots)) > max(map(len, libraries)))) or not libraries


def spot(skip: int = 1, limit: int = 60) -> Spot | None:
    """The innermost user frame, `skip` frames above the caller; None when there is none within `limit` frames."""
    frame: FrameType | None = sys._getframe(skip)
    while frame is not None and limit:
        code = frame.f_code
        if is_user_file(code.co_filename):
            return code.co_filename, frame.f_lineno, code.co_name
        frame = frame.f_back
        limit -= 1
    return None


def packages_above(skip: int = 1, limit: int = 60) -> set[str]:
    """The packages, but PyTorch and this one, of the frames between `skip` frames above the caller and the user's."""
    found: set[str] = set()
    frame: FrameType | None = sys._getframe(skip)
    while frame is not None and limit and not is_user_file(frame.f_code.co_filename):
        found.add(str(frame.f_globals.get("__name__", "")).partition(".")[0])
        frame = frame.f_back
        limit -= 1
    return {p for p in found if p and p not in ("torch", "trainrecipe") and p not in sys.stdlib_module_names}


_THIN = tuple(
    os.path.join("torch", *parts)
    for parts in (
        ("overrides.py",),
        ("nn", "functional.py"),
        ("functional.py",),
        ("_tensor.py",),
        ("_jit_internal.py",),
    )
)


def called_directly(skip: int = 1) -> bool:
    """Whether the frame `skip` above the caller is the user's, but for PyTorch's thin wrappers of operations."""
    frame: FrameType | None = sys._getframe(skip)
    while frame is not None:
        file = frame.f_code.co_filename
        if is_user_file(file):
            return True
        if not file.endswith(_THIN):
            return False
        frame = frame.f_back
    return False


def place(at: Spot | None) -> Place | None:
    """A `Spot` with its source line, ready for a finding."""
    if at is None:
        return None
    file, line, function = at
    path = file if file.startswith("<") else os.path.abspath(file)
    return Place(path, line, linecache.getline(file, line).strip(), function)
