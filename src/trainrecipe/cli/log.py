"""`recipe log`: the runs recorded in this folder."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import console


@app.command(rich_help_panel=Panel.JOURNAL)
def log(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many runs, the newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the runs that were recorded in this folder, the newest first.

    [bold]Examples[/bold]
    [cyan]recipe log[/cyan]
    [cyan]recipe log --limit 100 --json[/cyan]
    """
    from trainrecipe.journal.store import Journal

    journal = Journal.at()
    runs = journal.runs()
    if as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in runs[:limit]], indent=2))
        return
    from trainrecipe.view.log import show

    show(runs[:limit], console(), directory=journal.directory, more=max(len(runs) - limit, 0))
