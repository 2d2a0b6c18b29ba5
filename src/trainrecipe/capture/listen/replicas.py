"""Hears what processes that train together do: wrappers that average gradients, exchanges of tensors, weights step by step.

Everything but the wrappers is heard only where this is one of several ranks, and in steps that are looked at in detail.
"""

from __future__ import annotations

import functools
import time
import weakref
from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainrecipe.capture import members
from trainrecipe.capture.hashing import exact_hash
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.listen.seeds import hash_of
from trainrecipe.capture.tensors import spread, tensors_in
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.finding import Place
from trainrecipe.subjects.ranks import Collective, Wrapper

EXCHANGES = (
    "all_reduce",
    "all_reduce_coalesced",
    "reduce",
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "gather",
    "gather_object",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "all_to_all",
    "all_to_all_single",
    "broadcast",
    "broadcast_object_list",
    "scatter",
    "scatter_object_list",
    "send",
    "recv",
    "isend",
    "irecv",
    "batch_isend_irecv",
)
"""Functions of `torch.distributed` in which ranks exchange tensors."""
_TENSORS = 256
"""Tensors of an optimiser that are looked at."""
_ELEMENTS = 4_000_000
"""Elements of a tensor above which only every so many-th is hashed."""
_SHOWN = 8
"""Elements of a tensor that are kept as they are."""
_KEPT = 64
"""Exchanges that are told of each line."""
_STATES = 4
"""Batches of a pass before which the random states are looked at."""
_PAUSE = 0.05
"""Seconds in which threads finish what they hold, before they are joined."""

Taken = tuple[int, int, list[tuple[torch.Tensor, str, str, list[float], list[float]]]]
"""An optimiser's number, its steps so far, and for each tensor: hashes of value and gradient, and elements of both."""


