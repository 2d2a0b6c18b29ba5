"""Which row of the predictions belongs to which row of the inputs: rows are replaced on a twin."""

from __future__ import annotations

import dataclasses
import math

import torch

from trainrecipe.capture.watch import Seen, run_watched
from trainrecipe.finding import Place
from trainrecipe.subjects.lessons import RATES, Class, Feed
from trainrecipe.subjects.practice import adam, practise

TESTED = 8
"""Rows that are replaced one by one."""
MOVED = 3
"""Rows that must have been moved for a closer look; one could be an example that happens to be ignored."""
MOST = 64
"""Rows of which it is found where they went."""
FAINT = 1e-4
SURE = 3.0
"""Standard errors between two pairings of inputs and labels from which on one of them is the right one."""
STEPS = 120
"""Steps for each pairing, where nearest neighbours do not tell which is right."""


@dataclasses.dataclass(slots=True)
class Alignment:
    """Where rows go. `tested` rows were replaced, `moved` of them changed one other row of the predictions and not their own.

    `goes` maps rows of the inputs to rows of the predictions; `standing` tells by how many standard errors inputs predict
    the labels of their own row better than those of the row they go to, `how` that was found; `place` and `operation` is
    where they were moved first.
    """

    tested: int
    moved: int
    goes: dict[int, int] = dataclasses.field(default_factory=dict)
    standing: float = 0.0
    how: str = "nearest neighbours"
    operation: str = ""
    place: Place | None = None


def alignment(found: Class) -> Alignment:
    """Whether row i of the inputs makes row i of the predictions. Raises CannotReplay."""
    size = found.step.batch_size or 0
    rows = sorted({round(k * (size - 1) / (TESTED - 1)) for k in range(TESTED)})
    look = _Rows(found, {})
    reached = {i: look.reached(i) for i in rows}
    moved = [i for i, r in reached.items() if len(r) == 1 and i not in r]
    made = Alignment(len(rows), len(moved))
    if len(moved) < min(MOVED, size):
        return made
    made.goes = look.goes()
    made.standing = _standing(found, made.goes)
    if abs(made.standing) < SURE and (by_training := _by_training(found)) is not None:
        made.standing, made.how = by_training, "twins trained with both pairings"
    made.operation, made.place = look.where(moved[0])
    return made


