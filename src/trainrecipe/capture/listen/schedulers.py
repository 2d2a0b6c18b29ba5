"""Hears learning-rate schedulers: how they are built, and every step of theirs."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import lr_scheduler

from trainrecipe.capture.listen import describe
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.listen.planned_rates import PlannedRates
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.finding import Place
from trainrecipe.subjects.run import Scheduler

_CALLS = 20000
"""Steps kept per scheduler."""


class Schedulers(Ear):
    """The program's schedulers, and the rates that they plan."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self._planned = PlannedRates()
        self._numbers: dict[int, int] = {}
        self._built: dict[int, tuple[Place | None, int]] = {}
        self._held: list[Any] = []
        self._building: set[int] = set()
        self._depth = 0

    def install(self, put: Put) -> None:
        """Hear every scheduler of PyTorch's being built and stepped."""
        kinds = {v for v in vars(lr_scheduler).values() if isinstance(v, type) and issubclass(v, lr_scheduler.LRScheduler)}
        for kind in sorted(kinds, key=lambda k: k.__name__):
            if "__init__" in vars(kind):
                put(kind, "__init__", self._wrap_init)
            if "step" in vars(kind):
                put(kind, "step", self._wrap_step)

    def _wrap_init(self, original: Any) -> Any:
        ear = self

        def __init__(scheduler: Any, *args: Any, **kwargs: Any) -> None:
            outermost = id(scheduler) not in ear._building
            if outermost:
                ear._note_built(scheduler, args, kwargs, spot(2))
            ear._building.add(id(scheduler))
            ear._depth += 1
            try:
                original(scheduler, *args, **kwargs)
            finally:
                ear._depth -= 1
                if outermost:
                    ear._building.discard(id(scheduler))

        return __init__

    @guarded
    def _note_built(self, scheduler: Any, args: Any, kwargs: Any, at: Spot | None) -> None:
        optimizer = kwargs.get("optimizer") or (args[0] if args else None)
        if not isinstance(optimizer, torch.optim.Optimizer):  # ChainedScheduler is given its schedulers only
            inner = kwargs.get("schedulers") or (args[0] if args else ())
            optimizer = getattr(next(iter(inner), None), "optimizer", None)
        if isinstance(optimizer, torch.optim.Optimizer):
            watched = self.listener.optimizers.find(describe.unwrapped(optimizer))
            self._built[id(scheduler)] = (place(at), watched.record.steps)
            self._planned.building(scheduler, args, kwargs, watched)

    def _wrap_step(self, original: Any) -> Any:
        ear = self

        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if id(scheduler) not in ear._building and ear._depth == 0:
                ear._note_step(scheduler, spot(2))
                if any(a is not None for a in (*args, *kwargs.values())):
                    ear._planned.argued.add(id(scheduler))
            ear._depth += 1
            try:
                return original(scheduler, *args, **kwargs)
            finally:
                ear._depth -= 1

        return step

    @guarded
    def _note_step(self, scheduler: Any, at: Spot | None) -> None:
        optimizer = getattr(scheduler, "optimizer", None)
        if optimizer is None or at is None:
            return
        watched = self.listener.optimizers.find(describe.unwrapped(optimizer))
        number = self._numbers.get(id(scheduler))
        if number is None:
            number = self._numbers[id(scheduler)] = len(self.run.schedulers)
            self._held.append(scheduler)
            horizon = describe.horizon(scheduler)
            built, step = self._built.get(id(scheduler), (None, 0))
            owner, where = watched.record.number, built or place(at)
            record = Scheduler(number, type(scheduler).__name__, owner, where, place(at), horizon=horizon, born_step=step)
            self.run.schedulers.append(record)
        record = self.run.schedulers[number]
        if len(record.calls) < _CALLS:
            current = self.listener.loaders.open
            record.calls.append(watched.record.steps)
            record.passes.append(current.number if current is not None else None)
        watched.scheduled_event, watched.last_scheduler = self.listener.event(), record

    @guarded
    def fill(self) -> None:
        """Work out which learning rates the run plans. Called when the script is over."""
        self._planned.fill(self.run, self._numbers)
