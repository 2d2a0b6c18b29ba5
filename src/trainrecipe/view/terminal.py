"""A record in the terminal: the findings with the user's lines, what passed, what could not be checked, the verdict."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trainrecipe.finding import Verdict
from trainrecipe.journal.record import Record
from trainrecipe.picture import Picture
from trainrecipe.view import phrases
from trainrecipe.view.card import INKS, card, located
from trainrecipe.view.layout import Divider, Trimmed, labelled, text
from trainrecipe.view.source import shown

_WIDEST = 104  # longer lines of prose are tiring to read
_WIDEST_CELL = 26
_FEW, _MANY = 12, 4
"""Reasons that are all told at first sight; of more than these, those that so many checks share."""
_LEVELS = {"error": ("✖", "red"), "warning": ("▲", "yellow")}


def show(record: Record, console: Console, *, report_path: str | Path | None = None, verbose: bool = False) -> None:
    """Print the record. `verbose` adds what passed checks saw, the environment, and more lines of code.

    Text of the user's (labels, file names, messages) is printed as it is: neither markup nor control codes take effect.
    """
    parts = [*_head(record), *_findings(record, verbose), *_rest(record, verbose), *_close(record, report_path)]
    width = min(console.width, _WIDEST)
    console.print(Trimmed(Padding(Group(*parts), (0, 1))), width=width, highlight=False)


def _head(record: Record) -> Iterator[RenderableType]:
    line = Table.grid(expand=True, padding=(0, 2, 0, 0))
    line.add_column(overflow="fold")
    line.add_column(justify="right", style="dim", overflow="fold")
    line.add_row(text(phrases.command(record), "bold"), text(f"{record.run} · {phrases.duration(record.seconds)}"))
    yield line
    yield text(phrases.ending(record), "dim" if record.status in phrases.SOUND else "bold red")
    if record.facts:
        yield Text()
        yield labelled(((text(k, "dim"), text(v)) for k, v in record.facts.items()), widest=20)
    for level, message in record.messages:
        mark, ink = _LEVELS.get(level, ("·", "dim"))
        yield labelled([(text(mark, ink), text(message, ink))], width=1)


def _findings(record: Record, verbose: bool) -> Iterator[RenderableType]:
    found = phrases.opened(record)
    for i, finding in enumerate(found, 1):
        yield Text()
        yield Divider(finding.check, f"{i}/{len(found)}")
        yield from card(finding, 3 if verbose else 1)


def _rest(record: Record, verbose: bool) -> Iterator[RenderableType]:
    if record.findings:
        yield Text()
        yield Divider()
    silenced = phrases.waived(record)
    if silenced:
        yield from _section(f"Waived ({len(silenced)})", [_pair(located(f), f.waived or "no reason") for f in silenced])
    passed = phrases.names(record.passed)
    if passed:
        saw = [_pair(f.check, f.ruling.says) for f in record.passed] if verbose else [text(", ".join(passed), "dim")]
        yield from _section(f"Passed ({len(passed)})", saw, "green")
    missing = phrases.names(record.skipped)
    if missing:
        yield from _section(f"Could not be checked ({len(missing)})", _reasons(record, verbose))
    for picture in record.pictures if verbose else ():
        if picture.kind == "table":
            yield from _section(picture.title, [text(picture.caption, "dim"), _table(picture)])
    if verbose and record.environment:
        rows = [(text(k, "dim"), text(v)) for k, v in record.environment.items()]
        yield from _section("Environment", [labelled(rows)])


def _reasons(record: Record, verbose: bool) -> Iterator[RenderableType]:
    """Why checks could not decide; at first sight only what was looked at, and what keeps many from looking."""
    if phrases.undecided(record) and not verbose:
        yield text("everything; -v lists for each check what it would need to see", "dim")
        return
    looked = {f.ruling.says for f in record.skipped if f.ruling.verdict is Verdict.UNSURE}
    rest: list[str] = []
    reasons = phrases.grouped(record.skipped)
    for why, checks in reasons:
        if verbose or len(reasons) <= _FEW or why in looked or len(checks) >= _MANY:
            yield _pair(", ".join(checks), why)
        else:
            rest += checks
    if rest:
        yield text(", ".join(sorted(rest)), "dim")
        yield text("each for a reason that -v and the report tell", "dim")


def _section(title: str, lines: Iterable[RenderableType], ink: str = "") -> Iterator[RenderableType]:
    yield Text()
    yield Text(title, f"bold {ink}")
    yield from (Padding(line, (0, 0, 0, 2)) for line in lines)


def _table(picture: Picture) -> RenderableType:
    """The columns that a narrow view has room for."""
    content = picture.content
    shown = phrases.used_columns(picture, brief=True)
    grid = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim", pad_edge=False)
    for i in shown:
        right, last = i in content.get("numbers", ()), i == shown[-1]
        grid.add_column(
            phrases.clean(content["columns"][i]),
            justify="right" if right else "left",
            no_wrap=not last,
            overflow="fold" if last else "ellipsis",
            max_width=None if last else _WIDEST_CELL,
        )
    for number, row in enumerate(content["rows"], 1):
        last = bool(content.get("total")) and number == len(content["rows"])
        grid.add_row(*(text(row[i], "bold" if last else "") for i in shown))
    return grid


def _pair(name: str, says: str) -> Text:
    return Text.assemble(phrases.clean(name), (f"  {phrases.clean(says)}", "dim"), overflow="fold")


def _close(record: Record, report_path: str | Path | None) -> Iterator[RenderableType]:
    if record.command in phrases.STAGES and not record.findings:
        return
    found = phrases.opened(record)
    gravest = min((f.severity for f in found if f.severity), key=lambda s: s.rank, default=None)
    yield Text()
    yield text(phrases.outcome(record), f"bold {INKS[gravest] if gravest else ''}")
    yield text(phrases.CAUTION, "dim")
    hints = []
    if report_path is not None:
        hints.append((text("report", "dim"), text(shown(str(report_path), os.getcwd()), "cyan")))
    if found:
        hints.append((text("learn more", "dim"), text(f"recipe explain {found[0].check}", "cyan")))
    if hints:
        yield labelled(hints)
