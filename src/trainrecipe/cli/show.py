"""`recipe show`: a recorded run once more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import Format, emit
from trainrecipe.finding import Severity

if TYPE_CHECKING:
    from trainrecipe.journal.record import Record


@app.command(rich_help_panel=Panel.JOURNAL)
def show(
    run: Annotated[str, typer.Argument(help="`last`, an id from `recipe log`, or its beginning or end.")] = "last",
    form: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.TERMINAL,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead.")] = None,
    open_report: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
    fail_on: Annotated[
        Severity, typer.Option("--fail-on", help="From which severity on a check fails in JUnit.")
    ] = Severity.WARNING,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also what passed checks saw.")] = False,
) -> None:
    """Show a recorded run again, without running anything.

    [bold]Examples[/bold]
    [cyan]recipe show[/cyan]                                    the last run
    [cyan]recipe show 7f3a --open[/cyan]                        the report of a run, in the browser
    [cyan]recipe show last --format sarif -o run.sarif[/cyan]   for code scanning
    """
    from trainrecipe.journal.store import Journal

    journal = Journal.at()
    record = journal.record(run)
    report = journal.folder(record.run) / "report.html"
    if open_report:
        _open(record, report)
    emit(record, form, output=output, floor=fail_on, report=report if report.exists() else None, verbose=verbose)


def _open(record: Record, report: Path) -> None:
    import webbrowser

    from trainrecipe.view.report import write

    if not report.exists():  # a run that was killed wrote none
        write(record, report)
    if not webbrowser.open(report.as_uri()):
        print(f"No browser could be started; the report is {report}")
