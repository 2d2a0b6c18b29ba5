"""How values flow through a step: every operation as a twin executes it, what made each value and what takes it.

The tensors stay alive as long as the `Flow`, so that they can be told apart by identity and looked at.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from trainrecipe.capture.watch import Seen, run_watched
from trainrecipe.subjects.layers import WEIGHTED

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step


KEPT = 32 * 2**20
"""Bytes of results up to which an execution is kept with its step, so that checks share it."""


class _Enough(BaseException):
    """Ends a run on the twin early; no program catches it by accident."""


class Flow:
    """One execution of a step on a twin. Raises what a replay raises; ask `distrust` first.

    `ops` are the executed operations in order, `data` the identities of all values that depend on what the step consumes
    (batch, targets, masks), `env` the step's top-level values by number.
    """

    def __init__(
        self,
        step: Step,
        *,
        evaluating: bool = False,
        overrides: Mapping[int, torch.Tensor] | None = None,
        until: Iterable[int] | None = None,
    ) -> None:
        self.step = step
        self.ops: list[Seen] = []
        self.made: dict[int, list[Seen]] = {}
        self.takers: dict[int, list[Seen]] = {}
        self.twin = step.twin()
        self.twin.evaluating = evaluating
        given = {i.number: i.tensor.detach().clone() for i in step.consumed if i.tensor.numel() > 1}
        given |= overrides or {}
        self.data = {id(t) for t in given.values()}
        self.env = run_watched(step, self.twin, self._look, overrides=given, until=until)

    @classmethod
    def of(cls, step: Step, *, evaluating: bool = False) -> Flow:
        """The step as it was recorded, executed once for all checks unless that takes much memory. Do not change its values."""
        kept: dict[bool, Flow] = step.tape.flows
        flow = kept.get(evaluating) or cls(step, evaluating=evaluating)
        if flow.weight <= KEPT:
            kept[evaluating] = flow
        return flow

    @property
    def weight(self) -> int:
        """Bytes of the working weights and of what the operations gave; views count as much as what they show."""
        held = {id(t): t for t in (*(w for _, w in self.twin.leaves), *(t for op in self.ops for t in op.outputs))}
        return sum(t.numel() * t.element_size() for t in held.values())

    def _look(self, seen: Seen) -> None:
        self.ops.append(seen)
        depends = any(id(t) in self.data for t in seen.inputs)
        for t in seen.outputs:
            self.made.setdefault(id(t), []).append(seen)
            if depends:
                self.data.add(id(t))
        for number in {id(t) for t in seen.inputs}:
            self.takers.setdefault(number, []).append(seen)

    @functools.cached_property
    def reaching(self) -> set[int]:
        """Positions in `ops` of the operations that the loss depends on."""
        wanted = {id(self.env[n]) for n in self.step.tape.roots if n in self.env} or {id(t) for t in self.ops[-1].outputs}
        found = set()
        for op in reversed(self.ops):
            if any(id(t) in wanted for t in op.outputs):
                found.add(op.index)
                wanted.update(id(t) for t in op.inputs)
        return found

    def maker(self, tensor: torch.Tensor, before: Seen) -> Seen | None:
        """The last operation before `before` that made, or wrote to, a tensor; None when it came from outside."""
        earlier = [op for op in self.made.get(id(tensor), ()) if op.index < before.index]
        return earlier[-1] if earlier else None

    def users(self, tensor: torch.Tensor, after: Seen) -> list[Seen]:
        """The operations that take a tensor as `after` left it, and that the loss depends on.

        A dropout in evaluation mode hands its operand on, and what works in place writes to it: the tensor is theirs then.
        """
        end = min((op.index for op in self.made.get(id(tensor), ()) if op.index > after.index), default=len(self.ops))
        takers = self.takers.get(id(tensor), ())
        return [op for op in takers if after.index < op.index <= end and op.index in self.reaching]

    def data_in(self, op: Seen) -> list[torch.Tensor]:
        """The operands that depend on data, each as often as it is given."""
        return [t for t in op.inputs if id(t) in self.data]

    def weight_in(self, op: Seen) -> torch.Tensor | None:
        """The trained weight that an operation multiplies its one data operand with; None for other operations."""
        if op.name not in WEIGHTED or not op.grad or len(self.data_in(op)) != 1:
            return None
        weights = [t for t in op.inputs if t.requires_grad and id(t) not in self.data and t.ndim >= 2]
        return weights[0] if weights else None

    def back(self, tensor: torch.Tensor, before: Seen) -> Iterator[Seen]:
        """The operations that made a tensor, last first, as long as each has a single operand that depends on data."""
        while (op := self.maker(tensor, before)) is not None:
            yield op
            data = self.data_in(op)
            if len(data) != 1:
                return
            tensor, before = data[0], op

    def cone(self, op: Seen) -> list[Seen]:
        """The operations that what an operation takes came out of, each once, latest first."""
        wanted = {id(t) for t in op.inputs}
        found = []
        for earlier in reversed(self.ops[: op.index]):
            if any(id(t) in wanted for t in earlier.outputs):
                found.append(earlier)
                wanted.update(id(t) for t in earlier.inputs)
        return found

    def rerun(self, changes: dict[int, torch.Tensor], until: Seen) -> list[torch.Tensor] | None:
        """The results of `until` when results of some operations, by position, are replaced; None where that differs."""
        found: list[list[torch.Tensor]] = []

        def see(seen: Seen) -> torch.Tensor | None:
            if seen.index == until.index:
                found.append(list(seen.outputs) if seen.name == until.name else [])
                raise _Enough
            new = changes.get(seen.index)
            if new is not None and (not seen.outputs or seen.outputs[0].shape != new.shape):
                raise _Enough  # this run takes another way
            return new

        twin = self.step.twin()
        twin.evaluating = self.twin.evaluating
        with contextlib.suppress(_Enough):
            run_watched(self.step, twin, see)
        return found[0] if found and found[0] else None
