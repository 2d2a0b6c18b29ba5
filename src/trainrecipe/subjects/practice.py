"""Training a twin on its one batch: the experiment that several checks share.

Noise is fixed: every replay starts from the random state that was recorded, so dropout masks and samples are the same
in every step, and a layer's mode (batch norm in training mode) stays what it was."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture.tensors import dense

if TYPE_CHECKING:
    from trainrecipe.capture.replay import Twin
    from trainrecipe.subjects.step import Step


OWN_STEPS = 25
"""Steps of `own_run`."""


@dataclasses.dataclass(slots=True)
class Curve:
    """The loss before each step and after the last. `cut` tells that the time ran out, `broken` that it is not
    finite."""

    losses: list[float]
    cut: bool = False
    broken: bool = False

    @property
    def last(self) -> float:
        """The final loss; infinity when it broke."""
        return math.inf if self.broken else self.losses[-1]


def adam(step: Step, twin: Twin, lr: float) -> torch.optim.Optimizer:
    """Adam over the twin's trained parameters, at a rate of our own."""
    return torch.optim.Adam(step.trained(twin), lr=lr, foreach=False)


def own_optimizer(step: Step, twin: Twin, factor: float = 1.0, lr: float | None = None) -> torch.optim.Optimizer | None:
    """The script's optimiser on the twin as it was when it was new, with the rates of its groups scaled.

    The largest rate becomes `lr` (by default the script's own peak) times `factor`. None where there is none to copy.
    """
    made = step.optimizer_for(twin)
    if made is None or type(made).__name__ in ("LBFGS", "SparseAdam"):
        return None
    made.state.clear()
    assert step.optimizer is not None
    peaks = [peak_rate(group) for group in step.optimizer.param_groups]
    top = max(peaks)
    for group, peak in zip(made.param_groups, peaks, strict=True):
        share = peak / top if top > 0 else 1.0
        new = (step.peak_rate if lr is None else lr) * factor * share
        group["lr"] = torch.full_like(group["lr"], new) if isinstance(group["lr"], torch.Tensor) else new
    return made


def peak_rate(group: Mapping[str, Any]) -> float:
    """The largest rate that a parameter group is known to have or to be meant to reach."""
    known = [group.get(key) for key in ("lr", "initial_lr", "max_lr")]
    return max((float(v) for v in known if v is not None), default=0.0)


def practise(
    step: Step,
    twin: Twin,
    optimizer: torch.optim.Optimizer,
    steps: int,
    *,
    overrides: Mapping[int, torch.Tensor] | None = None,
    batches: Sequence[Mapping[int, torch.Tensor]] = ({},),
    until: float = -math.inf,
    clip: bool = False,
    watch: Callable[[dict[int, torch.Tensor]], None] | None = None,
) -> Curve:
    """Train the twin on its batch for `steps` steps, or until the loss is at most `until`.

    `overrides` replaces inputs; `batches` are taken in turn, and then `until` is for the mean of one round; `clip` clips
    gradients as the script does; `watch` sees the values of each step.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    curve = Curve([])
    for number in range(steps + 1):
        if step.seconds_left() < 0:
            curve.cut = True
            break
        env = twin.run({**(overrides or {}), **batches[number % len(batches)]})
        loss = twin.total(env)
        if watch is not None:
            watch(env)
        value = float(loss.detach())
        if not math.isfinite(value):
            curve.broken = True
            break
        curve.losses.append(value)
        level = sum(curve.losses[-len(batches) :]) / len(batches)
        done = level <= until and len(curve.losses) >= len(batches)
        if number == steps or done or not loss.requires_grad:
            break
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = None if grad is None else dense(grad)
        if clip:
            step.clip_as_script(parameters)
        optimizer.step()
    return curve


def own_run(step: Step) -> Curve | None:
    """A few steps on the recorded batch just as the script makes them, at its peak rate; None where its optimiser cannot be
    copied. Remembered, since several checks begin with it."""
    if "own run" not in step.known:
        twin = step.twin()
        optimizer = own_optimizer(step, twin)
        step.known["own run"] = None if optimizer is None else practise(step, twin, optimizer, OWN_STEPS, clip=True)
    return step.known["own run"]  # type: ignore[no-any-return]


def progress(curve: Curve, floor: float, steps: int) -> float:
    """The share of the way from the first loss to the floor that was made in so many steps; 0 where the loss broke before."""
    losses = curve.losses[: steps + 1]
    if not losses or (curve.broken and len(losses) <= steps) or losses[0] <= floor:
        return 0.0
    return (losses[0] - min(losses[-3:])) / (losses[0] - floor)
