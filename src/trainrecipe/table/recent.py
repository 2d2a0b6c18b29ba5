"""What was computed before and may be asked for again, up to a number of bytes."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Hashable
from typing import Any

_ENTRY = 200
"""Bytes that an entry takes beside its arrays, about."""


class Recent:
    """Keeps what was made, until the least recently used of it must leave; for several threads.

    Things of `nbytes` count so many bytes. What alone exceeds the room is made, and not kept.
    """

    def __init__(self, room: int) -> None:
        self._kept: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()
        self._room = room
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made under the key, or is made now. Two threads that ask at once may make it twice: nobody waits."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._room -= _bytes(made)
            while self._room < 0 and self._kept:
                self._room += _bytes(self._kept.popitem(last=False)[1])
        return made


def _bytes(made: Any) -> int:
    return int(getattr(made, "nbytes", 0)) + _ENTRY
