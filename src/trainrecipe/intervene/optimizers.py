"""What interventions in optimisers have in common: they see each group of parameters, and each step."""

from __future__ import annotations

import abc
from typing import Any

from trainrecipe.intervene.intervention import Intervention, Put


class OfOptimizers(Intervention):
    """An intervention that looks at optimisers as they are built and before they step."""

    def install(self, put: Put) -> None:
        """Hear groups being added and steps being taken."""
        from torch.optim import Optimizer
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        put(Optimizer, "add_param_group", self._wrap_add)
        register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: self.before_step(optimizer))

    def _wrap_add(self, original: Any) -> Any:
        def add_param_group(optimizer: Any, param_group: Any) -> Any:
            result = original(optimizer, param_group)
            self.added(optimizer, optimizer.param_groups[-1])
            return result

        return add_param_group

    def added(self, optimizer: Any, group: dict[str, Any]) -> None:
        """A group was added to an optimiser, which may still be being built."""

    @abc.abstractmethod
    def before_step(self, optimizer: Any) -> None:
        """An optimiser is about to step."""


def set_rate(group: dict[str, Any], value: float) -> None:
    """Give a group another learning rate, which may be a tensor."""
    if hasattr(group["lr"], "fill_"):
        group["lr"].fill_(value)
    else:
        group["lr"] = value
