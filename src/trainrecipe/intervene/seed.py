"""Another seed for an unmodified script: every seed it sets is shifted by a constant."""

from __future__ import annotations

import random
from typing import Any

_SEED = ("seed", "a")
"""What these functions call their seed."""


def shift_seeds(offset: int) -> None:
    """Add `offset` to what the script passes to torch.manual_seed, numpy.random.seed, default_rng and random.seed."""
    import numpy as np
    import torch

    for owner, name in ((torch, "manual_seed"), (np.random, "seed"), (random, "seed"), (np.random, "default_rng")):
        original = getattr(owner, name)

        def shifted(*args: Any, _original: Any = original, **kwargs: Any) -> Any:
            def moved(seed: Any) -> Any:
                return (seed + offset) % 2**32 if isinstance(seed, int) else seed

            if args:
                return _original(moved(args[0]), *args[1:], **kwargs)
            return _original(**{key: moved(value) if key in _SEED else value for key, value in kwargs.items()})

        setattr(owner, name, shifted)
