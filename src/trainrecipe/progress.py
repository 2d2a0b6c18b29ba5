"""A line on the terminal that tells what is being done."""

from __future__ import annotations

import contextlib
import os


def show(text: str = "") -> None:
    """Put `text` in the place of what the line said; without one the line is wiped. Nothing where nobody watches."""
    if os.isatty(2):
        with contextlib.suppress(OSError):
            os.write(2, (f"\r\x1b[2Krecipe: {text}" if text else "\r\x1b[2K").encode())
