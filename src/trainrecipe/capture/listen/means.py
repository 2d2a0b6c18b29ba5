"""Hears, where several ranks train together, over how many targets the mean of each step's loss is taken in this one.

A few elements of the gradients are kept with it, before and after the ranks exchange them: what the program weighs by the
numbers of targets, in whatever way, is seen there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.tape import Tape
from trainrecipe.capture.tensors import spread
from trainrecipe.subjects.ranks import LocalMean
from trainrecipe.subjects.reductions import weight_of
from trainrecipe.subjects.step import Step
from trainrecipe.subjects.targets import averaged

_STEPS = 48
"""Steps of which the targets are counted."""
_WEIGHED = 12
"""Steps of these of which gradients are kept."""
_TENSORS = 64
"""Tensors of an optimiser whose gradients are looked at."""
_SHOWN = 32
"""Elements of each of them."""


class Means(Ear):
    """The means that this rank's training steps begin their backward from, one a step.

    A step with several backward calls, or with another loss than one mean over targets, has None.
    """

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.heard: dict[int, LocalMean | None] = {}
        self._local: dict[int, list[float]] = {}

    def install(self, put: Put) -> None:
        """Nothing is to be replaced: the ears of backwards and optimisers tell this one."""

    @guarded
    def before_backward(self, tape: Tape) -> None:
        """A backward is about to begin from the losses of a recorded step."""
        self._local.clear()
        if not self.listener.replicas.among or len(self.heard) >= _STEPS:
            return
        again = tape.step in self.heard
        self.heard[tape.step] = None
        if not again:
            self.heard[tape.step] = _mean(Step.from_tapes([tape], None, {}))

    @guarded
    def after_backward(self, gained: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """What this backward alone has added to each gradient, in this rank alone."""
        if self._open() is not None:
            self._local = {id(p): _few(gradient) for p, gradient in gained if gradient.layout == torch.strided}

    @guarded
    def stepped(self, parameters: list[torch.Tensor]) -> None:
        """An optimiser took its step with the gradients that its tensors hold."""
        mean = self._open()
        if mean is None or not self._local or mean.used:
            return
        for parameter in parameters[:_TENSORS]:
            if id(parameter) in self._local and parameter.grad is not None:
                mean.local += self._local[id(parameter)]
                mean.used += _few(parameter.grad)

    def _open(self) -> LocalMean | None:
        """The present step's mean, if its gradients are to be kept."""
        return self.heard.get(self.run.steps) if len(self.heard) <= _WEIGHED else None


def _mean(step: Step) -> LocalMean | None:
    found = averaged(step)
    weight = weight_of(step, found.call.op) if found is not None and found.number else None
    if found is None or not weight:
        return None
    rows = max((i.tensor.shape[0] for i in step.inputs if i.tensor.ndim), default=found.rows)
    return LocalMean(step.tape.step, found.number, rows, list(found.inner), abs(weight), found.call.place)


def _few(gradient: torch.Tensor) -> list[float]:
    return spread(gradient, _SHOWN).double().tolist()
