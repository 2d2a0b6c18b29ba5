"""While a step is replayed no rank may wait for another: exchanges of tensors are refused, whoever asks for them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from trainrecipe.capture.patch import Patches

_QUESTIONS = frozenset({"get_rank", "get_world_size", "get_backend", "get_backend_config", "get_node_local_rank"})
"""Functions that ask about a group of ranks without exchanging anything."""

_within: list[bool] = []


class Refused(RuntimeError):
    """A replayed step asked other ranks for something."""


@contextlib.contextmanager
def no_exchange() -> Iterator[None]:
    """Within, every function of `torch.distributed` that exchanges tensors raises `Refused`.

    All of them ask whether the process belongs to the group, so functions that the script imported by name are met as well.
    """
    torch = sys.modules.get("torch")
    if _within or torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        yield
        return
    patches = Patches()
    home: Any = torch.distributed.distributed_c10d
    patches.put(home, "_rank_not_in_group", _refusing)
    _within.append(True)
    try:
        yield
    finally:
        _within.clear()
        patches.undo()


def _refusing(original: Any) -> Any:
    def _rank_not_in_group(*args: Any, **kwargs: Any) -> Any:
        asked = sys._getframe(1).f_code.co_name
        if asked in _QUESTIONS:
            return original(*args, **kwargs)
        raise Refused(f"the step exchanges tensors with other ranks ({asked}), which a replay must not do")

    return _rank_not_in_group
