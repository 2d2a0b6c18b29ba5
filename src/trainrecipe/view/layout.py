"""Pieces of a page in the terminal: labelled rows, dividers, and lines without blanks at their ends."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from trainrecipe.view.phrases import clean


def text(words: str, style: str = "") -> Text:
    """The user's words as they are: Rich reads no markup in a `Text`, and control characters are gone."""
    return Text(clean(words), style, overflow="fold")


def labelled(rows: Iterable[tuple[RenderableType, RenderableType]], width: int = 11, widest: int = 0) -> Table:
    """Labels in a narrow column, as wide as the longest of them up to `widest`, values beside them."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(min_width=width, max_width=max(width, widest), no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(label, value)
    return grid


class Divider:
    """A line across with a name at its left and a number at its right end."""

    def __init__(self, left: str = "", right: str = "") -> None:
        self.left = f"── {clean(left)} " if left else ""
        self.right = f" {right}" if right else ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rest = options.max_width - cell_len(self.left) - cell_len(self.right)
        yield Text(self.left + "─" * max(rest, 0) + self.right, "dim", overflow="ellipsis", no_wrap=True)


class Trimmed:
    """A renderable without blanks at the ends of its lines, so that piped output has none."""

    def __init__(self, inner: RenderableType) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        plain = console.color_system is None or console.no_color
        for line in console.render_lines(self.inner, options, pad=False):
            while line and not line[-1].text.strip() and (plain or not _filled(line[-1])):
                line.pop()
            if line and (plain or not _filled(line[-1])):
                line[-1] = line[-1]._replace(text=line[-1].text.rstrip())
            yield from line
            yield Segment.line()


def _filled(segment: Segment) -> bool:
    """Whether blanks of this segment show: those of a badge have a background."""
    return bool(segment.style and segment.style.bgcolor)
