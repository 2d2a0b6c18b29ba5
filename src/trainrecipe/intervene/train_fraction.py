"""A part of the training examples, the same one whatever the script's seed: what learning curves are made of."""

from __future__ import annotations

import math
from typing import Any

from trainrecipe.intervene.intervention import Effect
from trainrecipe.intervene.loaders import NONE, OfLoaders

SEED = 0


class TrainFraction(OfLoaders):
    """`train_fraction=0.25`. Smaller parts are contained in larger ones, so that curves are not shaken by the draw."""

    name = "train_fraction"
    example = "train_fraction=0.25"
    about = "a part of the examples of every DataLoader that shuffles, drawn once; smaller parts lie in larger ones"

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.wanted = self.number(1e-9, 1.0)
        self.changed: dict[str, None] = {}
        self.refused = ""

    def change(self, given: dict[str, Any]) -> None:
        """Let the loader read a part of its data set."""
        import numpy as np
        from torch.utils import data

        dataset = given["dataset"]
        if given.get("sampler") is not None or given.get("batch_sampler") is not None or not hasattr(dataset, "__len__"):
            self.refused = "its training loader draws by a sampler of the script's own, or has no length"
            return
        total = len(dataset)
        kept = max(1, math.ceil(self.wanted * total))
        order = np.random.default_rng(SEED).permutation(total)[:kept]
        given["dataset"] = data.Subset(dataset, sorted(order.tolist()))
        self.changed[f"{kept:,} of {total:,} examples"] = None

    def effect(self) -> Effect:
        """How many examples are left."""
        return Effect(bool(self.changed), "; ".join(self.changed) or self.refused or NONE)
