"""In the process of an experiment: what is changed in the script, what it tells, and the file that says so at the end."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainrecipe.capture.patch import Patches
from trainrecipe.intervene.intervention import Intervention, intervention
from trainrecipe.lab.series import CAPTURED, TRAIN_LOSS, Series, told
from trainrecipe.subjects.evaluation import score_of

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener
    from trainrecipe.subjects.evaluation import Evaluation, Score

ACTIVE: list[Running] = []
"""The experiment that this process is, if it is one; `trainrecipe.log` tells it."""
_MOST = 2000
"""Values of a series that are kept; of longer ones some, evenly spread, and the last."""


class Running:
    """Series of numbers in the making, and the interventions that are in force."""

    def __init__(self, interventions: Sequence[str]) -> None:
        self.interventions: list[Intervention] = [intervention(text) for text in interventions]
        self.series: dict[str, Series] = {}
        self.listener: Listener | None = None
        self._patches = Patches()
        self._line = ""

    @property
    def step(self) -> int:
        """Optimiser steps taken so far."""
        return self.listener.run.steps if self.listener is not None else 0

    def begin(self, listener: Listener) -> None:
        """PyTorch is there: change what is to be changed, and hear what the script prints."""
        self.listener = listener
        for one in self.interventions:
            one.install(self._patches.put)
        sys.stdout = _Ear(sys.stdout, self)
        ACTIVE.append(self)

    def add(self, name: str, value: float) -> None:
        """The script tells a number."""
        self.series.setdefault(name, []).append((self.step, value))

    def heard(self, text: str) -> None:
        """The script prints a piece of text."""
        self._line += text
        *lines, self._line = self._line.replace("\r", "\n").split("\n")
        for line in lines:
            for name, value in told(line):
                self.add(name, value)

    def end(self, path: Path, status: str) -> None:
        """Write down what was seen, whole or not at all."""
        self.heard("\n")
        listener = self.listener
        assert listener is not None
        series = {name: _thinned(values) for name, values in {**captured(listener), **self.series}.items()}
        effects = [{"said": one.said, **vars(one.effect())} for one in self.interventions]
        result = {"status": status, "steps": listener.run.steps, "series": series, "effects": effects}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result))
        os.replace(part, path)


class _Ear(io.TextIOBase):
    """Standard output, which tells what is written to it."""

    def __init__(self, stream: Any, running: Running) -> None:
        self._stream, self._running = stream, running

    def write(self, text: str) -> int:
        self._running.heard(text)
        written: int = self._stream.write(text)
        return written

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def captured(listener: Listener) -> dict[str, Series]:
    """What was seen without being told: losses at each backward, and the scores and losses of evaluations."""
    run = listener.run
    found: dict[str, Series] = {}
    lines = sorted(run.backwards, key=lambda b: -b.count)
    if lines:
        found[TRAIN_LOSS] = [(number, float(value)) for number, value in lines[0].losses]
    places: dict[Any, str] = {}
    for evaluation in (e for e in run.evaluated if not e.aside and not e.broken):
        key = evaluation.loader if evaluation.loader is not None else str(evaluation.place)
        name = places.setdefault(key, f"{CAPTURED}test" + (f" {len(places) + 1}" if places else ""))
        for kind, value in _scores(evaluation):
            found.setdefault(f"{name} {kind}", []).append((evaluation.step, value))
    return found


def _scores(evaluation: Evaluation) -> list[tuple[str, float]]:
    told_of: list[tuple[str, float]] = []
    if evaluation.predictions.examples:
        _, value, _, kind = score_of(evaluation.predictions)
        told_of.append(("accuracy" if kind == "accuracy" else "error", value))
    losses = [s for s in evaluation.scores if s.idle and s.kind == "mean" and s.values]
    if losses:
        told_of.append(("loss", _mean(losses[0])))
    return told_of


def _mean(score: Score) -> float:
    sizes = score.sizes if len(score.sizes) == len(score.values) else [1] * len(score.values)
    return sum(v * n for v, n in zip(score.values, sizes, strict=True)) / max(1, sum(sizes))


def _thinned(values: Series) -> Series:
    if len(values) <= _MOST:
        return values
    every = -(-len(values) // _MOST)
    return [*values[:-1:every], values[-1]]
