"""Hears weights being initialised: `Module.apply`, `torch.nn.init`, loops over `children()`, and what becomes of loaded
weights before training."""

from __future__ import annotations

import ast
import dataclasses
import sys
import types
import weakref
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.listen.expressions import Unknown, evaluate
from trainrecipe.capture.listen.loops import enclosing
from trainrecipe.capture.where import Spot, is_user_file, place, spot
from trainrecipe.subjects.inits import Application, Inits, Reload

INITIALISERS = tuple(n for n in vars(nn.init) if n.endswith("_") and not n.startswith("_") and callable(getattr(nn.init, n)))
"""The functions of `torch.nn.init`."""
_WRITERS = frozenset({*INITIALISERS, "normal_", "uniform_", "fill_", "zero_", "reset_parameters"})
_CONSTANT = frozenset({"zeros_", "ones_", "constant_", "eye_", "dirac_"})
"""Initialisers without chance: what they are meant for, such as a last layer of zeros, others must not get."""
_PLAIN = (nn.Linear, nn.modules.conv._ConvNd)
"""Layers whose constructor draws the weight from a uniform distribution within one over the root of the fan-in."""
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_MOST = 32
"""Loads, loops, and calls of `apply`, that are looked at."""
_SAMPLE = 64
"""Elements of a tensor that are compared."""
_SMALL = 16
"""Tensors with fewer elements tell nothing."""
_MANY = 256
"""Elements from which a tensor shows how its numbers are distributed."""


class _Pending:
    """A load whose weights are to be looked at when training goes on."""

    def __init__(self, model: str, at: Spot | None, forwards: int, evaluations: int) -> None:
        self.model, self.at, self.forwards, self.evaluations = model, at, forwards, evaluations
        self.tensors: list[tuple[str, weakref.ref[torch.Tensor], torch.Tensor, int]] = []
        self.by: Spot | None = None
        self.used = False


class _Walk:
    """A loop over the children of a module that initialised layers of one type: those `reached`, and the `deep` ones that lay
    in the module's containers at that time."""

    def __init__(self, loop: str, owner: nn.Module, layer: nn.Module, at: Spot | None) -> None:
        self.loop, self.model, self.kind, self.at = loop, type(owner).__name__, type(layer).__name__, at
        self.reached: set[int] = set()
        self.deep = [weakref.ref(m) for m in _contained(owner) if type(m) is type(layer)]


class _Bases:
    """A call of `apply` that initialised layers of some types, and left `subclasses` of these as they were."""

    def __init__(self, application: Application, base: str, reached: int, subclasses: Sequence[nn.Module]) -> None:
        self.application, self.base, self.reached = application, base, reached
        self.subclasses = [weakref.ref(m) for m in subclasses]


