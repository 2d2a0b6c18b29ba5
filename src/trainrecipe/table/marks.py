"""What people say of examples: tags, notes, judgements of labels, and the answers of a human baseline.

    marks = Marks.open(folder)
    marks.tag([("train", 17)], "blurred")
    marks.judge(("train", 17), "yes", person="ada")     # yes, this label is wrong

Examples are named by split and index, so that marks survive a new scan. They lie in `marks.sqlite` beside the table, in
SQLite's write-ahead mode: several processes and tabs may write at once, and what a call has written outlives a killed process.
This is work of people: the file is never made anew over one that cannot be read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trainrecipe.wrong_use import WrongUse

Key = tuple[str, int]
"""Split and index: an example, whatever scan read it."""
VERDICTS = ("yes", "no", "unsure")
"""Answers to: is this label wrong?"""
LONGEST_TAG = 100
LONGEST_NOTE = 20_000
"""Characters."""

_VERSION = 1
_WAIT_SECONDS = 10.0  # for another process that writes; a write takes milliseconds
_AT_ONCE = 500  # keys of one statement; SQLite takes 32,766 values
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tags (split TEXT, "index" INTEGER, tag TEXT, at REAL,
    PRIMARY KEY (tag, split, "index")) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_of ON tags (split, "index");
CREATE TABLE IF NOT EXISTS notes (split TEXT, "index" INTEGER, note TEXT, at REAL,
    PRIMARY KEY (split, "index")) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS judgements (split TEXT, "index" INTEGER, person TEXT, verdict TEXT, at REAL,
    PRIMARY KEY (split, "index", person)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (session TEXT PRIMARY KEY, plan TEXT, at REAL);
CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY, session TEXT, person TEXT, split TEXT, "index" INTEGER,
    answer TEXT, seconds REAL, again INTEGER, at REAL, UNIQUE (session, person, split, "index", again));
"""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What one person says of one label; `at` in seconds since 1970."""

    key: Key
    verdict: str
    person: str
    at: float


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer of a human baseline. `again` marks the blind second pass; `seconds` is how long the example was looked at."""

    session: str
    person: str
    key: Key
    answer: str
    seconds: float
    again: bool
    at: float


