"""The event log: whole lines under kill, threads, forks and a failing disk."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from trainrecipe.finding import Evidence, Finding, Ruling, Severity
from trainrecipe.journal.events import EventLog, read_events
from trainrecipe.journal.record import Record


def started(folder):
    return EventLog.create(folder, run="r", command="check", script="train.py", args=["--lr", "0.1"])


def test_a_log_reads_back_as_the_record_that_was_written(tmp_path):
    finding = Finding(
        "loss-at-init",
        "Loss",
        Ruling.found(Severity.ERROR, "says", expected="2.3", observed="9", fix="fix"),
        Evidence({"loss": float("nan")}),
    )
    log = started(tmp_path)
    log.append("finding", finding=finding.to_json())
    log.append("summary", facts={"loss": "cross entropy"})
    log.append("ended", status="rehearsed", exit_code=0, seconds=1.5)
    record = Record.from_events(read_events(log.path))
    assert (record.run, record.args, record.status, record.seconds) == ("r", ("--lr", "0.1"), "rehearsed", 1.5)
    assert [f.to_json() for f in record.findings] == [finding.to_json()]


def test_any_text_survives(tmp_path):
    text = "naïve \udcff\u2028 <b>\n\x00 \U0001f525"
    log = started(tmp_path)
    log.append("message", level="info", text=text)
    assert list(read_events(log.path))[1]["text"] == text
    assert log.path.read_bytes().count(b"\n") == 2


def test_a_run_killed_while_writing_leaves_whole_lines(tmp_path):
    code = (
        "import sys, pathlib; from trainrecipe.journal.events import EventLog\n"
        "log = EventLog.create(pathlib.Path(sys.argv[1]), run='r', command='run', script='t.py')\n"
        "i = 0\n"
        "while True: log.append('message', level='info', text='x' * 5000, i=i); i += 1\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    path = tmp_path / "events.jsonl"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (path.exists() and path.stat().st_size > 2_000_000):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    events = list(read_events(path))
    assert len(events) > 100
    assert [e["i"] for e in events[1:]] == list(range(len(events) - 1))
    assert Record.from_events(events).status == "killed"


def test_every_cut_of_a_log_reads_as_its_whole_lines(tmp_path):
    log = started(tmp_path)
    log.append("message", level="info", text="größer")
    whole = log.path.read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(len(whole)):
        log.path.write_bytes(whole[:size])
        # A line is complete without its newline, too: a JSON object that lacks anything does not parse.
        assert len(list(read_events(log.path))) == (size >= first - 1) + (size >= len(whole) - 1)


def test_a_damaged_line_in_the_middle_is_reported(tmp_path):
    log = started(tmp_path)
    log.append("message", level="info", text="last")
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(lines[0] + b'{"t": 1, "ki\n' + lines[1])
    kinds = [(e["kind"], e.get("level")) for e in read_events(log.path)]
    assert kinds == [("started", None), ("message", "warning"), ("message", "info")]


def test_threads_never_mix_their_lines(tmp_path):
    log = started(tmp_path)

    def write(who):
        for i in range(200):
            log.append("message", level="info", text=f"{who}" * 300, i=i)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lines = log.path.read_text().splitlines()
    assert len(lines) == 1601
    assert {len(set(json.loads(line)["text"])) for line in lines[1:]} == {1}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_silences_the_log_and_nothing_else(tmp_path):
    log = EventLog(tmp_path / "events.jsonl", os.open("/dev/full", os.O_WRONLY), "r")
    log.append("message", level="info", text="lost")
    assert "No space left" in log.broken
    first = log.broken
    log.append("message", level="info", text="lost, too")
    log.close()
    assert log.broken == first


def test_a_short_write_leaves_one_torn_line(tmp_path):
    code = (
        "import resource, signal, sys, pathlib; from trainrecipe.journal.events import EventLog\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "log = EventLog.create(pathlib.Path(sys.argv[1]), run='r', command='run', script='t.py')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "for i in range(9): log.append('message', level='info', text='x' * 300)\n"
        "print(log.broken)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    path = tmp_path / "events.jsonl"
    assert path.stat().st_size == 1000
    assert {e["kind"] for e in read_events(path)} == {"started", "message"}


def test_a_removed_folder_is_noticed_and_does_not_raise(tmp_path):
    log = started(tmp_path)
    log.path.unlink()
    log.append("message", level="info", text="into the void")
    assert "removed" in log.broken


def test_what_is_not_plain_data_is_refused_and_breaks_nothing(tmp_path):
    log = started(tmp_path)
    with pytest.raises(TypeError, match="plain data"):
        log.append("summary", facts={"model": object()})
    assert not log.broken
    assert len(list(read_events(log.path))) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_does_not_speak_for_the_run(tmp_path):
    code = (
        "import os, sys, pathlib; from trainrecipe.journal.events import EventLog\n"
        "log = EventLog.create(pathlib.Path(sys.argv[1]), run='r', command='run', script='t.py')\n"
        "child = os.fork()\n"
        "log.append('message', level='info', text='child' if child == 0 else 'parent')\n"
        "child and os.waitpid(child, 0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert [e["text"] for e in read_events(tmp_path / "events.jsonl") if e["kind"] == "message"] == ["parent"]


def test_a_folder_takes_one_log(tmp_path):
    started(tmp_path).close()
    with pytest.raises(FileExistsError):
        started(tmp_path)
