"""A constant learning rate in place of any schedule, PyTorch's or the script's own."""

from __future__ import annotations

import weakref
from typing import Any

from trainrecipe.intervene.intervention import Effect
from trainrecipe.intervene.optimizers import OfOptimizers, set_rate

CLOSE = 1e-9


class Schedule(OfOptimizers):
    """`schedule=off`: every step is taken at the rate that the optimiser was built with."""

    name = "schedule"
    example = "schedule=off"
    about = "a constant learning rate: every step is taken at the rate the optimiser was built with"

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.word("off", "constant")
        self._built: weakref.WeakKeyDictionary[Any, list[float]] = weakref.WeakKeyDictionary()
        self.steps = self.undone = 0

    def added(self, optimizer: Any, group: dict[str, Any]) -> None:
        """Remember the rate of a group."""
        self._built.setdefault(optimizer, []).append(float(group["lr"]))

    def before_step(self, optimizer: Any) -> None:
        """Put the rates back."""
        self.steps += 1
        moved = False
        for group, rate in zip(optimizer.param_groups, self._built.get(optimizer, []), strict=False):
            if abs(float(group["lr"]) - rate) > CLOSE * max(abs(rate), 1e-12):
                set_rate(group, rate)
                moved = True
        self.undone += moved

    def effect(self) -> Effect:
        """How often a schedule changed the rate."""
        if not self.undone:
            return Effect(False, f"the rate stayed what it was in all {self.steps} steps: the script has no schedule")
        return Effect(True, f"the rate was changed {self.undone} times in {self.steps} steps, and put back each time")
