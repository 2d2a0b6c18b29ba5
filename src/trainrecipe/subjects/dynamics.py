"""Prediction dynamics: what a model predicts for one fixed batch, looked at again and again while it is trained."""

from __future__ import annotations

import dataclasses
import math

LOOKS = 40
"""Looks that are kept: when there are more, every second is let go."""
_SAME = 1e-6
"""Spread of outputs over examples, relative to their size, below which they are the same."""


@dataclasses.dataclass(slots=True)
class Look:
    """What is predicted after `step` optimiser steps: `outputs` per example, the `picked` class, and the `value` to draw: the
    probability of the true class, or the prediction itself. `moved`: whether a weight changed since the look before."""

    step: int
    outputs: list[list[float]]
    picked: list[int]
    values: list[float]
    moved: bool = True


@dataclasses.dataclass(slots=True)
class Dynamics:
    """The looks of one run. `kind` is classes, binary, numbers or outputs (of unknown meaning); `truths` the targets of the
    examples, where they are known; `names` of the examples; `differ` whether the inputs of the batch differ."""

    kind: str
    truths: list[float]
    names: list[str]
    differ: bool
    looks: list[Look] = dataclasses.field(default_factory=list)

    def add(self, look: Look) -> bool:
        """Keep a look. Returns whether every second one had to be let go."""
        self.looks.append(look)
        if len(self.looks) <= LOOKS:
            return False
        first, *rest = self.looks
        self.looks = [first, *rest[1::2]]
        return True

    def jitter(self, last: float = 1.0) -> float | None:
        """The mean absolute change of the drawn values from look to look, over the last share of the looks."""
        pairs = self._pairs(last)
        changes = [abs(a - b) for x, y in pairs for a, b in zip(x.values, y.values, strict=True)]
        finite = [c for c in changes if math.isfinite(c)]
        return sum(finite) / len(finite) if finite else None

    def flips(self, last: float = 1.0) -> float | None:
        """The share of examples that change their predicted class from look to look."""
        changes = [a != b for x, y in self._pairs(last) for a, b in zip(x.picked, y.picked, strict=True)]
        return sum(changes) / len(changes) if changes else None

    def _pairs(self, last: float) -> list[tuple[Look, Look]]:
        pairs = list(zip(self.looks, self.looks[1:], strict=False))
        return pairs[len(pairs) - max(1, round(last * len(pairs))) :] if pairs else []

    @property
    def alike(self) -> bool:
        """Whether different examples get the same outputs at every look."""
        return self.differ and len(self.names) > 1 and all(_alike(look.outputs) for look in self.looks)

    @property
    def stuck(self) -> bool:
        """Whether no output changes although weights do."""
        pairs = [(a, b) for a, b in self._pairs(1.0) if b.moved]
        return len(pairs) > 2 and all(a.outputs == b.outputs for a, b in pairs)


def _alike(outputs: list[list[float]]) -> bool:
    columns = [c for c in zip(*outputs, strict=True) if all(map(math.isfinite, c))]
    size = max((abs(v) for c in columns for v in c), default=0.0)
    return bool(columns) and all(max(c) - min(c) <= _SAME * size for c in columns)
