"""The index: equal to the logs at all times, and never in the way."""

import contextlib
import os
import sqlite3
import subprocess
import sys

import pytest

from trainrecipe.finding import Evidence, Finding, Ruling, Severity
from trainrecipe.journal.events import read_events
from trainrecipe.journal.index import Entry, entries
from trainrecipe.journal.record import Record
from trainrecipe.journal.store import Journal

READ = """
import pathlib, sys
from trainrecipe.journal.index import entries
for _ in range(15):
    assert len(entries(pathlib.Path(sys.argv[1]))) == 30
    (pathlib.Path(sys.argv[1]) / "index.sqlite").write_bytes(b"not a database" * 999)
"""


def found(check, severity, waived=None):
    ruling = Ruling.found(severity, "says", expected="a", observed="b", fix="c")
    return Finding(check, f"title of {check}", ruling, Evidence(), waived=waived)


def write(journal, *findings, script="train.py"):
    log = journal.new_run(command="check", script=script)
    for finding in findings:
        log.append("finding", finding=finding.to_json())
    log.append("ended", status="rehearsed", exit_code=1, seconds=2.5)
    return log


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Journal.at(tmp_path)


@pytest.fixture
def home(journal):
    return journal.homes[0]


def from_logs(home):
    """The slow twin: every log read anew, newest first."""
    logs = (home / "runs").glob("*/events.jsonl")
    found = [Entry.of(Record.from_events(read_events(path))) for path in logs]
    return sorted(found, key=lambda entry: entry.moment, reverse=True)


def test_an_entry_counts_what_is_not_waived(journal, home):
    write(journal, found("a", Severity.NOTE), found("b", Severity.WARNING), found("c", Severity.ERROR, waived="known"))
    (entry,) = entries(home)
    assert (entry.errors, entry.warnings, entry.notes) == (0, 1, 1)
    assert entry.headline == "title of b"
    assert (entry.status, entry.seconds, entry.script) == ("rehearsed", 2.5, "train.py")


def test_the_index_equals_the_logs_through_growth_change_and_removal(journal, home):
    logs = [write(journal, script=f"{i}.py") for i in range(5)]
    assert entries(home) == entries(home) == from_logs(home)
    logs[2].append("finding", finding=found("late", Severity.ERROR).to_json())
    assert entries(home) == from_logs(home)
    assert sum(e.errors for e in entries(home)) == 1
    logs[0].path.unlink()
    write(journal, script="newest.py")
    assert entries(home) == from_logs(home)
    assert entries(home)[0].script == "newest.py"
    assert len(entries(home)) == 5


def test_unchanged_logs_are_not_read_again(journal, home):
    log = write(journal)
    before = entries(home)
    stat = log.path.stat()
    log.path.write_bytes(b"x" * stat.st_size)
    os.utime(log.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert entries(home) == before


@pytest.mark.parametrize("damage", ["garbage", "truncated", "flipped", "other version", "other table", "deleted"])
def test_a_damaged_index_is_rebuilt_without_a_word(journal, home, damage):
    for i in range(30):
        write(journal, script=f"{i}.py")
    before = entries(home)
    path = home / "index.sqlite"
    content = path.read_bytes()
    match damage:
        case "garbage":
            path.write_bytes(b"garbage" * 1000)
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "flipped":
            path.write_bytes(content[:4096] + bytes(255 - b for b in content[4096:]))
        case "deleted":
            path.unlink()
        case sql:
            with contextlib.closing(sqlite3.connect(path)) as db:
                other = "PRAGMA user_version = 99"
                db.execute(other if sql == "other version" else "ALTER TABLE runs RENAME TO runs2")
                db.commit()
    assert entries(home) == before
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (30,)


def test_a_locked_index_is_done_without(journal, home, monkeypatch):
    monkeypatch.setattr("trainrecipe.journal.index._WAIT_SECONDS", 0.1)
    write(journal)
    entries(home)
    with contextlib.closing(sqlite3.connect(home / "index.sqlite", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        write(journal)
        assert entries(home) == from_logs(home)


def test_an_index_that_cannot_be_made_is_done_without(journal, home):
    write(journal)
    (home / "index.sqlite").mkdir()
    assert entries(home) == from_logs(home)


def test_processes_that_read_and_ruin_the_index_at_once_are_all_answered(journal, home):
    for _ in range(30):
        write(journal)
    children = [subprocess.Popen([sys.executable, "-c", READ, str(home)], stderr=subprocess.PIPE) for _ in range(3)]
    errors = [child.communicate()[1] for child in children]
    assert errors == [b"", b"", b""]


def test_an_unreadable_log_is_listed_as_such(journal, home):
    write(journal)
    (home / "runs" / "20250101-000000-dead").mkdir()
    (home / "runs" / "20250101-000000-dead" / "events.jsonl").write_text("{}\n")
    (home / "runs" / "empty").mkdir()
    assert sorted(e.status for e in entries(home)) == ["rehearsed", "unreadable"]
