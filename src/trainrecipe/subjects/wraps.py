"""Arithmetic on small whole numbers, as it was heard in a rehearsal."""

from __future__ import annotations

import dataclasses

from trainrecipe.finding import Place


@dataclasses.dataclass(frozen=True, slots=True)
class Wrap:
    """One operation (`+`, `-` or `*`) at one line: the `share` of its results of type `dtype` that differ from what more bits
    give, of the first `elements`."""

    place: Place | None
    sign: str
    dtype: str
    share: float
    elements: int
