"""The documentation says what the checks say, and every command and option is in the README or the help."""

from __future__ import annotations

from pathlib import Path

from trainrecipe import docs
from trainrecipe.check import built_in

ROOT = Path(__file__).resolve().parent.parent


def test_pages_are_current() -> None:
    written = {p.name: p.read_text() for p in docs.FOLDER.glob("*.md")}
    assert written == docs.pages(), "run `make docs`"


def test_every_check_has_a_gallery_pair() -> None:
    missing = [c.id for c in built_in() if not list((ROOT / "gallery" / c.id).glob("faulty*.py"))]
    assert not missing


def test_every_specimen_has_its_twin() -> None:
    lonely = [
        str(p) for p in (ROOT / "gallery").glob("*/faulty*.py") if not p.with_name(p.name.replace("faulty", "healthy")).exists()
    ]
    assert not lonely


def test_explains_names_checks_that_exist() -> None:
    ids = {c.id for c in built_in()}
    assert [(c.id, e) for c in built_in() for e in c.explains if e not in ids] == []


def test_commands_are_in_the_readme() -> None:
    from trainrecipe.cli import COMMANDS

    readme = (ROOT / "README.md").read_text()
    assert [c for c in COMMANDS if f"recipe {c}" not in readme] == []
