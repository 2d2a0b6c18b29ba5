"""The recorded operations of each step on its own: those between one backward of a line and the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainrecipe.capture.tape import Op, Tape

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener


def tapes_of(listener: Listener) -> list[Tape]:
    """Every tape that is kept, in the order in which they were recorded."""
    every = [t for tapes in listener.backwards.tapes.values() for t in tapes]
    every += listener.backwards.latest.values()
    return sorted({id(t): t for t in every if t.history}.values(), key=lambda t: t.history[-1].index)


def windows(listener: Listener) -> Iterator[tuple[Tape, list[Op]]]:
    """Each tape with the operations since the backward before; what came before the first backward is left out.

    The operations of the first backward are those that its loss depends on, since the set-up was recorded as well.
    """
    last: int | None = None
    for tape in tapes_of(listener):
        start = last if last is not None else min((op.index for op in tape.ops), default=0) - 1
        ops = [op for op in tape.history if op.index > start]
        if ops:
            last = ops[-1].index
            yield tape, ops
