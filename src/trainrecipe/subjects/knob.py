"""A knob of capacity that a person has named, and the short trainings that were made with several of its values. Plain data."""

from __future__ import annotations

import dataclasses

from trainrecipe.finding import Place


@dataclasses.dataclass(frozen=True, slots=True)
class Knob:
    """What is turned: the constant `path` of the script or else its flag, which `words` stand for on the command line
    (`{}` is the value), at the values in the order in which they were given. `place` is the line that defines it."""

    name: str
    values: tuple[str, ...]
    path: str = ""
    words: tuple[str, ...] = ()
    place: Place | None = None

    def arguments(self, value: str) -> list[str]:
        """The words that give the flag this value; none for a constant."""
        return [word.replace("{}", value) for word in self.words]

    @property
    def told(self) -> str:
        """The knob as the script spells it."""
        return self.path or self.words[0].partition("=")[0]


@dataclasses.dataclass(slots=True)
class Trial:
    """A short training with one value of the knob, every seed of the script shifted by `seed`.

    `parameters` is the number of trainable weights in so many `tensors`, `losses` those of its backwards in order, at the
    line that calls backward most often; `beside` counts the backwards at the line that comes next. `seeded` tells that the
    script sets a seed, `error` is why it ended before its time; `cut` that its training went on when enough was seen.
    """

    value: str
    seed: int
    parameters: int = 0
    tensors: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    beside: int = 0
    seeded: bool = False
    cut: bool = False
    error: str = ""
