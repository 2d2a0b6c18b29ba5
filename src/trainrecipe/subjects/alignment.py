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
"""Rows that are replaced one by one, where inputs are whole numbers and there is no gradient to follow."""
MOVED = 3
"""Rows that must have been moved; one could be an example that happens to be ignored."""
MOST = 64
"""Rows of which it is found where they went by replacing them."""
FAINT = 1e-4
SURE = 3.0
"""Standard errors between two pairings of inputs and labels from which on one of them is the right one."""
STEPS = 120
"""Steps for each pairing, where nearest neighbours do not tell which is right."""


@dataclasses.dataclass(slots=True)
class Alignment:
    """Where rows go. Of `tested` rows, `moved` have an effect on one other row of the predictions and not on their own.

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
    look = _Rows(found, {})
    if look.stays():
        return Alignment(len(look.base), 0)
    if look.differentiable:
        goes = look.goes()
    else:
        size = len(look.base)
        tested = sorted({round(k * (size - 1) / (TESTED - 1)) for k in range(TESTED)})
        goes = {i: r[0] for i in tested if len(r := look.reached(i)) == 1}
    moved = [i for i, j in goes.items() if i != j]
    made = Alignment(len(goes), len(moved))
    if len(moved) < min(MOVED, len(look.base)):
        return made
    made.goes = goes if look.differentiable else look.goes()
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

    def _nudged(self, i: int) -> dict[int, torch.Tensor]:
        """The largest input with row i changed so little that the order of rows stays."""
        made = self.tensors[self.found.main.number].clone()
        noise = torch.randn(made[i].shape, generator=torch.Generator().manual_seed(0)).to(made)
        made[i] += 1e-3 * (made.std() + 1e-12) * noise
        return {self.found.main.number: made}

    def reached(self, i: int) -> list[int]:
        """The rows of the predictions that change when row i of the inputs is replaced."""
        return _changed(self.base, self._predict(self._replaced(i)))

    @property
    def differentiable(self) -> bool:
        """Whether the largest input holds real numbers, so that rows can be followed by gradients; replacing a row may change
        the order of all."""
        return self.tensors[self.found.main.number].is_floating_point()

    def stays(self) -> bool:
        """Whether the rows of the input that have an effect on a random half of the predictions are those very rows, and of the
        others those; a permutation of a few rows hardly ever passes."""
        if not self.differentiable:
            return False
        size = len(self.base)
        half = torch.rand(size, generator=torch.Generator().manual_seed(0)) < 0.5
        felt = [self._felt_by(rows) for rows in (half, ~half)]
        return bool((~felt[0] | half).all()) and bool((~felt[1] | ~half).all())

    def _felt_by(self, rows: torch.Tensor) -> torch.Tensor:
        """Which rows of the input some rows of the predictions depend on, by a gradient."""
        number = self.found.main.number
        given = self.tensors[number].detach().clone().requires_grad_()
        made = self.twin.run({**self.feed, number: given}, until=[self.found.call.input])[self.found.call.input]
        weights = torch.randn(made.shape, generator=torch.Generator().manual_seed(0)).to(made)
        chosen = (made * weights)[rows.to(made.device)].sum()
        if not chosen.requires_grad:
            return torch.zeros(len(given), dtype=torch.bool)
        (gradient,) = torch.autograd.grad(chosen, [given], allow_unused=True)
        if gradient is None:
            return torch.zeros(len(given), dtype=torch.bool)
        size = gradient.abs().reshape(len(given), -1).amax(1).cpu()
        return size > FAINT * size.max()

    def _followed(self) -> dict[int, int]:
        """Where each row goes, bit by bit of the number of the row of the predictions that it has an effect on."""
        size = len(self.base)
        code, clear = torch.zeros(size, dtype=torch.long), torch.ones(size, dtype=torch.bool)
        for bit in range(max(1, (size - 1).bit_length())):
            ones = (torch.arange(size) >> bit) % 2 == 1
            there, elsewhere = self._felt_by(ones), self._felt_by(~ones)
            clear &= there ^ elsewhere  # an effect on both means on several rows, on none that nothing is known
            code += there.long() << bit
        return {i: int(code[i]) for i in range(size) if clear[i] and code[i] < size}

    def goes(self) -> dict[int, int]:
        """Where each row goes that has an effect on one row of the predictions."""
        if self.differentiable:
            return self._followed()
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
        other = self._nudged(i) if self.differentiable else self._replaced(i)
        runs = [self._watched(overrides) for overrides in ({}, other)]
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
    if size > 4 * MOST or found.step.transfers or not found.held or found.kind == "numbers":
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
