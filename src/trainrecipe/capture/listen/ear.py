"""What the ears of a listener have in common: they hear one kind of call each and never raise."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener

Put = Callable[[Any, str, Callable[[Any], Any]], None]
_F = TypeVar("_F", bound=Callable[..., Any])


class Ear:
    """Hears one kind of call for a listener. `install` replaces functions by ones that tell the ear."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.run = listener.run
        self.recorder = listener.recorder

    def install(self, put: Put) -> None:
        """Begin to hear: `put(owner, name, make)` replaces `owner.name` by `make(original)`."""
        raise NotImplementedError

    def note_trouble(self, where: str, error: BaseException) -> None:
        """Keep an error of ours."""
        self.listener.note_trouble(where, error)


def guarded(method: _F) -> _F:
    """A handler that never raises: what went wrong is given to `self.note_trouble`."""

    @functools.wraps(method)
    def handler(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.note_trouble(method.__name__, error)
            return None

    return handler  # type: ignore[return-value]