class InitCalls(Ear):
    """Initialisation, as `run.inits` tells it."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.record: Inits = self.run.inits
        self._loaded: list[_Pending] = []
        self._walks: dict[tuple[int, str, str, int], _Walk] = {}
        self._bases: list[_Bases] = []
        self._written: set[int] = set()
        self._known: dict[int, _Pending] = {}
        self._loads = self._applies = self._calls = 0
        self._within = False
        self._effective: set[types.CodeType] = set()

    @property
    def pending(self) -> bool:
        """Whether there is something to look at when training goes on."""
        return bool(self._loaded or self._walks or self._bases)

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
            if not ear.run.steps and is_user_file(sys._getframe(1).f_code.co_filename):
                ear._note_written(out, original.__name__ not in _CONSTANT)
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

    @guarded
    def _note_written(self, tensor: torch.Tensor, random: bool) -> None:
        """The program initialises a tensor, or the `data` of one: by memory, so that both are the same."""
        self._written.add(tensor.data_ptr())
        if random and tensor.ndim > 1 and not self._within:
            for _, (file, _), node, frame in enclosing():
                for owner in _walked(node, frame):
                    self._reach(owner, tensor, node, (file, frame.f_lineno, frame.f_code.co_name))

    def _reach(self, owner: nn.Module, tensor: torch.Tensor, node: Any, at: Spot) -> None:
        for layer in owner._modules.values():
            weight = layer._parameters.get("weight") if isinstance(layer, _PLAIN) else None
            if layer is not None and weight is not None and weight.data_ptr() == tensor.data_ptr():
                key = (id(owner), type(layer).__name__, at[0], node.lineno)
                if key not in self._walks and len(self._walks) < _MOST:
                    loop = f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}"
                    self._walks[key] = _Walk(loop, owner, layer, (at[0], node.lineno, at[2]))
                if key in self._walks:
                    self._walks[key].reached.add(id(layer))

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
            changed_now = {id(p) for p, old in before if not torch.equal(_sample(p), old)}
        changed = len(changed_now)
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
        self._note_subclasses(module, changed_now, application)

    def _note_subclasses(self, module: nn.Module, changed: set[int], application: Application) -> None:
        """Layers of the user's own types, derived from one that was initialised, which the function does not take for it."""
        layers = [m for m in members.modules(module) if isinstance(m, _PLAIN) and m._parameters.get("weight") is not None]
        for base in dict.fromkeys(type(m) for m in layers if id(m.weight) in changed):
            derived = [m for m in layers if type(m) is not base and isinstance(m, base) and _is_own(m)]
            if derived and not any(id(m.weight) in changed for m in derived) and len(self._bases) < _MOST:
                reached = sum(type(m) is base and id(m.weight) in changed for m in layers)
                self._bases.append(_Bases(application, base.__name__, reached, derived))

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
        for other in self._loaded:  # loaded again: the later values count
            other.tensors = [t for t in other.tensors if self._known.get(id(t[1]())) is other]
        if pending.tensors:
            self._loaded.append(pending)

    def _forwards(self, evaluating: bool = False) -> int:
        """How often models were called, or called without gradients."""
        return sum(f.count for f in self.run.forwards if not evaluating or not f.grad)

    @guarded
    def compare(self) -> None:
        """Training goes on: are the loaded weights still there, and were layers passed by?"""
        waiting, self._loaded = self._loaded, []
        walks, self._walks = list(self._walks.values()), {}
        bases, self._bases = self._bases, []
        self._known.clear()
        with self.recorder.pause(), torch.no_grad():
            for call in bases:
                passed = [m for ref in call.subclasses if (m := ref()) is not None and self._passed_by(m)]
                if passed:
                    kinds = sorted({type(m).__name__ for m in passed})
                    made = dataclasses.replace(call.application, weights=len(passed), kinds=kinds, changed=call.reached)
                    self.record.applied.append(dataclasses.replace(made, base=call.base))
            for walk in walks:
                passed = [m for ref in walk.deep if (m := ref()) is not None and self._passed_by(m)]
                if passed:
                    shape = (len(passed), [walk.kind], len(walk.reached))
                    self.record.applied.append(Application(walk.loop, walk.model, place(walk.at), *shape, True, loop=True))
        with self.recorder.pause(), torch.no_grad():
            for load in waiting:
                if load.used or (load.by is None and self._forwards(evaluating=True) > load.evaluations):
                    continue  # the loaded weights served their purpose before
                alive = [(n, p, old, size) for n, ref, old, size in load.tensors if (p := ref()) is not None]
                lost = [(n, size) for n, p, old, size in alive if _unrelated(old, _sample(p))]
                total, gone = sum(size for *_, size in alive), sum(size for _, size in lost)
                names = [n for n, _ in lost[:8]]
                if alive:
                    by = place(load.by) if lost else None
                    self.record.reloads.append(Reload(load.model, place(load.at), len(alive), total, gone, names, by))

    def _passed_by(self, layer: nn.Module) -> bool:
        """Whether an optimiser is about to train a layer that nobody but its constructor has initialised."""
        weight = layer._parameters.get("weight")
        if weight is None or not weight.requires_grad or id(weight) not in self.listener.optimizers.held_by:
            return False
        return weight.data_ptr() not in self._written and as_built(layer)


def _walked(node: ast.AST, frame: FrameType) -> Iterator[nn.Module]:
    """The modules whose children a loop goes over."""
    for call in ast.walk(node.iter) if isinstance(node, ast.For) else ():
        func = call.func if isinstance(call, ast.Call) else None
        if isinstance(func, ast.Attribute) and func.attr in ("children", "named_children"):
            try:
                owner = evaluate(func.value, frame)
            except Unknown:
                continue
            if isinstance(owner, nn.Module):
                yield owner


def _contained(owner: nn.Module) -> Iterator[nn.Module]:
    """The layers in the containers of a module, also inside those of the user's own modules that lie there."""
    work: list[nn.Module] = [m for m in owner._modules.values() if isinstance(m, _CONTAINERS)]
    while work:
        for child in work.pop()._modules.values():
            if isinstance(child, _PLAIN):
                yield child
            elif child is not None and (isinstance(child, _CONTAINERS) or _is_own(child)):
                work.append(child)


def _is_own(module: nn.Module) -> bool:
    file = getattr(sys.modules.get(type(module).__module__), "__file__", None)
    return file is not None and is_user_file(file)


def as_built(layer: nn.Module) -> bool:
    """Whether the weight of a linear or convolutional layer is still what PyTorch's constructor gave it: written to once,
    and spread evenly within that bound. A copy of a layer, a loaded one and one that was trained are not."""
    weight: Any = layer._parameters.get("weight") if isinstance(layer, _PLAIN) else None
    if weight is None or weight.is_meta or weight.numel() < _SMALL or weight._version != 1:
        return False
    values: torch.Tensor = weight.detach().double()
    root = values[0].numel() ** 0.5
    largest, spread = float(values.abs().max()) * root, float(values.std()) * root * 3**0.5
    return bool(largest <= 1 + 1e-3 and abs(spread - 1) < 2 / values.numel() ** 0.5)


def drawn(layer: nn.Module) -> bool:
    """Whether the weight of one of the program's own layers was written once, and is spread as normal numbers are."""
    weight: Any = layer._parameters.get("weight") if _is_own(layer) else None
    if weight is None or weight.is_meta or weight.ndim < 2 or weight.numel() < _MANY or weight._version > 1:
        return False
    values: torch.Tensor = weight.detach().double()
    normed = (values - values.mean()) / values.std().clamp_min(1e-300)
    n = values.numel()
    skew, tails = float(normed.pow(3).mean()), float(normed.pow(4).mean()) - 3
    return bool(abs(skew) < 3 * (6 / n) ** 0.5 and abs(tails) < 3 * (24 / n) ** 0.5)  # standard errors for normal numbers


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
