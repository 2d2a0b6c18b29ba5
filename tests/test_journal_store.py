"""The journal's folder: unique runs, finding them again, and what happens where it cannot be written."""

import importlib.metadata
import subprocess
import sys

import pytest

from trainrecipe.journal.events import read_events
from trainrecipe.journal.snapshot import environment
from trainrecipe.journal.store import Journal, JournalUnwritable, RunNotFound

START = """
import pathlib, sys
from trainrecipe.journal.store import Journal
journal = Journal.at(pathlib.Path(sys.argv[1]))
for _ in range(40):
    log = journal.new_run(command="check", script="train.py")
    log.append("ended", status="rehearsed", exit_code=0, seconds=1.0)
    log.close()
    print(log.run)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def run(journal, script="train.py"):
    log = journal.new_run(command="check", script=script)
    log.close()
    return log


def test_processes_that_start_runs_at_once_never_share_one(project):
    command = [sys.executable, "-c", START, str(project)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    ids = [line for child in children for line in child.communicate()[0].split()]
    assert all(child.returncode == 0 for child in children)
    assert len(ids) == len(set(ids)) == 120
    assert {e.run for e in Journal.at(project).runs()} == set(ids)


def test_reading_creates_nothing(project):
    journal = Journal.at(project)
    assert journal.runs() == []
    with pytest.raises(RunNotFound, match="recipe check"):
        journal.record()
    assert list(project.iterdir()) == []


def test_the_folder_hides_itself_from_git(project):
    run(Journal.at(project))
    subprocess.run(["git", "init", "-q", project], check=True)
    status = subprocess.run(["git", "-C", project, "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_a_run_answers_to_last_its_id_its_beginning_and_its_end(project):
    journal = Journal.at(project)
    run(journal, "old.py")
    log = run(journal, "new.py")
    for name in ("last", log.run, log.run[-4:]):
        assert journal.record(name).script == "new.py"
    (only,) = {e.run for e in journal.runs()} - {log.run}
    assert journal.record(only[:-1]).script == "old.py"
    assert journal.folder(log.run) / "report.html" == log.report


def test_a_name_that_fits_several_or_none_is_answered_with_candidates(project):
    journal = Journal.at(project)
    ids = {run(journal).run for _ in range(3)}
    with pytest.raises(RunNotFound, match="fits 3 runs") as ambiguous:
        journal.record("20")
    with pytest.raises(RunNotFound, match="no run 'nope'") as missing:
        journal.record("nope")
    for error in (ambiguous, missing):
        assert all(i in str(error.value) for i in ids)


def test_where_the_folder_cannot_be_the_run_goes_to_the_cache_and_says_so(project, tmp_path):
    (project / ".trainrecipe").write_text("a file in the way")
    journal = Journal.at(project)
    log = run(journal)
    assert log.path.is_relative_to(tmp_path / "cache")
    assert str(log.path.parent) in log.notice
    assert str(project / ".trainrecipe") in log.notice
    assert [e["text"] for e in read_events(log.path) if e["kind"] == "message"] == [log.notice]
    assert Journal.at(project).record("last").messages == (("warning", log.notice),)
    assert (project / ".trainrecipe").read_text() == "a file in the way"


def test_where_no_folder_can_be_the_message_names_each(project, tmp_path, monkeypatch):
    (project / ".trainrecipe").write_text("")
    (tmp_path / "cache").write_text("")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    for place in Journal.at(project).homes[2:]:
        place.parent.write_text("")
    with pytest.raises(JournalUnwritable) as error:
        run(Journal.at(project))
    assert all(str(home) in str(error.value) for home in Journal.at(project).homes)


def test_the_snapshot_tells_the_version_of_torch_without_importing_it():
    code = "import sys; from trainrecipe.journal.snapshot import environment as e; print(e()['torch'], *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, *modules = done.stdout.split()
    assert version == importlib.metadata.version("torch")
    assert "torch" not in modules


def test_the_snapshot_tells_the_commit_and_the_changed_files(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True)

    assert "git" not in environment(tmp_path)
    git("init")
    (tmp_path / "train.py").write_text("1\n")
    git("add", ".")
    assert environment(tmp_path)["git"] == "no commit yet, 1 file changed"
    git("commit", "-m", "x")
    assert environment(tmp_path)["git"].endswith(", clean")
    (tmp_path / "train.py").write_text("2\n")
    (tmp_path / "untracked.bin").write_text("data")
    assert environment(tmp_path)["git"].endswith(", 1 file changed")
