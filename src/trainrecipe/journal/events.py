"""The event log of one run: append-only JSON lines, written so that a kill leaves at most one torn last line.

    log = EventLog.create(folder, run="20261125-153042-7f3a", command="check", script="train.py")
    log.append("message", level="info", text="training loop found")
    log.close()

`trainrecipe.journal.record` documents the kinds of events. The log sits inside somebody's training, so that appending
never raises on account of the disk: after the first failure the log goes quiet and `broken` tells why.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainrecipe.finding import plain

FILE_NAME = "events.jsonl"


class EventLog:
    """The writing end of a run's log. Open one with `EventLog.create`, or for a whole run with `Journal.new_run`.

    `run` is the run's id, `path` the log, `report` where the report belongs, `broken` the reason why nothing more is
    written (empty while all is well), `notice` what the user should be told about where the run is kept.
    """

    def __init__(self, path: Path, descriptor: int, run: str) -> None:
        self.run = run
        self.path = path
        self.report = path.with_name("report.html")
        self.broken = ""
        self.notice = ""
        self._descriptor = descriptor
        self._start = time.perf_counter()
        self._lock = threading.Lock()
        self._process = os.getpid()

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        run: str,
        command: str,
        script: str,
        args: Sequence[str] = (),
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> EventLog:
        """Start the log `events.jsonl` in an existing folder; OSError when it cannot be written or is there already."""
        path = folder / FILE_NAME
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        log = cls(path, descriptor, run)
        log.append(
            "started",
            run=run,
            command=command,
            script=script,
            args=list(args),
            cwd=str(cwd or Path.cwd()),
            started=datetime.datetime.now().astimezone().isoformat(timespec="microseconds"),
            environment=dict(environment or {}),
            writer=writer(),
        )
        if log.broken:
            raise OSError(log.broken)
        return log

    def append(self, kind: str, **fields: Any) -> None:
        """Write one event. Raises TypeError for what is not plain data, and never because of the disk."""
        if self.broken or self._process != os.getpid():
            return  # a forked data loader worker shares the file but must not speak for the run
        event = {"t": round(time.perf_counter() - self._start, 6), "kind": kind, **fields}
        line = _line(event)
        with self._lock:
            self._write(line)

    def notify(self, text: str) -> None:
        """Tell the user, in every view of this run and at once through `notice`, where the run is kept."""
        self.notice = text
        self.append("message", level="warning", text=text)

    def close(self) -> None:
        """Close the file; later events are dropped."""
        with self._lock:
            if self._descriptor >= 0 and self._process == os.getpid():
                os.close(self._descriptor)
            self._descriptor = -1
            self.broken = self.broken or "the log is closed"

    def _write(self, line: bytes) -> None:
        if self.broken:
            return
        try:
            written = os.write(self._descriptor, line)
            removed = os.fstat(self._descriptor).st_nlink == 0
        except OSError as error:
            self.broken = f"{self.path} cannot be written: {error.strerror or error}"
            return
        if written < len(line):
            self.broken = f"{self.path} cannot be written: the disk is full"
        elif removed:  # writing to a deleted file succeeds, and nobody will ever read it
            self.broken = f"{self.path} was removed during the run"


def _line(event: Mapping[str, Any]) -> bytes:
    text = json.dumps(plain(event), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # An undecodable file name holds lone surrogates; spelt with a backslash they are the JSON escape of themselves.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log, oldest first. A torn last line (a killed run) is left out.

    A damaged line elsewhere becomes a `message` event that names it, so that a loss is never silent. Raises
    FileNotFoundError when there is no log.
    """
    line, damaged = b"", 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if damaged:
                yield _damage(path, damaged)
                damaged = 0
            event = _event(line)
            if event is None:
                damaged = number
            else:
                yield event
        if damaged and line.endswith(b"\n"):
            yield _damage(path, damaged)


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None


def _damage(path: Path, number: int) -> dict[str, Any]:
    return {"kind": "message", "level": "warning", "text": f"line {number} of {path} is damaged and was left out"}


def writer() -> dict[str, Any]:
    """Which process writes: `host`, `pid`. With `alive` it can be told later whether a run without an end still goes on."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def alive(writer: Mapping[str, Any] | None) -> bool:
    """Whether a writer may still be at work: its process exists, or it cannot be told from this machine."""
    if not writer or writer["host"] != socket.gethostname():
        return True
    try:
        os.kill(int(writer["pid"]), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def append_to(path: Path) -> EventLog:
    """Go on with a log that another process started. Raises OSError when it cannot be written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    log = EventLog(path, descriptor, path.parent.name)
    log._start = time.perf_counter()
    return log
