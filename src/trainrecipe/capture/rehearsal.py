"""The dress rehearsal: each loader gives its first batches and its last, and the script is stopped when enough was seen.
Where gradients are accumulated over more batches than that, passes are as long as two optimiser steps.

Enough is: training, evaluation, training, evaluation; or two passes over the training data where nothing is evaluated; or
a number of optimiser steps, or of seconds, where there is no loader.

What a script does at its end is seen as well where the end is near: the best weights are restored, the test set is
evaluated, the next fold begins. If the loops around the training tell that this takes less than `ENDING` seconds, the
script goes on, lightly observed. If they do not, they are left after the turn that they are in, where that is possible, and
the script goes on behind them. It is stopped when it takes longer, fails, or reaches out: for another program, the
network, or a person.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from trainrecipe.capture.listen.loops import needs_another
from trainrecipe.subjects.run import Run

BATCHES = 8
"""Batches per pass over a loader: the first seven and the last."""
LONGEST = 64
"""Batches in a row that a pass may give while no optimiser has stepped yet: gradients are being accumulated."""
STEPS = 240
"""Optimiser steps after which a script without loaders is stopped."""
SECONDS = 20.0
"""Seconds after the first step, beyond which a rehearsal is stopped once it has seen eight steps."""

ENDING = 4.0
"""Seconds within which the end must be expected for a script to go on once enough was seen; stopped after half as many more."""
LEAVING = 4.0
"""Seconds that a script gets for what comes behind its training loops when these were left early."""
PHASE = 80
"""Optimiser steps that a later phase of the training gets, when enough was seen as it begins."""
_DETAIL = 30
"""How many times as long as another one a step may take that is looked at in detail, and small."""
_LOOK = 0.4
"""Seconds between looks at the pace."""
_REACHES_OUT = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn", "builtins.input", "webbrowser.open"}
)
"""Audit events at which a script that is on its way to its end is stopped, besides connections to other machines."""
_LAUNCH = os.path.join(os.path.dirname(__file__), "launch.py")
_HERE = ("127.0.0.1", "::1", "localhost")


IDLE = 60.0
"""Seconds of calls of a model without any backward after which a rehearsal is over: no training was found."""


class RehearsalOver(BaseException):
    """Raised inside the script to stop it. Not an `Exception`, so that `except Exception` in the script lets it pass."""


class Rehearsal:
    """Decides when a rehearsal is over, and cuts loaders short. `run` is what the listener has seen so far.

    Where several ranks train together one of them decides for all: it will `tell` them, and to the others it is `told`.
    Without `rounds` it lasts until `steps` or `seconds` are over, however often the data was passed. With `way`, which
    tells the share of the whole training that is over by now, it goes on to an end that is near; `lighten` is called then.
    `phase` tells that the training is in a later loop than it began in, as when fine-tuning follows on a warm start.
    `leave` makes the loops around the training end with their present turn, and tells whether it could.
    """

    def __init__(
        self,
        run: Run,
        batches: int = BATCHES,
        steps: int = STEPS,
        seconds: float = SECONDS,
        rounds: bool = True,
        told: Callable[[], bool] | None = None,
        tell: Callable[[], None] | None = None,
        way: Callable[[], float | None] | None = None,
        phase: Callable[[], bool] | None = None,
        leave: Callable[[], bool] | None = None,
        lighten: Callable[[], None] | None = None,
    ) -> None:
        self.run = run
        self.batches = batches
        self.steps = steps
        self.seconds = seconds
        self.rounds = rounds
        self.told = told
        self.tell = tell
        self.way = way
        self.phase = phase
        self.leave = leave
        self.lighten = lighten
        self.over = ""
        self.raised = 0
        self.going_on = False
        self.shortened = False
        self._left_at = 0
        self._look_again = 0.0
        self._pace_from: tuple[float, float] | None = None
        self._first_step: float | None = None
        self._first_call = 0.0
        self._phase_from: int | None = None
        self._backwards = 0
        self._window = 0

    def event(self, kind: str) -> None:
        """Called before a batch is taken, after each backward and step, and, until the first backward, with each call of a
        model; raises RehearsalOver when it is enough."""
        if kind == "backward":
            self._backwards += 1
            self._first_step = self._first_step or time.perf_counter()
        elif kind == "step" and not self._window:
            self._window = max(1, self._trained_on())
        if self.shortened:
            if self.run.steps >= self._left_at + PHASE:
                self._leave_loops()
            return
        if self.going_on:
            if time.thread_time() >= self._look_again:
                self._end_stays_near()
            return
        if not self.over:
            self.over = self._enough(kind)
            if self.over and self._end_is_near():
                self._go_on(ENDING * 1.5)
                return
            if self.over and self._next_phase_begins():
                self.over = ""
        if self.over and kind != "backward" and self._may_go_on() and self._leave_loops():
            self._go_on(LEAVING)
            return
        if (self.over and kind != "backward") or (self.over and self._backwards > self.steps):
            self._stop()

    # ---- the way to an end that is near

    def _end_is_near(self) -> bool:
        """Whether it is worth a try: steps that are looked at in detail tell little about the others' pace."""
        if self.way is None or self._first_step is None or not self._may_go_on():
            return False
        share = self.way()
        return share is not None and (time.perf_counter() - self._first_step) * (1 - share) < _DETAIL * ENDING * share

    def _may_go_on(self) -> bool:
        """Whether a script that went on could be stopped in time."""
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
            return False
        return signal.getsignal(signal.SIGALRM) is signal.SIG_DFL

    def _leave_loops(self) -> bool:
        """Leave the loops around the training early, if that is possible; those of a later phase after a few steps."""
        if self.leave is None or not self.leave():
            return False
        self.shortened, self._left_at = True, self.run.steps
        return True

    def _next_phase_begins(self) -> bool:
        """Whether the training has just gone from one loop to a later one: it gets a few steps to tell how long that is."""
        late = self._first_step is None or time.perf_counter() - self._first_step > self.seconds
        if late or self.phase is None or not self.phase():
            return False
        self._phase_from = self.run.steps if self._phase_from is None else self._phase_from
        return self.run.steps < self._phase_from + PHASE

    def _end_stays_near(self) -> None:
        """Stop the script where its pace, lightly observed, is too slow: in its own time, since others may be busy as well."""
        assert self.way is not None
        now, share = time.thread_time(), self.way()
        if share is None:
            return
        if self._pace_from is None or share < self._pace_from[1]:  # the next fold has begun
            self._pace_from = now, share
        elif share == self._pace_from[1]:  # one turn of the loop is not over
            if now - self._pace_from[0] > ENDING / 2:
                self._too_slow()
        elif (now - self._pace_from[0]) * (1 - share) > ENDING * (share - self._pace_from[1]):
            self._too_slow()
        self._look_again = now + _LOOK

    def _too_slow(self) -> None:
        if not self._leave_loops():
            self._stop()
        signal.setitimer(signal.ITIMER_REAL, LEAVING, 0.5)

    def _go_on(self, seconds: float) -> None:
        self.going_on = True
        self._look_again = time.thread_time() + _LOOK  # what was recorded is let go of first
        if self.lighten is not None:
            self.lighten()
        sys.addaudithook(self._heard)
        signal.signal(signal.SIGALRM, self._late)
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)

    def _late(self, number: int, frame: FrameType | None) -> None:
        """It takes longer than expected: stop the script, if this interrupts the script and not ourselves."""
        while frame is not None:
            if frame.f_code.co_name == "_execute" and frame.f_code.co_filename == _LAUNCH:
                self._stop()
            frame = frame.f_back

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.going_on or threading.current_thread() is not threading.main_thread():
            return
        if event in _REACHES_OUT or (event == "socket.connect" and _is_elsewhere(args[1])):
            self._stop()

    def close(self) -> None:
        """The script is over."""
        if self.going_on:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            self.going_on = False

    # ---- enough

    def _stop(self) -> None:
        self.raised += 1
        if self.tell is not None:
            self.tell()
        if self.raised <= 20:
            raise RehearsalOver

    def _enough(self, kind: str) -> str:
        run = self.run
        if self.told is not None:
            return "rank 0 has seen enough" if self.told() else ""
        if self._first_step is None:
            self._first_call = self._first_call or time.perf_counter()
            idle = kind == "call" and time.perf_counter() - self._first_call > IDLE
            return f"{IDLE:.0f} seconds without a backward" if idle else ""
        late = time.perf_counter() - self._first_step > self.seconds
        if late and (run.steps >= 8 or self._backwards >= 16):
            return f"{self.seconds:.0f} seconds"
        by_hand = not run.optimizers  # the script updates its weights itself: each backward is taken for a step
        if run.steps >= self.steps or self._backwards >= self.steps * (1 if by_hand else 4):
            return f"{self._backwards} backward calls" if by_hand else f"{run.steps} optimiser steps"
        if not self.rounds:
            return ""
        if kind == "batch":
            return self._seen_twice()
        return self._seen_twice_without_loader()

    def _seen_twice(self) -> str:
        trained, rounds = 0, 0
        last_trains = False
        for seen in (p for p in self.run.passes if p.batches):
            if seen.trains:
                trained += 1
            elif last_trains:
                rounds += 1
            last_trains = seen.trains
        current = next((p for p in reversed(self.run.passes) if p.batches), None)
        between = current is None or current.finished or current.trains
        full = [p for p in self.run.passes if p.trains and (p.finished or p.batches >= 2)]
        if rounds >= 2 and trained >= 2 and last_trains and between:
            return "two rounds of training and evaluation"
        if rounds == 0 and len([p for p in full if p.finished]) >= 3 and not self._evaluates():
            return "three passes over the training data"
        return ""

    def _evaluates(self) -> bool:
        return any(not f.grad for f in self.run.forwards)

    def _seen_twice_without_loader(self) -> str:
        if self.run.passes or self.run.steps < 40:
            return ""
        evaluated = sorted(f.first_event for f in self.run.forwards if not f.grad and not f.fed)
        last = max((f.last_event for f in self.run.forwards if not f.grad and not f.fed), default=0)
        return "training and evaluation" if evaluated and last > evaluated[0] and self.run.steps >= 60 else ""

    def _trained_on(self) -> int:
        return sum(p.batches for p in self.run.passes if p.trains)

    def most(self, length: int | None) -> int:
        """Batches that a pass over so many may give at present: enough for two steps, where one takes several batches.

        At its end there are then as many batches without a step as at the end of the whole pass.
        """
        if self._window:
            enough = max(self.batches, min(LONGEST, 2 * self._window))
            return enough if length is None else enough + (length - enough) % self._window
        return LONGEST if self._backwards and self._trained_on() < LONGEST else self.batches

    def cut(self, loader: Any, iterator: Any) -> bool:
        """Make an iterator over a loader give the first batches and the last. Returns whether any is left out."""
        try:
            length = len(loader)
        except TypeError:
            length = None
        if length is not None and length <= self.batches:
            return False
        if not isinstance(iterator._sampler_iter, _Shortened):
            iterator._sampler_iter = _Shortened(iterator._sampler_iter, self.most, length)
        return True


def _is_elsewhere(address: Any) -> bool:
    """Whether a socket's address is one of another machine; those of files are not."""
    return isinstance(address, tuple) and bool(address) and str(address[0]) not in _HERE


class _Shortened:
    """The first `most(length) - 1` entries of a sampler and its last one; only the first ones where its length is unknown.

    `given` counts them, and `over` tells that the last one was given.
    """

    def __init__(self, sampler: Iterator[Any], most: Callable[[int | None], int], length: int | None) -> None:
        self.sampler = sampler
        self._most = most
        self._length = length
        self.given = 0
        self.over = False

    def __iter__(self) -> _Shortened:
        return self

    def __next__(self) -> Any:
        if self.over:
            raise StopIteration
        self.given += 1
        chosen = next(self.sampler)
        self.over = self.given >= self._most(self._length) and not needs_another()
        if self.over and self._length is not None:
            for chosen in self.sampler:  # noqa: B007  the last one is wanted
                pass
        return chosen