class Replicas(Ear):
    """What one rank can tell the others. `among`: there are others. `wrapped` are the modules inside a wrapper, and below."""

    def __init__(self, listener: Any, among: bool = False) -> None:
        super().__init__(listener)
        self.among = among
        self.wrappers: list[Wrapper] = []
        self.wrapped: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()
        self.averaged: set[int] = set()
        self.ignored: set[str] = set()
        self.initialized: Place | None = None
        self.trained_at: Spot | None = None
        self.exchanges: list[Collective] = []
        self.taken: list[Taken] = []
        self.states: dict[int, list[str]] = {}
        self.drew: set[int] = set()
        self.sharded: list[str] = []
        self._gradients: dict[int, torch.Tensor] = {}
        self._handles: list[Any] = []
        self._busy = False
        self._told: dict[tuple[str, Spot | None], tuple[int, tuple[int, int] | None]] = {}

    def install(self, put: Put) -> None:
        """Hear modules being wrapped and, among other ranks, every exchange."""
        put(DistributedDataParallel, "__init__", self._wrap_wrapping)
        if self.among:
            self.hear_exchanges(put)

    def hear_exchanges(self, put: Put) -> None:
        """Hear what the ranks tell each other."""
        if not torch.distributed.is_available():
            return
        home = torch.distributed.distributed_c10d
        for owner in (torch.distributed, home):
            put(owner, "init_process_group", self._wrap_init)
            put(owner, "destroy_process_group", self._wrap_destroy)
            for name in EXCHANGES:
                if hasattr(owner, name):
                    put(owner, name, self._wrap_exchange)

    # ---- wrappers

    def _wrap_wrapping(self, original: Any) -> Any:
        ear = self

        def __init__(wrapper: Any, /, module: Any, *args: Any, **kwargs: Any) -> None:
            original(wrapper, module, *args, **kwargs)
            ear._note_wrapper(module, spot(2))

        return __init__

    @guarded
    def _note_wrapper(self, module: nn.Module, at: Spot | None) -> None:
        number = len(self.wrappers)
        self.wrappers.append(Wrapper(place(at)))
        left_out = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        self.ignored |= left_out
        for below in members.modules(module):
            self.wrapped[below] = number
        self.averaged |= {id(p) for name, p in members.named_parameters(module) if p.requires_grad and name not in left_out}

    @guarded
    def called(self, module: nn.Module) -> None:
        """The outermost call of a module: of a wrapper, or of a module past its wrapper."""
        if not torch.is_grad_enabled():
            return
        if isinstance(module, DistributedDataParallel):
            number = self.wrapped.get(module.module)
            if number is not None:
                self.wrappers[number].calls += 1
            return
        number = self.wrapped.get(module)
        if number is not None and module.training:
            wrapper = self.wrappers[number]
            wrapper.bare += 1
            wrapper.bare_place = wrapper.bare_place or place(spot(4))

    def hear_gradients(self, leaves: list[torch.Tensor]) -> None:
        """Before a backward: keep the gradients that the wrapper's tensors get from this rank alone."""
        self.heard_gradients()
        if not self.averaged:
            return
        for leaf in leaves:
            if id(leaf) in self.averaged and leaf.requires_grad:
                self._handles.append(leaf.register_hook(functools.partial(self._keep, id(leaf))))  # type: ignore[no-untyped-call]

    def _keep(self, key: int, gradient: torch.Tensor) -> None:
        self._gradients[key] = gradient.detach().clone()

    def heard_gradients(self) -> dict[int, torch.Tensor]:
        """The gradients that were kept, by the id of their tensor; nothing more is heard."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        heard, self._gradients = self._gradients, {}
        return heard

    # ---- exchanges

    def _wrap_init(self, original: Any) -> Any:
        ear = self

        def init_process_group(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            ear.initialized = ear.initialized or place(spot(2))
            return result

        return init_process_group

    def _wrap_destroy(self, original: Any) -> Any:
        def destroy_process_group(*args: Any, **kwargs: Any) -> Any:
            # PyTorch joins gloo's threads while it holds the interpreter's lock, which they need to let go of tensors.
            time.sleep(_PAUSE)
            return original(*args, **kwargs)

        return destroy_process_group

    def _wrap_exchange(self, original: Any) -> Any:
        ear, name = self, original.__name__

        def exchange(*args: Any, **kwargs: Any) -> Any:
            if ear._busy:
                return original(*args, **kwargs)
            ear._busy = True
            try:
                with ear.recorder.pause():
                    ear._note_exchange(name, args, kwargs)
                    return original(*args, **kwargs)
            finally:
                ear._busy = False
                ear.recorder.written_outside(tensors_in((args, kwargs), 3))

        return exchange

    @guarded
    def _note_exchange(self, name: str, args: Any, kwargs: Any) -> None:
        at_line = spot(4)
        key, moment = (name, at_line), (self.run.steps, self.listener.loaders.serial)
        times, last = self._told.get(key, (0, None))
        if times >= _KEPT or last == moment:  # a loop over parameters is told once
            return
        self._told[key] = times + 1, moment
        given = [t for t in tensors_in((args, kwargs), 3) if t.layout == torch.strided]
        at = {t.data_ptr() for t in given if t.numel()}
        held = [p for w in self.listener.optimizers.watched.values() for p in w.parameters] if at else []
        elements = sum(t.numel() for t in given)
        heard = Collective(name, place(at_line), elements, self.run.events, self.run.steps)
        heard.gradients = any(p.grad is not None and p.grad.data_ptr() in at for p in held)
        heard.weights = any(p.data_ptr() in at for p in held)
        if not heard.gradients and not heard.weights and given and elements >= sum(p.numel() for p in held) > 0:
            heard.gradients = True  # all of them in one piece
        self.exchanges.append(heard)

    # ---- weights

    @guarded
    def before_first_step(self, watched: Any) -> None:
        """An optimiser is about to take its first step."""
        if self.among:
            with torch.no_grad():
                tensors = [p for p in watched.parameters[:_TENSORS] if type(p) in (nn.Parameter, torch.Tensor)]
                self.taken.append((watched.record.number, 0, [(p, _hash(p), "", _few(p), []) for p in tensors]))

    @guarded
    def stepped(self, watched: Any) -> None:
        """An optimiser took its step number `record.steps`."""
        count = watched.record.steps
        if not self.among or (count > 8 and count & (count - 1)):
            return
        tensors = watched.parameters[:_TENSORS]
        split = [type(p).__name__ for p in tensors if type(p) not in (nn.Parameter, torch.Tensor)]
        if split:
            self.sharded += [f"a parameter of the type {name}" for name in split[: 1 - len(self.sharded)]]
            return
        with torch.no_grad():
            number = watched.record.number
            self.taken.append((number, count, [self._look(p) for p in tensors]))

    def _look(self, p: torch.Tensor) -> tuple[torch.Tensor, str, str, list[float], list[float]]:
        g = p.grad
        return p, _hash(p), "" if g is None else _hash(g), _few(p), [] if g is None else _few(g)

    # ---- random numbers

    def before_batch(self, current: Any) -> str:
        """The state of the global generators before a batch is made; empty where it is not asked for."""
        if not self.among or not self.listener.detail or current is None or len(self.states.get(current.number, ())) >= _STATES:
            return ""
        return random_states()

    @guarded
    def after_batch(self, current: Any, before: str) -> None:
        """A batch was made: did that draw random numbers?"""
        if current is None:
            return
        self.states.setdefault(current.number, []).append(before)
        if random_states() != before:
            self.drew.add(current.number)


def random_states() -> str:
    """Hashes of the states of the global generators of PyTorch, NumPy and Python."""
    return "-".join(str(hash_of(stream)) for stream in ("torch", "numpy", "random"))


def _hash(tensor: torch.Tensor) -> str:
    return exact_hash(spread(tensor, _ELEMENTS))


def _few(tensor: torch.Tensor) -> list[float]:
    values = spread(tensor, _SHOWN)
    return [] if values.is_complex() else [float(v) for v in values.double().tolist()][:_SHOWN]
