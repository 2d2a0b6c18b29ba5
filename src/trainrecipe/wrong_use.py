"""The one exception for what a person can put right: the message names the value, what was expected, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WrongUse(Exception):
    """A wrong argument, option, file or configuration. The command line prints the message and exits with code 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The sentence that offers what was probably meant, or an empty text when nothing is close.

    >>> nearest("fail-on", ["fail_on", "steps"])
    "did you mean 'fail_on'?"
    """
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.55)
    return f"did you mean {str(close[0])!r}?" if close else ""
