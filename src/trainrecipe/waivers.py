"""Waivers in the user's source: comments that silence a check for a reason.

    loss = loss_fn(probabilities, y)  # recipe: allow[softmax-before-loss] a NLLLoss in disguise, see issue 12

    # recipe: allow[dead-units, input-scale] the frozen trunk is meant to be sparse
    features = trunk(x)

    # recipe: allow-file[no-shuffle] a stream in time order

A trailing comment covers the statement it stands in, a comment on a line of its own the statement directly below.
Comments are found by `tokenize`, so that text in a string is never mistaken for one. A reason is required.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import linecache
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from trainrecipe.finding import Finding
from trainrecipe.wrong_use import nearest

if TYPE_CHECKING:
    from trainrecipe.config import Config

_FORM = "# recipe: allow[check-id] reason"
_MARK = re.compile(r"#\s*recipe:\s*allow")
_WAIVER = re.compile(r"#\s*recipe:\s*allow(?P<file>-file)?\[(?P<checks>[^\]]*)\]\s*(?P<reason>.*)")
_OUTSIDE = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


@dataclasses.dataclass(frozen=True, slots=True)
class Waiver:
    """A comment on `line` that silences `checks` on the lines `covers`, or in the whole file where that is None.

    `problem` says why the comment silences nothing: it has no reason, names no check, or is malformed.
    """

    line: int
    checks: tuple[str, ...]
    reason: str
    covers: range | None
    problem: str = ""

    def silences(self, check: str, line: int) -> bool:
        """Whether a finding of `check` on `line` is silenced."""
        return not self.problem and check in self.checks and (self.covers is None or line in self.covers)


def waiver_for(finding: Finding, config: Config, script: str = "") -> str | None:
    """The reason with which the user silenced this finding, in the source or in the configuration, or None.

    A finding that points at no line can be silenced for the whole of `script`, the program that was examined.
    """
    file, line = (finding.place.file, finding.place.line) if finding.place else (script, 0)
    written = (w.reason for w in waivers_in(file) if w.silences(finding.check, line))
    return next(written, None) or config.waiver(finding.check, finding.place)


def complaints(files: Iterable[str], checks: Iterable[str]) -> Iterator[str]:
    """A message for each waiver in `files` that silences nothing, or names a check that is not among `checks`."""
    known = set(checks)
    for file in files:
        for waiver in waivers_in(file):
            if waiver.problem:
                yield f"{file}:{waiver.line}: this waiver does not count: {waiver.problem}"
            for name in sorted({*waiver.checks} - known):
                hint = nearest(name, known) or "`recipe checks` lists them"
                yield f"{file}:{waiver.line}: there is no check {name!r} to waive; {hint}"


def waivers_in(file: str) -> tuple[Waiver, ...]:
    """The waivers of a source file (or notebook cell) in the order of their lines; none when it cannot be read."""
    linecache.checkcache(file)
    return _waivers_of("".join(linecache.getlines(file)))


@functools.lru_cache(maxsize=64)
def _waivers_of(text: str) -> tuple[Waiver, ...]:
    if not _MARK.search(text):
        return ()
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return ()
    statements = _statements(tokens)
    return tuple(
        _parsed(token.string, token.start[0], _covered(token, statements, tokens))
        for token in tokens
        if token.type == tokenize.COMMENT and _MARK.search(token.string)
    )


def _statements(tokens: Sequence[tokenize.TokenInfo]) -> list[range]:
    """The lines of each logical line: a statement, or the head of a compound one."""
    found, first = [], 0
    for token in tokens:
        if not first and token.type not in _OUTSIDE:
            first = token.start[0]
        if first and token.type == tokenize.NEWLINE:
            found.append(range(first, token.end[0] + 1))
            first = 0
    return found


def _covered(comment: tokenize.TokenInfo, statements: list[range], tokens: Sequence[tokenize.TokenInfo]) -> range:
    line = comment.start[0]
    inside = next((s for s in statements if line in s), None)
    if inside:
        return inside
    alone = {t.start[0] for t in tokens if t.type == tokenize.COMMENT}
    below = line + 1
    while below in alone and not any(below in s for s in statements):  # a block of comments stands on one statement
        below += 1
    return next((s for s in statements if s.start == below), range(line, line + 1))


def _parsed(comment: str, line: int, covers: range) -> Waiver:
    match = _WAIVER.search(comment)
    if not match:
        return Waiver(line, (), "", covers, f"write {_FORM}")
    checks = tuple(c.strip() for c in match["checks"].split(",") if c.strip())
    reason = re.split(r"\s#\s", " " + match["reason"])[0].strip(" \t:-–—")
    problem = "" if reason else f"it gives no reason; write {_FORM}"
    if not checks:
        problem = f"it names no check; write {_FORM}"
    return Waiver(line, checks, reason, None if match["file"] else covers, problem)
