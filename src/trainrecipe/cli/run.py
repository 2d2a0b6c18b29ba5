"""`recipe run`: a whole training under observation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import Format
from trainrecipe.finding import Severity

_SCRIPT = "Your training script, unchanged. What follows it (after --) goes to the script."


@app.command(rich_help_panel=Panel.EXAMINE, context_settings={"ignore_unknown_options": True})
def run(
    script: Annotated[str, typer.Argument(help=_SCRIPT)],
    args: Annotated[list[str] | None, typer.Argument(help="Arguments of the script.")] = None,
    module: Annotated[bool, typer.Option("--module", "-m", help="SCRIPT is a module, as in python -m.")] = False,
    form: Annotated[Format, typer.Option("--format", "-f", help="How to print the result.")] = Format.TERMINAL,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result to this file instead.")] = None,
    fail_on: Annotated[
        Severity | None, typer.Option("--fail-on", help="From which severity on the exit code is 1. [default: warning]")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Seconds for experiments on the captured step. [default: 20]")] = None,
    experiments: Annotated[
        bool, typer.Option(help="Try hypotheses on a copy of the captured step, early in the training.")
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also what passed checks saw.")] = False,
) -> None:
    """Run a whole training under observation: its results are bit for bit those without us.

    Output, files, Ctrl-C and exit code are the script's own. Findings are announced on stderr as they become certain,
    and the summary and report follow when the script is over, however it ends.

    [bold]Examples[/bold]
    [cyan]recipe run train.py[/cyan]
    [cyan]recipe run train.py -- --epochs 90[/cyan]
    [cyan]recipe run train.py --no-experiments[/cyan]    observe only
    """
    from trainrecipe.cli.watched import Wish, defaults, watch

    config = defaults()
    wish = Wish(
        rehearsal=False,
        module=module,
        form=form,
        output=output,
        floor=fail_on or config.fail_on,
        verbose=verbose,
        in_place=True,
        budget=budget if budget is not None else config.budget_seconds,
        steps=None,
        experiments=experiments,
        twice=False,
    )
    raise typer.Exit(watch(script, list(args or []), wish))
