"""Replacing attributes of libraries for the time of an observation, and putting every one of them back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_MISSING = object()


class Patches:
    """A pile of replaced attributes. `undo` restores them in reverse order; what others replaced since is left alone."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []

    def put(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace `owner.name` by `make(original)`; the replacement carries the original's name and documentation."""
        held = vars(owner).get(name, _MISSING)
        original = getattr(owner, name)
        new = make(original)
        if callable(original) and not isinstance(new, staticmethod | classmethod | property):
            functools.update_wrapper(new, original)
        setattr(owner, name, new)
        self._done.append((owner, name, held, vars(owner).get(name)))

    def undo(self) -> None:
        """Put every original back."""
        while self._done:
            owner, name, held, ours = self._done.pop()
            if vars(owner).get(name) is not ours:
                continue
            if held is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, held)
