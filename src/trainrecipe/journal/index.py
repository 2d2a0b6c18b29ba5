"""A SQLite index over the event logs, so that `recipe log` opens fast among thousands of runs.

The logs are the truth. The index is brought up to date from those whose size or time changed, rebuilt without a word
when it is missing or damaged, and done without when it is locked or cannot be written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from trainrecipe.finding import Severity
from trainrecipe.journal.events import FILE_NAME, read_events
from trainrecipe.journal.record import Record

_VERSION = 1
_WAIT_SECONDS = 2.0
# Not the file's fault: another process holds it, or this one may not write. Deleting it would help nobody.
_BLAMELESS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One line of `recipe log`. `errors`, `warnings` and `notes` count findings that are not waived."""

    run: str
    started: str
    command: str
    script: str
    status: str
    errors: int
    warnings: int
    notes: int
    seconds: float
    headline: str

    @property
    def moment(self) -> tuple[float, str]:
        """The key that sorts by start: a moment, for local times run backwards around a change of the clocks."""
        with contextlib.suppress(ValueError):
            return (datetime.datetime.fromisoformat(self.started).timestamp(), self.run)
        return (0.0, self.run)

    @classmethod
    def of(cls, record: Record) -> Entry:
        """Summarise a record."""
        open_findings = [f for f in record.findings if f.waived is None]
        count = {s: sum(f.severity is s for f in open_findings) for s in Severity}
        return cls(
            run=record.run,
            started=record.started,
            command=record.command,
            script=record.script,
            status=record.status,
            errors=count[Severity.ERROR],
            warnings=count[Severity.WARNING],
            notes=count[Severity.NOTE],
            seconds=round(record.seconds, 3),
            headline=open_findings[0].title if open_findings else "",
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Log:
    """An event log and the stamp by which a change of it is noticed."""

    run: str
    path: Path
    size: int
    mtime_ns: int


class _Outdated(sqlite3.DatabaseError):
    """The index was written by another version of this module."""


def entries(home: Path) -> list[Entry]:
    """One entry per run under `home/runs`, newest first. Never raises because of the index."""
    logs = {log.run: log for log in _logs(home / "runs")}
    return sorted(_entries(home / "index.sqlite", logs), key=lambda entry: entry.moment, reverse=True)


def _entries(path: Path, logs: Mapping[str, _Log]) -> Iterable[Entry]:
    for _ in range(2):  # the second time on a fresh index
        try:
            return _up_to_date(path, logs)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BLAMELESS:
                break
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return [_read(log) for log in logs.values()]


def _up_to_date(path: Path, logs: Mapping[str, _Log]) -> Iterable[Entry]:
    with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as db:
        _prepare(db)
        known = {row[0]: (row[1:3], Entry(row[0], *row[3:])) for row in db.execute("SELECT * FROM runs")}
        settled = {run: entry for run, (stamp, entry) in known.items() if run in logs and stamp == _stamp(logs[run])}
        current = {run: entry for run, entry in settled.items() if entry.status != "running"}  # that one may have died
        fresh = {run: _read(log) for run, log in logs.items() if run not in current}
        if fresh or known.keys() - logs.keys():
            _write(db, [(logs[run], entry) for run, entry in fresh.items()], known.keys() - logs.keys())
    return [*current.values(), *fresh.values()]


def _prepare(db: sqlite3.Connection) -> None:
    # The default rollback journal, not WAL: it is safe on the shared disks of clusters, and the lock is held briefly.
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, _VERSION):
        raise _Outdated(f"index version {version}")
    if version == 0:
        columns = ", ".join(f.name for f in dataclasses.fields(Entry)[1:])
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"CREATE TABLE IF NOT EXISTS runs (run PRIMARY KEY, size, mtime_ns, {columns})")
        db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")


def _write(db: sqlite3.Connection, fresh: list[tuple[_Log, Entry]], gone: Iterable[str]) -> None:
    rows = [(log.run, *_stamp(log), *dataclasses.astuple(entry)[1:]) for log, entry in fresh]
    marks = ", ".join("?" * (2 + len(dataclasses.fields(Entry))))
    db.execute("BEGIN IMMEDIATE")
    db.executemany(f"INSERT OR REPLACE INTO runs VALUES ({marks})", rows)
    db.executemany("DELETE FROM runs WHERE run = ?", [(run,) for run in gone])
    db.execute("COMMIT")


def _logs(runs: Path) -> Iterable[_Log]:
    if not runs.is_dir():
        return
    for folder in runs.iterdir():
        with contextlib.suppress(OSError):  # a run without a log yet, or deleted this moment
            stat = (folder / FILE_NAME).stat()
            yield _Log(folder.name, folder / FILE_NAME, stat.st_size, stat.st_mtime_ns)


def _read(log: _Log) -> Entry:
    try:
        return dataclasses.replace(Entry.of(Record.from_events(read_events(log.path))), run=log.run)
    except (ValueError, KeyError, TypeError, OSError) as error:
        changed = datetime.datetime.fromtimestamp(log.mtime_ns / 1e9).astimezone().isoformat(timespec="microseconds")
        return Entry(log.run, changed, "", "", "unreadable", 0, 0, 0, 0.0, f"the event log cannot be read: {error}")


def _stamp(log: _Log) -> tuple[int, int]:
    return (log.size, log.mtime_ns)
