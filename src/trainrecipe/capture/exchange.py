"""How the processes of one distributed training hand each other what they saw: files in a folder, one per rank.

Rank 0 decides when a rehearsal is over and makes the report. By then another rank may wait for it in a call that never
returns; so each of the others has a thread that waits for the end, writes down what its rank saw, and leaves.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

GRACE = 0.4
"""Seconds that a rank has to end by itself once rank 0 has ended its rehearsal."""
STALLED = float(os.environ.get("TRAINRECIPE_STALLED", "60"))
"""Seconds without any event in any rank, after which ranks that wait for each other are ended."""
WAIT = 20.0
"""Seconds that rank 0 waits at the end for what the others saw."""
_BEAT = 0.1


class Exchange:
    """One rank's side of the folder. Nothing here asks for PyTorch, and nothing raises into the script."""

    def __init__(self, folder: Path, rank: int, world: int) -> None:
        self.folder = folder
        self.rank = rank
        self.world = world
        self._done = threading.Event()

    # ---- the end of a rehearsal

    def over(self) -> bool:
        """Whether rank 0 has ended the rehearsal."""
        return (self.folder / "over").exists()

    def say_over(self) -> None:
        """Tell the others that the rehearsal is over."""
        if self.rank == 0:
            self._write("over", "")

    # ---- what was seen

    def hand_over(self, facts: dict[str, Any]) -> None:
        """Write what this rank saw."""
        self._done.set()
        self._write(f"facts-{self.rank}.json", json.dumps(facts))

    def gone(self, rank: int) -> None:
        """Note that a rank's process has ended; what it has not written by now will not come."""
        self._write(f"gone-{rank}", "")

    def collect(self, seconds: float = WAIT) -> tuple[list[dict[str, Any]], list[int]]:
        """What the others saw, in the order of ranks, and which of them did not tell."""
        until = time.perf_counter() + seconds
        found: dict[int, dict[str, Any]] = {}
        missing = set(range(self.world)) - {self.rank}
        while missing:
            late = time.perf_counter() > until
            for rank in sorted(missing):
                ended = (self.folder / f"gone-{rank}").exists()
                path = self.folder / f"facts-{rank}.json"
                if path.exists():
                    found[rank] = json.loads(path.read_text())
                elif not ended:
                    continue
                missing.discard(rank)
            if late:
                break
            if missing:
                time.sleep(0.05)
        return [found[r] for r in sorted(found)], sorted(set(range(self.world)) - {self.rank} - found.keys())

    # ---- watching while the script runs

    def watch(self, events: Callable[[], int], leave: Callable[[], None], stalled: Callable[[str], None]) -> None:
        """Start the thread. `events` counts what has happened; `leave` is called when rank 0 has ended and this rank has not,
        `stalled` in rank 0 when ranks wait for each other for ever."""
        main = threading.get_ident()
        threading.Thread(target=self._watch, args=(main, events, leave, stalled), daemon=True, name="trainrecipe").start()

    def stop(self) -> None:
        """The script is over: nothing needs watching any more."""
        self._done.set()

    def _watch(self, main: int, events: Callable[[], int], leave: Callable[[], None], stalled: Callable[[str], None]) -> None:
        last, since, ended = -1, time.perf_counter(), 0.0
        while not self._done.wait(_BEAT if not ended else 0.05):
            now = time.perf_counter()
            if events() != last:
                last, since = events(), now
            if self.rank and self.over():
                ended = ended or now
                if now - ended > GRACE and not self._done.is_set():
                    leave()
                    return
            if now - since > STALLED / 2:
                at, exchanging = position(main)
                self._write(f"waits-{self.rank}.json", json.dumps({"at": at, "exchanging": exchanging, "events": last}))
                told = self._all_wait() if self.rank == 0 and now - since > STALLED else ""
                if told:
                    self._done.set()
                    stalled(told)
                    return
            elif (self.folder / f"waits-{self.rank}.json").exists():
                with contextlib.suppress(OSError):
                    (self.folder / f"waits-{self.rank}.json").unlink()

    def _all_wait(self) -> str:
        """Where each rank waits, if every one that has not ended waits for others; empty otherwise."""
        lines = []
        for rank in range(self.world):
            path = self.folder / f"waits-{rank}.json"
            if (self.folder / f"facts-{rank}.json").exists() or (self.folder / f"gone-{rank}").exists():
                lines.append(f"rank {rank} has ended")
                continue
            known = json.loads(path.read_text()) if path.exists() else {"exchanging": False}
            if not known["exchanging"]:
                return ""
            lines.append(f"rank {rank} waits at {known['at']}")
        return "; ".join(lines)

    def _write(self, name: str, text: str) -> None:
        with contextlib.suppress(OSError):
            partial = self.folder / f"{name}.{os.getpid()}.part"
            partial.write_text(text)
            partial.replace(self.folder / name)


def position(thread: int) -> tuple[str, bool]:
    """The user's line that a thread is at, and whether it is in a call that may wait for other ranks."""
    from trainrecipe.capture.where import is_user_file

    frame: FrameType | None = sys._current_frames().get(thread)
    exchanging = False
    while frame is not None:
        file = frame.f_code.co_filename
        if is_user_file(file):
            return f"{os.path.relpath(file)}:{frame.f_lineno}", exchanging
        exchanging |= os.path.join("torch", "distributed") in file or file.endswith(os.path.join("autograd", "graph.py"))
        frame = frame.f_back
    return "an unknown line", exchanging
