"""The learning rates a script plans for its whole run: its schedulers, built again on an empty optimiser and run ahead.

A plan is trusted only if it reproduces the learning rates that were observed, step by step.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import statistics
import sys
import time
import warnings
from types import FrameType
from typing import Any

import torch
from torch.optim import lr_scheduler

from trainrecipe.subjects.run import Optimizer, Run, Scheduler

MOST_CALLS = 20000
"""Scheduler steps that are run ahead at most; longer plans are known up to there."""
SECONDS = 1.0
POINTS = 400
"""Points kept of a planned curve."""
_AHEAD = 20
"""How many times the planned run a schedule is followed, to see whether and where it would reach its peak."""


class NoPlan(Exception):
    """The schedule cannot be run ahead; the message says why."""


@dataclasses.dataclass(slots=True)
class Built:
    """How a scheduler was built: its class and arguments, without the optimiser."""

    identity: int
    kind: type
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _Empty(torch.optim.Optimizer):
    """An optimiser with the groups of another one and nothing to optimise."""

    def __init__(self, groups: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
        own = [{**g, "params": [torch.nn.Parameter(torch.zeros(1))]} for g in groups]
        super().__init__(own, defaults)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing to do."""


class PlannedRates:
    """Notes how schedulers are built, per optimiser, in order."""

    def __init__(self) -> None:
        self.built: dict[int, list[Built]] = {}
        self.groups: dict[int, tuple[list[dict[str, Any]], dict[str, Any]]] = {}
        self.optimizer_of: dict[int, int] = {}
        self.argued: set[int] = set()

    def building(self, scheduler: Any, args: tuple[Any, ...], kwargs: dict[str, Any], watched: Any) -> None:
        """A scheduler is about to be built on a watched optimiser, by the outermost of our replaced constructors."""
        kind = type(scheduler)
        if vars(lr_scheduler).get(kind.__name__) is not kind:
            args, kwargs = _arguments(scheduler, sys._getframe(3)) or (args, kwargs)
        optimizer = watched.ref()
        if optimizer is None:
            return
        number = watched.record.number
        if number not in self.groups:
            self.groups[number] = [_plain(g) for g in optimizer.param_groups], _plain(optimizer.defaults)
        clean = tuple(_Own if isinstance(a, torch.optim.Optimizer) else a for a in args)
        named = {k: _Own if isinstance(v, torch.optim.Optimizer) else v for k, v in kwargs.items()}
        self.built.setdefault(number, []).append(Built(id(scheduler), kind, clean, named))

    # ---- conclusions

    def fill(self, run: Run, identities: dict[int, int]) -> None:
        """Write the planned rates of each scheduler. `identities` maps a scheduler's `id` to its number."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for optimizer in run.optimizers:
                every = {i: run.schedulers[n] for i, n in identities.items()}
                stepped = {i: s for i, s in every.items() if s.optimizer == optimizer.number}
                if not stepped:
                    continue
                try:
                    self._plan(run, optimizer, stepped)
                except NoPlan as reason:
                    for record in stepped.values():
                        record.unplanned = str(reason)
                except Exception as error:
                    for record in stepped.values():
                        record.unplanned = f"it could not be built again: {type(error).__name__}: {error}"

    def _plan(self, run: Run, optimizer: Optimizer, stepped: dict[int, Scheduler]) -> None:
        if any(i in self.argued for i in stepped):
            raise NoPlan("its steps are given a metric or an epoch number")
        if len(stepped) > 1:
            raise NoPlan("several schedulers change the same optimiser")
        (identity, record), *_ = stepped.items()
        self._verify(optimizer, identity, record)
        interval = _interval(run, optimizer, record)
        record.interval = interval
        planned = optimizer.planned_steps or 0
        needed = max(planned, optimizer.least_steps, 1)
        dummy, scheduler = self._rebuild(optimizer.number, identity)
        sizes = [g["elements"] for g in optimizer.groups]
        rates, positions, complete = _ahead(dummy, scheduler, needed, interval)
        largest = max(range(len(dummy.param_groups)), key=lambda i: sizes[i] if i < len(sizes) else 0)
        record.complete = complete
        base = getattr(scheduler, "base_lrs", None) or [g["lr"] for g in self.groups[optimizer.number][0]]
        record.built_rates = [float(r) for r in base]
        record.peaks = [max(r[i] for r in rates) for i in range(len(dummy.param_groups))]
        record.largest = largest
        curve = [r[largest] for r in rates]
        measure(record, positions, curve, needed)
        many = min(POINTS, len(curve))
        keep = sorted({round(i * (len(curve) - 1) / max(1, many - 1)) for i in range(many)})
        record.planned = [(positions[i], curve[i]) for i in keep]
        record.beyond = _peak_beyond(dummy, scheduler, largest, len(curve))

    def _rebuild(self, number: int, wanted: int) -> tuple[_Empty, Any]:
        if number not in self.groups:
            raise NoPlan("it was not seen being built")
        groups, defaults = copy.deepcopy(self.groups[number])
        dummy = _Empty(groups, defaults)
        made: dict[int, Any] = {}
        for built in self.built[number]:
            swap = _Swap(dummy, made)
            made[built.identity] = built.kind(*swap(built.args), **swap(built.kwargs))
            if built.identity == wanted:
                break
        if wanted not in made:
            raise NoPlan("it was not seen being built")
        return dummy, made[wanted]

    def _verify(self, optimizer: Optimizer, identity: int, record: Scheduler) -> None:
        """Run the rebuilt scheduler through the observed calls and compare the rates; raises NoPlan when they differ."""
        dummy, scheduler = self._rebuild(optimizer.number, identity)
        sizes = [g["elements"] for g in optimizer.groups]
        largest = max(range(len(dummy.param_groups)), key=lambda i: sizes[i] if i < len(sizes) else 0)
        due = sorted(c - record.born_step for c in record.calls)
        at = 0
        for step, seen in enumerate(optimizer.rates[record.born_step : record.born_step + 3000]):
            while at < len(due) and due[at] <= step:
                scheduler.step()
                at += 1
            now = float(dummy.param_groups[largest]["lr"])
            if abs(now - seen) > 1e-6 * max(abs(now), abs(seen), 1e-30):
                raise NoPlan(f"run ahead it gives a rate of {now:g} at step {step}, where {seen:g} was seen")


class _Own:
    """Stands for the optimiser among a scheduler's arguments."""


