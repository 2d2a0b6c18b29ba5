"""`recipe data`: becomes one with the data of a training script."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from trainrecipe.cli import options
from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import Format
from trainrecipe.table.missing import MISSING
from trainrecipe.wrong_use import WrongUse


@app.command(rich_help_panel=Panel.EXAMINE, context_settings={"ignore_unknown_options": True})
def data(
    target: Annotated[
        str, typer.Argument(metavar="SCRIPT", help="Your training script, or data as module:name or file.py:name.")
    ],
    args: options.Args = None,
    module: options.Module = False,
    form: options.Form = Format.TERMINAL,
    output: options.Output = None,
    fail_on: options.FailOn = None,
    budget: options.Budget = None,
    scan_seconds: Annotated[
        float | None,
        typer.Option(
            "--scan-seconds", min=1.0, help="Read a random sample where everything would take longer. (Default: 300.)"
        ),
    ] = None,
    probe_seconds: Annotated[
        float | None,
        typer.Option("--probe-seconds", min=0.0, help="For experiments on what of an example matters; 0: none. (Default: 15.)"),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="RAY",
            help="Read on Ray: [cyan]ray[/cyan] starts one here, host:port or ray://host:port is a cluster's. For module:name "
            "and file.py:name, which its workers call, too.",
        ),
    ] = None,
    only: options.Only = None,
    verbose: options.Verbose = False,
) -> None:
    """Read all examples that a script trains and is evaluated on, and say what is wrong with them.

    The script is rehearsed, to see which data sets it uses and how. Then
    each of them is read once, through its loader's own workers, into a
    table beside your runs: `recipe view` lets you look at it. A scan that
    was interrupted goes on where it was.

    In place of a script, name data sets, loaders, a dictionary of them, or
    a function that makes such: [cyan]recipe data package.data:splits[/cyan]

    [bold]Examples[/bold]
    [cyan]recipe data train.py[/cyan]
    [cyan]recipe data train.py -- --root images/[/cyan]
    [cyan]recipe data train.py --scan-seconds 30[/cyan]    a first impression of a large set
    [cyan]recipe data data.py:train_set[/cyan]
    [cyan]recipe data data.py:splits --on ray://head:10001[/cyan]    by all cores of a cluster
    """
    from trainrecipe.cli.watched import Wish, defaults, watch

    if importlib.util.find_spec("duckdb") is None:
        raise WrongUse(MISSING)
    config = defaults()
    wish = Wish(
        rehearsal=True,
        module=module,
        form=form,
        output=output,
        floor=fail_on or config.fail_on,
        verbose=verbose,
        only=tuple(only or ()),
        in_place=False,
        budget=budget if budget is not None else config.budget_seconds,
        steps=config.steps,
        experiments=True,
        twice=False,
        data=True,
        scan_seconds=scan_seconds or 300.0,
        probe_seconds=15.0 if probe_seconds is None else probe_seconds,
        on=on or "",
    )
    raise typer.Exit(watch(target, list(args or []), wish))
