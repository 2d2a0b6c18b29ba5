"""Another batch size for the training loaders."""

from __future__ import annotations

from typing import Any

from trainrecipe.intervene.intervention import Effect
from trainrecipe.intervene.loaders import NONE, OfLoaders


class BatchSize(OfLoaders):
    """`batch_size=16`, or `batch_size=x2` times what the script says."""

    name = "batch_size"
    example = "batch_size=16 or batch_size=x2"
    about = "the batch size of every DataLoader that shuffles, or a factor of it"

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.relative, self.wanted = self.factor(1, 1e9)
        self.changed: dict[str, None] = {}
        self.refused = ""

    def change(self, given: dict[str, Any]) -> None:
        """Give the loader the size."""
        old = given.get("batch_size", 1)
        if given.get("batch_sampler") is not None or old is None:
            self.refused = "a sampler of the script's own makes the batches; name its constant or flag instead"
            return
        new = max(1, round(old * self.wanted)) if self.relative else int(self.wanted)
        given["batch_size"] = new
        if new == old:
            self.refused = f"it is {new} already"
            return
        self.changed[f"{old} to {new}"] = None

    def effect(self) -> Effect:
        """From which size to which."""
        return Effect(bool(self.changed), "; ".join(self.changed) or self.refused or NONE)
