"""What differs between two recorded runs: code, arguments, environment; and whether that is more than one thing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from trainrecipe.journal.code import Changed, changes
from trainrecipe.journal.record import Record

_OF_THE_CALL = ("argv",)
"""Facts of the environment that say what arguments say already."""


@dataclasses.dataclass(frozen=True)
class Differences:
    """By kind. `args` are those of both runs where they differ; `environment` maps a name to both values; `findings` are the
    checks that found something in one run only, with the side."""

    code: tuple[Changed, ...]
    args: tuple[tuple[str, ...], tuple[str, ...]] | None
    environment: Mapping[str, tuple[str, str]]
    findings: Mapping[str, str]
    known: bool

    @property
    def kinds(self) -> list[str]:
        """What was changed: of `code`, `arguments` and `environment`."""
        there = {"code": bool(self.code), "arguments": self.args is not None, "environment": bool(self.environment)}
        return [name for name, differs in there.items() if differs]


def differences(before: Record, after: Record, code_before: dict[str, str], code_after: dict[str, str]) -> Differences:
    """Compare two runs; `known` tells that the code of both was kept."""
    args = None if before.args == after.args else (before.args, after.args)
    names = [n for n in {**before.environment, **after.environment} if n not in _OF_THE_CALL]
    pairs = {n: (before.environment.get(n, ""), after.environment.get(n, "")) for n in names}
    a, b = {f.check for f in before.findings}, {f.check for f in after.findings}
    sides = {**dict.fromkeys(sorted(a - b), "before"), **dict.fromkeys(sorted(b - a), "after")}
    known = bool(code_before) and bool(code_after)
    code = changes(code_before, code_after) if known else []
    return Differences(tuple(code), args, {n: p for n, p in pairs.items() if p[0] != p[1]}, sides, known)
