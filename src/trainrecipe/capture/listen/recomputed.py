"""Hears activation checkpoints of the reentrant kind, which give gradients only where one of their inputs requires one."""

from __future__ import annotations

import functools
import inspect
import types
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils import checkpoint

from trainrecipe.capture import members
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.where import Spot, spot

_MOST = 64
"""Calls that are looked at."""


class Cut:
    """Checkpoints at one line whose inputs required no gradient: the trainable parameters behind them."""

    def __init__(self, at: Spot | None, block: str) -> None:
        self.at, self.block = at, block
        self.parameters: dict[int, weakref.ref[nn.Parameter]] = {}


class Recomputed(Ear):
    """`torch.utils.checkpoint` with `use_reentrant=True`; `cuts` are its calls without an input that requires a gradient."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.cuts: dict[tuple[Spot | None, str], Cut] = {}
        self._calls = 0

    def install(self, put: Put) -> None:
        """Hear the autograd function that such a checkpoint is."""
        put(checkpoint.CheckpointFunction, "apply", self._wrap)

    def _wrap(self, original: Any) -> Any:
        ear = self

        def apply(function: Any, preserve_rng_state: Any, /, *args: Any) -> Any:
            if torch.is_grad_enabled() and ear._calls < _MOST and not any(t.requires_grad for t in tensors_in(args)):
                ear._note(function)
            return original(function, preserve_rng_state, *args)

        return apply

    @guarded
    def _note(self, function: Any) -> None:
        self._calls += 1
        at = spot(3)
        for module in modules_of(function):
            trainable = {id(p): weakref.ref(p) for p in members.parameters(module) if p.requires_grad}
            if trainable:
                cut = self.cuts.setdefault((at, type(module).__name__), Cut(at, type(module).__name__))
                cut.parameters |= trainable


def modules_of(function: Any) -> Iterator[nn.Module]:
    """The modules that a function to be checkpointed calls: itself, what it is a method of, or what it closes over."""
    if isinstance(function, nn.Module):
        yield function
    elif isinstance(function, functools.partial):
        for part in (function.func, *function.args, *function.keywords.values()):
            yield from modules_of(part)
    elif isinstance(function, types.MethodType):
        yield from modules_of(function.__self__)
    elif isinstance(function, types.FunctionType):
        for held in inspect.getclosurevars(function).nonlocals.values():
            for part in held if isinstance(held, list | tuple) else (held,):
                if isinstance(part, nn.Module):
                    yield part
