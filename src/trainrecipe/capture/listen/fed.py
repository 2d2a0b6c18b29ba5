"""Keeps what models are fed: inputs with their targets, batch by batch, and the arrays that the script holds meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import numpy as np
import torch

from trainrecipe.capture import hashing
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.listen.stream import target_of
from trainrecipe.capture.tape import LOSSES, Op, Tape
from trainrecipe.capture.tensors import equal, size_of, tensors_in
from trainrecipe.capture.where import Spot, is_user_file, place
from trainrecipe.finding import Place
from trainrecipe.subjects.fed import Batch, Held
from trainrecipe.subjects.moves import MOVES, TURNS, is_labels, is_lopsided, shows
from trainrecipe.subjects.names import RESHAPING

_BYTES = 32 * 2**20
"""Bytes kept of training batches, and as many of evaluation batches."""
_BATCHES = 256
"""Batches kept of each."""
_FRAMES = 60
_ARRAYS = 200
_ROWS = 32
"""Rows from which an array of the script's may be a set of examples."""
_LOOK_BACK = 64


class Fed(Ear):
    """What the program's models were fed, in steps that are looked at in detail.

    `training` are batches that a backward followed, `evaluation` calls without gradients or in evaluation mode, with the
    record of the call (which tells whether a backward followed after all); `arrays` what the user's frames held at the
    first step of a rehearsal.
    """

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.training: list[Batch] = []
        self.evaluation: list[tuple[Batch, Any]] = []
        self.arrays: list[Held] = []
        self._room = {True: _BYTES, False: _BYTES}
        self._given: list[list[int]] = []
        self._labels: list[list[float]] = []
        self._open: tuple[Batch, int] | None = None
        self._told = 0

    def install(self, put: Put) -> None:
        """Nothing to replace: others tell."""

    def held(self) -> Iterator[torch.Tensor]:
        """Every tensor that is kept."""
        for batch in (*self.training, *(b for b, _ in self.evaluation)):
            yield from batch.inputs
            yield from [] if batch.target is None else [batch.target]

    def release(self) -> None:
        """Let go of everything, for good."""
        self.training.clear()
        self.evaluation.clear()
        self.arrays.clear()
        self._room = {True: 0, False: 0}

    # ---- what others tell

    def batch(self, given: list[torch.Tensor], labels: list[list[float]]) -> None:
        """A loader gave a batch; its rows are remembered until the next one."""
        self._given = [hashing.row_hashes(t) for t in given[:8]]
        self._labels = labels

    @guarded
    def train(self, tape: Tape) -> None:
        """A backward follows: keep the constants of the step's first model call, and the target of its loss."""
        self.settle()
        if not self.training and self.listener.detail_always:
            self.arrays = list(_arrays())[:_ARRAYS]
        since, self._told = self._told, max((op.index + 1 for op in tape.ops), default=self._told)
        module, inputs, at = _fed(tape, since)  # graphs that are retained reach back to batches that were told before
        if not inputs:
            module, inputs, at = _fed(tape, 0)
        found = target_of(tape)
        target = found[2] if found is not None and _is_plain(found[2]) else None
        inputs = [t for t in inputs if target is None or not equal(t, target)]
        if not inputs or not self._fits(True, inputs, target):
            return
        batch = self._new(module, inputs, target, True, at)
        if found is not None and found[0].name in LOSSES:
            op = found[0]
            batch.loss, batch.outputs = op.name, tuple(op.kept[0].shape)
            batch.settings = {k: v for k, v in (op.kwargs or {}).items() if isinstance(v, int | float | str | bool)}
        batch.moved = self._moved(batch)
        batch.turned, batch.turned_at = self._turned(batch, tape)
        self.training.append(batch)

    @guarded
    def evaluate(self, forward: Any, module: Any, args: Any, kwargs: Any, at: Spot | None) -> None:
        """A model is called without gradients, or in evaluation mode: keep its arguments and the labels beside them."""
        with self.recorder.pause(), torch.no_grad():
            self.settle()
            inputs = [t for t in tensors_in((args, kwargs)) if t.ndim and _is_plain(t)]
            if not inputs or not self._fits(False, inputs, None):
                return
            copies = [t.detach().clone() for t in inputs]
        batch = self._new(getattr(module, "_orig_mod", module), copies, None, False, at)
        self.evaluation.append((batch, forward))
        self._open = batch, len(self.recorder.ops)

    @guarded
    def settle(self) -> None:
        """Find the labels that the predictions of the last evaluated batch were compared with."""
        opened, self._open = self._open, None
        if opened is None:
            return
        batch, start = opened
        ops = self.recorder.ops[max(start, self.recorder.first_kept) : start + _LOOK_BACK]
        batch.target = next((t for op in ops if (t := self._compared(op, batch.rows)) is not None), None)

    def _compared(self, op: Op, rows: int) -> torch.Tensor | None:
        if op.name in LOSSES and len(op.kept) > 1:
            return op.kept[1] if op.kept[1].ndim and op.kept[1].shape[0] == rows and _is_plain(op.kept[1]) else None
        if op.name not in ("eq", "ne", "__eq__", "__ne__") or len(op.inputs) != 2:
            return None
        for number in reversed(op.inputs):
            value = self.recorder.values[number]
            column = value.shape[:1] == (rows,) and value.shape[1:] in ((), (1,))
            if column and value.constant is not None and self._given_from_outside(number):
                return value.constant
        return None

    def _given_from_outside(self, number: int) -> bool:
        """Whether a value was not computed by a recorded operation, other than by moving or converting it."""
        for _ in range(8):
            producer = self.recorder.values[number].producer
            if producer is None:
                return True
            op = self.recorder.ops[producer]
            if op.name not in RESHAPING or not op.inputs:
                return False
            number = op.inputs[0]
        return False

    # ---- what is kept of it

    def _fits(self, trains: bool, inputs: list[torch.Tensor], target: torch.Tensor | None) -> bool:
        kept = len(self.training) if trains else len(self.evaluation)
        size = sum(map(size_of, inputs)) + (0 if target is None else size_of(target))
        if kept >= _BATCHES or size > self._room[trains]:
            return False
        self._room[trains] -= size
        return True

    def _new(self, module: Any, inputs: list[torch.Tensor], target: Any, trains: bool, at: Spot | None) -> Batch:
        current = self.listener.loaders.open
        number, count = (current.number, current.batches - 1) if current is not None else (None, 0)
        return Batch(id(module), type(module).__name__, inputs, target, trains, number, count, place(at), self.run.steps)

    def _moved(self, batch: Batch) -> float:
        """The share of rows of the first input that the loader gave at another place, if the labels stayed in place."""
        fed = hashing.row_hashes(batch.inputs[0])
        labels = batch.labels()
        given = next((g for g in self._given if fed and sorted(g) == sorted(fed)), [])
        if not given or not labels or len(set(given)) < 0.9 * len(given) or labels not in self._labels:
            return 0.0
        apart = [a != b for a, b in zip(fed, given, strict=True)]
        return sum(apart) / len(apart)

    def _turned(self, batch: Batch, tape: Tape) -> tuple[str, Place | None]:
        """How rows of the input were turned since the loader gave them, and where, if the maps of labels beside them were not
        turned alike; `batch.apart` tells that these were turned in another way.

        Predictions that are turned back before they meet the labels are healthy.
        """
        images, maps = batch.inputs[0], batch.target
        if images.ndim != 4 or maps is None or maps.shape[-2:] != images.shape[-2:] or maps.shape[0] != images.shape[0]:
            return "", None
        kept, now = hashing.row_hashes(maps), hashing.row_hashes(images)
        if not is_labels(maps) or (kept in self._given and now in self._given):
            return "", None
        turns = [op for op in tape.history if op.name in TURNS]
        if any(tape.values[n].requires_grad for op in turns for n in op.inputs):
            return "", None
        ways = [self._ways(images, now), self._ways(maps, kept)]
        for i, (one, other) in enumerate(zip(*ways, strict=True)):
            if not one or not other or one & other or shows(maps[i], images[i]):
                continue
            how, labels = min(one), min(other)
            if all(not w or is_lopsided(maps[i], MOVES[w](maps[i])) for w in (how, labels)):
                batch.apart = bool(labels)
                return how or "left as they are", place(turns[-1].at) if turns else batch.place
        return "", None

    def _ways(self, tensor: torch.Tensor, now: list[int]) -> list[set[str]]:
        """In which ways each row may have been turned since the loader gave it: empty text for none."""
        found: list[set[str]] = [set() for _ in now]
        for how, move in {"": torch.clone, **MOVES}.items():
            back = now if not how else hashing.row_hashes(move(tensor).contiguous())
            for given in self._given:
                for ways, mine, theirs in zip(found, back, given, strict=False):
                    if mine == theirs:
                        ways.add(how)
        return found


