"""`recipe note`: a remark of your own on a run."""

from __future__ import annotations

from typing import Annotated

import typer

from trainrecipe.cli.app import Panel, app


@app.command(rich_help_panel=Panel.JOURNAL)
def note(
    run: Annotated[str, typer.Argument(help="A run, as for `recipe show`.")],
    text: Annotated[str, typer.Argument(help="What to remember about it.")],
) -> None:
    """Add a remark of your own to a recorded run; `recipe show` repeats it.

    [bold]Examples[/bold]
    [cyan]recipe note last "labels of the third folder were wrong here"[/cyan]
    """
    from trainrecipe.journal.events import FILE_NAME, append_to
    from trainrecipe.journal.store import Journal
    from trainrecipe.wrong_use import WrongUse

    if not text.strip():
        raise WrongUse("the note is empty; say what to remember, in quotes")
    journal = Journal.at()
    record = journal.record(run)
    log = append_to(journal.folder(record.run) / FILE_NAME)
    log.append("message", level="note", text=text.strip())
    if log.broken:
        raise WrongUse(f"the note could not be written: {log.broken}")
    log.close()
    print(f"noted on {record.run}")
