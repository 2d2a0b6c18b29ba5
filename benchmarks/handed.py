"""A script run up to its first backward, and the step that led there handed over as plain PyTorch objects."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainrecipe.capture import subjects
from trainrecipe.capture.launch import Order
from trainrecipe.capture.replay import Twin
from trainrecipe.capture.session import Session
from trainrecipe.capture.tape import Tape
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.subjects.step import LossCall, Step

Factory = Callable[[], nn.Module]


class Notes:
    """Where a process that looks at a script leaves what it finds, at once, so that it survives a time limit."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)

    def ran(self, *alarms: str) -> None:
        for alarm in alarms or ("",):
            self._file.write(json.dumps({"alarm": alarm}) + "\n")

    def cannot(self, why: object) -> None:
        text = f"{type(why).__name__}: {why}" if type(why) not in (str, OverTime, CannotUse) else str(why)
        self._file.write(json.dumps({"why": " ".join(text.split())[:160]}) + "\n")


class CannotUse(Exception):
    """A script that a peer is not made for; the message says why."""


class OverTime(KeyboardInterrupt):
    """The time limit; a KeyboardInterrupt, so that it is neither caught by the script nor by a peer."""

    def __str__(self) -> str:
        return "time limit"


class Handing(Session):
    """Runs the script up to its first backward, and calls `look` with the step that led there."""

    def __init__(self, order: Order, notes: Notes, look: Callable[[Handed, Notes], None]) -> None:
        super().__init__(order)
        self.notes = notes
        self.look = look

    def _begin(self) -> None:
        self.optimizers = optimizers_made()
        super()._begin()
        assert self.listener is not None
        self.listener.on_event = self._on_event

    def _on_event(self, kind: str) -> None:
        listener = self.listener
        if kind != "backward" or listener is None:
            return
        try:
            listener.remove()
            steps = subjects.steps(listener)
            if not steps:
                raise CannotUse("the step could not be recorded")
            sizes = frozenset(loader.batch_size for loader in listener.run.loaders if loader.batch_size)
            self.look(Handed.fresh(steps[0], self.optimizers, sizes), self.notes)
        except BaseException as error:
            self.notes.cannot(error)
        finally:
            os._exit(0)

    def conclude(self, status: str) -> None:
        self.notes.cannot(f"there is no backward (the script {status})")


@dataclasses.dataclass(frozen=True)
class Handed:
    """The first training step: from it any number of fresh copies of the model can be made, as they were before it."""

    step: Step
    sizes: frozenset[int]

    @classmethod
    def fresh(cls, step: Step, optimizers: Sequence[torch.optim.Optimizer], sizes: frozenset[int]) -> Handed:
        if step.distrust:
            raise CannotUse(step.distrust)
        reached = {id(p) for p in step.tape.parameters}
        known = sorted(optimizers, key=lambda o: held(o, reached))
        several = len(known) > 1 and held(known[-2], reached)  # peers take one; without, they make their own
        step.optimizer = None if several or not known else known[-1]
        return cls(step, sizes)

    @property
    def single(self) -> Any:
        """The one call of the model; None where the step is more than that."""
        tape = self.step.tape
        loose = any(tape.values[n].parameter is not None for n in tape.constants())
        calls = tape.modules()
        return calls[0] if len(calls) == 1 and not loose else None

    def parts(self, twin: Twin, until: Sequence[int] = ()) -> tuple[nn.Module, Any, Sequence[int]]:
        """A fresh model, its inputs, and the numbers of its outputs (those in `until`, if given)."""
        op = self.single
        if op is not None and (not until or list(until) == list(op.outputs)):
            args, kwargs = twin._thaw(op.args, op, {}), twin._thaw(op.kwargs, op, {})
            model = twin.module(op).train(bool(op.training))
            if kwargs:
                return model, dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments), op.outputs
            return model, args[0] if len(args) == 1 else tuple(args), op.outputs
        inputs = {i.number: i.tensor for i in self.step.inputs}
        outputs = list(until or frontier(twin.tape) or self.step.predictions)
        given = tuple(inputs.values())
        return Whole(twin, list(inputs), outputs), given[0] if len(given) == 1 else given, outputs

    def targets(self) -> dict[int, torch.Tensor]:
        return {i.number: i.tensor for i in self.step.targets}

    def loss(self, twin: Twin, outputs: Sequence[int]) -> Callable[..., torch.Tensor]:
        """The loss of outputs and targets: PyTorch's own where the step's loss is that, else the rest of the step, replayed."""
        calls = [c for c in self.step.losses if c.counts]
        if [c.name for c in calls] == ["cross_entropy"] and [calls[0].input] == list(outputs) and self._is_root(calls[0]):
            known = {
                k: v for k, v in calls[0].settings.items() if k in ("weight", "ignore_index", "label_smoothing", "reduction")
            }
            return nn.CrossEntropyLoss(**{k: v for k, v in known.items() if v is not None})
        rest = copy.copy(twin)
        rest.tape = between(twin.tape, outputs)
        numbers = list(self.targets())

        def loss(predicted: Any, wanted: Any = ()) -> torch.Tensor:
            given = dict(zip(outputs, tensors_in(predicted), strict=True)) | dict(zip(numbers, tensors_in(wanted), strict=True))
            return rest.total(rest.run(given, rng=False))

        return loss

    def _is_root(self, call: LossCall) -> bool:
        tape = self.step.tape
        return tape.roots == list(call.op.outputs) and tape.weights == [None] and len(self.targets()) == 1


