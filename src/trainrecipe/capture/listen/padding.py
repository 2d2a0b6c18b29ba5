"""Hears sequences being padded to one length, so that padding is known where nothing else in the program names it."""

from __future__ import annotations

from typing import Any

import torch

from trainrecipe.capture.listen.ear import Ear, Put, guarded

_MOST = 8


class Padding(Ear):
    """What `pad_sequence` filled up sequences with that were not all of one length."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.values: set[float] = set()

    def install(self, put: Put) -> None:
        """Hear sequences being padded."""
        put(torch.nn.utils.rnn, "pad_sequence", self._wrap_pad)

    def _wrap_pad(self, original: Any) -> Any:
        def pad_sequence(sequences: Any, *args: Any, **kwargs: Any) -> Any:
            made = original(sequences, *args, **kwargs)
            if len(self.values) < _MOST:
                self._note(sequences, *args, **kwargs)
            return made

        return pad_sequence

    @guarded
    def _note(
        self, sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right", **_: Any
    ) -> None:
        if padding_side == "right" and len({len(s) for s in sequences}) > 1:
            self.values.add(float(padding_value))
