"""The recorder: every tensor operation between the data and the loss, while the script trains.

A `Recorder` is active for the first few steps only. It sees operations through a `TorchFunctionMode` and module calls
through `Module.__call__`, and keeps them as a flat list of `Op`. The outermost call of a module with parameters is one
atomic operation for replay; what happens inside it is kept too, for provenance (which line made the loss's input).
Everything that no recorded operation produced is kept by value at the moment it is consumed.

The recorder never changes a result: it calls the very function that the script called, and it steps aside (leaves the
mode stack) during data loading, backward, optimiser steps, compiled regions and forwards without gradients, where the
mere presence of a mode would switch PyTorch to other kernels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

from trainrecipe.capture import members
from trainrecipe.capture.memory import too_large
from trainrecipe.capture.tape import (
    ESCAPES,
    LOSSES,
    UNFILLED,
    FrozenGenerator,
    Op,
    RandomState,
    Ref,
    Storage,
    Value,
    autocast_state,
    name_of,
    storage_of,
)
from trainrecipe.capture.tensors import equal, map_tensors, tensors_in
from trainrecipe.capture.twin import CannotCopy, Memo
from trainrecipe.capture.where import called_directly, spot

_UNRECORDED = frozenset(
    {"backward", "register_hook", "retain_grad", "grad.get", "grad_fn.get", "__deepcopy__", "__repr__", "__format__"}
)
_ALTER = frozenset({"requires_grad_", "requires_grad.set", "data.set", "detach_", "set_"})
"""Operations that change their first argument without raising its version."""
_UNFILLED = frozenset({"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"})

MOST = 60_000
"""Operations that are kept while no backward was ever called: rollouts before the first update, or a program without any."""
_TROUBLE = 50
_SHARING = 64
"""Tensors of one memory, such as slices, beyond which those that are gone are left out."""


class Recorder:
    """Records operations between `start` and `stop`; `pause` steps aside for a while.

    `cuts` counts the backward calls. Without `copying` no module is copied: such a recording tells what happened, but
    cannot be replayed.
    """

    def __init__(self) -> None:
        self.copying = True
        self.cuts = 0
        self.ops: list[Op] = []
        self.values: list[Value] = []
        self.writers: dict[int, list[int]] = {}
        self.trouble: list[str] = []
        self._known: dict[int, int] = {}
        self._storages: dict[int, Storage] = {}
        self._numbers = itertools.count()
        self._members: dict[int, list[Value]] = {}
        self._waiting = False
        self._fits: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
        self._stack: list[int] = []
        self._mode: _Mode | None = None
        self._thread = threading.get_ident()
        self._memo = Memo()
        self._memo_fresh = False
        self.first_kept = 0
        self._busy = False
        self._inside: nn.Module | None = None

    # ---- on and off

    @property
    def active(self) -> bool:
        """Whether operations are being recorded at this moment."""
        return self._mode is not None

    def start(self) -> None:
        """Begin, or go on, to record on this thread."""
        if self._mode is None:
            self._mode = _Mode(self)
            _push_mode(self._mode)  # type: ignore[no-untyped-call]

    def start_late(self) -> None:
        """Begin to record at the next `wake`: data may be prepared in as many operations as it takes."""
        self._waiting = True

    def wake(self) -> None:
        """Training is near: an optimiser is built, a batch is taken, or a model is called."""
        if self._waiting:
            self._waiting = False
            self.start()

    def stop(self) -> None:
        """Leave the mode stack, wherever in it the mode lies by now."""
        self._waiting = False
        mode, self._mode = self._mode, None
        if mode is None:
            return
        above = []
        for _ in range(len(_get_current_function_mode_stack())):  # type: ignore[no-untyped-call]
            top = _pop_mode()  # type: ignore[no-untyped-call]
            if top is mode:
                break
            above.append(top)
        for other in reversed(above):
            _push_mode(other)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Step aside, as if no recorder were there."""
        was = self.active
        if was:
            self.stop()
        try:
            yield
        finally:
            if was:
                self.start()

    def here(self) -> bool:
        """Whether a call at this moment, on this thread, is recorded."""
        return self._mode is not None and not self._busy and threading.get_ident() == self._thread

    def parameters_changed(self) -> None:
        """A backward or an optimiser step happened: copies of modules taken so far are of the past."""
        self._memo_fresh = False

    def forget(self, before: int) -> None:
        """Let go of the tensors that operations before number `before` made, so that memory stays bounded."""
        for i in range(self.first_kept, min(before, len(self.ops))):
            op = self.ops[i]
            for v in (*op.outputs, *op.inputs):
                value = self.values[v]
                if value.ref is not None and value.parameter is None and (value.producer or 0) < before:
                    tensor = value.tensor
                    if tensor is not None:
                        self._known.pop(id(tensor), None)
                        self._storage_at(tensor).let_go()
                    value.ref = value.constant = None
            self.ops[i] = op.forgotten()  # a tape may hold the whole one
        self.first_kept = max(self.first_kept, before)

    def _start_over(self) -> None:
        """So many operations and no backward: what was recorded of them leads to no step."""
        mode, self._mode = self._mode, None
        self.clear()
        self._mode = mode

    def clear(self) -> None:
        """Let go of everything."""
        self.stop()
        for held in (self.ops, self.values, self.writers, self._known, self._storages, self._members, self._stack):
            held.clear()
        self._memo = Memo()
        self.first_kept = 0

    def written_outside(self, tensors: Iterable[torch.Tensor]) -> None:
        """What writes into tensors without a new version of them, as exchanges between ranks do: their content is new."""
        for tensor in tensors:
            number = self._known.get(id(tensor))
            if number is not None and self.values[number].tensor is tensor and not tensor.requires_grad:
                del self._known[id(tensor)]

    def mark_batch(self, batch: Any, name: str) -> None:
        """Remember that the tensors in `batch` came out of a loader."""
        for i, tensor in enumerate(tensors_in(batch)):
            self.values[self._value(tensor, top=False)].source = f"{name}[{i}]"

    def recent(self, start: int) -> list[Op]:
        """The operations from number `start` on; those that are still going on as copies, since they change yet."""
        ops = self.ops[max(start, self.first_kept) :]
        for index in self._stack:
            if ops and index >= ops[0].index:
                ops[index - ops[0].index] = self.ops[index].copy()
        return ops

    def note_trouble(self, text: str) -> None:
        """Keep what went wrong, each thing once, at most fifty."""
        if len(self.trouble) < _TROUBLE and text not in self.trouble:
            self.trouble.append(text)

    # ---- recording

    def function(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call `func`, record the call, and return exactly what it returned."""
        name = name_of(func)
        if name in _UNRECORDED or torch._C._functorch.maybe_current_level() is not None:
            return func(*args, **kwargs)
        given = self._given(args, kwargs)
        op = self._open("function", name, func, args, kwargs, given)
        out = func(*args, **kwargs)
        if op is not None:
            self._close(op, given, out)
        return out

    def happened(self, func: Callable[..., Any], args: Any, kwargs: Any, out: Any) -> None:
        """Record a call that was made while the recorder stood aside: where its results came from."""
        if self.here():
            given = self._given(args, kwargs)
            op = self._open("function", name_of(func), func, args, kwargs, given)
            if op is not None:
                self._close(op, given, out)

    def opaque(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any, call: Callable[[], Any]) -> Any:
        """Like `function`, for a callable whose inside must not be replayed on its own."""
        given = self._given(args, kwargs)
        op = self._open("opaque", name, func, args, kwargs, given, modules=True)
        if op is None:
            return call()
        self._stack.append(op.index)
        try:
            out = call()
        finally:
            known = self._leave(op)
        if known:
            self._close(op, given, out)
        return out

    def wrap_apply(self, original: Any) -> Any:
        """What takes the place of `torch.autograd.Function.apply`, so that a hand-written function is one operation."""
        recorder, raw = self, original.__func__

        def apply(cls: Any, /, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or not recorder.here() or not torch.is_grad_enabled():
                return raw(cls, *args, **kwargs)
            bound = functools.partial(raw, cls)
            return recorder.opaque(cls.__name__, bound, args, kwargs, lambda: bound(*args, **kwargs))

        return classmethod(apply)

    def module(self, module: nn.Module, args: Any, kwargs: Any, call: Callable[..., Any]) -> Any:
        """Call a module and record the call; the outermost call of a module with parameters is atomic."""
        top = not self._stack
        if not torch.is_grad_enabled() or torch._C._functorch.maybe_current_level() is not None:
            with self.pause():
                return call(module, *args, **kwargs)
        if isinstance(module, DistributedDataParallel):
            return self._wrapper(module, args, kwargs, call)
        if module is self._inside:  # the wrapper's call stands for it
            self._inside = None
            return call(module, *args, **kwargs)
        if top and hasattr(module, "_orig_mod"):
            return self._compiled(module, args, kwargs, call)
        if top and next(members.parameters(module), None) is None:
            return call(module, *args, **kwargs)
        given = self._given(args, kwargs)
        op = self._open("module", type(module).__name__, module, args, kwargs, given, modules=top)
        if op is None:
            return call(module, *args, **kwargs)
        op.training = module.training
        self._stack.append(op.index)
        try:
            out = call(module, *args, **kwargs)
        finally:
            known = self._leave(op)
        if known:
            self._close(op, given, out)
        return out

    def _leave(self, op: Op) -> bool:
        """The call of an operation is over. False if everything was let go of meanwhile: it held whole training steps."""
        if not self._stack or self._stack[-1] != op.index:
            return False
        self._stack.pop()
        return True

    def _compiled(self, module: Any, args: Any, kwargs: Any, call: Callable[..., Any]) -> Any:
        """A compiled module: the tape keeps the module that was compiled, and stays away while the compiled code runs."""
        given = self._given(args, kwargs)
        op = self._open("module", type(module._orig_mod).__name__, module._orig_mod, args, kwargs, given, modules=True)
        with self.pause():
            out = call(module, *args, **kwargs)
        if op is not None:
            op.training = module.training
            self._close(op, given, out)
        return out

    def _wrapper(self, wrapper: Any, args: Any, kwargs: Any, call: Callable[..., Any]) -> Any:
        """A module that averages gradients over ranks: the tape keeps the module inside, whose replay waits for nobody."""
        module = wrapper.module
        compiled = hasattr(module, "_orig_mod")
        module = module._orig_mod if compiled else module
        given = self._given(args, kwargs)
        op = self._open("module", type(module).__name__, module, args, kwargs, given, modules=not self._stack)
        if op is None:
            return call(wrapper, *args, **kwargs)
        op.training = module.training
        self._stack.append(op.index)
        self._inside = None if compiled else module
        try:
            with self.pause() if compiled else contextlib.nullcontext():
                out = call(wrapper, *args, **kwargs)
        finally:
            known = self._leave(op)
            self._inside = None
        if known:
            self._close(op, given, out)
        return out

    def _given(self, args: Any, kwargs: Any) -> list[torch.Tensor]:
        try:
            return list(tensors_in((args, kwargs)))
        except Exception as error:  # an object of the script's that does not bear to be looked at
            self.note_trouble(repr(error))
            return []

    def _open(
        self, kind: str, name: str, call: Any, args: Any, kwargs: Any, given: list[torch.Tensor], modules: bool = False
    ) -> Op | None:
        self._busy = True
        try:
            top = not self._stack
            if top and len(self.ops) - self.first_kept > MOST and not self.cuts:
                self._start_over()
            numbers = tuple([self._value(t, top) for t in given])
            op = Op(
                index=len(self.ops),
                kind=kind,
                name=name,
                call=call,
                args=self._freeze(args),
                kwargs=self._freeze(kwargs),
                inputs=numbers,
                parent=self._stack[-1] if self._stack else None,
                at=spot(3),
                grad=torch.is_grad_enabled(),
                autocast=autocast_state(),
                direct=kind == "function" and called_directly(4),
            )
            if name in LOSSES:
                op.kept = tuple(t.detach().clone() for t in given)
            if top:
                op.rng = RandomState.now() if modules else _torch_random()
            if modules and top:
                op.memo = self._copies(call, args)
            if kind != "function":
                self.ops.append(op)
            return op
        except Exception as error:  # an error of ours never reaches the user's program
            self.note_trouble(f"{name}: {error!r}")
            return None
        finally:
            self._busy = False

    def _close(self, op: Op, given: list[torch.Tensor], out: Any) -> None:
        self._busy = True
        try:
            changed = [v for v, t in zip(op.inputs, given, strict=True) if self._changed(v, t)]
            if op.name == "functional_call":
                changed += [
                    v for v, t in zip(op.inputs, given, strict=True) if v not in changed and self._has_other_content(v, t)
                ]
            if op.name in _ALTER and op.inputs:
                changed.append(op.inputs[0])
                self.values[op.inputs[0]].requires_grad = given[0].requires_grad
            results = list(tensors_in(out))
            if op.kind == "function":
                if not results and not changed and op.name not in ESCAPES:
                    return
                op.index = len(self.ops)
                self.ops.append(op)
            if op.rng is not None and op.rng.unmoved:
                op.rng = None
            for v in changed:
                self.writers.setdefault(self.values[v].storage, []).append(op.index)
            op.mutated = tuple(changed)
            op.outputs = tuple(self._made(t, op) for t in results)
            if op.name in _UNFILLED:
                for v in op.outputs:
                    self.values[v].source = UNFILLED
        except Exception as error:
            self.note_trouble(f"{op.name}: {error!r}")
        finally:
            self._busy = False

    def _changed(self, number: int, tensor: torch.Tensor) -> bool:
        value = self.values[number]
        version = _version(tensor)
        if version == value.version:
            return False
        for other in self._same_storage(value.storage):
            other.version = version
            other.written = True
        value.version = version
        value.requires_grad = tensor.requires_grad
        return True

    def _has_other_content(self, number: int, tensor: torch.Tensor) -> bool:
        """Whether a constant was written to without a new version, as buffers are by the kernels of batch norm."""
        value = self.values[number]
        if value.constant is None or value.parameter is not None or tensor.requires_grad:
            return False
        if equal(value.constant, tensor.detach()):
            return False
        for other in self._same_storage(value.storage):
            other.written = True
        return True

    def _same_storage(self, storage: int) -> Iterator[Value]:
        return (v for v in self._members.get(storage, ()) if v.tensor is not None)

    def _made(self, tensor: torch.Tensor, op: Op) -> int:
        number = self._known.get(id(tensor))
        if number is not None and self.values[number].tensor is tensor:
            value = self.values[number]
            if op.top and number not in op.inputs:
                value.outer = op.index
                value.requires_grad = tensor.requires_grad  # a custom Function makes its results without a gradient at first
            return number
        number = self._new(tensor)
        value = self.values[number]
        value.producer = op.index
        value.outer = op.index if op.top else None
        return number

    def _value(self, tensor: torch.Tensor, top: bool) -> int:
        number = self._known.get(id(tensor))
        if number is None or self.values[number].tensor is not tensor or self._altered_outside(number, tensor):
            number = self._new(tensor)
            if tensor.is_leaf and tensor.requires_grad:
                self.values[number].parameter = tensor
        value = self.values[number]
        value.requires_grad = tensor.requires_grad
        if top and value.outer is None:
            self._find_leak(number, tensor)
        if top and value.constant is None and not (value.requires_grad and value.outer is not None):
            value.constant = self._snapshot(tensor, value)
        return number

    def _find_leak(self, number: int, tensor: torch.Tensor) -> None:
        """A tensor made inside a module call and read from an attribute, such as an auxiliary loss: note the attribute."""
        value = self.values[number]
        if value.producer is None:
            return
        op = self.ops[value.producer]
        while op.parent is not None:
            op = self.ops[op.parent]
        for path, module in members.named_modules(op.call) if isinstance(op.call, nn.Module) else ():
            for name, held in vars(module).items():
                if held is tensor:
                    self.ops[op.index] = dataclasses.replace(op, leaks=(*op.leaks, (path, name, number)))
                    value.outer = op.index
                    return

    def _altered_outside(self, number: int, tensor: torch.Tensor) -> bool:
        value = self.values[number]
        if _version(tensor) != value.version:
            return True
        # Where recorded operations wrote a result of the model into a constant, the replay writes into its copy as well.
        return value.constant is not None and value.written and (tensor.is_leaf or not tensor.requires_grad)

    def _snapshot(self, tensor: torch.Tensor, value: Value) -> torch.Tensor:
        if value.parameter is not None:
            return self._fresh_memo().tensor(tensor)
        return tensor.detach().clone()

    def _new(self, tensor: torch.Tensor) -> int:
        number = len(self.values)
        storage = self._storage_at(tensor)
        storage.alive += 1
        value = Value(
            weakref.ref(tensor, storage.let_go),
            tuple(tensor.shape),
            tensor.dtype,
            tensor.requires_grad,
            None,
            None,
            storage.number,
            _version(tensor),
        )
        self.values.append(value)
        sharing = self._members.setdefault(storage.number, [])
        if len(sharing) > _SHARING and not len(sharing) & (len(sharing) - 1):
            recent = len(sharing) - _SHARING
            sharing[:] = [v for i, v in enumerate(sharing) if v.tensor is not None and (i >= recent or self._is_latest(v))]
        sharing.append(value)
        self._known[id(tensor)] = number
        return number

    def _is_latest(self, value: Value) -> bool:
        """Whether a value stands for its tensor as it is now: a weight is another value after each step."""
        number = self._known.get(id(value.tensor))
        return number is not None and self.values[number] is value

    def _storage_at(self, tensor: torch.Tensor) -> Storage:
        address = storage_of(tensor)
        known = self._storages.get(address)
        if known is None or known.alive <= 0:
            known = self._storages[address] = Storage(next(self._numbers))
        return known

    def _freeze(self, value: Any) -> Any:
        if isinstance(value, dict):
            value = {k: FrozenGenerator(v.clone_state()) if isinstance(v, torch.Generator) else v for k, v in value.items()}
        return map_tensors(value, lambda t: Ref(self._known[id(t)]))

    def _fresh_memo(self) -> Memo:
        if not self._memo_fresh or self._memo.stale:
            self._memo, self._memo_fresh = Memo(), True
        return self._memo

    def _copies(self, call: Any, args: Any) -> Memo | None:
        if not self.copying:
            return None
        if isinstance(call, nn.Module) and self._memo.outdated(call):
            self._memo_fresh = False
        memo = self._fresh_memo()
        try:
            for module in (call, *args) if isinstance(args, tuple) else (call,):
                if isinstance(module, nn.Module):
                    self._must_fit(module)
                    memo.module(module)
        except CannotCopy as error:
            self.note_trouble(str(error))
            return None
        return memo

    def _must_fit(self, module: nn.Module) -> None:
        """Raise CannotCopy for a module whose copies would not fit into memory; asked once for each."""
        if module not in self._fits:
            self._fits[module] = too_large(module)
        if self._fits[module]:
            raise CannotCopy(self._fits[module])


class _Mode(TorchFunctionMode):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.recorder.here():
            return func(*args, **(kwargs or {}))
        return self.recorder.function(func, args, kwargs or {})


def _torch_random() -> RandomState:
    return RandomState(torch.get_rng_state(), [], None, None)


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
