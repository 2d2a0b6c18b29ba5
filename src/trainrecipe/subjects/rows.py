"""Which example's output depends on which example: the examples of a batch are replaced one by one on a twin."""

from __future__ import annotations

import torch

from trainrecipe.capture.tensors import equal
from trainrecipe.capture.watch import Seen, run_watched
from trainrecipe.finding import Evidence, Place
from trainrecipe.subjects.names import PICKS_ROWS, RESHAPING
from trainrecipe.subjects.step import Input, Step

TESTED = 4
"""Examples that are replaced, spread evenly over the batch. Mixing by a wrong axis shows in nearly every example."""
MOST = 0.5
"""Share of the examples whose outputs must change with their place in the batch."""
DRAWN = 12
"""Examples in the picture."""
FAINT = 1e-4
"""A change is counted from this share of the largest one on, so that rounding (another order of sums gives 1e-7) is not."""


def mixing(step: Step) -> Evidence:
    """Whether outputs of modules depend on several examples of the batch, where that begins, and a chart of it."""
    given = _inputs(step)
    if isinstance(given, str):
        return Evidence(missing=given)
    tested = []
    for one in given:
        axis, sure = _axis(step, one)
        look = Rows(step, one, axis)
        if not look.outputs:
            return Evidence(missing="no module gives an output with one row per example")
        influential = look.influential()
        mixes = influential and look.mixes()
        by_place = not mixes and look.by_place()
        if not influential and not by_place:
            continue
        if not mixes:
            chart, _ = look.chart() if step.seconds_left() > 0 else ([], 0.0)
            data = {"mixes": False, "examples": one.tensor.shape[axis], "tested": TESTED, "chart": chart, "by_place": by_place}
            return Evidence(data, place=(look.first_by_place() if by_place else None) or step.place)
        tested.append((one, look, axis, sure))
    if not tested:
        return Evidence(missing="no input that has one row per example changes the outputs")
    one, look, axis, sure = tested[0]
    other = one.tensor.ndim > 1 and axis == 0 and not sure and Rows(step, one, 1).is_batch_axis()
    return look.evidence(sure=sure, other_axis=bool(other), flat=one.tensor.ndim <= 2)


def _inputs(step: Step) -> list[Input] | str:
    """The inputs that hold one row per example, or why there are none."""
    size = step.batch_size
    if size is None or size < 4:
        return "fewer than four examples in the batch"
    given = [i for i in step.inputs if not i.tensor.is_sparse and i.tensor.ndim and size in i.tensor.shape[:2]]
    given = [i for i in given if i.tensor.dtype.is_floating_point or not i.tensor.dtype.is_complex]
    return given or "no input has the batch's length"


def _axis(step: Step, one: Input) -> tuple[int, bool]:
    """The axis that holds the examples, and whether a loader's batch size proves it."""
    shape, sizes = one.tensor.shape, step.batch_sizes
    first, second = shape[0] in sizes, len(shape) > 1 and shape[1] in sizes
    if second and not first:
        return 1, True
    if shape[0] != step.batch_size:
        return 1, False
    return 0, (first and not second) or _gathered(step, one)


def _gathered(step: Step, one: Input) -> bool:
    """Whether the rows were picked in no order, such as by a permutation: they are no steps of time then."""
    op = step.producer(one.number)
    if op is None or op.name not in PICKS_ROWS or len(op.inputs) != 2:
        return False
    value = step.tape.values.get(op.inputs[1])
    order = value.constant if value is not None else None
    if order is None or order.ndim != 1 or order.dtype not in (torch.int64, torch.int32) or len(order) != one.tensor.shape[0]:
        return False
    return bool((order.diff() < 0).sum() > 1)


