"""`recipe compare`: what differs between two runs."""

from __future__ import annotations

from typing import Annotated

import typer

from trainrecipe.cli.app import Panel, app
from trainrecipe.cli.output import console

LINES = 40
"""Lines of a diff that are shown without --verbose."""


@app.command(rich_help_panel=Panel.JOURNAL)
def compare(
    before: Annotated[str, typer.Argument(help="A run, as for `recipe show`.")],
    after: Annotated[str, typer.Argument(help="Another one.")] = "last",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Whole diffs.")] = False,
) -> None:
    """Say what differs between two runs: code, arguments, environment, findings.

    More than one thing changed at a time is said, for then nobody knows which
    of them made the difference.

    [bold]Examples[/bold]
    [cyan]recipe compare 7f3a[/cyan]          against the last run
    [cyan]recipe compare 7f3a 91c0 -v[/cyan]  with whole diffs
    """
    from trainrecipe.journal.code import kept
    from trainrecipe.journal.differences import differences
    from trainrecipe.journal.store import Journal
    from trainrecipe.view.differences import told

    journal = Journal.at()
    first, second = journal.record(before), journal.record(after)
    code = [kept(journal.folder(r.run)) for r in (first, second)]
    out = console()
    for line, style in told(first, second, differences(first, second, *code), None if verbose else LINES):
        out.print(line, style=style, highlight=False, markup=False)