def _fed(tape: Tape, since: int) -> tuple[Any, list[torch.Tensor], Spot | None]:
    """The first module call of a step that takes constants, or the operations where constants meet parameters; of the
    operations from number `since` on."""
    leaves = {n for n, v in tape.values.items() if v.parameter is not None}
    loose: dict[int, torch.Tensor] = {}
    at = None
    for op in (op for op in tape.ops if op.index >= since):
        direct = op.kind == "module" or any(n in leaves for n in op.inputs)
        for number in op.inputs if direct else ():
            value = tape.values.get(number)
            if value is not None and value.constant is not None and value.parameter is None and value.constant.ndim:
                loose[number], at = value.constant, at or op.at
        if op.kind == "module" and loose:
            return op.call, _strided(loose), at
    return None, _strided(loose), at


def _strided(found: dict[int, torch.Tensor]) -> list[torch.Tensor]:
    return [t for t in found.values() if _is_plain(t)]


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_complex() and not tensor.is_meta and not tensor.is_quantized


# ---- arrays in the user's frames


def _arrays() -> Iterator[Held]:
    """The arrays that names in the user's frames stand for, with many rows; each once."""
    seen: set[int] = set()
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_FRAMES):
        if frame is None:
            return
        if is_user_file(frame.f_code.co_filename):
            here = place((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
            for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
                if not name.startswith("__"):
                    yield from (Held(n, a, here) for n, a in _inside(name, value, seen, 2))
        frame = frame.f_back


def _inside(name: str, value: Any, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if id(value) in seen or isinstance(value, type):
        return
    seen.add(id(value))
    if _is_table(value):
        yield name, value
    elif depth and not isinstance(value, torch.nn.Module | torch.optim.Optimizer | torch.Tensor | np.ndarray):
        for key, child in _children(value):
            yield from _inside(f"{name}.{key}", child, seen, depth - 1)


def _is_table(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(value.ndim) and value.shape[0] >= _ROWS and not value.requires_grad and value.layout == torch.strided
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iufbUSO" and bool(value.ndim) and value.shape[0] >= _ROWS
    if isinstance(value, list):  # of names or numbers of the examples, as of the persons they come from
        return len(value) >= _ROWS and isinstance(value[0], int | str)
    return type(value).__name__ in ("DataFrame", "Series") and hasattr(value, "to_numpy") and len(value) >= _ROWS


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(str(k), v) for k, v in list(value.items())[:40]]
    if isinstance(value, tuple | list):
        return [(str(i), v) for i, v in enumerate(value)] if len(value) <= 8 else []
    held = getattr(value, "__dict__", None)
    own = held is not None and not callable(value) and not type(value).__name__.startswith("module")
    return list(held.items())[:60] if own and held is not None else []