class Rows:
    """One input of a step, whose examples are replaced along one axis."""

    def __init__(self, step: Step, one: Input, axis: int) -> None:
        self.step, self.one, self.axis = step, one, axis
        self.size = one.tensor.shape[axis]
        self.rows = sorted({round(k * (self.size - 1) / (TESTED - 1)) for k in range(TESTED)})
        self.twin = step.twin()
        self.twin.evaluating = True
        self.outputs: list[int] = []
        self.base = self.run(None)
        self.single = {i: self.run(self.replaced(i)) for i in self.rows}
        self.others = {i: self.run(self.replaced(i, others=True)) for i in self.rows}

    def replaced(self, i: int, others: bool = False) -> torch.Tensor:
        """The input with example `i` replaced by its neighbour, or every example but `i`."""
        tensor = self.one.tensor
        if others:
            made = tensor.roll(1, self.axis)
            made.select(self.axis, i).copy_(tensor.select(self.axis, i))
            return made
        made = tensor.clone()
        own = tensor.select(self.axis, i)
        donors = (tensor.select(self.axis, (i + k) % self.size) for k in range(1, self.size))
        made.select(self.axis, i).copy_(next((d for d in donors if not d.equal(own)), own))
        return made

    def run(self, tensor: torch.Tensor | None) -> list[torch.Tensor | None]:
        """The outputs that have one part per example, with the input as it was or replaced by `tensor`."""
        env = self.twin.run({} if tensor is None else {self.one.number: tensor})
        if tensor is None:
            self.outputs = [n for op in self.step.tape.modules() for n in op.outputs if self._per_example(env[n])]
        return [None if n not in env else env[n].detach() for n in self.outputs]

    def _per_example(self, value: torch.Tensor) -> bool:
        shape = list(value.shape)
        long = [k for k in shape if k and k % self.size == 0]
        return value.is_floating_point() and len(long) >= 1 and shape.count(self.size) < 2

    def changed(self, after: list[torch.Tensor | None]) -> list[torch.Tensor]:
        """For each output which of its elements differ from those of the batch as it was."""
        return [_changed(a, b) for a, b in zip(self.base, after, strict=True)]

    def influential(self) -> bool:
        """Whether replacing an example changes anything."""
        return any(bool(m.any()) for i in self.rows for m in self.changed(self.single[i]))

    def mixes(self) -> bool:
        """Whether an element of an output depends on one example and on others, too."""
        return any(
            bool((a & b).any())
            for i in self.rows
            for a, b in zip(self.changed(self.single[i]), self.changed(self.others[i]), strict=True)
        )

    def is_batch_axis(self) -> bool:
        """Whether this axis behaves like one of independent examples, each of which matters."""
        return not self.mixes() and all(any(bool(m.any()) for m in self.changed(self.single[i])) for i in self.rows)

    def by_place(self) -> bool:
        """Whether outputs depend on the place that an example has in the batch: those of a batch in another order differ.

        Not judged where the rows may be no examples, where other inputs have one row for each, or where chance takes part.
        """
        later = [s.inputs for s in self.step.each()[1:]]
        fixed = not later or all(any(equal(i.tensor, self.one.tensor) for i in seen) for seen in later)
        last = max(op.index for op in self.step.tape.modules())
        others = (i for i in self.step.consumed if i.number != self.one.number and i.op.index <= last)
        beside = [i for i in others if self.size in i.tensor.shape]
        if self.axis != 0 or fixed or beside or any(_relates(i.tensor, self.size) for i in self.step.inputs):
            return False
        torch.manual_seed(0)
        again = [None if n not in (env := self.twin.run(rng=False)) else env[n].detach() for n in self.outputs]
        if any(bool(_changed(a, b).any()) for a, b in zip(self.base, again, strict=True)):
            return False
        order = torch.arange(self.size, device=self.one.tensor.device).roll(1)
        after = self.run(self.one.tensor.index_select(0, order))
        return any(self._misplaced(a, b, order) for a, b in zip(self.base, after, strict=True) if a is not None)

    def first_by_place(self) -> Place | None:
        """The line of the first operation whose result depends on the place that an example has in the batch."""
        order = torch.arange(self.size, device=self.one.tensor.device).roll(1)
        moved = self._watched(self.one.tensor.index_select(0, order))
        for before, after in zip(self._watched(None), moved, strict=False):
            if before.name != after.name:
                return None
            if any(self._misplaced(a, b, order) for a, b in zip(before.outputs, after.outputs, strict=False)):
                return before.place
        return None

    def _misplaced(self, a: torch.Tensor, b: torch.Tensor | None, order: torch.Tensor) -> bool:
        """Whether most rows of a result are others once the examples came in another order: `b` is no reordered `a`."""
        if b is None or not a.ndim or a.shape[0] != self.size or a.shape != b.shape:
            return False
        return float(_changed(a[order.to(a.device)], b).reshape(self.size, -1).any(1).double().mean()) > MOST

    def evidence(self, sure: bool, other_axis: bool, flat: bool) -> Evidence:
        """What tells mixing by mistake from sets, graphs and sequences, with the place where it begins."""
        mixing = self._where()
        chart, reach = self.chart()
        integer = not self.one.tensor.is_floating_point()
        later = [s.inputs for s in self.step.each()[1:]]
        fixed = bool(later) and all(any(equal(i.tensor, self.one.tensor) for i in seen) for seen in later)
        return Evidence(
            {
                "mixes": True,
                "operation": mixing[0].name if mixing else "an operation",
                "examples": self.size,
                "axis": self.axis,
                "reach": reach,
                "sure": sure,
                "other_axis": other_axis,
                "flat": flat,
                "fixed": fixed and not sure,
                "relations": any(_relates(i.tensor, self.size) for i in self.step.inputs if i is not self.one),
                "set_like": flat and not integer and self._equivariant(),
                "chart": chart,
            },
            place=(mixing[1] if mixing else None) or self.step.place,
        )

    def _where(self) -> tuple[Seen, Place | None] | None:
        """The first operation whose result mixes examples, and the line to point at."""
        i = self._mixed_row()
        runs = [self._watched(t) for t in (None, self.replaced(i), self.replaced(i, others=True))]
        made: dict[int, Seen] = {}
        for ops in zip(*runs, strict=False):
            if len({op.name for op in ops}) > 1:
                return None
            for a, b, c in zip(*(op.outputs for op in ops), strict=False):
                if bool((_changed(a, b) & _changed(a, c)).any()):
                    return ops[0], _layout(ops[0], made)
            made.update((id(t), ops[0]) for t in ops[0].outputs)
        return None

    def _mixed_row(self) -> int:
        return next(
            i
            for i in self.rows
            if any(bool((a & b).any()) for a, b in zip(self.changed(self.single[i]), self.changed(self.others[i]), strict=True))
        )

    def _watched(self, tensor: torch.Tensor | None) -> list[Seen]:
        seen: list[Seen] = []
        run_watched(self.step, self.twin, seen.append, overrides={} if tensor is None else {self.one.number: tensor})
        return [op for op in seen if op.inside]

    def chart(self) -> tuple[list[list[float]], float]:
        """How much each output changes with each example (rows: outputs), and how many outputs one example changes."""
        drawn = min(self.size, DRAWN)
        columns, reach = [], []
        for i in range(drawn):
            after = self.run(self.replaced(i))
            pairs = [(a, b) for a, b in zip(self.base, after, strict=True) if a is not None and _fits(a, b)]
            if not pairs:
                return [], 0.0
            a, b = pairs[-1]
            assert b is not None
            axis = next(k for k, n in enumerate(a.shape) if n % self.size == 0)
            change = (b - a).abs().movedim(axis, 0).reshape(self.size, -1).amax(1).double()
            change = change / change.max().clamp(min=1e-30)
            reach.append(int((change > FAINT).sum()))
            columns.append([round(float(v), 4) for v in change[:drawn]])
        return [list(row) for row in zip(*columns, strict=True)], sum(reach) / len(reach)

    def _equivariant(self) -> bool:
        order = torch.arange(self.size, device=self.one.tensor.device).roll(1)
        after = self.run(self.one.tensor.index_select(self.axis, order))
        pairs = [(a, b) for a, b in zip(self.base, after, strict=True) if a is not None and _fits(a, b)]
        return bool(pairs) and all(
            a.shape[0] == self.size and torch.allclose(a[order.to(a.device)], b, rtol=1e-4, atol=1e-5 * float(a.abs().max()))
            for a, b in pairs
            if b is not None
        )


