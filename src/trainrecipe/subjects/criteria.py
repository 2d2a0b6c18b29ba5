"""Loss objects that a program built, and the loss functions that its training steps called. Plain data."""

from __future__ import annotations

import dataclasses

from trainrecipe.finding import Place


@dataclasses.dataclass(slots=True)
class Criterion:
    """A loss object of PyTorch's with settings of its own.

    `function` is the loss function that it calls, `settings` describes what differs from the defaults, `called` tells
    whether it was ever called. `bound`: what became of the name it was given: `never read` in the file, `overwritten` by
    another object, or `read`; empty where the line gives it no name. `steps_since` counts the optimiser steps after it
    was built.
    """

    name: str
    function: str
    settings: dict[str, str]
    place: Place | None
    called: bool
    bound: str
    steps_since: int


@dataclasses.dataclass(slots=True)
class LossUse:
    """A loss function that a recorded step depends on, with the names of the settings that differ from the defaults.

    `reduced`: it gives one number. A loss per example may be weighted afterwards.
    """

    function: str
    settings: list[str]
    place: Place | None
    reduced: bool = True
