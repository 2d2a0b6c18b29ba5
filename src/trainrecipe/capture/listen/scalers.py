"""Hears gradient scalers: what they scale, when they take the factor out again, and which steps they leave out."""

from __future__ import annotations

from typing import Any

import torch

from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.subjects.gradients import Scaler

_MARK = "trainrecipe scale"
_NEAR = 64
"""Nodes of the graph behind a loss that are searched for a scaled value: it may have been added up or divided since."""
_STEPS = 20000


class Scalers(Ear):
    """The program's `GradScaler`s. `used` tells that one has scaled something."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.used = False
        self._records: dict[int, tuple[Any, Scaler]] = {}

    def install(self, put: Put) -> None:
        """Hear scaling, unscaling and steps."""
        put(torch.amp.GradScaler, "scale", self._wrap_scale)
        put(torch.amp.GradScaler, "unscale_", self._wrap_unscale)
        put(torch.amp.GradScaler, "step", self._wrap_step)

    def _wrap_scale(self, original: Any) -> Any:
        ear = self

        def scale(scaler: Any, outputs: Any) -> Any:
            scaled = original(scaler, outputs)
            if scaler.is_enabled():
                ear._note_scaled(scaler, scaled, spot(2))
            return scaled

        return scale

    def _wrap_unscale(self, original: Any) -> Any:
        ear = self

        def unscale_(scaler: Any, optimizer: Any) -> Any:
            result = original(scaler, optimizer)
            if scaler.is_enabled() and ear.listener.detail:
                ear.listener.ledger.unscaling(optimizer)
            return result

        return unscale_

    def _wrap_step(self, original: Any) -> Any:
        ear = self

        def step(scaler: Any, /, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            if not scaler.is_enabled():
                return original(scaler, optimizer, *args, **kwargs)
            noted = ear._before_step(scaler, optimizer, spot(2))
            result = original(scaler, optimizer, *args, **kwargs)
            ear._after_step(noted)
            return result

        return step

    @guarded
    def _note_scaled(self, scaler: Any, scaled: Any, at: Spot | None) -> None:
        """Mark the graph of what was scaled, so that it is known when backward starts from it, or from a sum with it."""
        self.used = True
        self._record(scaler, at)
        if self.listener.detail:
            factor = float(scaler.get_scale())
            for tensor in tensors_in(scaled):
                if tensor.grad_fn is not None:
                    tensor.grad_fn.metadata[_MARK] = factor  # type: ignore[index]

    def _record(self, scaler: Any, at: Spot | None) -> Scaler:
        known = self._records.get(id(scaler))
        if known is None or known[0] is not scaler:
            known = self._records[id(scaler)] = (scaler, Scaler(len(self.run.scalers), place(at)))
            self.run.scalers.append(known[1])
        return known[1]

    @guarded
    def _before_step(self, scaler: Any, optimizer: Any, at: Spot | None) -> Any:
        record = self._record(scaler, at)
        record.step_place = record.step_place or place(at)
        if self.listener.detail and len(record.scales) < _STEPS:
            record.scales.append(float(scaler.get_scale()))
        watched = self.listener.optimizers.find(optimizer)
        self.listener.ledger.by_scaler.add(watched.record.number)
        return record, watched.record, watched.record.steps

    @guarded
    def _after_step(self, noted: Any) -> None:
        if noted is None:
            return
        record, optimizer, steps = noted
        self.listener.ledger.by_scaler.discard(optimizer.number)
        if len(record.skipped) < _STEPS:
            record.skipped.append(optimizer.steps == steps)


def factor_of(root: torch.Tensor) -> float:
    """The factor that a scaler has put into a loss, or into a part of it; 1 where there is none."""
    if root.grad_fn is None:
        return 1.0
    seen, work = {root.grad_fn}, [root.grad_fn]
    while work and len(seen) < _NEAR:
        node = work.pop(0)
        held: Any = node.metadata
        if _MARK in held:
            return float(held[_MARK])
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                work.append(child)
    return 1.0
