"""CUDA graphs: while one is captured, nothing of ours may run on the device, and what a replay does is seen by nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture.patch import Patches

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener


class CudaGraphs:
    """Makes a listener deaf from the beginning of a capture to its end.

    A copy, a comparison or a look at a random state would be captured with the graph, or end the capture with an error of
    CUDA. A replay counts as a backward, so that a rehearsal ends.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._patches = Patches()

    def install(self) -> None:
        """Hear captures begin and end, and replays."""
        self._patches.put(torch.cuda.CUDAGraph, "capture_begin", self._wrap_begin)
        self._patches.put(torch.cuda.CUDAGraph, "capture_end", self._wrap_end)
        self._patches.put(torch.cuda.CUDAGraph, "replay", self._wrap_replay)

    def remove(self) -> None:
        """Stop hearing them."""
        self._patches.undo()

    def _wrap_begin(self, original: Any) -> Any:
        listener = self.listener

        def capture_begin(self: Any, *args: Any, **kwargs: Any) -> Any:
            listener.suspend()
            try:
                return original(self, *args, **kwargs)
            except BaseException:
                listener.resume()
                raise

        return capture_begin

    def _wrap_end(self, original: Any) -> Any:
        listener = self.listener

        def capture_end(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(self, *args, **kwargs)
            finally:
                listener.resume()

        return capture_end

    def _wrap_replay(self, original: Any) -> Any:
        listener = self.listener

        def replay(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            listener.recorder.parameters_changed()
            listener.tell("backward")
            return result

        return replay
