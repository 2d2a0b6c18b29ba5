"""Watches a sample of every weight around the optimisers' steps: what moves it, and whether what a step did lasts.

A few hundred elements of each parameter are kept from one step to the next, never whole copies, and only in steps that
are looked at in detail.
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from trainrecipe.capture.hashing import exact_hash
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.listen.pairs import Pairs

SAMPLE = 512
"""Elements kept of a parameter."""
_MOST = 4000
"""Parameters watched at most."""
_PINNED = 0.5
"""Share of the elements at the smallest or largest value or at zero, from which a clamp or a mask may hold a tensor."""
_GRID = 4
"""Elements of a sample per different value, from which the values lie on a coarse grid."""
_OTHER = 0.3
"""Change outside of the step, relative to the weight, above which the weights are other ones altogether."""

_ROUNDING = 1e-5
"""Change of a value, relative to it, that may be rounding."""


@dataclasses.dataclass(slots=True)
class Sampled:
    """A parameter under observation: its sample before and after the last step, and what became of the updates.

    `kept`, `reset`, `copied`, `fresh`, `rounded` count the steps by what was there when the next one began; `sources` are the
    tensors that it was a copy of, `gradient` is a hash of what a frozen one has as gradient, `idle` whether that is zero or of
    earlier on. `frozen` counts steps that moved it though it requires no gradient, `stale` those of them with a
    gradient other than zero. `altered` counts those of the `kept` after which most elements were changed outside of the step.
    """

    ref: weakref.ref[torch.Tensor]
    optimizer: int
    before: torch.Tensor | None = None
    after: torch.Tensor | None = None
    kept: int = 0
    reset: int = 0
    copied: int = 0
    fresh: int = 0
    rounded: int = 0
    source: weakref.ref[torch.Tensor] | None = None
    gradient: str | None = None
    idle: bool = False
    thawed: bool = False
    frozen: int = 0
    stale: int = 0
    altered: int = 0


def sample(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of some elements, spread evenly."""
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLE)][:SAMPLE].clone()


