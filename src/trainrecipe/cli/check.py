"""`recipe check`: a dress rehearsal of a training script, and what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import Format
from trainrecipe.finding import Severity

_SCRIPT = "Your training script, unchanged. What follows it (after --) goes to the script."


@app.command(rich_help_panel=Panel.EXAMINE, context_settings={"ignore_unknown_options": True})
def check(
    script: Annotated[str, typer.Argument(help=_SCRIPT)],
    args: Annotated[list[str] | None, typer.Argument(help="Arguments of the script.")] = None,
    module: Annotated[bool, typer.Option("--module", "-m", help="SCRIPT is a module, as in python -m.")] = False,
    form: Annotated[Format, typer.Option("--format", "-f", help="How to print the result.")] = Format.TERMINAL,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result to this file instead.")] = None,
    fail_on: Annotated[
        Severity | None, typer.Option("--fail-on", help="From which severity on the exit code is 1. [default: warning]")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Seconds for experiments on the captured step. [default: 20]")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop the script after this many optimiser steps at the latest.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Let the script write its files for real.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Do not rehearse twice; reproducibility is then not checked.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also what passed checks saw.")] = False,
) -> None:
    """Rehearse a training script for a few steps and say what is wrong with it, where, why, and what to do.

    The script runs for real, but each loader gives only a few batches per epoch and the script is stopped after two
    rounds of training and evaluation. Nothing it writes reaches your files.

    [bold]Examples[/bold]
    [cyan]recipe check train.py[/cyan]
    [cyan]recipe check train.py -- --lr 0.1 --epochs 3[/cyan]
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
        in_place=in_place,
        budget=budget if budget is not None else config.budget_seconds,
        steps=steps or config.steps,
        experiments=True,
        twice=not once,
    )
    raise typer.Exit(watch(script, list(args or []), wish))
