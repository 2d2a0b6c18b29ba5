"""`recipe view`: the page of examples and runs, in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainrecipe.cli.app import Panel, app
from trainrecipe.wrong_use import WrongUse, nearest


@app.command(rich_help_panel=Panel.JOURNAL)
def view(
    table: Annotated[str, typer.Argument(help="A table's name or folder; by default all that were scanned here.")] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 0,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser.")] = True,
) -> None:
    """Look at examples and runs in the browser: filter, sort, compare, tag.

    The page is served on this machine only, to whoever has the address that is printed. From a cluster: `ssh -L`.

    [bold]Examples[/bold]
    [cyan]recipe view[/cyan]                            the tables and runs of this folder
    [cyan]recipe view digits --port 8765 --no-open[/cyan]   then ssh -L 8765:localhost:8765
    """
    try:
        from trainrecipe.view.page.serve import serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "duckdb"):
            raise
        raise WrongUse(f"the page needs {error.name}: pip install 'trainrecipe[data]'") from None
    serve(Path.cwd(), _folder(table), port=port, open_browser=open_browser)


def _folder(table: str) -> Path | None:
    """The folder of a table that was named, or None for all."""
    if not table:
        return None
    from trainrecipe.journal.home import FOLDER_NAME

    data = Path.cwd() / FOLDER_NAME / "data"
    for folder in (data / table, Path(table)):
        if (folder / "manifest.json").is_file():
            return folder
    known = sorted(p.parent.name for p in data.glob("*/manifest.json"))
    hint = nearest(table, known) or f"there is {', '.join(known)}" if known else "`recipe data` makes one"
    raise WrongUse(f"no table {table!r}; {hint}")
