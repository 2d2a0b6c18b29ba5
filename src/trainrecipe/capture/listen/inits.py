"""Hears weights being initialised: `Module.apply`, `torch.nn.init`, and what becomes of loaded weights before training."""

from __future__ import annotations

import types
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.where import Spot, is_user_file, place, spot
from trainrecipe.subjects.inits import Application, Inits, Reload

INITIALISERS = tuple(n for n in vars(nn.init) if n.endswith("_") and not n.startswith("_") and callable(getattr(nn.init, n)))
"""The functions of `torch.nn.init`."""
_WRITERS = frozenset({*INITIALISERS, "normal_", "uniform_", "fill_", "zero_", "reset_parameters"})
_MOST = 32
"""Loads, and calls of `apply`, that are looked at."""
_SAMPLE = 64
"""Elements of a tensor that are compared."""
_SMALL = 16
"""Tensors with fewer elements tell nothing."""


class _Pending:
    """A load whose weights are to be looked at when training goes on."""

    def __init__(self, model: str, at: Spot | None, forwards: int, evaluations: int) -> None:
        self.model, self.at, self.forwards, self.evaluations = model, at, forwards, evaluations
        self.tensors: list[tuple[str, weakref.ref[torch.Tensor], torch.Tensor, int]] = []
        self.by: Spot | None = None
        self.used = False


class InitCalls(Ear):
    """Initialisation, as `run.inits` tells it."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.record: Inits = self.run.inits
        self.pending: list[_Pending] = []
        self._known: dict[int, _Pending] = {}
        self._loads = self._applies = self._calls = 0
        self._within = False
        self._effective: set[types.CodeType] = set()

    def install(self, put: Put) -> None:
        """Hear weights being loaded and initialised."""
        put(nn.Module, "apply", self._wrap_apply)
        put(nn.Module, "load_state_dict", self._wrap_load)
        for name in INITIALISERS:
            put(nn.init, name, self._wrap_initialiser)

    # ---- torch.nn.init

    def _wrap_initialiser(self, original: Any) -> Any:
        ear = self

        def initialiser(*args: Any, **kwargs: Any) -> Any:
            out = original(*args, **kwargs)
            ear._calls += 1
            if ear._known:
                ear._overwrite(out)
            return out

        return initialiser

    @guarded
    def _overwrite(self, tensor: Any) -> None:
        pending = self._known.get(id(tensor))
        if pending is not None and pending.by is None:
            pending.by = spot(3)
            pending.used = self._forwards() > pending.forwards

    # ---- Module.apply

    def _wrap_apply(self, original: Any) -> Any:
        ear = self

        def apply(module: nn.Module, /, fn: Any) -> Any:
            if ear._within or ear._applies >= _MOST or (code := _code(fn)) is None or not _initialises(code):
                return original(module, fn)
            ear._within, ear._applies = True, ear._applies + 1
            before, calls = ear._samples(module), ear._calls
            try:
                out = original(module, fn)
            finally:
                ear._within = False
            ear._note_applied(module, code, before, calls, spot(2))
            return out

        return apply

    @guarded
    def _samples(self, module: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
        with self.recorder.pause(), torch.no_grad():
            return [(p, _sample(p)) for p in members.parameters(module) if not p.is_meta]

    @guarded
    def _note_applied(self, module: nn.Module, code: types.CodeType, before: Any, calls: int, at: Spot | None) -> None:
        if not before or at is None:
            return
        with self.recorder.pause(), torch.no_grad():
            changed = sum(not torch.equal(_sample(p), old) for p, old in before)
        holders = [m for m in members.modules(module) if any(p is not None and p.ndim > 1 for p in m._parameters.values())]
        if changed or self._calls > calls:
            self._effective.add(code)
            for other in self.record.applied:
                other.elsewhere |= other.function == code.co_name
        application = Application(
            code.co_name,
            type(module).__name__,
            place(at),
            sum(p.ndim > 1 for p, _ in before),
            sorted({type(m).__name__ for m in holders})[:6],
            changed,
            self._calls > calls,
            code in self._effective,
        )
        self.record.applied.append(application)

    # ---- loaded weights

    def _wrap_load(self, original: Any) -> Any:
        ear = self

        def load_state_dict(module: nn.Module, /, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(module, state_dict, *args, **kwargs)
            if ear._loads < _MOST:
                ear._note_load(module, state_dict, spot(2))
            return result

        return load_state_dict

    @guarded
    def _note_load(self, module: nn.Module, state: Any, at: Spot | None) -> None:
        self._loads += 1
        pending = _Pending(type(module).__name__, at, self._forwards(), self._forwards(evaluating=True))
        with self.recorder.pause(), torch.no_grad():
            for name, p in members.named_parameters(module):
                given = state.get(name)
                if isinstance(given, torch.Tensor) and given.shape == p.shape and p.ndim > 1 and p.numel() >= _SMALL:
                    pending.tensors.append((name, weakref.ref(p), _sample(p), p.numel()))
                    self._known[id(p)] = pending
        for other in self.pending:  # loaded again: the later values count
            other.tensors = [t for t in other.tensors if self._known.get(id(t[1]())) is other]
        if pending.tensors:
            self.pending.append(pending)

    def _forwards(self, evaluating: bool = False) -> int:
        """How often models were called, or called without gradients."""
        return sum(f.count for f in self.run.forwards if not evaluating or not f.grad)

    @guarded
    def compare(self) -> None:
        """Training goes on: are the loaded weights still there?"""
        waiting, self.pending = self.pending, []
        self._known.clear()
        with self.recorder.pause(), torch.no_grad():
            for load in waiting:
                if load.used or (load.by is None and self._forwards(evaluating=True) > load.evaluations):
                    continue  # the loaded weights served their purpose before
                alive = [(n, p, old, size) for n, ref, old, size in load.tensors if (p := ref()) is not None]
                lost = [(n, size) for n, p, old, size in alive if _unrelated(old, _sample(p))]
                total, gone = sum(size for *_, size in alive), sum(size for _, size in lost)
                names = [n for n, _ in lost[:8]]
                if alive:
                    made = Reload(load.model, place(load.at), len(alive), total, gone, names, place(load.by) if lost else None)
                    self.record.reloads.append(made)


def _sample(parameter: torch.Tensor) -> torch.Tensor:
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // _SAMPLE)][:_SAMPLE].float().cpu().clone()


def _unrelated(old: torch.Tensor, new: torch.Tensor) -> bool:
    """Whether new values have nothing to do with old ones, rather than being moved, scaled, masked or rounded."""
    if old.shape != new.shape or torch.allclose(old, new, rtol=0.02, atol=1e-6) or not float(old.std()):
        return False
    a, b = old - old.mean(), new - new.mean()
    scale = float(a.norm() * b.norm())
    return scale == 0 or abs(float(a @ b)) / scale < 0.5


def _code(function: Any) -> types.CodeType | None:
    """The code of a function of the user's, also behind `functools.partial` and bound methods."""
    inner = getattr(function, "func", function)
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    return code if isinstance(code, types.CodeType) and is_user_file(code.co_filename) else None


def _initialises(code: types.CodeType) -> bool:
    """Whether code names a function that writes initial values."""
    return any(not _WRITERS.isdisjoint(c.co_names) for c in _nested(code))


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)
