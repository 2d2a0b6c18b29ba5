"""`recipe run`: a whole training under observation."""

from __future__ import annotations

from typing import Annotated

import typer

from trainrecipe.cli import options
from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import Format


@app.command(rich_help_panel=Panel.EXAMINE, context_settings={"ignore_unknown_options": True})
def run(
    script: options.Script,
    args: options.Args = None,
    module: options.Module = False,
    form: options.Form = Format.TERMINAL,
    output: options.Output = None,
    fail_on: options.FailOn = None,
    budget: options.Budget = None,
    experiments: Annotated[
        bool, typer.Option(help="Try hypotheses on a copy of the captured step, early in the training.")
    ] = True,
    track_examples: Annotated[
        bool,
        typer.Option("--track-examples", help="Follow each example: predictions, confidence, forgetting; see `recipe view`."),
    ] = False,
    processes: options.Processes = None,
    only: options.Only = None,
    verbose: options.Verbose = False,
) -> None:
    """Run a whole training under observation: its results are bit for bit those without us.

    Output, files, Ctrl-C and exit code are the script's own. Findings are
    announced on stderr as they become certain, and the summary and report
    follow when the script is over, however it ends.

    [bold]Examples[/bold]
    [cyan]recipe run train.py[/cyan]
    [cyan]recipe run train.py -- --epochs 90[/cyan]
    [cyan]recipe run train.py --no-experiments[/cyan]    observe only
    [cyan]recipe run train.py --track-examples[/cyan]    after `recipe data`: mispredictions, easy and hard examples
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
        only=tuple(only or ()),
        processes=processes or 1,
        in_place=True,
        budget=budget if budget is not None else config.budget_seconds,
        steps=None,
        experiments=experiments,
        twice=False,
        track=track_examples,
    )
    raise typer.Exit(watch(script, list(args or []), wish))
