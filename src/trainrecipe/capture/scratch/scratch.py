"""A scratch folder that takes all changes a program makes to files, while the program believes they are real.

    with Scratch(Path(tempfile.mkdtemp())) as scratch:
        runpy.run_path("train.py", run_name="__main__")
    print(scratch.written)  # the real paths, none of which was touched

Inside, what the program writes, makes, renames or removes is redirected to the folder, and looked for there first when
it reads; everything else is read where it is. Left alone are /dev, /proc, /sys, the folders in `leave` (those of
compilers, from which the system loads code), and the temporary folder of the system (but not a project inside it: what is
under the current folder is always protected).

It works by replacing the functions of `os`, `io` and a few libraries wherever a loaded module holds them. So these
escape, and really write:

- child processes, other than forked workers such as those of a `DataLoader`;
- extensions that open files by themselves and have no line in `path_takers.py` (OpenCV, pyarrow, XGBoost, ...);
- `io.FileIO(path)`, the built-in modules `posix` and `_io`, and functions kept in an object before the program started
  (in a closure, a default argument or an instance; names in modules and static methods of classes are found);
- `os.fchmod` and its like on a real file opened for reading;
- what runs after the end, such as functions registered with `atexit`.

And these differ from reality: a module that the program writes cannot be imported; a file or folder gets another inode
when it is first changed, and two hard links to a changed file are then two files; nobody asks whether the real folder
may be written to; what a forked worker removes or renames looks so to that worker only; to append to a large file or
rename a large folder takes as long as copying it. POSIX only.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainrecipe.capture.patch import Patches
from trainrecipe.capture.scratch.file_calls import FileCalls
from trainrecipe.capture.scratch.overlay import Overlay
from trainrecipe.capture.scratch.path_takers import DATABASE, TAKERS, Taker

_Call = Callable[..., Any]
_LEFT_ALONE = ("posix", "nt", "_io")  # importing uses these, and so do the stand-ins themselves
_CAPABILITIES = ("supports_dir_fd", "supports_effective_ids", "supports_fd", "supports_follow_symlinks")


class Scratch:
    """Redirects the changes of this process to `folder` while entered; paths under `leave` are written for real.

    `folder` is empty or new. On leaving, all functions and the current folder are as before. Raises RuntimeError while
    another one is entered, and NotImplementedError on Windows.
    """

    _entered = False

    def __init__(self, folder: Path, leave: Sequence[Path] = ()) -> None:
        self._folder = os.path.realpath(folder)
        self._leave = [os.path.realpath(place) for place in leave]
        self._calls: FileCalls | None = None
        self._written: list[str] = []

    def __enter__(self) -> Scratch:
        if os.name == "nt":
            raise NotImplementedError("Scratch redirects POSIX paths only, not those of Windows")
        if Scratch._entered:
            raise RuntimeError("another Scratch is entered; leave it first, since files can be redirected only once")
        self._cwd = os.getcwd()
        os.makedirs(self._folder, exist_ok=True)
        temporary = os.path.realpath(tempfile.gettempdir())
        self._calls = FileCalls(Overlay(self._folder, home=self._cwd, temporary=temporary, leave=self._leave))
        self._patches = Patches()
        self._swapped: list[tuple[Any, Any]] = []
        self._waiting = list(TAKERS)
        self._modules_seen = 0
        self._importing_now: list[Any] = []
        Scratch._entered = self._calls.active = True
        try:
            self._patch(self._calls)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        calls = self._calls
        if calls is None:
            return
        self._written, self._calls = calls.overlay.changed(), None
        calls.active = Scratch._entered = False  # stand-ins that somebody kept are the originals from now on
        _swap({id(new): old for old, new in self._swapped})
        for known in _capabilities():
            known.difference_update([new for _, new in self._swapped])
        self._patches.undo()
        os.chdir(self._cwd)

    @property
    def written(self) -> list[str]:
        """The real paths of the files that would now be new or changed, sorted; folders do not count."""
        return self._calls.overlay.changed() if self._calls else list(self._written)

    def patch_torch(self) -> None:
        """Redirect torch and the other libraries that open files by themselves, as far as they are imported.

        Entering does so too, and every import of a new module, so that calling this is never necessary.
        """
        self._patch_libraries([])

    def _patch_libraries(self, others: Sequence[tuple[Any, Any]]) -> None:
        """Redirect libraries and, in the same pass over all modules, `others`: functions with what takes their place."""
        if self._calls is None:
            return
        self._modules_seen = len(sys.modules)
        importing = [taker.importing() for taker in self._waiting]
        self._importing_now = list({id(spec): spec for spec in importing if spec is not None}.values())
        ready = [taker for taker in self._waiting if taker.owner() is not None]
        if not ready and not others:
            return
        self._waiting = [taker for taker in self._waiting if taker not in ready]
        functions = list(others)
        for taker in ready:
            owner, make = taker.owner(), functools.partial(self._redirected, taker)
            if isinstance(owner, type):
                self._patches.put(owner, taker.name, make)
            else:
                original = getattr(owner, taker.name)
                functions.append((original, functools.wraps(original, updated=())(make(original))))
        self._replace(functions)

    def _patch(self, calls: FileCalls) -> None:
        # Imported modules are compiled into __pycache__ without asking `os`.
        self._patches.put(sys, "dont_write_bytecode", lambda old: True)
        # The other way to remove a tree trusts that an open folder stays the same one; ours may be copied meanwhile.
        self._patches.put(shutil, "_use_fd_functions", lambda old: False)
        self._patches.put(builtins, "__import__", self._importing)
        self._patches.put(importlib, "import_module", self._importing)
        self._patch_libraries(list(calls.pairs()))

    def _replace(self, pairs: list[tuple[Any, Any]]) -> None:
        self._swapped += pairs
        for known in _capabilities():
            known.update([new for old, new in pairs if old in known])
        _swap({id(old): new for old, new in pairs})

    def _redirected(self, taker: Taker, original: _Call) -> _Call:
        def call(*args: Any, **options: Any) -> Any:
            args, options = taker.redirect(self._place, args, options)
            return original(*args, **options)

        return call

    def _place(self, path: Any, flags: int) -> Any:
        if self._calls is None:
            return path
        return self._calls.database(path) if flags == DATABASE else self._calls.place(path, flags)

    def _has_more(self) -> bool:
        """Whether a module is new, or complete at last, since the libraries were looked at."""
        return len(sys.modules) != self._modules_seen or not all(spec._initializing for spec in self._importing_now)

    def _importing(self, original: _Call) -> _Call:
        def load(*args: Any, **options: Any) -> Any:
            module = original(*args, **options)
            if self._calls and self._has_more():
                self.patch_torch()  # before `from library import save` binds what it finds
            return module

        return load


def _capabilities() -> Iterator[set[Any]]:
    return (getattr(os, name) for name in _CAPABILITIES)


def _swap(table: Mapping[int, Any]) -> None:
    """Replace objects, found by their identity, wherever a module or a static method of a class in one holds them.

    There are hundreds of thousands of names, so a module is searched one by one only where it holds something to replace.
    """
    metaclasses = _Metaclasses()
    for module, names in _holders():
        if not table.keys().isdisjoint(map(id, list(names.values()))):
            names.update([(key, table[id(value)]) for key, value in list(names.items()) if id(value) in table])
        for value in [v for v in list(names.values()) if metaclasses[type(v)]]:
            if vars(value).get("__module__") == module and staticmethod in map(type, vars(value).values()):
                _swap_static(value, table)


class _Metaclasses(dict[type, bool]):
    """Whether objects of a type are classes. Not isinstance, which asks an object for its class: deprecated names warn."""

    def __missing__(self, kind: type) -> bool:
        self[kind] = found = issubclass(kind, type)
        return found


def _swap_static(owner: type, table: Mapping[int, Any]) -> None:
    for key, value in list(vars(owner).items()):
        if isinstance(value, staticmethod) and id(value.__func__) in table:
            setattr(owner, key, staticmethod(table[id(value.__func__)]))


def _holders() -> Iterator[tuple[str, dict[Any, Any]]]:
    for name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", None)
        if name not in _LEFT_ALONE and isinstance(names, dict):
            yield name, names
    # numpy.loadtxt and genfromtxt look their way of opening a file up in a dictionary.
    openers = getattr(sys.modules.get("numpy.lib._datasource"), "_file_openers", None)
    yield "numpy", getattr(openers, "_file_openers", {})