def optimizers_made() -> list[torch.optim.Optimizer]:
    """A list to which every optimiser that is made from now on is added."""
    made: list[torch.optim.Optimizer] = []
    original = torch.optim.Optimizer.__init__

    def __init__(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        original(optimizer, *args, **kwargs)
        made.append(optimizer)

    torch.optim.Optimizer.__init__ = __init__  # type: ignore[method-assign]
    return made


def held(optimizer: torch.optim.Optimizer, tensors: set[int]) -> int:
    """How many of the tensors, given by identity, an optimiser holds."""
    return sum(id(p) in tensors for group in optimizer.param_groups for p in group["params"])


class Whole(nn.Module):
    """Several modules and loose parameters as one: the recorded operations between `inputs` and `outputs`, replayed."""

    def __init__(self, twin: Twin, inputs: list[int], outputs: list[int]) -> None:
        super().__init__()
        modules = {id(m): m for op in twin.tape.modules() for m in [twin.module(op)]}
        values = [twin.tape.values[n] for n in twin.tape.constants()]
        loose = [
            p for v in values if v.parameter is not None for p in [twin.working(v.parameter)] if isinstance(p, nn.Parameter)
        ]
        self.parts, self.loose = nn.ModuleList(modules.values()), nn.ParameterList(loose)
        self._twin, self._inputs, self._outputs = twin, inputs, outputs

    def forward(self, *given: torch.Tensor) -> Any:
        self._twin.evaluating = not self.training
        env = self._twin.run(dict(zip(self._inputs, given, strict=True)), until=self._outputs, rng=False)
        results = [env[n] for n in self._outputs]
        return results[0] if len(results) == 1 else tuple(results)


def frontier(tape: Tape) -> list[int]:
    """What the loss is computed from: the results of modules that it meets first, going back."""
    needed, found = set(tape.roots), []
    for op in reversed(tape.ops):
        met = [n for n in (*op.outputs, *op.mutated) if n in needed]
        if met and op.kind == "module":
            found += met
        elif met:
            needed |= set(op.inputs)
    return found[::-1]


def between(tape: Tape, given: Sequence[int]) -> Tape:
    """The part of a tape that leads from the values `given` to the loss."""
    needed, ops = set(tape.roots) - set(given), []
    for op in reversed(tape.ops):
        if needed & {*op.outputs, *op.mutated, *(n for _, _, n in op.leaks)}:
            ops.append(op)
            needed |= set(op.inputs) - set(given)
    return dataclasses.replace(tape, ops=ops[::-1])
