"""Inputs without information: what the labels alone give away."""

from __future__ import annotations

from typing import Any

from trainrecipe.intervene.intervention import Effect, Intervention, Put


class Inputs(Intervention):
    """`inputs=zero`: every tensor that a model is given from outside is zero, in training and in evaluation."""

    name = "inputs"
    example = "inputs=zero"
    about = "every tensor given to a model from outside is zero: what is learnt then comes from the labels alone"

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.word("zero")
        self.calls = self.depth = 0

    def install(self, put: Put) -> None:
        """Change what outermost modules are called with."""
        from torch import nn

        def wrap(original: Any) -> Any:
            def __call__(module: Any, *args: Any, **kwargs: Any) -> Any:
                if not self.depth and next(module.parameters(), None) is not None:
                    args, kwargs = _zeroed(args), _zeroed(kwargs)
                    self.calls += 1
                self.depth += 1
                try:
                    return original(module, *args, **kwargs)
                finally:
                    self.depth -= 1

            return __call__

        put(nn.Module, "__call__", wrap)

    def effect(self) -> Effect:
        """How often a model was called."""
        return Effect(self.calls > 0, f"{self.calls} calls of a model" if self.calls else "no model was called")


def _zeroed(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value if value.requires_grad else torch.zeros_like(value)
    if type(value) in (list, tuple):
        return type(value)(map(_zeroed, value))
    return {k: _zeroed(v) for k, v in value.items()} if type(value) is dict else value
