"""What successive steps were fed: their targets in order, which part of a loader's batch is the target, carried state.

Only steps that are recorded anyway are looked at, and of each only the target of its loss, if it is one number per
example.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from trainrecipe.capture import hashing
from trainrecipe.capture.recorder import Recorder
from trainrecipe.capture.tape import LOSSES, Op, Tape
from trainrecipe.capture.where import Spot
from trainrecipe.subjects.names import JOINING, RESHAPING

STEPS = 256
"""Steps of which the targets are kept."""
ROWS = 128
"""Targets kept of one step."""
_DEPTH = 12


@dataclasses.dataclass(slots=True)
class Fed:
    """One recorded step: the targets of its loss and a hash of the tensors that went into its model."""

    targets: list[float]
    inputs: int


class Stream:
    """Fills while the script runs. `steps` holds the fed targets per line of the backward call."""

    def __init__(self) -> None:
        self.steps: dict[Spot | None, list[Fed]] = {}
        self.places: dict[Spot | None, Spot | None] = {}
        self.series: dict[Spot | None, bool] = {}
        self.carries_state = False

    def note(self, recorder: Recorder, tape: Tape, boundary: int, *, keep: bool) -> int | None:
        """Look at a step that was just cut, with the operations before `boundary` belonging to earlier steps.

        Keeps its targets if told to `keep`. Returns which tensor of the loader's batch the target came from, if any.
        """
        if not self.carries_state:
            self.carries_state = hands_state_on(recorder, tape, boundary)
        found = target_of(tape)
        if found is None:
            return None
        op, number, tensor = found
        kept = self.steps.setdefault(tape.at, [])
        if keep and len(kept) < STEPS and (targets := hashing.column(tensor, ROWS)):
            given = inputs_of(tape)
            kept.append(Fed(targets, hashing.batch_hash([*given, tensor])))
            self.places.setdefault(tape.at, op.at)
            if len(kept) == 1:
                self.series[tape.at] = any(is_series(t) for t in given)
        return source_of(recorder, number)

    def longest(self) -> tuple[list[list[float]], Spot | None, bool]:
        """The targets of the first round over the data, where they are used, whether the inputs are a time series."""
        if not self.steps:
            return [], None, False
        at = max(self.steps, key=lambda a: len(self.steps[a]))
        targets, seen = [], set()
        for fed in self.steps[at]:
            if fed.inputs in seen:
                break
            seen.add(fed.inputs)
            targets.append(fed.targets)
        return targets, self.places.get(at), self.series.get(at, False)


def target_of(tape: Tape) -> tuple[Op, int, torch.Tensor] | None:
    """The operation that takes the step's target, the target's number and its value.

    That is the second tensor of a loss function of PyTorch's, else the last constant with one number per example that
    meets the model's results, from outside or picked out of what is.
    """
    chosen = {op.index for op in tape.ops}
    for op in tape.history:
        if op.name in LOSSES and len(op.kept) > 1 and len(op.inputs) > 1 and tape.outermost(op).index in chosen:
            return op, op.inputs[1], op.kept[1]
    found = None
    for op in tape.ops:
        if op.kind == "module" or any(_is_leaf(tape, n) for n in op.inputs):
            continue
        for number in op.inputs:
            value = tape.values.get(number)
            if value is not None and value.constant is not None and _is_column(value.shape) and _is_given(tape, number):
                found = op, number, value.constant
    return found


def _is_given(tape: Tape, number: int) -> bool:
    """Whether a value is from outside, or nothing but picked out of such a one, moved or converted."""
    first = tape.history[0].index if tape.history else 0
    for _ in range(_DEPTH):
        value = tape.values.get(number)
        if value is None or value.outer is None:
            return value is not None
        if not first <= value.outer < first + len(tape.history):
            return False
        op = tape.history[value.outer - first]
        if op.name not in RESHAPING - JOINING or not op.inputs:
            return False
        number = op.inputs[0]
    return False


def _is_column(shape: tuple[int, ...]) -> bool:
    return len(shape) in (1, 2) and shape[0] > 1 and shape[1:] in ((), (1,))


def inputs_of(tape: Tape) -> list[torch.Tensor]:
    """The constants that go into the step's modules, or meet its parameters."""
    numbers: dict[int, None] = {}
    for op in tape.ops:
        if op.kind == "module" or any(_is_leaf(tape, n) for n in op.inputs):
            numbers.update(dict.fromkeys(op.inputs))
    values = [tape.values[n] for n in numbers if n in tape.values]
    return [v.constant for v in values if v.constant is not None and v.parameter is None]


def source_of(recorder: Recorder, number: int) -> int | None:
    """Which tensor of a loader's batch a value without gradient was computed from; None when it was not."""
    for n in _ancestors(recorder, number):
        source = recorder.values[n].source
        if source.startswith("batch["):
            return int(source[6:-1])
    return None


def hands_state_on(recorder: Recorder, tape: Tape, boundary: int) -> bool:
    """Whether a model's input was computed from what an earlier step made with parameters, such as a hidden state."""
    if boundary <= 0:
        return False
    chosen = {op.index for op in tape.ops}
    ops, values = recorder.ops, recorder.values
    for op in ops[max(boundary, recorder.first_kept) :]:
        if (op.kind != "module" and op.parent is None) or _top_index(recorder, op) not in chosen:
            continue
        for number in op.inputs:
            producer = values[number].producer
            if producer is not None and producer < op.index and _is_old(recorder, number, boundary):
                return True
    return False


def _is_old(recorder: Recorder, number: int, boundary: int) -> bool:
    """Whether a value goes back to one with a gradient that an operation before `boundary` made."""
    for n in _ancestors(recorder, number, through_gradients=False):
        value = recorder.values[n]
        if value.requires_grad and value.producer is not None and value.producer < boundary:
            return True
    return False


def _ancestors(recorder: Recorder, number: int, through_gradients: bool = True) -> Iterator[int]:
    """A value and the values it was computed from, nearest first, a dozen operations back."""
    work, seen = [(number, 0)], {number}
    while work:
        n, depth = work.pop(0)
        yield n
        value = recorder.values[n]
        if value.producer is None or depth >= _DEPTH or (value.requires_grad and not through_gradients):
            continue
        for m in recorder.ops[value.producer].inputs:
            if m not in seen:
                seen.add(m)
                work.append((m, depth + 1))


def is_series(tensor: torch.Tensor, rows: int = 6) -> bool:
    """Whether successive rows overlap: each is the one before it, moved on by the same number of places."""
    if tensor.ndim < 2 or tensor.shape[0] < 3 or tensor.shape[1] < 3 or tensor.layout != torch.strided:
        return False
    x = tensor.detach()[:rows]
    for axis in (1, 2) if x.ndim > 2 else (1,):
        y = x.movedim(axis, 1)
        length = y.shape[1]
        for shift in range(1, max(2, length // 2 + 1)):
            if length - shift < 2:
                break
            if torch.equal(y[1:, : length - shift], y[:-1, shift:]):
                return bool((y[1:] != y[:-1]).any())
    return False


def _top_index(recorder: Recorder, op: Op) -> int:
    while op.parent is not None:
        op = recorder.ops[op.parent]
    return op.index


def _is_leaf(tape: Tape, number: int) -> bool:
    value = tape.values.get(number)
    return value is not None and value.parameter is not None
