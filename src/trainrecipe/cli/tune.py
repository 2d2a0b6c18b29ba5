"""`recipe tune`: search over knobs, and winners again on fresh seeds."""

from __future__ import annotations

from typing import Annotated

import typer

from trainrecipe.cli import options
from trainrecipe.cli.app import Panel, app


@app.command(rich_help_panel=Panel.EXPERIMENT, context_settings={"ignore_unknown_options": True})
def tune(
    script: options.Script,
    args: options.Args = None,
    module: options.Module = False,
    knob: Annotated[
        list[str] | None,
        typer.Option("--knob", "-k", metavar="NAME=LOW..HIGH", help="Search this range, or list A,B,C; can be repeated."),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", "-n", min=2, help="Trainings of the search.")] = 30,
    seeds: Annotated[int, typer.Option(min=2, help="Fresh seeds that the best are trained under again.")] = 3,
    metric: options.Metric = "",
    workers: options.Workers = 0,
    minutes: options.Minutes = 0.0,
    plan: options.Plan = False,
) -> None:
    """Search over knobs of your unmodified script: quasi-random first, then a model.

    A knob is a constant or a flag of the script, or an intervention; `recipe
    knobs` lists them. The best are trained again under fresh seeds, against
    the script as it is, before they are believed. Ctrl-C keeps what is
    there: the same command goes on from it.

    [bold]Examples[/bold]
    [cyan]recipe tune train.py -k learning_rate=1e-4..1e-1 -k dropout=0..0.5[/cyan]
    [cyan]recipe tune train.py -k HIDDEN=32..512 -k batch_size=16,32,64 --trials 60[/cyan]
    """
    from trainrecipe.cli.laboratory import Wish, tuned

    wish = Wish(script, tuple(args or ()), module, seeds, metric, workers, 60 * minutes, plan)
    raise typer.Exit(tuned(wish, tuple(knob or ()), trials))
