"""The application that the commands add themselves to."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

_ABOUT = """
Finds the silent faults of a PyTorch training script: everything runs, the loss goes down, and the model is still a few
points worse than it should be.

Point it at your script as it is. Nothing in it needs to change, and the training comes out bit for bit the same.
"""

_EXAMPLES = """
[bold]Begin here[/bold]
[cyan]recipe check train.py[/cyan]               rehearse a few steps, then diagnose
[cyan]recipe check train.py -- --lr 0.1[/cyan]   what follows -- belongs to your script
[cyan]recipe run train.py[/cyan]                 the whole training, watched
[cyan]recipe show --open[/cyan]                  the report of the last run
[cyan]recipe explain CHECK[/cyan]                what a check sees, and when it is wrong

[bold]Exit codes[/bold]
0 nothing found · 1 findings · 2 wrong use · otherwise your script's own
"""


class Panel(enum.StrEnum):
    """The groups of commands in `recipe --help`."""

    EXAMINE = "Examine a script"
    EXPERIMENT = "Make experiments with a script"
    JOURNAL = "Look at past runs"
    CHECKS = "Know and extend the checks"


app = typer.Typer(
    name="recipe",
    help=_ABOUT,
    epilog=_EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata  # half as slow as everything else together

        print(f"trainrecipe {importlib.metadata.version('trainrecipe')}")
        raise typer.Exit


@app.callback()
def recipe(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """The options that stand before a command; the help text is given to the application above."""
