"""Data sets that are named rather than given: `module:attribute`, or `file.py:attribute`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from trainrecipe.wrong_use import WrongUse, nearest


def named(target: str) -> bool:
    """Whether a target names data rather than a script.

    >>> named("package.data:splits"), named("data.py:train_set"), named("train.py")
    (True, True, False)
    """
    head, colon, tail = target.rpartition(":")
    return (
        bool(colon)
        and tail.isidentifier()
        and bool(head)
        and (head.endswith(".py") or all(p.isidentifier() for p in head.split(".")))
    )


def made(target: str) -> Any:
    """What a target stands for; a function or class is called without arguments. Raises WrongUse."""
    head, _, attribute = target.rpartition(":")
    module = _from_file(Path(head)) if head.endswith(".py") else _imported(head)
    try:
        found = getattr(module, attribute)
    except AttributeError:
        names = [n for n in vars(module) if not n.startswith("_")]
        hint = nearest(attribute, names) or "it has " + ", ".join(sorted(names)[:12])
        raise WrongUse(f"{head} has no {attribute!r}; {hint}") from None
    if not callable(found) or hasattr(found, "__getitem__") or (hasattr(found, "__iter__") and not isinstance(found, type)):
        return found
    try:
        return found()
    except TypeError as error:
        raise WrongUse(f"{target} cannot be called without arguments ({error}); name a function that takes none") from error


def _imported(name: str) -> Any:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise WrongUse(f"no module {error.name!r} (looked in {os.getcwd()} and where packages are installed)") from error


def _from_file(path: Path) -> Any:
    if not path.exists():
        raise WrongUse(f"no such file: {path} (looked in {Path.cwd()})")
    sys.path.insert(0, str(path.parent.absolute()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise WrongUse(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise WrongUse(f"{path}:{error.lineno} is not valid Python: {error.msg}") from error
    return module
