"""The functions of libraries that open a file by themselves, beneath Python, and so must be given another path.

One line of `TAKERS` says which argument of which function is the path, and how the file will be used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

READ = os.O_RDONLY
WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
CHANGE = os.O_RDWR | os.O_CREAT
DATABASE = -1
"""In place of flags: the path of a database, whose further files have names that begin alike."""


@dataclass(frozen=True)
class Taker:
    """A function that takes a path: `where` is its name in `module`, and the path its argument `index` or `keyword`.

    `flags` are those of `os.open`, or a function that finds them out from the arguments of the call.
    """

    module: str
    where: str
    index: int
    keyword: str
    flags: int | Callable[..., int]

    def importing(self) -> Any:
        """The specification of the module while it is being imported, so that its functions may be missing yet; else None."""
        spec = getattr(sys.modules.get(self.module), "__spec__", None)
        return spec if getattr(spec, "_initializing", False) else None

    def owner(self) -> Any:
        """The module or class that holds the function, or None while that is not imported completely."""
        found = None if self.importing() is not None else sys.modules.get(self.module)
        for name in self.where.split(".")[:-1]:
            found = getattr(found, name, None)
        return found if hasattr(found, self.name) else None

    @property
    def name(self) -> str:
        """The name of the function in its owner."""
        return self.where.rpartition(".")[2]

    def redirect(
        self, place: Callable[[Any, int], Any], args: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call with the path replaced by `place(path, flags)`."""
        flags = self.flags if isinstance(self.flags, int) else self.flags(*args, **options)
        if self.keyword in options:
            return args, options | {self.keyword: place(options[self.keyword], flags)}
        if self.index < len(args):
            return (*args[: self.index], place(args[self.index], flags), *args[self.index + 1 :]), options
        return args, options


def _h5py(self: Any, name: Any, mode: str = "r", *args: Any, **options: Any) -> int:
    return {"r": READ, "w": WRITE, "w-": CHANGE | os.O_EXCL, "x": CHANGE | os.O_EXCL}.get(mode, CHANGE)


def _mapped(filename: Any, shared: bool | None = False, *args: Any, **options: Any) -> int:
    return CHANGE if shared else READ


TAKERS = (
    Taker("sqlite3", "connect", 0, "database", DATABASE),
    Taker("dbm", "open", 0, "file", DATABASE),
    Taker("torch", "save", 1, "f", WRITE),
    Taker("torch", "load", 0, "f", READ),
    Taker("torch", "from_file", 0, "filename", _mapped),
    Taker("torch", "jit.save", 1, "f", WRITE),
    Taker("torch", "jit.load", 0, "f", READ),
    Taker("torch", "jit.ScriptFunction.save", 1, "f", WRITE),
    Taker("torch", "jit.RecursiveScriptModule.save", 1, "f", WRITE),
    Taker("torch", "autograd.profiler.profile.export_chrome_trace", 1, "path", WRITE),
    Taker("torch.export", "save", 1, "f", WRITE),
    Taker("torch.export", "load", 0, "f", READ),
    Taker("torch.package", "PackageExporter.__init__", 1, "f", WRITE),
    Taker("torch.package", "PackageImporter.__init__", 1, "file_or_buffer", READ),
    Taker("safetensors", "serialize_file", 1, "filename", WRITE),
    Taker("safetensors", "safe_open", 0, "filename", READ),
    Taker("h5py", "File.__init__", 1, "name", _h5py),
)
