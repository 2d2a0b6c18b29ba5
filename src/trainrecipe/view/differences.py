"""What differs between two runs, line by line for the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from trainrecipe.journal.differences import Differences
from trainrecipe.journal.record import Record

_INK = {"+": "green", "-": "red", "@": "cyan"}


def told(before: Record, after: Record, found: Differences, most: int | None) -> Iterator[tuple[str, str]]:
    """Lines with their style; of each file's diff at most so many."""
    yield f"{before.run} (before) against {after.run} (after), {before.script}", "bold"
    if not found.kinds:
        yield "Code, arguments and environment are the same." if found.known else _unknown(), "dim"
    elif len(found.kinds) > 1:
        yield (
            f"More than one thing changed: {' and '.join(found.kinds)}. Which of them made a difference cannot be told.",
            "yellow",
        )
    if found.kinds and not found.known:
        yield _unknown(), "dim"
    for changed in found.code:
        yield "", ""
        yield f"code  {changed.file}: {changed.removed} lines removed, {changed.added} added", "bold"
        lines = changed.diff.splitlines()[2:]
        for line in lines[:most]:
            yield f"  {line}", _INK.get(line[:1], "")
        if most is not None and len(lines) > most:
            yield f"  … {len(lines) - most} more lines; -v shows them", "dim"
    if found.args is not None:
        yield "", ""
        yield f"arguments  before: {shlex.join(found.args[0]) or 'none'}", ""
        yield f"           after:  {shlex.join(found.args[1]) or 'none'}", ""
    for name, (a, b) in found.environment.items():
        yield f"environment  {name}: {a or 'not there'}, after: {b or 'not there'}", ""
    for check, side in found.findings.items():
        yield f"found {side} only  {check}", ""


def _unknown() -> str:
    return "The code of one of the runs was not kept, so it is not compared."
