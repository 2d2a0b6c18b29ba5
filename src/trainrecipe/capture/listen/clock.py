"""Where the time of a training step goes, measured on the steps that are not looked at in detail."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from types import FrameType

from trainrecipe.capture.where import Spot, is_user_file, place
from trainrecipe.subjects.run import Clock, HotLine

now = time.perf_counter
_FRAMES = 60
_LINES = 12
_PAUSE = 0.002
"""Seconds between two looks at where the program is."""


class Stopwatch:
    """Adds up seconds by what they were spent on; a step that was looked at in detail is left out.

    The ears add to `loading`, `forward`, `backward`, `optimiser` and `evaluation` of the step that is under way;
    `commit` ends it.
    """

    __slots__ = ("_since", "backward", "evaluation", "forward", "loading", "optimiser", "record", "stepping")

    def __init__(self) -> None:
        self.record = Clock()
        self.stepping = 0.0
        self._since = 0.0
        self.restart()

    def restart(self) -> None:
        """Forget the step under way."""
        self.loading = self.forward = self.backward = self.optimiser = self.evaluation = 0.0
        self._since = 0.0

    def commit(self) -> None:
        """A step without a detailed look is over."""
        at = now()
        if self._since:
            record = self.record
            record.steps += 1
            record.whole += at - self._since
            record.loading += self.loading
            record.forward += self.forward
            record.backward += self.backward
            record.optimiser += self.optimiser
            record.evaluation += self.evaluation
        self.loading = self.forward = self.backward = self.optimiser = self.evaluation = 0.0
        self._since = at


class Sampler:
    """Looks every two milliseconds at which line of the user's the main thread is, until `stop`."""

    def __init__(self) -> None:
        self._main = threading.main_thread().ident or 0
        self._seen: Counter[Spot] = Counter()
        self._looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="trainrecipe-sampler", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> list[HotLine]:
        """Stop, and return the lines that took most of the time, with their share of it."""
        self._stop.set()
        self._thread.join()
        total = max(1, self._looks)
        return [HotLine(place(at), count / total) for at, count in self._seen.most_common(_LINES)]

    def _look_on(self) -> None:
        while not self._stop.wait(_PAUSE):
            frame = sys._current_frames().get(self._main)
            self._looks += 1
            at = _user_line(frame)
            if at is not None:
                self._seen[at] += 1


def _user_line(frame: FrameType | None) -> Spot | None:
    for _ in range(_FRAMES):
        if frame is None:
            return None
        if is_user_file(frame.f_code.co_filename):
            return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back
    return None
