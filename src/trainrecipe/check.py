"""What a check is: a hypothesis about a subject that is measured, judged and drawn in three separate functions.

A check is one final class in one file. Its id is the file's name with hyphens; which subject it examines follows from
the annotation of `measure`; nothing is registered anywhere. A malformed check is refused where it is defined.
"""

from __future__ import annotations

import abc
import enum
import functools
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from trainrecipe.finding import Evidence, Ruling
from trainrecipe.picture import Picture

HEADINGS = (
    "What it checks",
    "Why it matters",
    "What healthy looks like",
    "What to do",
    "When it is wrong",
    "Source",
)
SUBJECTS = ("Step", "Data", "Scan", "Run", "Ranks", "Lineup")


class Price(enum.StrEnum):
    """What measuring costs, cheapest first: nothing beyond the recording, forwards, backwards, trainings, reruns."""

    FREE = "free"
    FORWARD = "forward"
    BACKWARD = "backward"
    TRAIN = "train"
    SWEEP = "sweep"


class Check(abc.ABC):
    """A hypothesis with a measurement. Subclass once, in a file of its own, and fill in:

    - the docstring: a first line that states the hypothesis, then one section per heading in `HEADINGS`;
    - `title`: the headline of its finding; `rows`: ids of the recipe it serves, such as `("S4",)`;
    - `faults`: numbers of the fault catalogue; `price`: what measuring costs;
    - `measure(self, step: Step) -> Evidence | list[Evidence]`: may use torch (imported inside);
      the annotation `Step`, `Run`, `Data`, `Scan`, `Ranks` or `Lineup` chooses the subject;
    - `judge(self, evidence) -> Ruling` and optionally `draw(self, evidence) -> Picture | None`: pure, no torch.

    `explains` lists checks whose finding this one makes redundant: they see symptoms of the same fault, and when both
    speak, theirs is listed beneath this one's.
    """

    title: ClassVar[str] = ""
    rows: ClassVar[tuple[str, ...]] = ()
    faults: ClassVar[tuple[int, ...]] = ()
    price: ClassVar[Price] = Price.FREE
    explains: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1

    id: ClassVar[str]
    subject: ClassVar[str]
    hypothesis: ClassVar[str]
    sections: ClassVar[dict[str, str]]

    @abc.abstractmethod
    def measure(self, subject: Any) -> Evidence | Sequence[Evidence]:
        """Measure the subject without leaving a trace on it; several pieces of evidence are judged one by one."""

    @abc.abstractmethod
    def judge(self, evidence: Evidence) -> Ruling:
        """Decide on the evidence alone. Called only when something was measured."""

    def draw(self, evidence: Evidence) -> Picture | None:
        """A picture of the evidence, or None where numbers say it all."""
        return None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        where = f"{cls.__module__}.{cls.__qualname__}"
        if cls.__mro__[1] is not Check:
            raise TypeError(f"{where}: no check inherits from a check; vary one with an option")
        cls.id = cls.__module__.rpartition(".")[2].replace("_", "-")
        cls.hypothesis, cls.sections = parse_docstring(cls.__doc__ or "", where)
        for field in ("title", "rows"):
            if not getattr(cls, field):
                raise TypeError(f"{where}: fill in `{field}`")
        cls.subject = _subject(cls, where)

    @property
    def why(self) -> str:
        """The section "Why it matters", as findings carry it."""
        return self.sections["Why it matters"]


def parse_docstring(doc: str, where: str) -> tuple[str, dict[str, str]]:
    """Split a check's docstring into the hypothesis and its sections; TypeError names what is missing."""
    text = inspect.cleandoc(doc)
    hypothesis, _, rest = text.partition("\n")
    parts = re.split(rf"^({'|'.join(HEADINGS)})\n-+\n", rest, flags=re.MULTILINE)
    sections = {name: " ".join(body.split()) for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    missing = [h for h in HEADINGS if not sections.get(h)]
    if not hypothesis.strip() or missing:
        what = "a first line with the hypothesis" if not hypothesis.strip() else "the sections " + ", ".join(missing)
        raise TypeError(f"{where}: the docstring lacks {what} (each heading underlined with ---)")
    return hypothesis.strip(), sections


def _subject(cls: type[Check], where: str) -> str:
    parameters = list(inspect.signature(cls.measure).parameters.values())
    annotation = parameters[1].annotation if len(parameters) == 2 else None
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    name = name.rpartition(".")[2]
    if name not in SUBJECTS:
        raise TypeError(f"{where}: annotate measure(self, subject: ...) with one of {', '.join(SUBJECTS)}, not {name!r}")
    return name


@functools.cache
def built_in() -> tuple[Check, ...]:
    """Every check that ships with the package, by id; importing them loads no torch."""
    import trainrecipe.checks as package

    found: list[Check] = []
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not info.ispkg:
            found += checks_in(importlib.import_module(info.name))
    return tuple(sorted(found, key=lambda check: check.id))


def from_folders(folders: Iterable[Path]) -> tuple[Check, ...]:
    """The checks in a project's own folders (`[tool.trainrecipe] checks = ["my_checks"]`), each file on its own."""
    found: list[Check] = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder} with checks; see `checks` under [tool.trainrecipe]")
        for path in sorted(folder.glob("*.py")):
            spec = importlib.util.spec_from_file_location(f"trainrecipe_project_checks.{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            found += checks_in(module)
    return tuple(found)


def checks_in(module: ModuleType) -> list[Check]:
    """The check that a module defines, as a list of at most one instance."""
    own = [v for v in vars(module).values() if inspect.isclass(v) and issubclass(v, Check) and v is not Check]
    return [cls() for cls in own if cls.__module__ == module.__name__]
