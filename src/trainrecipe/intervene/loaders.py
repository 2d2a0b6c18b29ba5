"""What interventions in training loaders have in common: they see the arguments of every `DataLoader` that shuffles."""

from __future__ import annotations

import abc
import inspect
from typing import Any

from trainrecipe.intervene.intervention import Intervention, Put

NONE = "the script builds no DataLoader that shuffles; name its own constant or flag instead"


class OfLoaders(Intervention):
    """An intervention that changes the arguments of loaders that give training data: those that draw in random order."""

    def install(self, put: Put) -> None:
        """Hear loaders being built."""
        from torch.utils import data

        signature = inspect.signature(data.DataLoader.__init__)

        def wrap(original: Any) -> Any:
            def __init__(loader: Any, *args: Any, **kwargs: Any) -> None:
                given = signature.bind(loader, *args, **kwargs).arguments
                if _shuffles(given):
                    self.change(given)
                original(**{"self": given.pop("self"), **given})

            return __init__

        put(data.DataLoader, "__init__", wrap)

    @abc.abstractmethod
    def change(self, given: dict[str, Any]) -> None:
        """Change the arguments of a loader that is about to be built."""


def _shuffles(given: dict[str, Any]) -> bool:
    """Whether a loader draws its examples in random order."""
    from torch.utils import data

    order = given.get("sampler") or getattr(given.get("batch_sampler"), "sampler", None)
    random = (data.RandomSampler, data.SubsetRandomSampler, data.WeightedRandomSampler, data.DistributedSampler)
    return bool(given.get("shuffle")) or isinstance(order, random)
