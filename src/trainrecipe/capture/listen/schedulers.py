"""Hears learning-rate schedulers: how they are built, and every step of theirs."""

from __future__ import annotations

import ast
import dataclasses
import sys
from typing import Any

import torch
from torch.optim import lr_scheduler

from trainrecipe.capture.listen import describe, loops
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.listen.loops import call_at, is_bounded
from trainrecipe.capture.listen.planned_rates import PlannedRates
from trainrecipe.capture.where import Spot, is_user_file, place, spot
from trainrecipe.finding import Place
from trainrecipe.subjects.run import Scheduler

_CALLS = 20000
"""Steps kept per scheduler."""
_METRICS = 2000
"""Metrics kept per scheduler."""


@dataclasses.dataclass(slots=True)
class Made:
    """A scheduler that was built: where, on which optimiser and at which of its steps. `inner`: another one drives it."""

    name: str
    place: Place | None
    optimizer: int
    born_step: int
    horizon: dict[str, float] = dataclasses.field(default_factory=dict)
    stepped: bool = False
    inner: bool = False


class Schedulers(Ear):
    """The program's schedulers, and the rates that they plan."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self._planned = PlannedRates()
        self._numbers: dict[int, int] = {}
        self._built: dict[int, Made] = {}
        self._made: list[Made] = []
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

        def __init__(scheduler: Any, /, *args: Any, **kwargs: Any) -> None:
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
                    ear._note_finished(scheduler)

        return __init__

    @guarded
    def _note_built(self, scheduler: Any, args: Any, kwargs: Any, at: Spot | None) -> None:
        optimizer = kwargs.get("optimizer") or (args[0] if args else None)
        if not isinstance(optimizer, torch.optim.Optimizer):  # ChainedScheduler is given its schedulers only
            inner = kwargs.get("schedulers") or (args[0] if args else ())
            optimizer = getattr(next(iter(inner), None), "optimizer", None)
        if isinstance(optimizer, torch.optim.Optimizer):
            watched = self.listener.optimizers.find(describe.unwrapped(optimizer))
            made = Made(type(scheduler).__name__, place(at), watched.record.number, watched.record.steps)
            self._built[id(scheduler)] = made
            self._made.append(made)
            for inner in _schedulers_in((args, kwargs)):
                if id(inner) in self._built:
                    self._built[id(inner)].inner = True
            self._planned.building(scheduler, args, kwargs, watched)

    @guarded
    def _note_finished(self, scheduler: Any) -> None:
        if id(scheduler) in self._built:
            self._built[id(scheduler)].horizon = describe.horizon(scheduler)

    def _wrap_step(self, original: Any) -> Any:
        ear = self

        def step(scheduler: Any, /, *args: Any, **kwargs: Any) -> Any:
            if id(scheduler) in ear._built and id(scheduler) not in ear._building:
                ear._built[id(scheduler)].stepped = True
            if id(scheduler) not in ear._building and ear._depth == 0:
                ear._note_step(scheduler, spot(2), args[0] if args else kwargs.get("metrics"))
                if any(a is not None for a in (*args, *kwargs.values())):
                    ear._planned.argued.add(id(scheduler))
            ear._depth += 1
            try:
                return original(scheduler, *args, **kwargs)
            finally:
                ear._depth -= 1

        return step

    @guarded
    def _note_step(self, scheduler: Any, at: Spot | None, metric: Any = None) -> None:
        optimizer = getattr(scheduler, "optimizer", None)
        if optimizer is None or at is None:
            return
        watched = self.listener.optimizers.find(describe.unwrapped(optimizer))
        number = self._numbers.get(id(scheduler))
        if number is None:
            number = self._numbers[id(scheduler)] = len(self.run.schedulers)
            self._held.append(scheduler)
            horizon = describe.horizon(scheduler)
            made = self._built.get(id(scheduler))
            step = made.born_step if made is not None else 0
            owner, where = watched.record.number, (made.place if made is not None else None) or place(at)
            record = Scheduler(number, type(scheduler).__name__, owner, where, place(at), horizon=horizon, born_step=step)
            record.conditional = loops.asks_for_more_than_a_remainder(at)
            self.run.schedulers.append(record)
        record = self.run.schedulers[number]
        if len(record.calls) < _CALLS:
            current = self.listener.loaders.open
            record.calls.append(watched.record.steps)
            record.passes.append(current.number if current is not None else None)
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) and metric is not None:
            self._note_metric(record, scheduler, float(metric))
        watched.scheduled_event, watched.last_scheduler = self.listener.event(), record

    def _note_metric(self, record: Scheduler, scheduler: Any, metric: float) -> None:
        """Keep what a plateau is looked for in, and how the script calls it."""
        record.mode = str(scheduler.mode)
        if len(record.metrics) < _METRICS:
            record.metrics.append(metric)
        if not record.metric:
            record.metric = _metric_source()

    @guarded
    def fill(self) -> None:
        """Work out which learning rates the run plans, and which schedulers were never stepped. Called at the end."""
        for made in self._made:
            if not made.stepped and not made.inner:
                number = len(self.run.idle_schedulers)
                idle = Scheduler(number, made.name, made.optimizer, made.place, horizon=made.horizon, born_step=made.born_step)
                self.run.idle_schedulers.append(idle)
        for record in self.run.schedulers:
            at = record.step_place
            record.bounded = at is not None and is_bounded(at.file, at.line)
        self._planned.fill(self.run, self._numbers)


def _schedulers_in(given: Any, depth: int = 3) -> list[Any]:
    if isinstance(given, lr_scheduler.LRScheduler):
        return [given]
    items = list(given.values()) if isinstance(given, dict) else list(given) if isinstance(given, list | tuple) else []
    return [s for item in items for s in (_schedulers_in(item, depth - 1) if depth else [])]


def _metric_source() -> str:
    """The source of the first argument of the user's call that is under way."""
    frame = sys._getframe(3)
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        frame = frame.f_back  # type: ignore[assignment]
    call = call_at(frame) if frame is not None else None
    given = [*call.args, *(k.value for k in call.keywords)] if call is not None else []
    return ast.unparse(given[0]) if given else ""
