"""Which examples a sampler drew: the indices of each pass over a loader, batch by batch. Plain data."""

from __future__ import annotations

import dataclasses
import itertools
from array import array
from collections.abc import Iterator

from trainrecipe.finding import Place


@dataclasses.dataclass(slots=True)
class Draw:
    """The indices that one pass over a loader drew from its sampler.

    `indices` are all of them, in order, `sizes` how many belong to each batch. In a rehearsal the batches that were left
    out are among them. `complete`: the sampler was read to its end. `readable`: the entries are whole numbers; otherwise
    nothing is kept. `loader` and `in_pass` are -1 until the pass begins.
    """

    loader: int = -1
    in_pass: int = -1
    indices: array[int] = dataclasses.field(default_factory=lambda: array("q"))
    sizes: list[int] = dataclasses.field(default_factory=list)
    complete: bool = False
    readable: bool = True

    def batches(self) -> Iterator[list[int]]:
        """The indices of each batch."""
        ends = list(itertools.accumulate(self.sizes))
        for start, end in zip([0, *ends], ends, strict=False):
            yield self.indices[start:end].tolist()

    @property
    def in_order(self) -> bool:
        """Whether the indices only grow: nothing shuffles them."""
        return all(a < b for a, b in itertools.pairwise(self.indices))


@dataclasses.dataclass(frozen=True, slots=True)
class Carried:
    """Recurrent state that a module was given again after the next batch had come, and where.

    Without a `loader` the batches are rows that the script picks: `picked` holds their numbers, batch by batch.
    """

    place: Place | None
    loader: int | None
    picked: list[list[int]] = dataclasses.field(default_factory=list)
