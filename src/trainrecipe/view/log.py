"""The journal in the terminal: one run a row, out of the index, so that a thousand long logs open as fast as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainrecipe.finding import Severity
from trainrecipe.journal.index import Entry
from trainrecipe.view import phrases
from trainrecipe.view.card import INKS, MARKS
from trainrecipe.view.layout import Trimmed
from trainrecipe.view.source import shown

_ROOMY = 96  # columns; a narrower window has no place for headlines


def show(entries: Sequence[Entry], console: Console, *, directory: Path, more: int = 0) -> None:
    """Print the runs of `directory` in the given order; `more` is the number of older ones that are left out."""
    if not entries:
        console.print("No runs are recorded here yet. Try: recipe check train.py", highlight=False)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("run", no_wrap=True, style="cyan")
    table.add_column("command", overflow="fold", min_width=16)
    table.add_column("status", no_wrap=True)
    table.add_column("found", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True, style="dim")
    if console.width >= _ROOMY:
        table.add_column("headline", no_wrap=True, overflow="ellipsis", ratio=1)
        table.expand = True  # the headline takes what the others leave
    for entry in entries:
        table.add_row(*_row(entry, str(directory))[: len(table.columns)])
    console.print(Trimmed(table), highlight=False)
    left = f"{phrases.plural(more, 'older run')} not shown (--limit) · " if more else ""
    console.print(f"{left}recipe show RUN tells all about one", style="dim", highlight=False)


def _row(entry: Entry, directory: str) -> list[Text]:
    status = Text(entry.status, "" if entry.status in phrases.SOUND else "red")
    script = shown(entry.script, directory) if entry.script else ""
    return [
        Text(phrases.clean(entry.run)),
        Text(phrases.clean(f"{entry.command} {script}").strip()),
        status,
        _found(entry),
        Text(phrases.duration(entry.seconds)),
        Text(phrases.clean(entry.headline)),
    ]


def _found(entry: Entry) -> Text:
    """Counts by severity, short enough for a table: `✖2 ▲1`."""
    counts = zip(Severity, (entry.errors, entry.warnings, entry.notes), strict=True)
    marks = [Text(f"{MARKS[severity]}{count}", INKS[severity]) for severity, count in counts if count]
    return Text(" ").join(marks) if marks else Text("–", "dim")
