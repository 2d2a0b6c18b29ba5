"""Models that were built again and given the weights of a trained one: do they compute what that one computes?"""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.memory import too_large
from trainrecipe.capture.tape import RandomState
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.twin import CannotCopy, Memo
from trainrecipe.capture.where import place
from trainrecipe.subjects.weights import Reload

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener

_OWN = frozenset({"_parameters", "_buffers", "_modules", "training"})
_MOST = 4
_LISTED = 4


class Reloads:
    """Models with loaded weights that are not trained themselves, next to a trained one of their class, as they were when
    they were first called: a script may change them later."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._kept: dict[int, tuple[nn.Module, nn.Module, nn.Module]] = {}

    def called(self, module: nn.Module) -> None:
        """A model is about to be called in a new way: keep a copy, if it was built again for stored weights."""
        held = self.listener.optimizers.held_by
        if module not in self.listener.models.loaded or id(module) in self._kept or len(self._kept) >= _MOST:
            return
        if self.listener.released or not held or any(id(p) in held for p in members.parameters(module)):
            return
        roots = [m for m in self.listener.models.roots.values() if type(m) is type(module) and m is not module]
        trained = [m for m in roots if any(id(p) in held for p in members.parameters(m)) and _shapes(m) == _shapes(module)]
        if trained and not too_large(module):
            with contextlib.suppress(CannotCopy), self.listener.recorder.pause(), torch.no_grad():
                self._kept[id(module)] = module, Memo().module(module), trained[-1]

    def release(self) -> None:
        """Let go of the copies, for good."""
        self._kept.clear()

    def found(self) -> Iterator[Reload]:
        """What these models compute."""
        for module, copy, trained in self._kept.values():
            with self.listener.recorder.pause(), torch.no_grad():
                found = _compare(self.listener, trained, module, copy) if _shapes(trained) == _shapes(copy) else None
            if found is not None:
                found.further = self._trained_further(module)
                yield found

    def _trained_further(self, module: nn.Module) -> bool:
        """Whether optimisers hold most of a model's weights, rather than those of a new head."""
        held = self.listener.optimizers.held_by
        sizes = [(p.numel(), id(p) in held) for p in members.parameters(module)]
        return sum(n for n, own in sizes if own) > sum(n for n, own in sizes if not own)


def _shapes(module: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    held = [*members.named_parameters(module), *members.named_buffers(module)]
    return [(name, tuple(t.shape)) for name, t in held]


def _compare(listener: Listener, first: nn.Module, again: nn.Module, theirs: nn.Module) -> Reload | None:
    """The trained model `first` and `theirs`, a copy of `again`, both with the weights of the copy, in eval mode, on an input
    that one of them was given."""
    given = [(args, kwargs) for key, (args, kwargs), _, _ in listener.models.inputs if key in (id(again), id(first))]
    settings = list(_settings(first, theirs))
    name = type(again).__name__
    at = next((x.place for x in reversed(listener.run.checkpoints.loaded) if x.model == name), None)
    at = at or place(listener.models.births.get(again))
    if not given or not settings:
        return Reload(name, 0.0, [], False, at) if given else None
    try:
        mine = Memo().module(first)
    except CannotCopy:
        return None
    own = dict([*members.named_parameters(mine), *members.named_buffers(mine)])
    for key, tensor in [*members.named_parameters(theirs), *members.named_buffers(theirs)]:
        own[key].copy_(tensor)
    mine.eval()
    theirs.eval()
    args, kwargs = given[-1]
    state = RandomState.now()
    try:
        results = []
        for module in (mine, mine, theirs):
            state.restore()
            results.append([t.detach().clone() for t in tensors_in(module(*args, **kwargs)) if t.is_floating_point()])
    finally:
        state.restore()
    expected, repeated, seen = results
    if not expected or [t.shape for t in expected] != [t.shape for t in seen] or _apart(expected, repeated):
        return None
    return Reload(
        name,
        _apart(expected, seen),
        [f"{key}: {_tell(a)} in training, {_tell(b)} after loading" for key, a, b in settings[:_LISTED]],
        any(_is_default(type(again), a, b) for _, a, b in settings),
        at,
    )


def _apart(expected: list[torch.Tensor], seen: list[torch.Tensor]) -> float:
    """The largest difference between two lists of outputs, as a share of the norm of the expected one."""
    return max(float((a - b).norm() / a.norm().clamp_min(1e-12)) for a, b in zip(expected, seen, strict=True))


def _settings(first: nn.Module, again: nn.Module) -> Iterator[tuple[str, Any, Any]]:
    """Attributes of two modules and of those within them that differ: the name and both values."""
    theirs = dict(members.named_modules(again))
    for name, module in members.named_modules(first):
        other = theirs.get(name)
        if other is None:
            continue
        if type(module) is not type(other):
            yield name or type(first).__name__, type(module), type(other)
            continue
        present = vars(other)
        for key, value in vars(module).items():
            plain = key not in _OWN and key in present and _is_plain(value) and _is_plain(present[key])
            if plain and value != present[key]:
                yield f"{name}.{key}" if name else key, value, present[key]


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | types.FunctionType | types.BuiltinFunctionType)


def _is_default(kind: type, trained: Any, loaded: Any) -> bool:
    """Whether the value after loading, and not the one in training, is what the constructor takes if it is told nothing."""
    defaults = [p.default for p in inspect.signature(kind).parameters.values()]
    told = [(type(d), d.lower() if isinstance(d, str) else d) for d in defaults if _is_plain(d)]
    pairs = ((trained, loaded), (_tell(trained).lower(), _tell(loaded).lower()))  # functions and layers are named by texts
    return any((type(after), after) in told and (type(before), before) not in told for before, after in pairs)


def _tell(value: Any) -> str:
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else repr(value)[:40] if not isinstance(value, str) else value[:40]
