"""The pytest plugin: every check of a step, or of a script, becomes a test item of its own.

    import pytest
    from trainrecipe import Step

    @pytest.mark.recipe
    def my_step():
        return Step(build_model(), batch, loss)

Scripts named under `[tool.trainrecipe] scripts = ["train.py --epochs 2"]` are rehearsed with `pytest --recipe-scripts`.
Waived findings are expected failures with their reason; checks that could not decide are skipped with theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trainrecipe.check import Check
    from trainrecipe.finding import Finding


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--recipe-scripts`."""
    group = parser.getgroup("trainrecipe")
    group.addoption("--recipe-scripts", action="store_true", help="rehearse the scripts named under [tool.trainrecipe]")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "recipe: the function returns a trainrecipe.Step; each check becomes a test item")


def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: Any) -> Any:
    """Turn a function marked with `recipe` into one item per check."""
    marks = getattr(obj, "pytestmark", [])
    if any(mark.name == "recipe" for mark in marks if hasattr(mark, "name")):
        return _Marked.from_parent(collector, name=name, function=obj)
    return None


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the scripts of the configuration."""
    if not config.getoption("--recipe-scripts"):
        return
    from trainrecipe.config import Config

    for words in Config.load(config.rootpath).scripts:
        script = _Script.from_parent(session, name=words[0], words=list(words))
        items.extend(script.collect())


class _Marked(pytest.Collector):
    def __init__(self, *, function: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function
        self._answers: dict[str, list[Finding]] | None = None

    def collect(self) -> Iterator[pytest.Item]:
        for check in _checks(self.config.rootpath):
            if check.subject == "Step":
                yield _Item.from_parent(self, name=check.id, source=self)

    def answers(self) -> dict[str, list[Finding]]:
        """Examine once, for all items."""
        if self._answers is None:
            from trainrecipe.config import Config
            from trainrecipe.exam import examine

            root = self.config.rootpath
            done = examine(self.function(), checks=_checks(root), config=Config.load(root))
            self._answers = _by_check(done.answers)
        return self._answers


class _Script(pytest.Collector):
    def __init__(self, *, words: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = words
        self._answers: dict[str, list[Finding]] | None = None

    def collect(self) -> Iterator[pytest.Item]:
        for check in _checks(self.config.rootpath):
            yield _Item.from_parent(self, name=check.id, source=self)

    def answers(self) -> dict[str, list[Finding]]:
        """Rehearse once, for all items."""
        if self._answers is None:
            self._answers = _by_check(_rehearse(self.words, self.config.rootpath))
        return self._answers


def _checks(folder: Path) -> list[Check]:
    """The built-in checks and the project's own, less those that its configuration disables."""
    from trainrecipe.cli.catalogue import catalogue
    from trainrecipe.config import Config

    config = Config.load(folder)
    return [check for check in catalogue(config) if check.id not in config.disable]


def _rehearse(words: list[str], folder: Path) -> list[Finding]:
    import json
    import subprocess
    import sys

    from trainrecipe.finding import Evidence, Finding, Ruling

    command = [sys.executable, "-m", "trainrecipe", "check", "--format", "json", words[0], "--", *words[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    try:
        data = json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"recipe check {' '.join(words)} failed with {done.returncode}:\n{done.stderr[-2000:]}") from None
    undecided = [Finding(f["check"], "", Ruling.unsure(f["why"]), Evidence()) for f in data["skipped"]]
    return [*(Finding.from_json(f) for f in data["findings"]), *undecided]


def _by_check(answers: Any) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in answers:
        for one in (finding, *finding.related):
            found.setdefault(one.check, []).append(one)
    return found


class Found(Exception):
    """A finding, as pytest reports it."""


class _Item(pytest.Item):
    def __init__(self, *, source: _Marked | _Script, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def runtest(self) -> None:
        from trainrecipe.finding import Severity, Verdict

        answers = self.source.answers().get(self.name, [])
        for finding in answers:
            if finding.waived is not None:
                pytest.xfail(f"waived: {finding.waived}")
            if finding.counts(Severity.WARNING):
                raise Found(_text(finding))
        if answers and all(f.verdict in (Verdict.SKIP, Verdict.UNSURE) for f in answers):
            pytest.skip(answers[0].ruling.says)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, Found):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.source.name}: {self.name}"


def _text(finding: Finding) -> str:
    r = finding.ruling
    where = f"{finding.place}: {finding.place.source}\n" if finding.place else ""
    return f"{where}{finding.title} [{finding.check}]\n{r.says}\nexpected: {r.expected}\nobserved: {r.observed}\nfix: {r.fix}"
