"""The splits of a training program: which data sets its loaders read, and what it does with each."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch.utils.data import TensorDataset

from trainrecipe.capture.listen.describe import innermost
from trainrecipe.capture.rehearsal import BATCHES
from trainrecipe.finding import Place
from trainrecipe.scan.splits import Source, flattened, of_loader
from trainrecipe.subjects import contents
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.examples import read_place
from trainrecipe.subjects.run import Loader

MOST = 8
"""Splits of a program that are looked at."""
ALIKE = 0.02
"""Share by which the lengths of data sets may differ that are made again and again, as for each fold."""
FED = 200
"""Examples of a split whose look as the model was fed it is kept."""


def program_splits(data: Data) -> tuple[list[Source], dict[str, Place], dict[str, bool]]:
    """Splits in the order train, validation, test, with the line each comes from, and whether it is shuffled.

    A loader that is trained on is `train`; one that is read while the training goes on is `validation`, one that is read only
    after its end `test`. Loaders that read the same examples of the same data set are one split; of those that one line makes
    again and again, as in each epoch or for each fold, the first is taken. Without loaders, splits are the rows that the model
    was seen to be fed.
    """
    run = data.run
    trained = [p for p in run.passes if p.trains]
    last = max((p.last_event for p in trained), default=0)
    ranked: list[tuple[int, int, str, Any]] = []
    for number, (record, loader) in enumerate(data.loaders):
        own = [p for p in run.passes if p.loader == record.number and p.batches]
        if not own:
            continue
        role = "train" if any(p.trains for p in own) else "validation" if min(p.first_event for p in own) < last else "test"
        ranked.append((("train", "validation", "test").index(role), number, role, loader))
    ranked.sort(key=lambda r: r[:2])
    found: list[Source] = []
    places: dict[str, Place] = {}
    shuffled: dict[str, bool] = {}
    seen: list[_Made] = []
    for _, number, role, loader in ranked:
        record = data.loaders[number][0]
        source = flattened(of_loader(_name(role, found), role, loader))
        one = _Made(record, role, source)
        if len(found) == MOST or any(one.is_again(other) for other in seen):
            continue
        seen.append(one)
        place = read_place(loader.dataset) or record.born
        source.place = str(place) if place is not None else ""
        source.fed = _fed(data, number, source)
        found.append(source)
        shuffled[source.name] = record.shuffled
        if place is not None:
            places[source.name] = place
    return (found, places, shuffled) if found else _without_loaders(data)


@dataclasses.dataclass(frozen=True)
class _Made:
    """A split as a loader reads it."""

    record: Loader
    role: str
    source: Source

    def is_again(self, other: _Made) -> bool:
        """Whether the other is the same split, or was made by the same line for the same purpose, out of the same data."""
        mine, theirs = self.source, other.source
        if mine.dataset is theirs.dataset:
            same = mine.positions is theirs.positions or mine.positions == theirs.positions
            return same or self._same_line(other)
        return type(mine.dataset) is type(theirs.dataset) and self._same_line(other) and _near(mine.length, theirs.length)

    def _same_line(self, other: _Made) -> bool:
        return self.role == other.role and self.record.born is not None and self.record.born == other.record.born


def _near(one: int | None, other: int | None) -> bool:
    return one == other or (one is not None and other is not None and abs(one - other) <= ALIKE * max(one, other))


def _name(role: str, found: list[Source]) -> str:
    same = sum(s.role == role for s in found)
    return role if not same else f"{role} {same + 1}"


def _without_loaders(data: Data) -> tuple[list[Source], dict[str, Place], dict[str, bool]]:
    found: list[Source] = []
    places: dict[str, Place] = {}
    tables = [("train", contents.training(data)), *(("validation", t) for t in contents.evaluations(data))]
    for role, table in tables:
        if table is None or not table.rows:
            continue
        tensors = [table.x, *([table.y] if table.y is not None else [])]
        if table.y is not None and table.classes:
            tensors[1] = table.y.long()
        source = Source(_name(role, found), TensorDataset(*tensors), role, as_fed=True)
        found.append(source)
        if table.place is not None:
            places[source.name] = table.place
    return found, places, {}


def _fed(data: Data, number: int, source: Source) -> dict[int, list[torch.Tensor]]:
    """What models were fed of single examples, by position in the data set: of the first batches of each pass."""
    record, loader = data.loaders[number]
    _, part = innermost(loader.dataset)
    found: dict[int, list[torch.Tensor]] = {}
    for draw in data.run.draws:
        if draw.loader != record.number or not draw.readable:
            continue
        drawn = list(draw.batches())[: BATCHES - 1]  # of a pass that was cut short the last batch is another one
        for batch in data.fed:
            if batch.in_pass != draw.in_pass or not 0 <= batch.number < len(drawn) or batch.rows != len(drawn[batch.number]):
                continue
            for row, index in enumerate(drawn[batch.number]):
                position = index if part is None else part[index]
                if len(found) < FED and position not in found:
                    found[position] = [t[row] for t in batch.inputs if t.ndim and t.shape[0] == batch.rows]
    return found
