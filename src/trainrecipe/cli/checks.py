"""`recipe checks`: the table of all checks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import console

if TYPE_CHECKING:
    from rich.table import Table

    from trainrecipe.check import Check


@app.command(rich_help_panel=Panel.CHECKS)
def checks(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """List every check: what it examines, what it costs, and the hypothesis it tests.

    Your own are among them, from the folders named under `checks` in pyproject.toml.
    """
    from trainrecipe.cli.catalogue import catalogue
    from trainrecipe.config import Config

    found = catalogue(Config.load())
    if as_json:
        print(json.dumps([_facts(check) for check in found], indent=2))
        return
    terminal = console()
    terminal.print(_table(found))
    terminal.print("recipe explain CHECK tells all about one", style="dim", highlight=False)


def _facts(check: Check) -> dict[str, Any]:
    return {
        "id": check.id,
        "title": check.title,
        "subject": check.subject.lower(),
        "price": check.price.value,
        "hypothesis": check.hypothesis,
        "rows": list(check.rows),
        "faults": list(check.faults),
    }


def _table(found: tuple[Check, ...]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("check", no_wrap=True, style="cyan")
    table.add_column("examines", style="dim")
    table.add_column("price", style="dim")
    table.add_column("hypothesis")
    for check in found:
        table.add_row(check.id, check.subject.lower(), check.price.value, Text(check.hypothesis))
    return table
