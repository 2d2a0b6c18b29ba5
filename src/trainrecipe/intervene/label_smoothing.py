"""Smoothed labels in the training loss."""

from __future__ import annotations

from typing import Any

from trainrecipe.intervene.intervention import Effect, Intervention, Put


class LabelSmoothing(Intervention):
    """`label_smoothing=0.1`: in every cross-entropy that is computed with gradients; evaluations stay as they are."""

    name = "label_smoothing"
    example = "label_smoothing=0.1"
    about = "smoothed labels in every cross-entropy that is computed with gradients"

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.wanted = self.number(0.0, 1.0)
        self.calls = 0

    def install(self, put: Put) -> None:
        """Change the argument."""
        import torch
        import torch.nn.functional as F

        def wrap(original: Any) -> Any:
            def cross_entropy(*args: Any, **kwargs: Any) -> Any:
                if torch.is_grad_enabled():
                    self.calls += 1
                    args, kwargs = args[:7], {**kwargs, "label_smoothing": self.wanted}
                return original(*args, **kwargs)

            return cross_entropy

        put(F, "cross_entropy", wrap)

    def effect(self) -> Effect:
        """How many losses were smoothed."""
        return Effect(self.calls > 0, f"{self.calls} losses" if self.calls else "no cross-entropy was computed with gradients")
