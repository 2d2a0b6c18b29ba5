"""`recipe knobs`: what can be turned in a script from outside."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from trainrecipe.cli import options
from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import console


@app.command(rich_help_panel=Panel.EXPERIMENT)
def knobs(
    script: options.Script,
    module: options.Module = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List everything that can be turned in a script without changing it.

    Constants at the top of the script (also of a class or dictionary there),
    flags that it defines, and interventions in what PyTorch does for it.

    [bold]Examples[/bold]
    [cyan]recipe knobs train.py[/cyan]
    [cyan]recipe regularize train.py -c dropout=0.3[/cyan]    what `say` shows goes after -c
    """
    from rich.table import Table

    from trainrecipe.stages import knobs as known

    found = known.knobs(script, module)
    if as_json:
        print(json.dumps([dataclasses.asdict(knob) for knob in found], indent=2))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("knob", "now", "say"):
        table.add_column(column, overflow="fold")
    kind = ""
    for knob in found:
        if knob.kind != kind:
            kind = knob.kind
            table.add_row(f"[dim]{kind}s[/dim]", "", "")
        table.add_row(f"  {knob.name}", knob.now, knob.say)
    console().print(table)
