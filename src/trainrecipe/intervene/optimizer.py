"""The reference optimiser in place of the script's: Adam at 3e-4, which is hard to do badly with."""

from __future__ import annotations

import weakref
from typing import Any

from trainrecipe.intervene.intervention import Effect, Intervention, Put

RATE = 3e-4
"""A. Karpathy's recipe: the rate at which Adam is forgiving."""


class Optimizer(Intervention):
    """`optimizer=adam` is Adam at 3e-4, `optimizer=adam:1e-3` at another rate, and so for `adamw` and `sgd` (momentum 0.9)."""

    name = "optimizer"
    example = "optimizer=adam or optimizer=adam:1e-3"
    about = "Adam at 3e-4 (or adamw, sgd with momentum 0.9, and a rate after a colon) in place of the script's optimiser"

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.kind, _, rate = value.lower().partition(":")
        self.rate = self.number(0.0, 1e6, rate) if rate else RATE
        if self.kind not in ("adam", "adamw", "sgd"):
            self.value = self.kind
            self.word("adam", "adamw", "sgd")
        self.replaced: dict[str, None] = {}

    def install(self, put: Put) -> None:
        """Make every call of an optimiser's class build another one; what `__new__` returns is not initialised again."""
        from torch import optim

        wanted = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}[self.kind]
        options: dict[str, Any] = {"momentum": 0.9} if self.kind == "sgd" else {}
        complete: weakref.WeakSet[Any] = weakref.WeakSet()
        building: list[bool] = []

        def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
            params = args[0] if args else kwargs.get("params")
            if building or params is None:
                return object.__new__(cls)
            building.append(True)
            try:
                made = wanted(_weights(params), lr=self.rate, **options)
            finally:
                building.pop()
            complete.add(made)
            self.replaced[cls.__name__] = None
            return made

        def wrap(original: Any) -> Any:
            def __init__(optimizer: Any, *args: Any, **kwargs: Any) -> None:
                if optimizer not in complete:  # else Python would initialise it again, with what the script says
                    original(optimizer, *args, **kwargs)

            return __init__

        put(optim.Optimizer, "__new__", lambda original: staticmethod(new))
        put(wanted, "__init__", wrap)

    def effect(self) -> Effect:
        """Which optimisers were replaced."""
        if not self.replaced:
            return Effect(False, "the script builds no optimiser of PyTorch's")
        return Effect(True, f"{', '.join(self.replaced)} became {self.kind} at {self.rate:g}")


def _weights(params: Any) -> list[Any]:
    """The parameters without the settings of their groups."""
    given = list(params)
    named = [p[1] if isinstance(p, tuple) else p for p in given]
    return [{"params": p["params"]} if isinstance(p, dict) else p for p in named]
