"""Runs keep their code; two of them are compared by code, arguments and environment; notes are repeated."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainrecipe.journal.code import changes, keep, kept

SCRIPT = "import model\nimport torch\nLR = 0.1\nprint(model.NAME, LR)\n"


def recipe(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainrecipe", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "model.py").write_text("NAME = 'small'\n")
    return tmp_path


def test_the_code_of_a_run_is_kept_with_what_it_imports(program: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    keep(run, str(program / "train.py"))
    assert kept(run) == {"train.py": SCRIPT, "model.py": "NAME = 'small'\n"}
    (changed,) = changes(kept(run), {**kept(run), "model.py": "NAME = 'large'\nDEPTH = 3\n"})
    assert (changed.file, changed.removed, changed.added) == ("model.py", 1, 2)
    assert changes(kept(run), kept(run)) == []


def test_two_runs_are_compared_and_more_than_one_change_is_said(program: Path) -> None:
    recipe(program, "check", "train.py", "--once")
    recipe(program, "check", "train.py", "--once")
    same = recipe(program, "compare", _first(program))
    assert "are the same" in same.stdout, same.stderr
    (program / "model.py").write_text("NAME = 'large'\n")
    recipe(program, "check", "train.py", "--once", "--", "--epochs", "3")
    other = recipe(program, "compare", _first(program))
    assert "model.py: 1 lines removed, 1 added" in other.stdout
    assert "+NAME = 'large'" in other.stdout
    assert "--epochs 3" in other.stdout
    assert "More than one thing changed: code and arguments" in other.stdout


def _first(folder: Path) -> str:
    return sorted(p.name for p in (folder / ".trainrecipe" / "runs").iterdir())[0]


def test_a_note_is_repeated_when_the_run_is_shown(program: Path) -> None:
    recipe(program, "check", "train.py", "--once")
    assert recipe(program, "note", "last", "labels were wrong").returncode == 0
    assert "labels were wrong" in recipe(program, "show").stdout
    empty = recipe(program, "note", "last", "  ")
    assert empty.returncode == 2
    assert "empty" in empty.stderr
