"""An experiment: the user's script in a process of its own, with named things changed, under one seed; and what came of it.

Results are kept by what makes them: the program's text, its arguments, the interventions and the seed. A stage that was
interrupted finds those that are there already, and makes the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainrecipe.intervene.knob import own_trees, source_of
from trainrecipe.lab.series import Series, final

VERSION = 1
"""Of the kept results; a higher one makes them anew."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is run: `seed` is added to every seed that the script sets; `changes` are interventions, as `dropout=0.3`."""

    script: str
    args: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    seed: int = 0
    module: bool = False

    def key(self) -> str:
        """What its result is kept by; another one for another text of the script, or of a module beside it that it imports."""
        told = [VERSION, _texts(self.script, self.module), self.args, self.changes, self.seed]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:20]

    @property
    def named(self) -> str:
        """For people."""
        return f"{' + '.join(self.changes) or 'as it is'}, seed +{self.seed}"


def _texts(script: str, module: bool) -> dict[str, str]:
    """A hash of each file of a program's own."""
    path = source_of(script) if module else Path(script)
    if path is None or not path.is_file():
        return {script: ""}
    root = Path.cwd() if module else path.parent
    return {str(p.resolve()): hashlib.sha256(p.read_bytes()).hexdigest() for p, _ in own_trees(path, root)}


@dataclasses.dataclass(frozen=True)
class Effect:
    """Of an intervention that was asked for: whether it took effect, and what it says of that."""

    said: str
    took: bool
    says: str


@dataclasses.dataclass(frozen=True)
class Result:
    """How an experiment ended: `finished`, `failed`, `killed` (by whom `error` tells) or `timeout`, and what it told."""

    experiment: Experiment
    status: str
    seconds: float = 0.0
    steps: int = 0
    series: dict[str, Series] = dataclasses.field(default_factory=dict)
    effects: tuple[Effect, ...] = ()
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether it came to its end."""
        return self.status == "finished"

    def value(self, metric: str) -> float:
        """The last value of a series; NaN where it told none, or did not end."""
        return final(self.series, metric) if self.good else math.nan

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """What `to_json` gave. Raises KeyError and TypeError for something else."""
        own = data.pop("experiment")
        experiment = Experiment(own["script"], tuple(own["args"]), tuple(own["changes"]), own["seed"], own["module"])
        series = {name: [(int(s), float(v)) for s, v in values] for name, values in data.pop("series").items()}
        return cls(experiment, series=series, effects=tuple(Effect(**e) for e in data.pop("effects")), **data)


class Kept:
    """Results in a folder, one file each, written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, experiment: Experiment) -> Result | None:
        """The result of an experiment that was made before; a file that cannot be read counts as none."""
        try:
            return Result.from_json(json.loads(self._path(experiment).read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, result: Result) -> None:
        """Keep a result. Raises OSError."""
        path = self._path(result.experiment)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result.to_json()))
        part.replace(path)

    def all(self, experiments: Sequence[Experiment]) -> dict[Experiment, Result]:
        """Those that are there already."""
        return {e: found for e in experiments if (found := self.get(e)) is not None}

    def _path(self, experiment: Experiment) -> Path:
        return self.folder / f"{experiment.key()}.json"
