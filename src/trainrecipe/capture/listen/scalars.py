"""Follows scalars that depend on parameters, such as losses: which of them are part of a backward, and which never are."""

from __future__ import annotations

import dataclasses
from typing import Any

from trainrecipe.capture.listen.ear import guarded
from trainrecipe.capture.tape import ESCAPES, LOSSES, Tape
from trainrecipe.capture.where import Spot, place
from trainrecipe.subjects.gradients import Scalar

_PATIENCE = 3
"""Optimiser steps after which a scalar that has not been part of a backward is taken never to be."""
_LINES = 200
_JOINING = frozenset({"add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "truediv", "div", "itruediv"})
_PASSING = frozenset({"neg", "float", "to", "double", "squeeze", "view", "reshape", "clone", "mean", "sum", "stack"})


@dataclasses.dataclass(slots=True)
class _Made:
    """A scalar with a graph: the line and the name of the operation, the scalars that it was put together from."""

    at: Spot | None
    name: str
    step: int
    terms: tuple[int, ...]
    joined: bool = False
    read: bool = False
    used: bool = False


class Scalars:
    """Told by the listener when a backward or a step is over; fills `Run.scalars`, one record per line and operation."""

    def __init__(self, listener: Any) -> None:
        self.listener = listener
        self.run = listener.run
        self.recorder = listener.recorder
        self._made: dict[int, _Made] = {}
        self._reached: set[int] = set()
        self._next = 0
        self._records: dict[tuple[Spot | None, str], Scalar] = {}

    def note_trouble(self, where: str, error: BaseException) -> None:
        """Keep an error of ours."""
        self.listener.note_trouble(where, error)

    @guarded
    def backward(self, tape: Tape | None) -> None:
        """A backward was called: what its loss depends on counts. Without a tape nothing can be told of this step."""
        if tape is None:
            self.forget()
            return
        self._reached.update(tape.roots)
        for op in tape.ops:
            self._reached.update(op.outputs)

    @guarded
    def gradient(self, roots: list[Any]) -> None:
        """Gradients of these tensors were taken without a tape: everything behind them counts."""
        work = [n for t in roots if (n := self.recorder._known.get(id(t))) is not None]
        while work:
            number = work.pop()
            if number in self._reached:
                continue
            self._reached.add(number)
            outer = self.recorder.values[number].outer
            work += self.recorder.ops[outer].inputs if outer is not None else ()

    def forget(self) -> None:
        """Start afresh: the recording was interrupted, or something was not recorded."""
        self._made.clear()
        self._reached.clear()
        self._next = len(self.recorder.ops)

    @guarded
    def step(self) -> None:
        """An optimiser has stepped: note new scalars, and settle those that have waited long enough."""
        ops = self.recorder.ops
        if self._next > len(ops):
            self.forget()
        for op in ops[self._next :]:
            if op.parent is None and op.kind == "function":
                self._note(op)
        self._next = len(ops)
        now = self.run.steps
        due = [n for n, made in self._made.items() if now - made.step >= _PATIENCE]
        for number in due:
            self._settle(number, self._made[number])
        for number in due:
            if now - self._made[number].step >= 2 * _PATIENCE:
                del self._made[number]
                self._reached.discard(number)

    def _note(self, op: Any) -> None:
        bare = op.name.strip("_") if op.name.startswith("__") else op.name
        terms = tuple(n for n in dict.fromkeys(op.inputs) if n in self._made)
        if op.name in ESCAPES or bare in ("detach", "data.get"):
            for number in terms:
                self._made[number].read = True
            return
        if len(op.outputs) != 1 or not op.grad:
            return
        value = self.recorder.values[op.outputs[0]]
        if value.shape not in ((), (1,)) or not value.requires_grad or value.parameter is not None:
            return
        follows = bare in _JOINING or bare in _PASSING
        for number in terms:
            self._made[number].joined = True
        own = terms if follows else ()
        self._made[op.outputs[0]] = _Made(op.at, op.name, self.run.steps, own)

    def _settle(self, number: int, made: _Made) -> None:
        """Count a scalar of which it is certain whether it is part of a backward."""
        if made.used:
            return
        made.used = True
        lost = number not in self._reached
        if lost and made.joined:
            return  # what it went into is judged
        record = self._records.get((made.at, made.name))
        if record is None:
            if len(self.run.scalars) >= _LINES:
                return
            record = self._records[made.at, made.name] = Scalar(place(made.at), made.name)
            self.run.scalars.append(record)
        record.made += 1
        if not lost:
            return
        terms = self._last_terms(number)
        missing = [n for n in terms if n not in self._reached]
        record.lost += 1
        record.read += made.read
        record.loss = made.name in LOSSES
        if missing and len(missing) < len(terms):
            record.part += 1
            record.missing = list(dict.fromkeys(str(p) for n in missing if (p := place(self._made[n].at)) is not None))[:3]

    def _last_terms(self, number: int) -> list[int]:
        """The scalars that one was put together from and that are not put together themselves."""
        seen: set[int] = set()
        work, found = [number], []
        while work:
            n = work.pop()
            if n in seen or n not in self._made:
                continue
            seen.add(n)
            work += self._made[n].terms
            if not self._made[n].terms:
                found.append(n)
        return found