def _fits(a: torch.Tensor, b: torch.Tensor | None) -> bool:
    return b is not None and a.shape == b.shape


def _changed(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor:
    """Which elements changed noticeably."""
    if a is None or b is None or a.shape != b.shape or a.is_sparse or not a.is_floating_point():
        device = next((t.device for t in (a, b) if t is not None), None)
        return torch.zeros(1 if a is None or a.is_sparse else a.shape, dtype=torch.bool, device=device)
    change = (a.double() - b.double()).abs().nan_to_num(0.0)
    scale = float(a.double().abs().nan_to_num(0.0).max()) if a.numel() else 0.0
    most = float(change.max()) if change.numel() else 0.0
    return change > max(FAINT * most, 1e-6 * scale)


def _relates(tensor: torch.Tensor, size: int) -> bool:
    """Whether a tensor looks like relations between rows: an adjacency matrix or a list of edges."""
    if tensor.is_sparse or tensor.layout.__str__() != "torch.strided":
        return True
    edges = tensor.ndim == 2 and tensor.shape[0] == 2 and not tensor.is_floating_point()
    return edges or (tensor.ndim == 2 and tuple(tensor.shape) == (size, size))


def _layout(op: Seen, made: dict[int, Seen]) -> Place | None:
    """The line of the last reshape before the operation that mixes, where there is one; else the operation's own."""
    inputs = [t for t in op.inputs if not (t.is_leaf and t.requires_grad)]
    before = next((made[id(t)] for t in inputs if id(t) in made), None)
    return before.place if before is not None and before.name in RESHAPING else op.place