class WeightSamples(Ear):
    """Samples of the weights that the program's optimisers hold. `pairs` are models and those that follow them."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.seen: dict[int, Sampled] = {}
        self.pairs = Pairs(listener)

    def install(self, put: Put) -> None:
        """Nothing is replaced: steps are heard through hooks."""

    def hooks(self) -> list[Any]:
        """Register for every optimiser's step, ahead of the others; the handles undo it."""
        return [register_optimizer_step_pre_hook(self._before), register_optimizer_step_post_hook(self._after)]

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self.listener.detail:
            self._look_before(optimizer)
        elif self.seen:
            self._forget()

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self.listener.detail:
            self._look_after(optimizer)

    @guarded
    def _forget(self) -> None:
        """Between steps that are not looked at nothing can be compared."""
        for known in self.seen.values():
            known.before = known.after = None
        self.pairs.forget()

    @guarded
    def _look_before(self, optimizer: torch.optim.Optimizer) -> None:
        number = self.listener.optimizers.find(optimizer).record.number
        with self.recorder.pause(), torch.no_grad():
            for parameter in _dense(optimizer):
                known = self._find(parameter, number)
                now = sample(parameter)
                self._compare(known, parameter, now, optimizer)
                known.before, known.after = now, None
                self._note_gradient(known, parameter)
            self.pairs.before_step()

    @guarded
    def _look_after(self, optimizer: torch.optim.Optimizer) -> None:
        with self.recorder.pause(), torch.no_grad():
            for parameter in _dense(optimizer):
                known = self.seen.get(id(parameter))
                if known is None or known.before is None:
                    continue
                known.after = sample(parameter)
                known.thawed |= parameter.requires_grad
                if known.idle and known.thawed and not torch.equal(known.before, known.after):
                    known.frozen += 1
                    known.stale += bool(known.gradient)
            self.pairs.after_step(optimizer)

    def _find(self, parameter: torch.Tensor, number: int) -> Sampled:
        known = self.seen.get(id(parameter))
        if known is None or known.ref() is not parameter:
            known = Sampled(weakref.ref(parameter), number)
            if len(self.seen) < _MOST:
                self.seen[id(parameter)] = known
        return known

    def _compare(self, known: Sampled, parameter: torch.Tensor, now: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        """What has become of the last step's update, now that the next step is due."""
        before, after = known.before, known.after
        if before is None or after is None or before.shape != now.shape or torch.equal(before, after):
            return
        if torch.equal(after, now):
            known.kept += 1
        elif torch.equal(before, now) and not _pinned(now):
            known.reset += 1
        elif (source := _original(parameter, now, optimizer)) is not None:
            known.copied += 1
            known.source = weakref.ref(source)
        elif _is_other(before, after, now):
            known.fresh += 1
        elif _is_rounded(before, after, now):
            known.rounded += 1
        else:
            known.kept += 1
            known.altered += _is_altered(after, now)

    def _note_gradient(self, known: Sampled, parameter: torch.Tensor) -> None:
        """What is left in the gradient of a frozen tensor: zeros (an empty hash), or just what was there a step ago.

        One that changes from step to step is set by hand, as in evolution strategies, and does not count.
        """
        gradient = parameter.grad
        if parameter.requires_grad or gradient is None or gradient.is_sparse:
            known.gradient, known.idle = None, False
            return
        hashed = exact_hash(gradient) if bool(gradient.any()) else ""
        known.idle = not hashed or hashed == known.gradient
        known.gradient = hashed


def _dense(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    every = [p for g in optimizer.param_groups for p in g["params"]]
    return [p for p in every if p.layout == torch.strided and p.numel() and not p.is_complex()][:_MOST]


def _pinned(values: torch.Tensor) -> bool:
    """Whether most elements lie at the smallest or the largest value, or at zero, where a clamp or a mask holds them."""
    low, high = values.min(), values.max()
    return float(((values == low) | (values == high) | (values == 0)).float().mean()) >= _PINNED


def _is_rounded(before: torch.Tensor, after: torch.Tensor, now: torch.Tensor) -> bool:
    """Whether the values were rounded to a coarse grid again, on which most of them are what they were before the step."""
    if now.numel() < 64 or _pinned(now):
        return False
    levels = torch.unique(now)
    if not 1 < len(levels) <= now.numel() // _GRID < len(torch.unique(after)):
        return False
    step = float(levels.diff().median())  # the grid may grow a little with the largest weight
    return float(((before - now).abs() < 0.25 * step).float().mean()) >= 0.5


def _is_other(before: torch.Tensor, after: torch.Tensor, now: torch.Tensor) -> bool:
    """Whether the values are not those of before, changed: neither masked (which undoes a part of the update) nor scaled."""
    change, update = float((now - after).norm()), float((after - before).norm())
    return now.numel() > 4 and change > _OTHER * float(after.norm()) and change > 2 * update and not _pinned(now)


def _is_altered(after: torch.Tensor, now: torch.Tensor) -> bool:
    """Whether most values are others than the step left, by more than rounding. Clamps and masks do not count."""
    changed = ((now - after).abs() > _ROUNDING * after.abs()) & (now != 0)
    return now.numel() > 4 and not _pinned(now) and float(changed.float().mean()) >= 0.5


def _original(parameter: torch.Tensor, now: torch.Tensor, optimizer: torch.optim.Optimizer) -> torch.Tensor | None:
    """Another tensor of the optimiser that holds the same values at this moment. Copies of models that others train
    (inner loops of meta-learning, clients) are not meant."""
    if now.numel() < 8 or _pinned(now):
        return None
    for other in _dense(optimizer):
        if other is parameter or other.numel() != parameter.numel() or other.dtype != parameter.dtype:
            continue
        turned = other.ndim == 2 and other.t().shape == parameter.shape
        if torch.equal(sample(other), now) or (turned and torch.equal(sample(other.t()), now)):
            return other
    return None
