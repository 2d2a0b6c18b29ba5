"""A project's own options: the table `[tool.trainrecipe]` of the nearest pyproject.toml that has one.

    [tool.trainrecipe]
    fail_on = "error"                       # error, warning (default) or note
    disable = ["input-scale"]               # checks that never run here
    checks = ["recipe_checks"]              # folders with checks of your own
    scripts = ["train.py -- --epochs 1"]    # what the pytest plugin examines, as after `recipe check`
    budget_seconds = 30                     # time for experiments on what was captured (default 20)
    steps = 40                              # optimiser steps after which a rehearsal stops

    [tool.trainrecipe.waive]
    loss-at-init = "the head starts at the prior of another data set on purpose"

Waivers for one file are written `[[tool.trainrecipe.waive]]` with `check`, `file` (a path or pattern relative to the
pyproject.toml) and `reason`. Anything misspelt is refused with the file, the key and what was probably meant.
"""

from __future__ import annotations

import fnmatch
import os
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from trainrecipe.finding import Place, Severity
from trainrecipe.wrong_use import WrongUse, nearest

_TABLE = "[tool.trainrecipe]"
BUDGET = 20.0
"""Seconds that the experiments of one examination may take together, unless told otherwise."""


class ConfigError(WrongUse):
    """The pyproject.toml cannot be used; the message names the file, the key and the remedy."""


def _command_line(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _waivers(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    for check, reason in value.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{check!r} needs a reason in words")
    return [{"check": check, "reason": reason} for check, reason in value.items()]


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_CommandLine = Annotated[tuple[str, ...], BeforeValidator(_command_line), Field(min_length=1)]


class Waive(BaseModel):
    """Silences a check in the whole project, or in the files that match `file`, for a `reason`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: _Text
    reason: _Text
    file: str | None = None

    def covers(self, check: str, place: Place | None, folder: Path) -> bool:
        """Whether a finding of `check` at `place` is meant, with `file` relative to `folder`."""
        if self.check != check or self.file is None:
            return self.check == check
        return place is not None and fnmatch.fnmatch(os.path.relpath(place.file, folder), self.file)


class Config(BaseModel):
    """The options of a project; `Config()` holds the defaults, `Config.load()` those of the working directory.

    `checks` are absolute folders, `scripts` the words that follow `recipe check`, `source` the file that was read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fail_on: Severity = Severity.WARNING
    disable: tuple[str, ...] = ()
    checks: tuple[Path, ...] = ()
    scripts: tuple[_CommandLine, ...] = ()
    waive: Annotated[tuple[Waive, ...], BeforeValidator(_waivers)] = ()
    budget_seconds: Annotated[float, Field(gt=0)] = BUDGET
    steps: Annotated[int, Field(gt=0)] | None = None
    source: Annotated[Path | None, Field(exclude=True)] = None

    @classmethod
    def load(cls, directory: Path | None = None) -> Config:
        """The options for a directory: the nearest pyproject.toml above with a `[tool.trainrecipe]`, else defaults."""
        directory = (directory or Path.cwd()).absolute()
        for folder in (directory, *directory.parents):
            table = _table(folder / "pyproject.toml")
            if table is not None:
                return cls._from_table(table, folder / "pyproject.toml")
        return cls()

    @classmethod
    def _from_table(cls, table: Mapping[str, Any], file: Path) -> Config:
        if "source" in table:  # filled in by us, not an option
            raise ConfigError(f"{file}: {_TABLE} has no key 'source'; it has {', '.join(_options())}")
        try:
            config = cls.model_validate({**table, "source": file})
        except ValidationError as error:
            raise ConfigError("\n".join(_explained(file, e) for e in error.errors())) from None
        return config.model_copy(update={"checks": tuple(file.parent / folder for folder in config.checks)})

    def waiver(self, check: str, place: Place | None) -> str | None:
        """The reason with which the configuration silences a check at a place, or None."""
        folder = self.source.parent if self.source else Path.cwd()
        return next((w.reason for w in self.waive if w.covers(check, place, folder)), None)

    def unknown(self, checks: Iterable[str]) -> Iterator[str]:
        """A message for each id under `disable` and `waive` that is not among `checks`."""
        known = set(checks)
        for key, ids in (("disable", self.disable), ("waive", [w.check for w in self.waive])):
            for name in sorted({*ids} - known):
                hint = nearest(name, known) or "`recipe checks` lists them"
                yield f"{self.source}: {_TABLE} {key}: there is no check {name!r}; {hint}"


def _options() -> list[str]:
    return [name for name in Config.model_fields if name != "source"]


def _table(file: Path) -> Mapping[str, Any] | None:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if "trainrecipe" not in text:  # somebody else's file, however broken, is none of our business
        return None
    try:
        table = tomllib.loads(text).get("tool", {}).get("trainrecipe")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{file}: tool.trainrecipe must be a table, not {table!r}")
    return table


def _explained(file: Path, error: ErrorDetails) -> str:
    *path, last = error["loc"]
    if error["type"] == "extra_forbidden":
        known = list(Waive.model_fields) if "waive" in path else _options()
        hint = nearest(str(last), known) or f"known are {', '.join(known)}"
        return f"{file}: {_TABLE} has no key {'.'.join(map(str, error['loc']))!r}; {hint}"
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"{file}: {_TABLE} {key} is missing; a waiver has check, reason and, for one file only, file"
    hint = nearest(str(error["input"]), Severity) if last == "fail_on" else ""
    message = error["msg"].lower() + (f"; {hint}" if hint else "")
    return f"{file}: {_TABLE} {key} = {error['input']!r}: {message}"
