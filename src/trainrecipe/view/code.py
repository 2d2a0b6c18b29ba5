"""An excerpt of the user's code, highlighted for a terminal or for HTML."""

from __future__ import annotations

import functools

from markupsafe import Markup
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.table import Table
from rich.text import Text

from trainrecipe.view.source import Excerpt


def for_terminal(excerpt: Excerpt) -> Table:
    """Lines with numbers; the focus line is marked and wraps, the lines around it are cut where the screen ends."""
    coloured = _syntax().highlight(excerpt.text).split("\n", allow_blank=True)
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for number in range(excerpt.first, excerpt.last + 1):
        focused = number == excerpt.focus
        line = coloured[number - excerpt.offset]
        line.no_wrap, line.overflow = not focused, "fold" if focused else "ellipsis"
        grid.add_row(Text(f"{'❱ ' if focused else ''}{number} │", "bold" if focused else "dim"), line)
    return grid


def for_html(excerpt: Excerpt) -> list[tuple[int, Markup, bool]]:
    """Rows of line number, highlighted line as safe HTML, and whether it is the focus."""
    lines = _html_lines(excerpt.text)
    rows = range(excerpt.first, excerpt.last + 1)
    return [(n, Markup(lines[n - excerpt.offset]), n == excerpt.focus) for n in rows]


@functools.lru_cache(maxsize=8)
def _html_lines(text: str) -> list[str]:
    from pygments import highlight  # type: ignore[import-untyped]
    from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
    from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

    lexer = PythonLexer(stripnl=False, ensurenl=False)
    return str(highlight(text, lexer, HtmlFormatter(nowrap=True))).split("\n")


@functools.cache
def _syntax() -> Syntax:
    from pygments import token as t

    # Only the sixteen colours of the user's own palette, so that dark and light terminals both stay legible.
    colours = {
        t.Token: "",
        t.Comment: "bright_black italic",
        t.Keyword: "magenta",
        t.Keyword.Constant: "cyan",
        t.Operator.Word: "magenta",
        t.String: "green",
        t.Number: "cyan",
        t.Name.Function: "blue",
        t.Name.Class: "blue",
        t.Name.Decorator: "yellow",
        t.Name.Builtin: "cyan",
    }
    theme = ANSISyntaxTheme({kind: Style.parse(colour) for kind, colour in colours.items()})
    return Syntax("", "python", theme=theme)