class Marks:
    """The marks of one table. For several threads; every call is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
            weakref.finalize(self, self._db.close)  # also for marks that nobody closed
            self._prepare()
        except sqlite3.Error as error:
            raise WrongUse(f"the marks in {path} cannot be opened: {error}") from None

    @classmethod
    def open(cls, folder: Path) -> Marks:
        """The marks beside the table of a folder. Raises WrongUse where they cannot be read or written."""
        return cls(folder / "marks.sqlite")

    def _prepare(self) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                return self._prepared()
            except sqlite3.OperationalError as error:  # SQLite does not wait for others that turn to its log at the same moment
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _prepared(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise WrongUse(f"the marks in {self.path} were written by a newer version of trainrecipe")
        if version < _VERSION:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that waits its turn at the beginning, not halfway."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise WrongUse(f"the marks in {self.path} cannot be written: {error}") from None
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def _about(self, columns: str, table: str, keys: Iterable[Key]) -> Iterator[tuple[Any, ...]]:
        """Rows of a table about some examples: split, index, and the columns."""
        wanted = [(str(split), int(index)) for split, index in keys]
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            marks = ", ".join(["(?, ?)"] * len(some))
            sql = f'SELECT split, "index", {columns} FROM {table} WHERE (split, "index") IN (VALUES {marks}) ORDER BY {columns}'
            yield from self._rows(sql, [v for key in some for v in key])

    # ---- tags and notes

    def tag(self, keys: Iterable[Key], tag: str) -> None:
        """Give a tag to examples. Raises WrongUse for an empty or very long one."""
        name, now = _tag(tag), time.time()
        with self._writing() as db:
            db.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?, ?, ?)", [(s, int(i), name, now) for s, i in keys])

    def untag(self, keys: Iterable[Key], tag: str) -> None:
        """Take a tag from examples."""
        with self._writing() as db:
            db.executemany(
                'DELETE FROM tags WHERE tag = ? AND split = ? AND "index" = ?', [(_tag(tag), s, int(i)) for s, i in keys]
            )

    def tags(self) -> dict[str, int]:
        """All tags, with how many examples have each."""
        return dict(self._rows("SELECT tag, count(*) FROM tags GROUP BY tag ORDER BY tag"))

    def tagged(self, tag: str) -> list[Key]:
        """The examples that have a tag, in order."""
        return [
            (s, i)
            for s, i in self._rows('SELECT split, "index" FROM tags WHERE tag = ? ORDER BY split, "index"', [_clean(tag)])
        ]

    def tags_of(self, keys: Iterable[Key]) -> dict[Key, list[str]]:
        """The tags of those of the examples that have some."""
        found: dict[Key, list[str]] = {}
        for split, index, tag in self._about("tag", "tags", keys):
            found.setdefault((split, index), []).append(tag)
        return found

    def note(self, key: Key, text: str) -> None:
        """Write a note on an example, in place of an earlier one; an empty text removes it."""
        if len(text) > LONGEST_NOTE:
            raise WrongUse(f"the note has {len(text):,} characters, more than {LONGEST_NOTE:,}")
        with self._writing() as db:
            db.execute('DELETE FROM notes WHERE split = ? AND "index" = ?', (key[0], int(key[1])))
            if text.strip():
                db.execute("INSERT INTO notes VALUES (?, ?, ?, ?)", (key[0], int(key[1]), _clean(text), time.time()))

    def notes_of(self, keys: Iterable[Key]) -> dict[Key, str]:
        """The notes on those of the examples that have one."""
        return {(split, index): note for split, index, note in self._about("note", "notes", keys)}

    def noted(self) -> list[Key]:
        """The examples with a note, in order."""
        return [(s, i) for s, i in self._rows('SELECT split, "index" FROM notes ORDER BY split, "index"')]

    # ---- judgements

    def judge(self, key: Key, verdict: str, person: str = "") -> None:
        """Answer whether the label is wrong: `yes`, `no` or `unsure`; again replaces it, empty withdraws it."""
        if verdict not in (*VERDICTS, ""):
            raise WrongUse(f"the verdict {verdict!r} is none of {', '.join(VERDICTS)}")
        where = (key[0], int(key[1]), _clean(person))
        with self._writing() as db:
            db.execute('DELETE FROM judgements WHERE split = ? AND "index" = ? AND person = ?', where)
            if verdict:
                db.execute("INSERT INTO judgements VALUES (?, ?, ?, ?, ?)", (*where, verdict, time.time()))

    def judgements(self) -> list[Judgement]:
        """All of them, oldest first."""
        found = self._rows('SELECT split, "index", verdict, person, at FROM judgements ORDER BY at')
        return [Judgement((split, index), *rest) for split, index, *rest in found]

    # ---- human baseline

    def begin(self, session: str, plan: dict[str, Any]) -> None:
        """Keep what a session is to ask, as plain data, so that it can be resumed; one of the same name is left as it is."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO sessions VALUES (?, ?, ?)", (_clean(session), json.dumps(plan), time.time()))

    def sessions(self) -> dict[str, dict[str, Any]]:
        """The plans of all sessions, newest first."""
        found = self._rows("SELECT session, plan FROM sessions ORDER BY at DESC, session")
        return {session: json.loads(plan) for session, plan in found}

    def answer(self, session: str, person: str, key: Key, answer: str, seconds: float, *, again: bool = False) -> None:
        """Keep an answer; one of the same person to the same example in the same pass is replaced."""
        row = (_clean(session), _clean(person), key[0], int(key[1]), _clean(answer), float(seconds), int(again), time.time())
        with self._writing() as db:
            db.execute(
                'INSERT OR REPLACE INTO answers (session, person, split, "index", answer, seconds, again, at) '
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def undo(self, session: str, person: str, *, again: bool = False) -> Key | None:
        """Take back a person's last answer in a pass; the example that it was about, None where there was none."""
        with self._writing() as db:
            last = db.execute(
                'SELECT id, split, "index" FROM answers WHERE session = ? AND person = ? AND again = ? '
                "ORDER BY id DESC LIMIT 1",
                (_clean(session), _clean(person), int(again)),
            ).fetchone()
            if last is None:
                return None
            db.execute("DELETE FROM answers WHERE id = ?", last[:1])
            return last[1], last[2]

    def answers(self, session: str) -> list[Answer]:
        """All answers of a session, in the order they were given in."""
        found = self._rows(
            'SELECT session, person, split, "index", answer, seconds, again, at FROM answers WHERE session = ? ORDER BY id',
            [_clean(session)],
        )
        return [Answer(a, b, (s, i), answer, seconds, bool(again), at) for a, b, s, i, answer, seconds, again, at in found]


def _tag(text: str) -> str:
    name = _clean(text).strip()
    if not name or len(name) > LONGEST_TAG:
        raise WrongUse(f"a tag has 1 to {LONGEST_TAG} characters, {text[:LONGEST_TAG]!r} has {len(name):,}")
    return name


def _clean(text: str) -> str:
    """The text with a question mark for halves of surrogate pairs, which cannot be stored."""
    return text.encode(errors="replace").decode()
