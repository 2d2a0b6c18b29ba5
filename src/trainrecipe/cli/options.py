"""Arguments and options that `recipe check` and `recipe run` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainrecipe.cli.output import Format
from trainrecipe.finding import Severity

Script = Annotated[str, typer.Argument(help="Your training script, unchanged. What follows it (after --) goes to the script.")]
Args = Annotated[list[str] | None, typer.Argument(help="Arguments of the script.")]
Module = Annotated[bool, typer.Option("--module", "-m", help="SCRIPT is a module, as in python -m.")]
Form = Annotated[Format, typer.Option("--format", "-f", help="How to print the result.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the result to this file instead.")]
FailOn = Annotated[
    Severity | None, typer.Option("--fail-on", help="From which severity on the exit code is 1. (Default: warning.)")
]
Budget = Annotated[float | None, typer.Option(help="Seconds for experiments on the captured step. (Default: 20.)")]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="CHECK", help="Make this check and no other; can be repeated.")
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        metavar="N",
        help="Run the script as N processes that train together, as torchrun --nproc-per-node N does, and compare them.",
    ),
]
Knob = Annotated[
    str | None,
    typer.Option(
        "--knob",
        metavar="NAME=A,B",
        help="Does more capacity lower the training loss? NAME is a constant at the top of the script (HIDDEN=32,128), or of "
        "a class or dictionary there (Config.hidden=32,128), or else a flag of the script (hidden=32,128 for --hidden); the "
        "values in growing order. First trains a few hundred steps with each value under two seeds.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also what passed checks saw.")]
Metric = Annotated[
    str, typer.Option(help="The number to judge by, as the script names it; + or - before it says what is better.")
]
Workers = Annotated[int, typer.Option(min=0, help="Trainings at once. (Default: one per core.)")]
Minutes = Annotated[float, typer.Option(min=0.0, help="Longest time of one training. (Default: no limit.)")]
Plan = Annotated[bool, typer.Option("--plan", help="Only say what would be done, and how long it takes.")]
