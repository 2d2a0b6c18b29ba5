"""The splits of a training program: which data sets its loaders read, and what it does with each."""

from __future__ import annotations

import dataclasses

import torch
from torch.utils.data import TensorDataset

from trainrecipe.capture.listen.describe import innermost
from trainrecipe.capture.rehearsal import BATCHES
from trainrecipe.finding import Place
from trainrecipe.scan.leaves import leaves
from trainrecipe.scan.reading import hash_of, hashed_rows, tensors_of
from trainrecipe.scan.splits import Source, flattened, of_loader
from trainrecipe.subjects import contents
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.examples import read_place, seed_all
from trainrecipe.subjects.run import Loader

MOST = 8
"""Splits of a program that are looked at."""
ALIKE = 0.02
"""Share by which the lengths of data sets may differ that are made again and again, as for each fold."""
COMMON = 0.3
"""Share of examples in common from which such data sets are one, made again."""
SAME = 0.99
"""Share below which they are other parts of the same examples: folds."""
LOOKED = 20_000
FED = 200
"""Examples of a split whose look as the model was fed it is kept."""


def program_splits(data: Data) -> tuple[list[Source], dict[str, Place]]:
    """Splits in the order train, validation, test, and the line each comes from.

    A loader that is trained on is `train`; one that is read while the training goes on is `validation`, one that is read only
    after its end `test`. Loaders that read the same examples of the same data set are one split; of those that one line makes
    again and again, as in each epoch or for each fold, the first is taken. Without loaders, splits are the rows that the model
    was seen to be fed.
    """
    found: list[Source] = []
    places: dict[str, Place] = {}
    seen: list[_Made] = []
    folds = False
    for number, role in _roles(data):
        record, loader = data.loaders[number]
        source = flattened(of_loader(_name(role, found), role, loader))
        one = _Made(record, role, source)
        again = [share for other in seen if (share := one.is_again(other, folds)) is not None]
        folds = folds or (role == "train" and any(share < SAME for share in again))
        if len(found) == MOST or again:
            continue
        seen.append(one)
        place = read_place(loader.dataset) or record.born
        source.place = str(place) if place is not None else ""
        source.fed = _fed(data, number, source)
        found.append(source)
        if place is not None:
            places[source.name] = place
    return (found, places) if found else _without_loaders(data)


def _roles(data: Data) -> list[tuple[int, str]]:
    """The loaders that were read, by number, with what each is for: those for training first, then validation and test."""
    run = data.run
    last = max((p.last_event for p in run.passes if p.trains), default=0)
    roles: dict[int, str] = {}
    for number, (record, _) in enumerate(data.loaders):
        own = [p for p in run.passes if p.loader == record.number and p.batches]
        if own:
            late = min(p.first_event for p in own) >= last
            roles[number] = "train" if any(p.trains for p in own) else "test" if late else "validation"
    lines = {str(data.loaders[n][0].born) for n, role in roles.items() if role == "validation"}
    for number, role in roles.items():  # the last validation comes when all training is over
        if role == "test" and str(data.loaders[number][0].born) in lines:
            roles[number] = "validation"
    return sorted(roles.items(), key=lambda item: (("train", "validation", "test").index(item[1]), item[0]))


@dataclasses.dataclass(frozen=True)
class _Made:
    """A split as a loader reads it."""

    record: Loader
    role: str
    source: Source

    def is_again(self, other: _Made, folds: bool) -> float | None:
        """The share of examples in common where the other is the same split, made by the same line for the same purpose; else
        None. With `folds` the parts that a line holds out one after the other have no example in common."""
        mine, theirs = self.source, other.source
        if mine.dataset is theirs.dataset:
            same = mine.positions is theirs.positions or mine.positions == theirs.positions
            return 1.0 if same else 0.0 if self._same_line(other) else None
        if (
            type(mine.dataset) is not type(theirs.dataset)
            or not self._same_line(other)
            or not _near(mine.length, theirs.length)
        ):
            return None
        share = _in_common(mine, theirs)
        return share if share >= COMMON or (folds and self.role != "train") else None

    def _same_line(self, other: _Made) -> bool:
        return self.role == other.role and self.record.born is not None and self.record.born == other.record.born


def _near(one: int | None, other: int | None) -> bool:
    return one == other or (one is not None and other is not None and abs(one - other) <= ALIKE * max(one, other))


def _in_common(one: Source, other: Source) -> float:
    """The share of examples of one that the other has as well; of data sets that are no tensors, at the same places."""
    mine, theirs = tensors_of(one.dataset), tensors_of(other.dataset)
    if mine is not None and theirs is not None:
        first, second = (set(hashed_rows([t[0][:LOOKED].numpy()], min(LOOKED, len(t[0]))).tolist()) for t in (mine, theirs))
        return len(first & second) / max(1, len(first))
    if one.is_stream or other.is_stream or not one.length or not other.length:
        return 0.0
    places = {0, 1, min(one.length, other.length) // 2, min(one.length, other.length) - 1}
    try:
        return sum(_hash(one, i) == _hash(other, i) for i in places) / len(places)
    except Exception:
        return 0.0


def _hash(source: Source, i: int) -> int:
    seed_all(0)
    position = source.positions[i] if source.positions is not None else i
    return hash_of([leaf for _, leaf in leaves(source.dataset[position])])


def _name(role: str, found: list[Source]) -> str:
    same = sum(s.role == role for s in found)
    return role if not same else f"{role} {same + 1}"


def _without_loaders(data: Data) -> tuple[list[Source], dict[str, Place]]:
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
    return found, places


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