class _Rows:
    def __init__(self, found: Class, feed: Feed) -> None:
        self.found, self.feed = found, feed
        self.twin = found.step.twin()
        self.twin.evaluating = True
        self.tensors = {i.number: i.tensor for i in found.step.inputs if i.number in found.numbers}
        self.tensors |= {n: t for n, t in feed.items() if n in self.tensors}
        self.base = self._predict({})

    def _predict(self, overrides: dict[int, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            made = self.twin.run({**self.feed, **overrides}, until=[self.found.call.input])[self.found.call.input]
        return made.reshape(made.shape[0], -1).double()

    def _replaced(self, i: int) -> dict[int, torch.Tensor]:
        """The inputs with row i taken from the next row that differs from it in the largest input."""
        main = self.tensors[self.found.main.number]
        size = len(main)
        donor = next((k % size for k in range(i + 1, i + size) if not torch.equal(main[k % size], main[i])), i)
        made = {}
        for number, tensor in self.tensors.items():
            made[number] = tensor.clone()
            made[number][i] = tensor[donor]
        return made

    def reached(self, i: int) -> list[int]:
        """The rows of the predictions that change when row i of the inputs is replaced."""
        return _changed(self.base, self._predict(self._replaced(i)))

    def goes(self) -> dict[int, int]:
        """Where each row goes that changes one row of the predictions, for the first rows."""
        every = {i: self.reached(i) for i in range(min(len(self.base), MOST))}
        return {i: r[0] for i, r in every.items() if len(r) == 1}

    def _watched(self, overrides: dict[int, torch.Tensor]) -> list[tuple[Seen, list[torch.Tensor]]]:
        ops: list[tuple[Seen, list[torch.Tensor]]] = []

        def see(seen: Seen) -> None:
            ops.append((seen, [t.detach().clone() for t in seen.outputs]))

        run_watched(self.found.step, self.twin, see, overrides=overrides)
        return ops

    def where(self, i: int) -> tuple[str, Place | None]:
        """The first operation in whose result row i has gone elsewhere."""
        size = len(self.tensors[self.found.main.number])
        runs = [self._watched(overrides) for overrides in ({}, self._replaced(i))]
        for (seen, before), (_, after) in zip(*runs, strict=False):
            for a, b in zip(before, after, strict=False):
                if a.ndim and a.shape == b.shape and a.shape[0] == size and not a.is_complex():
                    rows = _changed(a.reshape(size, -1).double(), b.reshape(size, -1).double())
                    if rows and i not in rows and len(rows) == 1:
                        return seen.name, seen.place
        return "", None


def _changed(a: torch.Tensor, b: torch.Tensor) -> list[int]:
    if a.shape != b.shape or not a.numel():
        return []
    change = (a - b).abs().nan_to_num(0.0).amax(1)
    most = float(change.max())
    limit = max(FAINT * most, 1e-6 * float(a.abs().nan_to_num(0.0).max()))
    return [int(i) for i in (change > limit).nonzero()[:, 0]]


def _standing(found: Class, goes: dict[int, int]) -> float:
    """By how many standard errors the nearest neighbour's label, among the other rows, says more about the label in the same
    row than about that in the row it goes to; each pairing of inputs and labels has its own neighbours' labels."""
    rows = sorted(goes)
    if len(rows) < 8:
        return 0.0
    feed = {i.number: i.tensor for i in found.step.inputs} | {found.target: _target(found)}
    x, y = found.rows([feed]), found.labels([feed])
    there = torch.tensor([goes[i] for i in rows])
    x, own, other = x[rows], y[rows], y[there]
    spread = x.std(0, correction=0)
    x = (x - x.mean(0)) / torch.where(spread > 0, spread, torch.ones_like(spread))
    distance = torch.cdist(x, x)
    distance.fill_diagonal_(math.inf)
    near = distance.argmin(1)
    gaps = _gap(found.kind, other, other[near]) - _gap(found.kind, own, own[near])
    noise = float(gaps.std()) / math.sqrt(len(rows))
    return float(gaps.mean()) / noise if noise > 0 else 0.0


def _by_training(found: Class) -> float | None:
    """The same, by the held-out examples that are right after training with either pairing; None where that cannot be done."""
    size = found.step.batch_size or 0
    if size > MOST or found.step.transfers or not found.held or found.kind == "numbers":
        return None
    train, held = ([_put(found, f) for f in feeds] for feeds in (found.train, found.held))
    right = []
    for teach, ask in ((found.train, found.held), (train, held)):
        twin = found.step.twin()
        curve = practise(found.step, twin, adam(found.step, twin, RATES[0]), STEPS, batches=teach)
        if curve.cut or curve.broken:
            return None
        predicted = found.predict(twin, ask, evaluating=False)
        right.append(_right(found, predicted, found.labels(ask)))
    gaps = right[0] - right[1]  # with the labels where they are it learns: then they are in the order of the predictions
    noise = float(gaps.std()) / math.sqrt(len(gaps))
    return -float(gaps.mean()) / noise if noise > 0 else 0.0


def _put(found: Class, feed: Feed) -> Feed:
    """A batch whose labels are put to the row that their input goes to."""
    target = feed[found.target].clone()
    for i, j in _Rows(found, feed).goes().items():
        target[j] = feed[found.target][i]
    return {**feed, found.target: target}


def _right(found: Class, predicted: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if found.kind == "classes":
        return (predicted.argmax(1) == labels).double()
    return ((predicted[:, 0] > (0.5 if found.call.name == "binary_cross_entropy" else 0.0)).long() == labels).double()


def _target(found: Class) -> torch.Tensor:
    constant = found.step.tape.values[found.target].constant
    assert constant is not None
    return constant


def _gap(kind: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().mean(1) if kind == "numbers" else (a != b).double()
