"""`recipe explain`: everything there is to know about one check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import console

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trainrecipe.check import Check


@app.command(rich_help_panel=Panel.CHECKS)
def explain(
    check: Annotated[str, typer.Argument(help="The id of a check, as findings and `recipe checks` name it.")],
) -> None:
    """Tell what a check looks at, why it matters, what to do, and when it is wrong.

    [bold]Example[/bold]
    [cyan]recipe explain loss-at-init[/cyan]
    """
    from trainrecipe.cli.catalogue import catalogue, named
    from trainrecipe.config import Config

    found = named(catalogue(Config.load()), check)
    terminal = console()
    terminal.print(_page(found), width=min(terminal.width, 92), highlight=False)


def _page(check: Check) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.rule import Rule
    from rich.text import Text

    parts: list[RenderableType] = [
        Text.assemble((check.title, "bold"), "  ", (check.id, "cyan")),
        Text(check.hypothesis, "italic"),
        Rule(style="dim"),
    ]
    for heading, body in check.sections.items():
        parts += [Text(heading, "bold"), Padding(_prose(body), (0, 0, 1, 2))]
    return Padding(Group(*parts, _facts(check)), (1, 1))


def _facts(check: Check) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    facts = {
        "examines": f"the {check.subject.lower()}, at the price of {_PRICES[check.price.value]}",
        "recipe": ", ".join(check.rows),
        "faults": ", ".join(map(str, check.faults)),
        "explains": ", ".join(check.explains),
        "silence": f"# recipe: allow[{check.id}] reason",
    }
    grid = Table.grid(padding=(0, 2))
    for label, text in facts.items():
        if text:
            grid.add_row(Text(label, "dim"), Text(text))
    return grid


_PRICES = {
    "free": "nothing beyond the recording",
    "forward": "a few forward passes",
    "backward": "a few backward passes",
    "train": "a few short trainings on a copy",
    "sweep": "running the script again",
}


def _prose(body: str) -> RenderableType:
    """The text with `code` in colour, printed as it stands: brackets in it are no markup."""
    from rich.text import Text

    out = Text()
    for i, part in enumerate(body.replace("``", "`").split("`")):
        out.append(part, "cyan" if i % 2 else "")
    return out
