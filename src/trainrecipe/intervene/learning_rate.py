"""Another learning rate: for every optimiser that the script builds, before any schedule is made for it."""

from __future__ import annotations

import weakref
from typing import Any

from trainrecipe.intervene.intervention import Effect
from trainrecipe.intervene.optimizers import OfOptimizers, set_rate

CLOSE = 1e-6
"""Relative difference up to which two rates are the same."""


class LearningRate(OfOptimizers):
    """`learning_rate=0.01` is the rate of the first group, others keep their ratio to it; `learning_rate=x0.5` is a factor."""

    name = "learning_rate"
    example = "learning_rate=0.01 or learning_rate=x0.5"
    about = "the learning rate of each optimiser (groups keep their ratios), or a factor of it; schedules start from there"

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.relative, self.wanted = self.factor(0.0, 1e6)
        self._first: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        self._given: weakref.WeakKeyDictionary[Any, list[float]] = weakref.WeakKeyDictionary()
        self.changed: list[tuple[float, float]] = []
        self.by_hand = 0

    def added(self, optimizer: Any, group: dict[str, Any]) -> None:
        """Give the new group its rate."""
        old = float(group["lr"])
        first = self._first.setdefault(optimizer, old)
        new = old * self.wanted if self.relative else self.wanted * (old / first if first else 1.0)
        set_rate(group, new)
        if "initial_lr" in group:
            group["initial_lr"] = new
        self.changed.append((old, new))
        self._given.setdefault(optimizer, []).append(new)

    def before_step(self, optimizer: Any) -> None:
        """See whether the first step is taken at the rate that was given, where no schedule has changed it."""
        given = self._given.pop(optimizer, None)
        if given is None:
            return
        rates = [float(g["lr"]) for g in optimizer.param_groups]
        scheduled = any("initial_lr" in g for g in optimizer.param_groups)  # which every scheduler of PyTorch's leaves there
        apart = any(abs(a - b) > CLOSE * max(abs(b), 1e-12) for a, b in zip(rates, given, strict=False))
        self.by_hand += apart and not scheduled

    def effect(self) -> Effect:
        """From which rate to which, and whether the script has put its own back."""
        if not self.changed:
            return Effect(False, "the script builds no optimiser of PyTorch's")
        if self.by_hand:
            return Effect(False, "the script sets the rate by itself; name its own constant or flag instead")
        if all(old == new for old, new in self.changed):
            return Effect(False, f"it is {self.changed[0][1]:g} already")
        return Effect(True, "; ".join(dict.fromkeys(f"{old:g} to {new:g}" for old, new in self.changed)))
