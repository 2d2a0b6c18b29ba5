"""Prints a record in the form the person asked for; shared by every command that ends with one."""

from __future__ import annotations

import enum
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainrecipe.finding import Severity
from trainrecipe.wrong_use import WrongUse

if TYPE_CHECKING:
    from rich.console import Console

    from trainrecipe.journal.record import Record

_FILE_WIDTH = 100  # a file has no window to take the width from


class Format(enum.StrEnum):
    """What `--format` offers."""

    TERMINAL = "terminal"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"


def console() -> Console:
    """The terminal. What its encoding cannot show (`✖` in the ASCII log of a cluster) is replaced."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console()


def emit(
    record: Record,
    form: Format,
    *,
    output: Path | None = None,
    floor: Severity = Severity.WARNING,
    report: Path | None = None,
    verbose: bool = False,
) -> None:
    """Print the record, or write it to the file `output`. Raises WrongUse when that file cannot be written."""
    if form is not Format.TERMINAL:
        _print(_text(record, form, floor), output)
        return
    from rich.console import Console

    from trainrecipe.view import terminal

    if output is None:
        terminal.show(record, console(), report_path=report, verbose=verbose)
        return
    page = Console(width=_FILE_WIDTH, color_system=None)
    with page.capture() as captured:
        terminal.show(record, page, report_path=report, verbose=verbose)
    _print(captured.get(), output)


def _text(record: Record, form: Format, floor: Severity) -> str:
    match form:
        case Format.SARIF:
            from trainrecipe.view import sarif

            return sarif.dumps(record)
        case Format.JUNIT:
            from trainrecipe.view import junit

            return junit.dumps(record, floor)
        case _:
            # Escaped to ASCII, so that no terminal's or pipe's encoding can break it.
            return json.dumps(record.to_json(), indent=2)


def _print(text: str, output: Path | None) -> None:
    if output is None:
        print(text)
        return
    try:
        output.write_text(text.rstrip("\n") + "\n", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise WrongUse(f"--output {output}: {error.strerror}; name a file in a folder that exists") from error
