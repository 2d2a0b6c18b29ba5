"""The checks that exist for a project: those that ship with the package and its own."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainrecipe.check import Check, built_in, from_folders
from trainrecipe.wrong_use import WrongUse

if TYPE_CHECKING:
    from trainrecipe.config import Config


def catalogue(config: Config) -> tuple[Check, ...]:
    """Every check of the project by id. Raises WrongUse when one of its own cannot be loaded or repeats an id."""
    try:
        own = from_folders(config.checks)
    except FileNotFoundError as error:
        raise WrongUse(f"{config.source}: {error}") from error
    except Exception as error:  # the file is a person's own program: anything may go wrong in it
        what = f"{_where(error, config.checks)}{type(error).__name__}: {error}"
        raise WrongUse(f"a check of your own cannot be loaded: {what}") from error
    checks = (*built_in(), *own)
    ids = [check.id for check in checks]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise WrongUse(f"{config.source}: two checks are called {', '.join(twice)}; rename the file of your own")
    return tuple(sorted(checks, key=lambda check: check.id))


def named(checks: tuple[Check, ...], name: str) -> Check:
    """The check with an id, also as its file is spelt; WrongUse with the close ones when there is none."""
    wanted = name.strip().removesuffix(".py").replace("_", "-").lower()
    by_id = {check.id: check for check in checks}
    if wanted in by_id:
        return by_id[wanted]
    close = difflib.get_close_matches(wanted, by_id, n=3, cutoff=0.5)
    close += [i for i in by_id if wanted and wanted in i and i not in close]
    hint = f"close ones are {', '.join(close[:5])}" if close else "`recipe checks` lists them all"
    raise WrongUse(f"there is no check {name!r}; {hint}")


def chosen(checks: tuple[Check, ...], only: Sequence[str]) -> tuple[Check, ...]:
    """All checks, or those that `only` names; WrongUse for a name that is none."""
    return tuple(dict.fromkeys(named(checks, name) for name in only)) or checks


def _where(error: Exception, folders: Sequence[Path]) -> str:
    """The innermost line in the person's own files, for not every exception names one."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if any(Path(f.filename).is_relative_to(folder) for folder in folders)]
    return f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
