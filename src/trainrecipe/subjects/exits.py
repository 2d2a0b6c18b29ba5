"""Loops over a loader that end before the loader does. Plain data."""

from __future__ import annotations

import dataclasses

from trainrecipe.finding import Place


@dataclasses.dataclass(slots=True)
class LoopExit:
    """A loop that was left after its first batch in each of `passes` passes, by a statement that no condition guards.

    `kind` is `return` or `break`; `sums` are what the loop adds to although it never turns twice, `divides` whether the
    value it returns is divided by a length; `length` the batches that the loader has.
    """

    kind: str
    place: Place | None
    passes: int
    length: int
    trains: bool
    sums: list[str]
    divides: bool
