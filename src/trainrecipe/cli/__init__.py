"""The command `recipe`: one file per command, each of which parses, builds a subject and calls the library."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable

from trainrecipe.wrong_use import WrongUse

# In the order in which `recipe --help` lists them.
COMMANDS = (
    *("data", "check", "run"),
    *("overfit", "regularize", "tune", "knobs"),
    *("log", "show", "compare", "note", "view"),
    *("explain", "checks", "new"),
)


def main() -> None:
    """Run the command line. Exits with 2 for wrong use and for our own failures, so that 1 always means findings."""
    try:
        _refuse_bare_script(sys.argv[1:2])
        _application()(prog_name="recipe")
    except WrongUse as error:
        print(f"recipe: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception:
        traceback.print_exc()
        print("recipe: this is a failure of trainrecipe itself, not of your script; please report it", file=sys.stderr)
        sys.exit(2)


def _application() -> Callable[..., None]:
    from trainrecipe.cli.app import app

    for name in COMMANDS:
        if importlib.util.find_spec(f"{__name__}.{name}"):
            importlib.import_module(f"{__name__}.{name}")
    return app


def _refuse_bare_script(words: list[str]) -> None:
    if words and words[0].endswith(".py"):
        raise WrongUse(f"{words[0]!r} is no command; to examine a script say `recipe check {words[0]}`")