class _Swap:
    """Puts the empty optimiser and the rebuilt schedulers in place of the script's own."""

    def __init__(self, dummy: _Empty, made: dict[int, Any]) -> None:
        self.dummy = dummy
        self.made = made

    def __call__(self, value: Any) -> Any:
        if value is _Own:
            return self.dummy
        if id(value) in self.made:
            return self.made[id(value)]
        if isinstance(value, lr_scheduler.LRScheduler):
            raise NoPlan("it contains a scheduler that was not seen being built")
        if type(value) in (list, tuple):
            return type(value)(self(v) for v in value)
        if type(value) is dict:
            return {k: self(v) for k, v in value.items()}
        return value


def _plain(group: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in group.items():
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            kept[key] = float(value)
        elif key != "params" and isinstance(value, int | float | str | bool | tuple | type(None)):
            kept[key] = value
    return kept


def _arguments(scheduler: Any, frame: FrameType | None) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of the outermost constructor of a scheduler of the user's own class."""
    found: FrameType | None = None
    for _ in range(12):
        if frame is None:
            break
        code = frame.f_code
        if code.co_name == "__init__" and code.co_argcount and frame.f_locals.get(code.co_varnames[0]) is scheduler:
            found = frame
        frame = frame.f_back
    if found is None:
        return None
    code, values = found.f_code, found.f_locals
    names = code.co_varnames
    many = code.co_argcount + code.co_kwonlyargcount
    kwargs = {n: values[n] for n in names[1:many] if n in values}
    if code.co_flags & 0x04:
        if values.get(names[many]):
            return tuple(values[n] for n in names[1 : code.co_argcount]) + tuple(values[names[many]]), {}
        many += 1
    if code.co_flags & 0x08:
        kwargs |= dict(values.get(names[many], {}))
    return (), kwargs


def _interval(run: Run, optimizer: Optimizer, record: Scheduler) -> float:
    """Optimiser steps per call of the scheduler, in the run as it would be with no batch left out."""
    calls, steps = record.calls, optimizer.steps - record.born_step
    passes = run.passes_of(optimizer) or [p for p in run.passes if p.trains]
    cut = any(p.cut for p in passes)
    ratio = len(calls) / max(1, steps)
    if not cut:
        gaps = [b - a for a, b in itertools.pairwise(calls)]
        return float(statistics.median(gaps)) or 1 / ratio if gaps else float(max(1, calls[0] if calls else 1))
    if ratio >= 0.5 and (steps > 2 * len(passes) or len(calls) > 2 * len(passes)):
        return 1 / ratio if ratio < 0.8 else 1 / max(1, round(ratio))
    finished = [p for p in passes if p.finished]
    if finished and abs(len(calls) - len(finished)) <= 1:
        return optimizer.least_steps / len(finished)
    raise NoPlan("it is not clear when it is stepped")


def _ahead(dummy: _Empty, scheduler: Any, steps: int, interval: float) -> tuple[list[list[float]], list[float], bool]:
    """Rates per group after each call, the step each holds from, and whether the whole plan was covered."""
    rates = [[float(g["lr"]) for g in dummy.param_groups]]
    positions = [0.0]
    until = time.perf_counter() + SECONDS
    while (position := len(rates) * interval) < steps:
        if len(rates) >= MOST_CALLS or (len(rates) % 64 == 0 and time.perf_counter() > until):
            return rates, positions, False
        try:
            scheduler.step()
        except ValueError:  # OneCycleLR beyond its total_steps
            return rates, positions, True
        rates.append([float(g["lr"]) for g in dummy.param_groups])
        positions.append(position)
    return rates, positions, True


def measure(record: Scheduler, positions: list[float], curve: list[float], steps: int) -> None:
    """How the planned rates spread over the planned steps."""
    peak = max(curve)
    record.lowest = min(curve)
    ends = [*positions[1:], float(max(steps, positions[-1] + record.interval))]
    lengths = [b - a for a, b in zip(positions, ends, strict=True)]
    total = sum(lengths) or 1.0
    record.covered = total
    if peak <= 0:
        record.dead, record.zero = 1.0, 1.0
        return
    dead_from = len(curve)
    while dead_from and curve[dead_from - 1] <= DEAD * peak * (1 + 1e-9):
        dead_from -= 1
    record.dead = sum(lengths[dead_from:]) / total
    record.dead_from = positions[dead_from] if dead_from < len(curve) else None
    zero_from = len(curve)
    while zero_from and curve[zero_from - 1] <= ZERO * peak:
        zero_from -= 1
    record.zero = sum(lengths[zero_from:]) / total
    low_from = len(curve)
    while low_from and curve[low_from - 1] <= LOW * peak * (1 + 1e-9):
        low_from -= 1
    record.low = sum(lengths[low_from:]) / total
    rising = all(b >= a for a, b in itertools.pairwise(curve)) and curve[-1] > curve[0]
    record.only_rises = rising
    record.turns = _turns(curve)


DEAD = 1e-3
"""A rate below a thousandth of the schedule's peak no longer trains: updates that are good at the peak, about a
thousandth of the weight, shrink to a millionth."""
LOW = 0.1
ZERO = 1e-6


def _turns(curve: list[float]) -> int:
    """How often the rate, after falling to a tenth of its peak, climbs back to nine tenths."""
    peak, low, count = max(curve), False, 0
    first = next(i for i, value in enumerate(curve) if value >= 0.999 * peak)
    for value in curve[first:]:
        if value < 0.1 * peak:
            low = True
        elif low and value > 0.9 * peak:
            low, count = False, count + 1
    return count


def _peak_beyond(dummy: _Empty, scheduler: Any, group: int, calls: int) -> float | None:
    """The highest rate the schedule would reach if the run went on; None when it would rise without end."""
    best, best_at, made = float(dummy.param_groups[group]["lr"]), 0, 0
    until = time.perf_counter() + SECONDS
    limit = min(MOST_CALLS, max(200, _AHEAD * calls))
    while made < limit and time.perf_counter() < until:
        try:
            scheduler.step()
        except Exception:
            return best
        made += 1
        rate = float(dummy.param_groups[group]["lr"])
        if rate > best * (1 + 1e-9):
            best, best_at = rate, made
    return best if best_at < made else None
