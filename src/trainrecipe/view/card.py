"""One finding in the terminal: what is wrong, the user's line, expected against observed, why, and how to fix it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from trainrecipe.finding import Finding, Place, Severity
from trainrecipe.view.code import for_terminal
from trainrecipe.view.layout import labelled, text
from trainrecipe.view.phrases import clean, silence
from trainrecipe.view.source import excerpt, spot

MARKS = {Severity.ERROR: "✖", Severity.WARNING: "▲", Severity.NOTE: "●"}
INKS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "blue"}
_PLATES = {Severity.ERROR: "white on red", Severity.WARNING: "black on yellow", Severity.NOTE: "white on blue"}


def card(f: Finding, around: int) -> Iterator[RenderableType]:
    """The finding from headline to advice, with `around` lines of code on either side of the line it points at."""
    severity = f.severity or Severity.NOTE
    badge = (f" {MARKS[severity]} {severity.upper()} ", f"bold {_PLATES[severity]}")
    yield Text.assemble(badge, " ", (clean(f.title), "bold"), overflow="fold")
    if f.place:
        yield Text()
        yield from _place(f.place, around)
    yield Text()
    yield text(f.ruling.says)
    yield Text()
    yield labelled(_details(f, INKS[severity]))


def located(f: Finding) -> str:
    """The check and where it points, in one line."""
    return clean(f"{f.check} {spot(f.place, os.getcwd())}" if f.place else f.check)


def _place(place: Place, around: int) -> Iterator[RenderableType]:
    where = f" in {place.function}" if place.function else ""
    yield Text.assemble((spot(place, os.getcwd()), f"underline {_link(place)}"), (clean(where), "dim"), overflow="fold")
    lines = excerpt(place, around)
    if lines:
        yield for_terminal(lines)


def _link(place: Place) -> str:
    """A hyperlink, for terminals that know them."""
    path = Path(place.file)
    return f"link {path.as_uri()}" if path.is_absolute() and clean(place.file) == place.file else ""


def _details(f: Finding, ink: str) -> Iterator[tuple[Text, Text]]:
    r = f.ruling
    rows = [
        ("expected", r.expected, "green"),
        ("observed", r.observed, ink),
        ("why", f.why, ""),
        ("fix", r.fix, "bold"),
    ]
    yield from ((text(label, "dim"), text(says, style)) for label, says, style in rows if says)
    for i, cause in enumerate(r.causes):
        number = f"{i + 1}. " if len(r.causes) > 1 else ""
        yield text("" if i else "causes", "dim"), text(number + cause)
    for i, other in enumerate(f.related):
        yield text("" if i else "also seen", "dim"), _brief(other)
    if f.place:
        yield text("silence", "dim"), text(silence(f), "dim")


def _brief(f: Finding) -> Text:
    severity = f.severity or Severity.NOTE
    return Text.assemble((f"{MARKS[severity]} ", INKS[severity]), f"{clean(f.title)} ", (located(f), "dim"))
