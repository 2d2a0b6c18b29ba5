"""`recipe check`: a dress rehearsal of a training script, and what it shows."""

from __future__ import annotations

from typing import Annotated

import typer

from trainrecipe.cli import options
from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import Format


@app.command(rich_help_panel=Panel.EXAMINE, context_settings={"ignore_unknown_options": True})
def check(
    script: options.Script,
    args: options.Args = None,
    module: options.Module = False,
    form: options.Form = Format.TERMINAL,
    output: options.Output = None,
    fail_on: options.FailOn = None,
    budget: options.Budget = None,
    steps: Annotated[int | None, typer.Option(help="Stop the script after this many optimiser steps at the latest.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Let the script write its files for real.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Do not rehearse twice; reproducibility is then not checked.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="First rehearse once more, alone, to see where the time of a step goes.")
    ] = False,
    processes: options.Processes = None,
    knob: options.Knob = None,
    only: options.Only = None,
    verbose: options.Verbose = False,
) -> None:
    """Rehearse a training script for a few steps and say what is wrong with it, where, why, and what to do.

    The script runs for real, but each loader gives only a few batches per
    epoch, and the script is stopped after two rounds of training and
    evaluation. Nothing it writes reaches your files.

    [bold]Examples[/bold]
    [cyan]recipe check train.py[/cyan]
    [cyan]recipe check train.py -- --lr 0.1 --epochs 3[/cyan]
    [cyan]recipe check --processes 2 train.py[/cyan]    a script that torchrun starts
    [cyan]recipe check train.py --knob hidden=32,128[/cyan]    is a larger model put to use?
    [cyan]recipe check -m package.train --format sarif -o findings.sarif[/cyan]
    """
    from trainrecipe.cli.watched import Wish, defaults, watch

    config = defaults()
    wish = Wish(
        rehearsal=True,
        module=module,
        form=form,
        output=output,
        floor=fail_on or config.fail_on,
        verbose=verbose,
        only=tuple(only or ()),
        processes=processes or 1,
        profile=profile,
        knob=knob or "",
        in_place=in_place,
        budget=budget if budget is not None else config.budget_seconds,
        steps=steps or config.steps,
        experiments=True,
        twice=not once,
    )
    raise typer.Exit(watch(script, list(args or []), wish))
