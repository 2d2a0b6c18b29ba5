"""Listening to a training program: hooks and replaced functions that turn what it does into a `Run` and into tapes.

Nothing here changes a result, and an exception of ours never reaches the program: every handler is guarded, and what went
wrong is kept in `trouble`. In detail (gradients, graph sizes, hashes, tapes) only some steps are looked at; the others
cost a few counters.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader
from torch.utils.data import dataloader as loading

from trainrecipe.capture import describe, hashing
from trainrecipe.capture.horizon import Horizon
from trainrecipe.capture.patch import Patches
from trainrecipe.capture.replay import CannotReplay, Tape, cut
from trainrecipe.capture.schedule import Schedules
from trainrecipe.capture.seeds import Seeds
from trainrecipe.capture.sources import Sources
from trainrecipe.capture.stream import Stream
from trainrecipe.capture.tape import Recorder
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.finding import Place
from trainrecipe.subjects.run import (
    Backward,
    Clip,
    Forward,
    Layer,
    Model,
    Optimizer,
    OptimizerStep,
    Pass,
    Run,
    Scheduler,
)

DETAILED = 12
"""Steps at the beginning that are looked at in detail; afterwards only those whose number is a power of two."""
TAPES = 3
"""Tapes kept per backward call in the user's code: one to examine and two to prove that it moves to other batches."""
_PROBES = 8
IDLE = 64
"""Backwards without an optimiser step after which details are kept in bounds: long accumulation windows, manual updates."""
_LOOKS = 4
"""Inputs looked at per model, line, mode and pass over a loader."""
_LOOKS_WITHOUT_LOADER = 24
"""The same where there are no passes, so that it is all that is seen of the data."""

_F = TypeVar("_F", bound=Callable[..., Any])


