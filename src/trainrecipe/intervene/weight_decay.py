"""Another weight decay, for the groups that the script decays."""

from __future__ import annotations

import weakref
from typing import Any

from trainrecipe.intervene.intervention import Effect
from trainrecipe.intervene.optimizers import OfOptimizers


class WeightDecay(OfOptimizers):
    """`weight_decay=0.1`. Groups with a decay of 0 beside others that have one keep it: they are norms and biases."""

    name = "weight_decay"
    example = "weight_decay=0.1"
    about = "the weight decay of each optimiser; groups that are exempt from it stay exempt"

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.wanted = self.number(0.0, 1e3)
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()
        self.changed: dict[str, None] = {}
        self.moved = False

    def before_step(self, optimizer: Any) -> None:
        """Before the first step, when all groups are there."""
        if optimizer in self._seen:
            return
        self._seen.add(optimizer)
        groups = [g for g in optimizer.param_groups if "weight_decay" in g]
        decayed = [g for g in groups if g["weight_decay"]] or groups
        for group in decayed:
            self.moved |= float(group["weight_decay"]) != self.wanted
            self.changed[f"{float(group['weight_decay']):g} to {self.wanted:g}"] = None
            group["weight_decay"] = self.wanted

    def effect(self) -> Effect:
        """From which decay to which."""
        if not self.changed:
            return Effect(False, "no optimiser that has a weight decay took a step")
        return Effect(self.moved, "; ".join(self.changed) if self.moved else f"it is {self.wanted:g} already")
