"""`recipe overfit`: can the training loss be driven down, and do the script's choices help?"""

from __future__ import annotations

from typing import Annotated

import typer

from trainrecipe.cli import options
from trainrecipe.cli.app import Panel, app


@app.command(rich_help_panel=Panel.EXPERIMENT, context_settings={"ignore_unknown_options": True})
def overfit(
    script: options.Script,
    args: options.Args = None,
    module: options.Module = False,
    seeds: Annotated[int, typer.Option(min=2, help="Seeds that each setting is trained under.")] = 3,
    workers: options.Workers = 0,
    minutes: options.Minutes = 0.0,
    plan: options.Plan = False,
) -> None:
    """Can the training loss be driven down, and do your own choices help?

    Compares the script with the reference optimiser (Adam at 3e-4), a
    constant rate, higher and lower rates, and no regularisation, by the
    training loss, against the noise between seeds; and with a net that is
    fed zeros, which learns from the labels alone.

    [bold]Examples[/bold]
    [cyan]recipe overfit train.py --plan[/cyan]
    [cyan]recipe overfit train.py[/cyan]
    """
    from trainrecipe.cli.laboratory import Wish, overfitted

    wish = Wish(script, tuple(args or ()), module, seeds, "", workers, 60 * minutes, plan)
    raise typer.Exit(overfitted(wish))