def guarded(method: _F) -> _F:
    """A handler that never raises: what went wrong is appended to `self.trouble`."""

    @functools.wraps(method)
    def handler(self: Listener, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.note_trouble(method.__name__, error)
            return None

    return handler  # type: ignore[return-value]


class _Watched:
    """An optimiser under observation: its record and what has happened to its gradients since its last step."""

    def __init__(self, record: Optimizer, optimizer: torch.optim.Optimizer) -> None:
        self.record = record
        self.ref = weakref.ref(optimizer)
        self.parameters = [p for g in optimizer.param_groups for p in g["params"]]
        sizes = [sum(p.numel() for p in g["params"]) for g in optimizer.param_groups]
        self.largest = sizes.index(max(sizes)) if sizes else 0
        self.backwards = 0
        self.fresh: bool | None = None
        self.cleared_event = -1
        self.clear_spot: Spot | None = None
        self.backward_event = -1
        self.backward_spot: Spot | None = None
        self.marks: list[tuple[int, int]] | None = None
        self.wiped = False
        self.scheduled_event = -1
        self.last_scheduler: Scheduler | None = None
        self.before: list[torch.Tensor] = []
        self.held: torch.optim.Optimizer | None = None

    def rate(self, optimizer: torch.optim.Optimizer) -> float:
        """The present learning rate of the group with the most elements. Groups are replaced when a state is loaded."""
        groups = optimizer.param_groups
        return float(groups[self.largest].get("lr", 0.0)) if self.largest < len(groups) else 0.0

    def probes(self) -> list[torch.Tensor]:
        """A few parameters, spread evenly: enough to tell whether a backward reached this optimiser."""
        return self.parameters[:: max(1, len(self.parameters) // _PROBES)]

    def mark(self) -> list[tuple[int, int]]:
        """The identity and version of the probes' gradients."""
        return [(0, 0) if p.grad is None else (id(p.grad), p.grad._version) for p in self.probes()]

    def gradients_are_zero(self) -> bool:
        """Whether every gradient is None or exactly zero."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        return not any(bool(g.coalesce().values().any() if g.is_sparse else g.any()) for g in grads)


class Listener:
    """Observes the program from `install` to `remove`. `detail_always` is for rehearsals, which last a few steps only.

    `on_event(kind)` is called before a batch is taken and after each backward and optimiser step: a rehearsal uses it to
    stop the script by raising.
    """

    def __init__(
        self,
        *,
        detail_always: bool = False,
        on_event: Callable[[str], None] | None = None,
        on_tapes: Callable[[], None] | None = None,
        limit_batches: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        self.run = Run()
        self.recorder = Recorder()
        self.tapes: dict[Spot | None, list[Tape]] = {}
        self.latest: dict[Spot | None, Tape] = {}
        self.broken: dict[Spot | None, Tape] = {}
        self.trouble: list[str] = []
        self.stream = Stream()
        self.seeds = Seeds()
        self.loader_births: weakref.WeakKeyDictionary[Any, Spot | None] = weakref.WeakKeyDictionary()
        self.detail_always = detail_always
        self.detail = True
        self.updates: dict[int, list[dict[str, float]]] = {}
        self.roots: dict[int, nn.Module] = {}
        self.watched: dict[int, _Watched] = {}
        self.inputs: list[tuple[int, Any, Any, int | None]] = []
        self.datasets: dict[int, Any] = {}
        self.loaders: dict[int, Any] = {}
        self.fed_sites: set[tuple[int, Spot | None]] = set()
        self.births: weakref.WeakKeyDictionary[nn.Module, Spot | None] = weakref.WeakKeyDictionary()
        self.loaded: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.held_by: dict[int, dict[int, float]] = {}
        self.moves: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.horizon = Horizon()
        self.schedules = Schedules()
        self.sources = Sources()
        self.on_event = on_event
        self.on_tapes = on_tapes
        self.limit_batches = limit_batches
        self._patches = Patches()
        self._handles: list[Any] = []
        self._forwards: dict[Any, Forward] = {}
        self._seen: dict[Any, Forward] = {}
        self._hollow: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._pending: list[tuple[Forward, tuple[int, Spot | None] | None]] = []
        self._passes: weakref.WeakKeyDictionary[Any, Pass] = weakref.WeakKeyDictionary()
        self._open: Pass | None = None
        self._depth = 0
        self._in_backward = False
        self._building: set[int] = set()
        self._batch_serial = 0
        self._forwards_of_batch: dict[tuple[int, int], int] = {}
        self._backwards: dict[Spot | None, Backward] = {}
        self._clips: dict[Spot | None, Clip] = {}
        self._alive: weakref.WeakSet[_Sentinel] = weakref.WeakSet()
        self._scaled: dict[int, torch.Tensor] = {}
        self._collections = 8
        self._idle = 0
        self._fed_since_step: dict[int, Forward] = {}
        self._last_backward = Backward(None)
        self._boundaries: list[int] = []
        self._backward_ends: list[int] = []
        self._schedulers: dict[int, int] = {}
        self._schedules_built: dict[int, tuple[Place | None, int]] = {}
        self._held_schedulers: list[Any] = []
        self._depth_of_scheduler = 0
        self._was_recording = False
        self._last_backward_spot: Spot | None = None

    # ---- on and off

    def install(self, recording: bool = True) -> None:
        """Begin to listen and, with `recording`, to record."""
        self._handles = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        put = self._patches.put
        put(nn.Module, "__init__", self._wrap_birth)
        put(nn.Module, "__call__", self._wrap_call)
        put(nn.Module, "zero_grad", self._wrap_module_zero)
        put(nn.Module, "load_state_dict", self._wrap_load)
        put(torch.optim.Optimizer, "__init__", self._wrap_optimizer_init)
        put(torch.optim.Optimizer, "zero_grad", self._wrap_zero)
        put(torch.optim.Optimizer, "add_param_group", self._wrap_add_group)
        put(torch.Tensor, "backward", self._wrap_tensor_backward)
        put(torch.autograd, "backward", self._wrap_backward)
        put(torch.autograd, "grad", self._wrap_grad)
        put(torch.autograd.Function, "apply", self._wrap_apply)
        for module in (nn.utils, nn.utils.clip_grad):
            put(module, "clip_grad_norm_", functools.partial(self._wrap_clip, "norm"))
            put(module, "clip_grad_value_", functools.partial(self._wrap_clip, "value"))
        put(DataLoader, "__init__", self._wrap_loader_birth)
        put(DataLoader, "__iter__", self._wrap_iter)
        put(loading._BaseDataLoaderIter, "__next__", self._wrap_next)
        put(loading._BaseDataLoaderIter, "_reset", self._wrap_reset)
        kinds = {v for v in vars(lr_scheduler).values() if isinstance(v, type) and issubclass(v, lr_scheduler.LRScheduler)}
        for kind in sorted(kinds, key=lambda k: k.__name__):
            if "__init__" in vars(kind):
                put(kind, "__init__", self._wrap_scheduler_init)
            if "step" in vars(kind):
                put(kind, "step", self._wrap_scheduler_step)
        put(torch.amp.GradScaler, "scale", self._wrap_scale)
        for owner in (torch.func, torch.nn.utils.stateless):
            put(owner, "functional_call", self._wrap_functional_call)
        self.seeds.patch(self._patches, self.run)
        if recording:
            self.recorder.start()

    def remove(self) -> None:
        """Stop listening and restore everything."""
        self.recorder.stop()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._patches.undo()

    def note_trouble(self, where: str, error: BaseException) -> None:
        """Keep an error of ours, at most fifty."""
        if len(self.trouble) < 50:
            import traceback

            at = traceback.extract_tb(error.__traceback__)[-1]
            self.trouble.append(f"{where}: {type(error).__name__}: {error} ({at.filename.rpartition('/')[2]}:{at.lineno})")

    def _event(self) -> int:
        self.run.events += 1
        return self.run.events

    def _tell(self, kind: str) -> None:
        if self.on_event is not None:
            self.on_event(kind)

    # ---- modules

    def _wrap_birth(self, original: Any) -> Any:
        listener = self

        def __init__(module: nn.Module, *args: Any, **kwargs: Any) -> None:
            if torch.compiler.is_compiling():
                original(module, *args, **kwargs)
                return
            original(module, *args, **kwargs)
            with contextlib.suppress(Exception):
                listener.births[module] = spot(2)

        return __init__

    def _wrap_call(self, original: Any) -> Any:
        listener, compiling, recorder = self, torch.compiler.is_compiling, self.recorder

        def __call__(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if compiling():
                return original(module, *args, **kwargs)
            if listener._depth:
                if recorder._mode is not None and recorder.here():
                    return recorder.module(module, args, kwargs, original)
                return original(module, *args, **kwargs)
            return listener._outermost(module, args, kwargs, original)

        return __call__

    def _outermost(self, module: nn.Module, args: Any, kwargs: Any, original: Any) -> Any:
        if not self.detail:
            seen = self._seen.get((id(module), module.training, torch.is_grad_enabled(), id(self._open)))
            if seen is not None:
                seen.count += 1
                if seen.last_step != self.run.steps:
                    seen.at_steps, seen.last_step = seen.at_steps + 1, self.run.steps
                if seen.grad:
                    self._pending.append((seen, None))
                self._depth += 1
                try:
                    return original(module, *args, **kwargs)
                finally:
                    self._depth -= 1
        if self._in_backward or module in self._hollow or self._is_hollow(module):
            if self.recorder.here():
                return self.recorder.module(module, args, kwargs, original)
            return original(module, *args, **kwargs)
        self._note_forward(module, args, kwargs)
        self._depth += 1
        try:
            if self.recorder.here():
                return self.recorder.module(module, args, kwargs, original)
            return original(module, *args, **kwargs)
        finally:
            self._depth -= 1

    def _is_hollow(self, module: nn.Module) -> bool:
        """Whether a module has no parameters; remembered, since asking takes longer than calling a small loss."""
        hollow = next(module.parameters(), None) is None
        if hollow:
            self._hollow.add(module)
        return hollow

    @guarded
    def _note_forward(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        at = spot(4)
        grad = torch.is_grad_enabled()
        current = self._open
        number = current.number if current is not None and (grad or not current.finished) else None
        key = (id(module), at, module.training, grad, number)
        forward = self._forwards.get(key)
        looked = False
        if forward is None or (self.detail and forward.count < (_LOOKS if number is not None else _LOOKS_WITHOUT_LOADER)):
            forward = forward or self._new_forward(key, module, at, grad, number)
            self._look_at_input(forward, module, args, kwargs)
            looked = bool(forward.batches)
        self._seen[id(module), module.training, grad, id(self._open)] = forward
        forward.count += 1
        if forward.last_step != self.run.steps:
            forward.at_steps, forward.last_step = forward.at_steps + 1, self.run.steps
        forward.last_event = self._event()
        if number is not None or looked:  # without a loader a batch is told by what it holds
            batch = self._batch_serial if number is not None else hash((forward.batches[-1], self.run.steps))
            serial = (batch, id(forward))
            self._forwards_of_batch[serial] = self._forwards_of_batch.get(serial, 0) + 1
            forward.repeats = max(forward.repeats, self._forwards_of_batch[serial])
        if grad and len(self._pending) < 256:
            self._pending.append((forward, (id(module), at)))

    def _new_forward(self, key: Any, module: nn.Module, at: Spot | None, grad: bool, number: int | None) -> Forward:
        model = self._model(module)
        moody = tuple(name for name, kind, _ in describe.moody(module) if kind and module.get_submodule(name).training)
        forward = Forward(model, place(at), module.training, grad, moody, number, self.run.events, 0, self.run.steps)
        self._forwards[key] = forward
        self.run.forwards.append(forward)
        return forward

    def _model(self, module: nn.Module) -> int:
        if id(module) not in self.roots:
            self.roots[id(module)] = module
            sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
            layers = [Layer(*item) for item in describe.moody(module)]
            trainable, total = sum(n for n, g in sizes if g), sum(n for n, _ in sizes)
            born = place(self.births.get(module))
            model = Model(len(self.run.models), type(module).__name__, layers, trainable, total, born)
            loaded = any(m in self.loaded or describe.is_pretrained(m) for m in module.modules())
            model.loaded = self.run.steps == 0 and loaded
            model.fresh_norms = describe.has_fresh_norms(module)
            self.run.models.append(model)
        return list(self.roots).index(id(module))

    def _wrap_load(self, original: Any) -> Any:
        loaded = self.loaded

        def load_state_dict(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            result = original(module, *args, **kwargs)
            with contextlib.suppress(Exception):
                loaded.add(module)
            return result

        return load_state_dict

    def _look_at_input(self, forward: Forward, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = list(tensors_in((args, kwargs)))
        leaves = [t for t in given if t.requires_grad and t.is_leaf and not isinstance(t, nn.Parameter)]
        self.run.input_gradients |= any(id(t) not in self.held_by for t in leaves)
        if given:
            with self.recorder.pause(), torch.no_grad():
                rows = hashing.row_hashes(given[0])
                forward.rows.update(rows)
                forward.looks.append((self.run.events, frozenset(rows), len(rows)))
                forward.batches.append(hashing.batch_hash(given))
        if len(self.inputs) < 48:
            from trainrecipe.capture.tensors import map_tensors

            with self.recorder.pause():
                copies = map_tensors((args, kwargs), lambda t: t.detach().clone())
            self.inputs.append((id(module), copies, forward, forward.in_pass))

    # ---- loaders

    def _wrap_loader_birth(self, original: Any) -> Any:
        listener = self

        def __init__(loader: DataLoader[Any], *args: Any, **kwargs: Any) -> None:
            original(loader, *args, **kwargs)
            with contextlib.suppress(Exception):
                listener.run.loaders_built += 1
                listener.loader_births[loader] = spot(2)

        return __init__

    def _wrap_iter(self, original: Any) -> Any:
        listener = self

        def __iter__(loader: DataLoader[Any]) -> Any:
            with listener.recorder.pause():
                iterator = original(loader)
            listener._start_pass(loader, iterator, spot(2))
            return iterator

        return __iter__

    @guarded
    def _start_pass(self, loader: DataLoader[Any], iterator: Any, at: Spot | None) -> None:
        if iterator in self._passes and self._passes[iterator].batches == 0:
            return
        number = describe.loader_record(self, loader, at)
        record = self.run.loaders[number]
        new = Pass(len(self.run.passes), number, place(at), self._event(), self.run.steps, record.length)
        self.run.passes.append(new)
        self._passes[iterator] = new
        self.horizon.open_pass(new.number)
        if self.limit_batches is not None:
            new.cut = bool(self.limit_batches(loader, iterator))

    def _wrap_reset(self, original: Any) -> Any:
        listener = self

        def _reset(iterator: Any, loader: Any, first_iter: bool = False) -> None:
            original(iterator, loader, first_iter)
            if listener.limit_batches is not None:
                listener.limit_batches(loader, iterator)

        return _reset

    def _wrap_next(self, original: Any) -> Any:
        listener = self

        def __next__(iterator: Any) -> Any:
            listener._tell("batch")
            try:
                with listener.recorder.pause():
                    batch = original(iterator)
            except StopIteration:
                listener._end_pass(iterator)
                raise
            listener._note_batch(iterator, batch)
            return batch

        return __next__

    @guarded
    def _note_batch(self, iterator: Any, batch: Any) -> None:
        current = self._passes.get(iterator)
        if current is None:
            return
        if self._open is not current:
            self._open = current
            if current.batches == 0:
                self._pending.clear()
        current.batches += 1
        current.fetched += 1
        current.last_event = self._event()
        self._batch_serial += 1
        self._forwards_of_batch.clear()
        if self.detail and current.batches <= 64:
            with self.recorder.pause(), torch.no_grad():
                given = list(tensors_in(batch))
                current.batch_hashes.append(hashing.batch_hash(given))
                current.labels.append(hashing.label_columns(given))
        if self.recorder.active:
            self.recorder.mark_batch(batch, "batch")

    @guarded
    def _end_pass(self, iterator: Any) -> None:
        current = self._passes.get(iterator)
        if current is not None:
            current.finished = True
            current.last_event = self._event()

    # ---- backward

    def _wrap_tensor_backward(self, original: Any) -> Any:
        listener = self

        def backward(
            tensor: torch.Tensor, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False, inputs: Any = None
        ) -> Any:
            def call() -> Any:
                return original(tensor, gradient, retain_graph, create_graph, inputs)

            return listener._backward([tensor], [gradient], call)

        return backward

    def _wrap_backward(self, original: Any) -> Any:
        listener = self

        def backward(tensors: Any, grad_tensors: Any = None, *args: Any, **kwargs: Any) -> Any:
            roots = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
            given = [grad_tensors] if isinstance(grad_tensors, torch.Tensor) else grad_tensors
            weights = list(given) if given is not None else [None] * len(roots)
            return listener._backward(roots, weights, lambda: original(tensors, grad_tensors, *args, **kwargs))

        return backward

    def _wrap_grad(self, original: Any) -> Any:
        listener = self

        def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            roots = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
            wanted = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
            create = bool(kwargs.get("create_graph")) or (len(args) > 2 and bool(args[2]))
            leaves = all(t.is_leaf for t in wanted)
            if create or not leaves or listener._in_backward or listener._depth:
                return original(outputs, inputs, *args, **kwargs)
            call = functools.partial(original, outputs, inputs, *args, **kwargs)
            given = args[0] if args else kwargs.get("grad_outputs")
            weights = [given] if isinstance(given, torch.Tensor) else list(given or [None] * len(roots))
            return listener._backward(roots, weights, call, wanted)

        return grad

    def _backward(
        self, roots: list[torch.Tensor], weights: list[Any], call: Callable[[], Any], wanted: Sequence[torch.Tensor] = ()
    ) -> Any:
        if self._in_backward:
            return call()
        self._in_backward = True
        if not self.detail and not self.recorder.active and self._light_backward(roots[0]):
            try:
                result = call()
            finally:
                self._in_backward = False
            self._tell("backward")
            return result
        try:
            with self.recorder.pause():
                before = self._before_backward(roots, weights)
                result = call()
                self._after_backward(roots, before, result, wanted)
        finally:
            self._in_backward = False
        self._count_idle()
        self._tell("backward")
        return result

    @guarded
    def _light_backward(self, root: torch.Tensor) -> bool:
        """What an unsampled step keeps of a backward: that it happened, its loss, and the forwards that fed it."""
        if not self.run.backwards:
            return False
        record = self._last_backward
        record.count += 1
        record.last_event = self._event()
        if self._open is not None:
            self._open.backwards += 1
        self._credit_passes_in_step()
        if root.device.type == "cpu" and root.numel() == 1 and not self._scaled:
            self._note_loss(record, root.item())
        self._feed()
        return True

    @guarded
    def _before_backward(self, roots: list[torch.Tensor], weights: list[Any]) -> Any:
        at = spot(4)
        self._last_backward_spot = at
        record = self._backwards.get(at)
        if record is None:
            record = self._backwards[at] = Backward(place(at), first_event=self.run.events)
            self.run.backwards.append(record)
        self._last_backward = record
        record.count += 1
        record.last_event = self._event()
        if self._open is not None:
            self._open.backwards += 1
        self._credit_passes_in_step()
        root = self._scaled.get(id(roots[0]), roots[0])
        if root.numel() == 1 and (self.detail or root.device.type == "cpu"):
            self._note_loss(record, float(root.detach()))
        tape = None
        marks: list[Any] = []
        if self.detail:
            self._measure_graph(record, roots[0])
            self.sources.look()
            marks = [(w, w.mark()) for w in self.watched.values()]
            for w, mark in marks:
                self._look_at_leftovers(w, mark)
            tape = self._cut(roots, weights, at)
        grads = []
        if tape is not None:
            self._note_stream(tape)
        if tape is not None:
            for parameter in tape_leaves(tape):
                grads.append((parameter, None if parameter.grad is None else parameter.grad.detach().clone()))
        self._feed()
        return record, tape, grads, marks

    @guarded
    def _note_stream(self, tape: Tape) -> None:
        """Remember what the step was fed: its targets, or which tensor of the loader's batch they are."""
        since = self._boundaries[-1] if self._boundaries else 0
        column = self.stream.note(self.recorder, tape, since, keep=not self.run.passes)
        if self._open is not None and column is not None:
            loader = self.run.loaders[self._open.loader]
            loader.label = column if loader.label is None else loader.label

    @staticmethod
    def _look_at_leftovers(w: _Watched, mark: list[tuple[int, int]]) -> None:
        """Before a backward: are an optimiser's gradients empty, or just as its last step left them?"""
        if w.backwards and w.fresh:
            return
        if w.gradients_are_zero():
            w.fresh, w.backwards = True, 0
        elif not w.fresh and not w.backwards:
            w.fresh = False if w.marks is None or w.marks == mark else None

    def note_moves(self, parameter: torch.Tensor, before: torch.Tensor, pushed: torch.Tensor) -> None:
        """Remember which elements of a parameter ever had a gradient, and which ever moved."""
        moved = parameter.detach().ne(before)
        known = self.moves.get(id(parameter))
        if known is None or known[0].shape != moved.shape:
            self.moves[id(parameter)] = (pushed.clone(), moved)
        else:
            known[0].logical_or_(pushed)
            known[1].logical_or_(moved)

    def _feed(self) -> None:
        """The forwards since the last backward or step are those that this backward starts from."""
        for forward, site in self._pending:
            if site is None or not self.fed_sites or site in self.fed_sites:
                forward.fed += 1
                self._fed_since_step[id(forward)] = forward
        self._pending.clear()

    def _stepped(self) -> None:
        """An optimiser step follows the forwards that fed a backward since the last one."""
        for forward in self._fed_since_step.values():
            forward.stepped += 1
        self._fed_since_step.clear()
        self._pending.clear()
        self._idle = 0

    @guarded
    def _count_idle(self) -> None:
        """Where backwards follow each other without a step, details are kept in bounds as well."""
        self._idle += 1
        self._backward_ends.append(len(self.recorder.ops))
        if len(self._backward_ends) > IDLE:
            self.recorder.forget(self._backward_ends.pop(0))
        if self._idle >= IDLE and self.detail and not self.detail_always:
            self.detail = False
            self._rest()

    def _rest(self) -> None:
        if self.recorder.active:
            self.recorder.stop()
        self._was_recording = False
        self.recorder.clear()
        self._boundaries.clear()
        self._backward_ends.clear()
        if self.on_tapes is not None:
            callback, self.on_tapes = self.on_tapes, None
            callback()

    def _credit_passes_in_step(self) -> None:
        """Loaders read side by side train together: those that gave exactly one batch since the last backward, twice."""
        for other in self.run.passes[-4:]:
            if other is not self._open and other.fetched == 1:
                other.shared += 1
                other.backwards = other.shared if other.shared >= 2 else other.backwards
            other.fetched = 0

    def _note_loss(self, record: Backward, value: float) -> None:
        if len(record.losses) < 20000:
            record.losses.append((self.run.steps, value))
        if len(self.run.losses) < 20000:
            self.run.losses.append((self.run.steps, value))

    def _cut(self, roots: list[torch.Tensor], weights: list[Any], at: Spot | None) -> Tape | None:
        if not self.recorder.ops:
            return None
        try:
            tape = cut(self.recorder, roots, weights, at)
        except CannotReplay as error:
            self.recorder.trouble.append(str(error))
            return None
        tape.step = self.run.steps
        self.fed_sites.update((id(op.call), op.at) for op in tape.ops if op.kind == "module")
        return tape

    @guarded
    def _after_backward(self, roots: Any, before: Any, result: Any, wanted: Sequence[torch.Tensor]) -> None:
        if before is None:
            return
        _record, tape, grads, marks = before
        for w, mark in marks:
            if w.mark() != mark:
                w.backwards += 1
                w.wiped = not w.gradients_are_zero()
                w.backward_event = self._event()
                w.backward_spot = self._last_backward_spot
        self.recorder.parameters_changed()
        if tape is None:
            return
        given = dict(zip(map(id, wanted), result, strict=True)) if wanted else {}
        for parameter, old in grads:
            new = given.get(id(parameter)) if wanted else parameter.grad
            if new is not None and (wanted or old is None or not torch.equal(_dense(new), _dense(old))):
                gained = new.detach().clone() if old is None or wanted else new.detach() - old
                tape.gradients.append((parameter, gained))
        kept = self.tapes.setdefault(tape.at, [])
        if len(kept) < TAPES:
            kept.append(tape)
        sound = all(bool(t.isfinite().all()) for t in (*tape.observed, *(_dense(g) for _, g in tape.gradients)))
        if sound or tape.at not in self.latest:
            self.latest[tape.at] = tape
        if not sound:
            self.broken.setdefault(tape.at, tape)

    def _measure_graph(self, record: Backward, root: torch.Tensor) -> None:
        if root.grad_fn is None:
            return
        size, shared = describe.graph_size(root.grad_fn, record.count)
        record.nodes.append((record.count, size))
        record.shared.append((record.count, shared))
        alive = self._count_alive(record)
        if alive and self._collections:
            self._collections -= 1
            gc.collect()  # what only waits for the garbage collector is not held
            alive = self._count_alive(record)
        record.alive.append((record.count, alive))
        sentinel = _Sentinel(record, len(self.recorder.ops))
        root.grad_fn.metadata["trainrecipe"] = sentinel  # type: ignore[index]
        self._alive.add(sentinel)
        if alive >= 2 and not record.held_name:
            record.held_name, record.held_at = describe.who_holds_a_graph(self._last_backward_spot)

    def _count_alive(self, record: Backward) -> int:
        """Earlier losses of this line whose graphs are alive, less those so recent that the recorder itself holds them."""
        return len([s for s in self._alive if s.backward is record and s.made <= self.recorder.first_kept])

    def _wrap_scale(self, original: Any) -> Any:
        listener = self

        def scale(scaler: Any, outputs: Any) -> Any:
            scaled = original(scaler, outputs)
            if isinstance(outputs, torch.Tensor):
                listener._scaled = {id(scaled): outputs}
            return scaled

        return scale

    def _wrap_apply(self, original: Any) -> Any:
        recorder = self.recorder
        raw = original.__func__

        def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or not recorder.here() or not torch.is_grad_enabled():
                return raw(cls, *args, **kwargs)
            bound = functools.partial(raw, cls)
            return recorder.opaque(cls.__name__, bound, args, kwargs, lambda: bound(*args, **kwargs))

        return classmethod(apply)

    def _wrap_functional_call(self, original: Any) -> Any:
        listener = self

        def functional_call(module: Any, parameters: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            def call() -> Any:
                listener._depth += 1
                try:
                    return original(module, parameters, args, kwargs, **options)
                finally:
                    listener._depth -= 1

            given = (module, parameters, args, kwargs)
            if listener.recorder.here() and torch._C._functorch.maybe_current_level() is None:
                return listener.recorder.opaque("functional_call", original, given, options, call)
            return call()

        return functional_call

    # ---- optimisers

    def _wrap_optimizer_init(self, original: Any) -> Any:
        listener = self

        def __init__(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            listener._watch(optimizer, spot(2))

        return __init__

    @guarded
    def _watch(self, optimizer: torch.optim.Optimizer, at: Spot | None) -> _Watched:
        record = describe.optimizer_record(optimizer, len(self.run.optimizers), place(at), self.run.steps)
        self.run.optimizers.append(record)
        watched = self.watched[id(optimizer)] = _Watched(record, optimizer)
        self._note_held(watched, optimizer, stepped=False)
        self.horizon.birth(record.number)
        self.sources.build()
        weakref.finalize(optimizer, self.watched.pop, id(optimizer), None)
        return watched

    def _note_held(self, watched: _Watched, optimizer: torch.optim.Optimizer, stepped: bool = True) -> None:
        """Which parameters an optimiser holds, and the highest rate of a step: kept beyond its own life."""
        number = watched.record.number
        for group in optimizer.param_groups:
            rate = float(group.get("lr") or 0.0) if stepped else 0.0
            for parameter in group["params"]:
                held = self.held_by.setdefault(id(parameter), {})
                held[number] = max(rate, held.get(number, 0.0))

    def _wrap_add_group(self, original: Any) -> Any:
        listener = self

        def add_param_group(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            watched = listener.watched.get(id(optimizer))
            if watched is not None:
                listener._note_grown(watched, optimizer, spot(2))

        return add_param_group

    @guarded
    def _note_grown(self, watched: _Watched, optimizer: torch.optim.Optimizer, at: Spot | None) -> None:
        watched.parameters = [p for g in optimizer.param_groups for p in g["params"]]
        watched.marks = None
        added = place(at)
        if added is not None:
            watched.record.grown.append(added)
        self._note_held(watched, optimizer, stepped=False)

    def _find(self, optimizer: torch.optim.Optimizer) -> _Watched:
        return self.watched.get(id(optimizer)) or self._watch(optimizer, None)

    def _wrap_zero(self, original: Any) -> Any:
        listener = self

        def zero_grad(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
            if not listener.detail and not listener.recorder.active:
                original(optimizer, *args, **kwargs)
                return  # what happens to gradients is looked at in detailed steps only
            with listener.recorder.pause():
                original(optimizer, *args, **kwargs)
            listener._note_cleared([listener._find(optimizer)], spot(2))

        return zero_grad

    def _wrap_module_zero(self, original: Any) -> Any:
        listener = self

        def zero_grad(module: nn.Module, *args: Any, **kwargs: Any) -> None:
            with listener.recorder.pause():
                original(module, *args, **kwargs)
            own = {id(p) for p in module.parameters()}
            cleared = [w for w in listener.watched.values() if w.parameters and id(w.parameters[0]) in own]
            listener._note_cleared(cleared, spot(2))

        return zero_grad

    @guarded
    def _note_cleared(self, cleared: list[_Watched], at: Spot | None) -> None:
        for watched in cleared:
            watched.cleared_event = self._event()
            watched.clear_spot = at
            watched.fresh = True

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if not self.detail and not self.recorder.active:
            return
        closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
        if closure is None:
            self._was_recording = self.recorder.active
            self.recorder.stop()
        else:
            self._was_recording = False
            self._find(optimizer).record.takes_closure = True
            return
        self._look_before_step(optimizer)

    @guarded
    def _look_before_step(self, optimizer: torch.optim.Optimizer) -> None:
        watched = self._find(optimizer)
        watched.before = []
        if self.detail and sum(p.numel() for p in watched.parameters) <= 50_000_000:
            with torch.no_grad():
                watched.before = [p.detach().clone() for p in watched.parameters]

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self.detail or not self._light_step(optimizer):
            self._look_after_step(optimizer)
        if self._was_recording:
            self.recorder.start()
        self._tell("step")

    @guarded
    def _light_step(self, optimizer: torch.optim.Optimizer) -> bool:
        """What an unsampled step keeps: that it happened, and its learning rate. False when a detailed look is due."""
        watched = self.watched.get(id(optimizer))
        if watched is None:
            return False
        run, record = self.run, watched.record
        record.steps += 1
        run.steps += 1
        run.events += 1
        record.rates.append(watched.rate(optimizer))
        self._stepped()
        if run.steps & (run.steps - 1) == 0:
            watched.backwards, watched.fresh, watched.marks = 0, None, None
            self._choose_detail()
        return True

    @guarded
    def _look_after_step(self, optimizer: torch.optim.Optimizer) -> None:
        watched = self._find(optimizer)
        record = watched.record
        if self.detail:
            self._detail_of_step(watched)
            self._belongs_to(watched, optimizer)
            self._note_held(watched, optimizer)
            self.horizon.step(record.number, record.steps, self._open.number if self._open is not None else None)
        record.steps += 1
        self.run.steps += 1
        record.rates.append(watched.rate(optimizer))
        self._event()
        self._stepped()
        watched.backwards, watched.fresh = 0, None
        watched.marks = watched.mark() if self.detail else None
        self.recorder.parameters_changed()
        self._boundaries.append(len(self.recorder.ops))
        if len(self._boundaries) > 4:
            first = self._boundaries.pop(0)
            self._backward_ends = [end for end in self._backward_ends if end > first]
            self.recorder.forget(first)
        self._choose_detail()

    def _belongs_to(self, watched: _Watched, optimizer: torch.optim.Optimizer) -> None:
        """Note which optimiser the tapes since the last step were made for, and keep it: scripts often drop theirs."""
        own = {id(p) for p in watched.parameters}
        for tape in (t for kept in self.tapes.values() for t in kept if t.stepped is None):
            if any(id(p) in own for p in tape.parameters):
                tape.stepped = watched.record.number
                watched.held = optimizer

    def _detail_of_step(self, watched: _Watched) -> None:
        record = watched.record
        if record.step_place is None:
            record.step_place = place(spot(5))
        empty = watched.gradients_are_zero()
        cleared_late = watched.cleared_event > watched.backward_event >= 0 and watched.backwards > 0
        cleared_late = cleared_late or (watched.backwards > 0 and watched.wiped and empty)
        watched.wiped = False
        if watched.last_scheduler is not None and watched.scheduled_event > watched.backward_event and watched.backwards > 0:
            watched.last_scheduler.early += 1
        seen = OptimizerStep(
            record.steps,
            self.run.events,
            watched.backwards,
            watched.fresh,
            cleared_late,
            not empty,
            place(watched.clear_spot),
            place(watched.backward_spot),
        )
        record.seen.append(seen)
        if watched.before:
            describe.measure_update(self, watched, seen)
            watched.before = []

    def _choose_detail(self) -> None:
        step = self.run.steps
        if self.detail_always:
            return
        early = step < DETAILED * max(1, sum(1 for o in self.run.optimizers if o.steps))
        self.detail = early or step & (step - 1) == 0
        if self.detail:
            self._was_recording = True
        else:
            if self.recorder.active:
                self.recorder.stop()
            self._was_recording = False
            self.recorder.clear()
            self._boundaries.clear()
            self._backward_ends.clear()
        if not early and self.on_tapes is not None:
            callback, self.on_tapes = self.on_tapes, None
            callback()

    # ---- clipping and schedules

    def _wrap_clip(self, kind: str, original: Any) -> Any:
        listener = self

        def clip(parameters: Any, limit: Any, *args: Any, **kwargs: Any) -> Any:
            held = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
            with listener.recorder.pause():
                size = listener._root_mean_square(held) if kind == "value" else None
                norm = original(held, limit, *args, **kwargs)
            size = norm if kind == "norm" else size
            listener._note_clip(kind, held, float(limit), size, args[0] if args else kwargs.get("norm_type", 2.0))
            return norm

        def clip_keywords(*args: Any, **kwargs: Any) -> Any:
            if len(args) >= 2:
                return clip(*args, **kwargs)
            name = "max_norm" if kind == "norm" else "clip_value"
            parameters = args[0] if args else kwargs.pop("parameters")
            return clip(parameters, kwargs.pop(name), **kwargs)

        return clip_keywords

    @guarded
    def _root_mean_square(self, held: list[torch.Tensor]) -> float | None:
        if not self.detail:
            return None
        grads = [p.grad.detach() for p in held if p.grad is not None and not p.grad.is_sparse]
        count = sum(g.numel() for g in grads)
        return float(sum(float(g.float().square().sum()) for g in grads) / count) ** 0.5 if count else None

    @guarded
    def _note_clip(self, kind: str, held: list[torch.Tensor], limit: float, norm: Any, norm_type: Any) -> None:
        at = spot(4)
        record = self._clips.get(at)
        if record is None:
            record = self._clips[at] = Clip(place(at), kind, limit, float(norm_type) if kind == "norm" else 0.0)
            self.run.clips.append(record)
        record.count += 1
        self._event()
        if not self.detail:
            return
        own = {id(p) for p in held}
        touched = [w for w in self.watched.values() if any(id(p) in own for p in w.probes())]
        record.seen += 1
        record.optimizers.update(w.record.number for w in touched)
        if all(p.grad is None for p in held):
            record.empty += 1
        elif touched and all(w.record.steps and not w.backwards for w in touched):
            record.stale += 1
        if norm is not None:
            record.coefficients.append(limit / (float(norm) + 1e-6))

    def _wrap_scheduler_init(self, original: Any) -> Any:
        listener = self

        def __init__(scheduler: Any, *args: Any, **kwargs: Any) -> None:
            outermost = id(scheduler) not in listener._building
            if outermost:
                listener._note_schedule_built(scheduler, args, kwargs, spot(2))
            listener._building.add(id(scheduler))
            listener._depth_of_scheduler += 1
            try:
                original(scheduler, *args, **kwargs)
            finally:
                listener._depth_of_scheduler -= 1
                if outermost:
                    listener._building.discard(id(scheduler))

        return __init__

    @guarded
    def _note_schedule_built(self, scheduler: Any, args: Any, kwargs: Any, at: Spot | None) -> None:
        optimizer = kwargs.get("optimizer") or (args[0] if args else None)
        if not isinstance(optimizer, torch.optim.Optimizer):  # ChainedScheduler is given its schedulers only
            inner = kwargs.get("schedulers") or (args[0] if args else ())
            optimizer = getattr(next(iter(inner), None), "optimizer", None)
        if isinstance(optimizer, torch.optim.Optimizer):
            watched = self._find(describe.unwrapped(optimizer))
            self._schedules_built[id(scheduler)] = (place(at), watched.record.steps)
            self.schedules.building(scheduler, args, kwargs, watched)

    def _wrap_scheduler_step(self, original: Any) -> Any:
        listener = self

        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if id(scheduler) not in listener._building and listener._depth_of_scheduler == 0:
                listener._note_schedule(scheduler, spot(2))
                if any(a is not None for a in (*args, *kwargs.values())):
                    listener.schedules.argued.add(id(scheduler))
            listener._depth_of_scheduler += 1
            try:
                return original(scheduler, *args, **kwargs)
            finally:
                listener._depth_of_scheduler -= 1

        return step

    @guarded
    def _note_schedule(self, scheduler: Any, at: Spot | None) -> None:
        optimizer = getattr(scheduler, "optimizer", None)
        if optimizer is None or at is None:
            return
        watched = self._find(describe.unwrapped(optimizer))
        number = self._schedulers.get(id(scheduler))
        if number is None:
            number = self._schedulers[id(scheduler)] = len(self.run.schedulers)
            self._held_schedulers.append(scheduler)
            horizon = describe.horizon(scheduler)
            built, step = self._schedules_built.get(id(scheduler), (None, 0))
            owner, where = watched.record.number, built or place(at)
            record = Scheduler(number, type(scheduler).__name__, owner, where, place(at), horizon=horizon, born_step=step)
            self.run.schedulers.append(record)
        record = self.run.schedulers[number]
        if len(record.calls) < 20000:
            record.calls.append(watched.record.steps)
            record.passes.append(self._open.number if self._open is not None else None)
        watched.scheduled_event, watched.last_scheduler = self._event(), record

    def fill_plan(self) -> None:
        """Work out how long the run is meant to last and which learning rates it plans. Called when the script is over."""
        self._fill(self.horizon.fill, self.run)
        self._fill(self.schedules.fill, self.run, self._schedulers)
        self._fill(self.sources.fill, self.run)

    @guarded
    def _fill(self, fill: Callable[..., None], *args: Any) -> None:
        fill(*args)


class _Sentinel:
    """Lives in the metadata of a loss's graph node: as long as it is alive, so is that graph."""

    __slots__ = ("__weakref__", "backward", "made")

    def __init__(self, backward: Backward, made: int) -> None:
        self.backward = backward
        self.made = made


def tape_leaves(tape: Tape) -> list[torch.Tensor]:
    """The script's leaves that a tape's step may give a gradient to."""
    leaves: dict[int, torch.Tensor] = {}
    for op in tape.ops:
        for original, _frozen in op.memo.pairs() if op.memo is not None else ():
            if isinstance(original, torch.Tensor) and original.is_leaf and original.requires_grad:
                leaves[id(original)] = original
        for number in op.inputs:
            parameter = tape.values[number].parameter if number in tape.values else None
            if parameter is not None:
                leaves[id(parameter)] = parameter
    return list(leaves.values())


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_dense() if tensor.is_sparse else tensor
