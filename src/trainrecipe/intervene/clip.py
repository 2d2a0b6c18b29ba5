"""Gradients clipped to a norm before every step."""

from __future__ import annotations

from typing import Any

from trainrecipe.intervene.intervention import Effect
from trainrecipe.intervene.optimizers import OfOptimizers


class Clip(OfOptimizers):
    """`clip=1.0`: the gradients of all parameters of an optimiser together have at most that norm."""

    name = "clip"
    example = "clip=1.0"
    about = "gradient clipping: the norm of an optimiser's gradients is at most this before each step"

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.wanted = self.number(1e-12, 1e12)
        self.steps = self.cut = 0

    def before_step(self, optimizer: Any) -> None:
        """Clip what the optimiser is about to use."""
        import torch

        held = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(held, self.wanted)
        self.steps += 1
        self.cut += bool(norm > self.wanted)

    def effect(self) -> Effect:
        """How many steps were clipped."""
        says = f"{self.cut} of {self.steps} steps had a larger norm"
        return Effect(self.cut > 0, says if self.cut else says + ": nothing was clipped")
