"""Short trainings of a twin in which some of its operations are replaced: does it learn better without them?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture.watch import Seen, watching
from trainrecipe.subjects.practice import adam, own_optimizer

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

Replace = Callable[[Seen], Any]


def fall(step: Step, training: Replace, judging: Replace, steps: int) -> float | None:
    """How far the loss on the step's batch falls in `steps` steps of the script's optimiser. None where the time is up.

    What `training` returns for an operation, unless None, takes the place of its result while the twin trains; `judging` does
    so where the loss is measured, before and after. Dropout is drawn afresh in every step.
    """
    twin = step.twin()
    optimizer = own_optimizer(step, twin) or adam(step, twin, 3e-3)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    replace = [judging]
    torch.manual_seed(0)
    with watching(step, twin, lambda seen: replace[0](seen)):
        first = float(twin.loss(rng=False).detach())
        replace[0] = training
        for _ in range(steps):
            if step.seconds_left() < 0:
                return None
            grads = torch.autograd.grad(twin.loss(rng=False), parameters, allow_unused=True)
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad
            optimizer.step()
        replace[0] = judging
        return first - float(twin.loss(rng=False).detach())
