"""Copies of modules, parameters and optimisers that share nothing with the originals that training could change.

`copy.deepcopy` is not enough: it fails on attributes that hold tensors with a graph, follows references from a model into
trainers, loaders and loggers, and copies a scheduler's wrapper around `optimizer.step` that still steps the original. So
modules are copied member by member: parameters, buffers and plain data are copied with ties kept, modules are followed,
everything that belongs to a library is kept by reference.
"""

from __future__ import annotations

import collections
import copy
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainrecipe.capture import members
from trainrecipe.capture.where import is_user_file

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_ATOMS = (type(None), bool, int, float, complex, str, bytes, type, types.FunctionType, types.BuiltinFunctionType)


class CannotCopy(Exception):
    """A module that no twin can be made of; the message says which and why."""


class Memo:
    """What has been copied so far: originals to copies, with ties kept. Originals are held, so ids stay unique."""

    def __init__(self) -> None:
        self._copies: dict[int, Any] = {}
        self._originals: list[Any] = []
        self._versions: list[tuple[torch.Tensor, int]] = []
        self._buffers: dict[int, int] = {}

    @property
    def stale(self) -> bool:
        """Whether a parameter was changed in place since it was copied."""
        return any(p._version != v for p, v in self._versions)

    def outdated(self, module: nn.Module) -> bool:
        """Whether parts of a module that is not copied yet were copied earlier, with values that have changed since."""
        if self.get(module) is not None:
            return False
        return any(self._buffers.get(id(b), b._version) != b._version for b in members.buffers(module) if not b.is_inference())

    def get(self, original: Any) -> Any:
        """The copy of `original`, or None."""
        return self._copies.get(id(original))

    def put(self, original: Any, made: Any) -> Any:
        """Remember that `made` is the copy of `original`."""
        self._originals.append(original)
        self._copies[id(original)] = made
        return made

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Every original with its copy."""
        return ((o, self._copies[id(o)]) for o in self._originals)

    def tensor(self, original: torch.Tensor) -> torch.Tensor:
        """The copy of a tensor: same values, same kind (Parameter stays Parameter), a leaf without gradient."""
        known = self.get(original)
        if known is not None:
            return known  # type: ignore[no-any-return]
        with torch.no_grad():
            made = original.detach().clone(memory_format=torch.preserve_format)
        if isinstance(original, nn.Parameter):
            made = nn.Parameter(made, requires_grad=original.requires_grad)
        elif original.is_leaf and original.requires_grad:
            made.requires_grad_()
        if original.is_inference():
            return self.put(original, made)  # type: ignore[no-any-return]
        if made.requires_grad:
            self._versions.append((original, original._version))
        else:
            self._buffers[id(original)] = original._version
        return self.put(original, made)  # type: ignore[no-any-return]

    def module(self, original: nn.Module) -> nn.Module:
        """The copy of a module and everything below it. Raises CannotCopy."""
        known = self.get(original)
        if known is not None:
            return known  # type: ignore[no-any-return]
        if isinstance(original, torch.jit.ScriptModule):
            raise CannotCopy(f"{type(original).__name__} is a TorchScript module")
        if hasattr(original, "_orig_mod"):
            raise CannotCopy("a compiled module runs code that is bound to the original's parameters")
        if isinstance(original, DistributedDataParallel):  # a copy must not wait for the other ranks
            return self.put(original, self.module(original.module))  # type: ignore[no-any-return]
        made: nn.Module = object.__new__(type(original))
        self.put(original, made)
        for name, value in vars(original).items():
            if name == "_parameters" or name == "_buffers":
                held: Any = {k: None if v is None else self.tensor(v) for k, v in value.items()}
            elif name == "_modules":
                held = {k: None if v is None else self.module(v) for k, v in value.items()}
            elif name in _HOOKS:
                held = self._hooks(value)
            elif name == "_flat_weight_refs":  # weak references from a recurrent layer to its own weights
                alive = [None if r is None else r() for r in value]
                held = [None if w is None else weakref.ref(self.tensor(w)) for w in alive]
            else:
                held = self.value(value)
            made.__dict__[name] = type(value)(held) if name in ("_parameters", "_buffers", "_modules") else held
        return made

    def value(self, original: Any, depth: int = 6) -> Any:
        """The copy of an attribute: tensors, modules, containers and the user's own objects; the rest by reference."""
        if isinstance(original, _ATOMS) or depth == 0:
            return original
        known = self.get(original)
        if known is not None:
            return known
        if isinstance(original, torch.Tensor):
            return self.tensor(original)
        if isinstance(original, nn.Module):
            return self.module(original)
        if isinstance(original, torch.Generator):
            return self.put(original, original.clone_state())
        if isinstance(original, types.MethodType):
            owner = self.get(original.__self__)
            return original if owner is None else types.MethodType(original.__func__, owner)
        return self._container(original, depth)

    def _container(self, original: Any, depth: int) -> Any:
        kind = type(original)
        if kind is list or kind is set or kind is collections.deque:
            items = [self.value(v, depth - 1) for v in original]
            return self.put(original, collections.deque(items, original.maxlen) if kind is collections.deque else kind(items))
        if kind is tuple:
            return tuple(self.value(v, depth - 1) for v in original)
        if kind in (dict, collections.OrderedDict):
            return self.put(original, kind((k, self.value(v, depth - 1)) for k, v in original.items()))
        if _is_users(kind):
            made = copy.copy(original)
            self.put(original, made)
            for name, value in vars(original).items():
                made.__dict__[name] = self.value(value, depth - 1)
            return made
        return original

    def _hooks(self, hooks: Any) -> Any:
        """Hooks that belong to PyTorch (spectral norm, weight norm) act on the copy; the script's own are left out."""
        kept = [(k, self.value(h)) for k, h in hooks.items() if not _is_users(h) and not _is_ours(h)]
        return type(hooks)(kept) if kept else type(hooks)()


def copy_optimizer(original: torch.optim.Optimizer, tensor: Callable[[torch.Tensor], torch.Tensor]) -> torch.optim.Optimizer:
    """A new optimiser of the same class with the same groups and state, over the tensors that `tensor` maps to.

    Raises CannotCopy for classes that are not PyTorch's own: their constructors and inner state are unknown.
    """
    if not type(original).__module__.startswith("torch.optim"):
        raise CannotCopy(f"{type(original).__name__} is not one of PyTorch's optimisers")
    groups = []
    for group in original.param_groups:
        settings = {k: v for k, v in group.items() if k not in ("params", "initial_lr", "max_lr", "min_lr")}
        groups.append({**settings, "params": [tensor(p) for p in group["params"]]})
    made = type(original)(groups, **({"lr": 1e-3} if type(original).__name__ == "SGD" else {}))  # type: ignore[arg-type]
    for old_group, new_group in zip(original.param_groups, made.param_groups, strict=True):
        for old, new in zip(old_group["params"], new_group["params"], strict=True):
            if old in original.state:
                made.state[new] = {k: _detached(v) for k, v in original.state[old].items()}
    return made


def _detached(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return type(value)(_detached(v) for v in value)
    return value


def _is_users(thing: Any) -> bool:
    code = getattr(thing, "__code__", None)
    if code is not None:
        return is_user_file(code.co_filename)
    kind = thing if isinstance(thing, type) else type(thing)
    if not hasattr(thing, "__dict__") or issubclass(kind, types.ModuleType):
        return False
    if kind.__module__ == "__main__":
        return True
    import sys

    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return file is not None and is_user_file(file)


def _is_ours(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).startswith("trainrecipe.")
