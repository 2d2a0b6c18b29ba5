"""`recipe regularize`: which changes help beyond noise, and what more data would buy."""

from __future__ import annotations

from typing import Annotated

import typer

from trainrecipe.cli import options
from trainrecipe.cli.app import Panel, app


@app.command(rich_help_panel=Panel.EXPERIMENT, context_settings={"ignore_unknown_options": True})
def regularize(
    script: options.Script,
    args: options.Args = None,
    module: options.Module = False,
    change: Annotated[
        list[str] | None,
        typer.Option("--change", "-c", metavar="NAME=VALUE", help="Try this change; can be repeated. See `recipe knobs`."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Seeds that each setting is trained under.")] = 5,
    metric: options.Metric = "",
    curve: Annotated[bool, typer.Option(help="Also train on parts of the data: what would more data buy?")] = True,
    workers: options.Workers = 0,
    minutes: options.Minutes = 0.0,
    plan: options.Plan = False,
) -> None:
    """Which changes help your unmodified script, beyond what chance does?

    Every change is made from outside, one at a time, against the same
    baseline over the same seeds. What helps is tried again under fresh
    seeds before it is believed, and winners are stacked step by step.
    Ctrl-C keeps what is there: the same command goes on from it.

    [bold]Examples[/bold]
    [cyan]recipe regularize train.py --plan[/cyan]
    [cyan]recipe regularize train.py[/cyan]
    [cyan]recipe regularize train.py -c dropout=0.3 -c weight_decay=0.1 --seeds 8[/cyan]
    [cyan]recipe regularize train.py -c HIDDEN=256 --metric "val acc"[/cyan]
    """
    from trainrecipe.cli.laboratory import Wish, regularized

    wish = Wish(script, tuple(args or ()), module, seeds, metric, workers, 60 * minutes, plan)
    raise typer.Exit(regularized(wish, tuple(change or ()), curve))
