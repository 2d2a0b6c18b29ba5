"""`recipe new check NAME`: the file of a check of one's own, working as it stands."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated

import typer

from trainrecipe.cli.app import Panel, app
from trainrecipe.wrong_use import WrongUse

_DEFAULT_FOLDER = Path("recipe_checks")
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")

new = typer.Typer(no_args_is_help=True)
app.add_typer(new, name="new", rich_help_panel=Panel.CHECKS, help="Create something of your own: a check.")


@new.command()
def check(
    name: Annotated[str, typer.Argument(help="The suspect in lower case, such as `huge-weights`.")],
    folder: Annotated[Path | None, typer.Option("--folder", help="Where to put it; by default your folder for checks.")] = None,
) -> None:
    """Create a check of your own that works as it stands, to be changed into what you need.

    [bold]Example[/bold]
    [cyan]recipe new check huge-weights[/cyan]
    """
    from trainrecipe.config import Config

    config = Config.load()
    _validate(name)
    place = (folder or next(iter(config.checks), _DEFAULT_FOLDER)).absolute()
    path = place / f"{name.replace('-', '_')}.py"
    _create(path, _template(path.stem))
    print(f"created {path}")
    if place not in config.checks:
        print(_registration(config.source, place))
    print(f"then: recipe explain {path.stem.replace('_', '-')}")


def _validate(name: str) -> None:
    from trainrecipe.check import built_in

    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise WrongUse(f"{name!r} cannot name a check: use lower-case words and hyphens, such as huge-weights")
    if name.replace("_", "-") in {known.id for known in built_in()}:
        raise WrongUse(f"there is a check {name!r} already; see `recipe explain {name}`")


def _create(path: Path, text: str) -> None:
    if path.exists():
        raise WrongUse(f"{path} is there already and stays as it is; choose another name or delete it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise WrongUse(f"{path} cannot be created: {error.strerror}; name another place with --folder") from error


def _registration(pyproject: Path | None, folder: Path) -> str:
    root = pyproject.parent if pyproject else Path.cwd()
    shown = folder.relative_to(root) if folder.is_relative_to(root) else folder
    where = pyproject or root / "pyproject.toml"
    return f'to have it run, put this into {where}:\n\n    [tool.trainrecipe]\n    checks = ["{shown.as_posix()}"]\n'


def _template(stem: str) -> str:
    text = Path(__file__).with_name("new_check.txt").read_text(encoding="utf-8")
    words = stem.replace("_", " ")
    return text.replace("{class_name}", words.title().replace(" ", "")).replace("{words}", words)
