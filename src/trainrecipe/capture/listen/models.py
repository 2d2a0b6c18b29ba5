"""Hears modules: where they are built, whether their weights are loaded, and every outermost call of one."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainrecipe.capture import hashing, members, norms
from trainrecipe.capture.listen import describe
from trainrecipe.capture.listen.clock import now
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.reloads import Reloads
from trainrecipe.capture.tensors import map_tensors, size_of, tensors_in
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.subjects.run import Forward, Layer, Model

_LOOKS = 4
"""Inputs looked at per model, line, mode and pass over a loader."""
_LOOKS_WITHOUT_LOADER = 24
"""The same where there are no passes, so that it is all that is seen of the data."""
_INPUTS = 48
"""Calls whose arguments are kept, as long as they take no more than `_INPUT_BYTES` together."""
_INPUT_BYTES = 64 * 2**20
_PENDING = 256
_CRITERIA = 32
"""Loss objects kept, to tell at the end whether they were used."""
_WEIGHTED = frozenset({nn.CrossEntropyLoss, nn.NLLLoss, nn.BCELoss, nn.BCEWithLogitsLoss})


class Models(Ear):
    """The program's models and their outermost calls.

    `births` is the line that built a module, `loaded` the modules that were given weights, `roots` those that the program
    calls itself, `inputs` the arguments of some calls: (id of the module, arguments, forward, pass), `hollow_norms` forwards
    in eval mode through batch-norm layers that never saw a batch. `criteria` are the loss objects, with their line and the
    step at which they were built, `called_criteria` the ids of those that were called.
    """

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.births: weakref.WeakKeyDictionary[nn.Module, Spot | None] = weakref.WeakKeyDictionary()
        self.loaded: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.criteria: list[tuple[nn.Module, Spot | None, int]] = []
        self.called_criteria: set[int] = set()
        self.roots: dict[int, nn.Module] = {}
        self.inputs: list[tuple[int, Any, Forward, int | None]] = []
        self.fed_sites: set[tuple[int, Spot | None]] = set()
        self.depth = 0
        self._room = _INPUT_BYTES
        self._forwards: dict[Any, Forward] = {}
        self._seen: dict[Any, Forward] = {}
        self._hollow: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._judging = 0
        self.hollow_norms: list[norms.HollowForward] = []
        self.reloads = Reloads(listener)
        self._pending: list[tuple[Forward, tuple[int, Spot | None] | None]] = []
        self._of_batch: dict[tuple[int, int], int] = {}
        self._fed_since_step: dict[int, Forward] = {}

    def install(self, put: Put) -> None:
        """Hear modules being built, called and loaded."""
        put(nn.Module, "__init__", self._wrap_birth)
        put(nn.Module, "__call__", self._wrap_call)
        put(nn.Module, "load_state_dict", self._wrap_load)
        for owner in (torch.func, torch.nn.utils.stateless):
            put(owner, "functional_call", self._wrap_functional_call)

    # ---- what happens

    def _wrap_birth(self, original: Any) -> Any:
        births, models = self.births, self

        def __init__(module: nn.Module, /, *args: Any, **kwargs: Any) -> None:
            original(module, *args, **kwargs)
            if not torch.compiler.is_compiling():
                with contextlib.suppress(Exception):
                    births[module] = spot(2)
                    if type(module) in _WEIGHTED and len(models.criteria) < _CRITERIA:
                        models.criteria.append((module, births[module], models.run.steps))

        return __init__

    def _wrap_load(self, original: Any) -> Any:
        loaded = self.loaded

        def load_state_dict(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
            result = original(module, *args, **kwargs)
            with contextlib.suppress(Exception):
                loaded.add(module)
            return result

        return load_state_dict

    def _wrap_call(self, original: Any) -> Any:
        models, compiling, recorder = self, torch.compiler.is_compiling, self.recorder

        def __call__(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
            if compiling():
                return original(module, *args, **kwargs)
            if type(module) in _WEIGHTED:
                models.called_criteria.add(id(module))
            if models.depth:
                if recorder._mode is not None and recorder.here():
                    return recorder.module(module, args, kwargs, original)
                return original(module, *args, **kwargs)
            if models.listener.evaluations.open is not None:
                return models._while_traced(module, args, kwargs, original)
            return models._outermost(module, args, kwargs, original)

        return __call__

    def _while_traced(self, module: nn.Module, args: Any, kwargs: Any, original: Any) -> Any:
        """A call while the outputs of an evaluation are followed: a loss is one operation on them, a model ends that."""
        evaluations = self.listener.evaluations
        trace = evaluations.open
        if trace is None or not (module in self._hollow or self._is_hollow(module)):
            evaluations.close()
            return self._outermost(module, args, kwargs, original)
        trace.aside()
        out = self._outermost(module, args, kwargs, original)
        trace.module(module, args, kwargs, out)
        trace.resume()
        return out

    def _outermost(self, module: nn.Module, args: Any, kwargs: Any, original: Any) -> Any:
        listener = self.listener
        if not self.run.backwards:
            listener.tell("call")
        if listener.seeds.pending and not self.depth:
            listener.seeds.forward((args, kwargs))
        own = module.module if isinstance(module, DistributedDataParallel) else module
        if not listener.detail:
            seen = self._seen.get((id(own), own.training, torch.is_grad_enabled(), id(listener.loaders.open)))
            if seen is not None:
                self._count(seen)
                if self._judging and not seen.grad:
                    self._judge(seen, args, kwargs)
                if seen.grad and (seen.training or not seen.unused):
                    self._pending.append((seen, None))
                self.depth += 1
                begun = now()
                try:
                    out = original(module, *args, **kwargs)
                finally:
                    self.depth -= 1
                    if seen.grad:
                        listener.stopwatch.forward += now() - begun
                    else:
                        listener.stopwatch.evaluation += now() - begun
                if listener.tracked.wanted:
                    listener.tracked.called(own, out)
                if not (seen.grad and seen.training) or seen.unused:
                    listener.evaluations.called(own, args, kwargs, out)
                return out
        if listener.backwards.inside or module in self._hollow or self._is_hollow(module):
            if self.recorder.here():
                return self.recorder.module(module, args, kwargs, original)
            return original(module, *args, **kwargs)
        self.recorder.wake()
        seen = self._note_forward(own, args, kwargs)
        if listener.replicas.wrapped:
            listener.replicas.called(module)
        self.depth += 1
        try:
            here = self.recorder.here()
            out = self.recorder.module(module, args, kwargs, original) if here else original(module, *args, **kwargs)
        finally:
            self.depth -= 1
        if listener.tracked.wanted:
            listener.tracked.called(own, out)
        if not (own.training and torch.is_grad_enabled()) or (seen is not None and seen.unused):
            listener.evaluations.called(own, args, kwargs, out)
        return out

    @guarded
    def _judge(self, forward: Forward, args: Any, kwargs: Any) -> None:
        """Weights were loaded, and the model is evaluated: what it is given is told even where nothing else is looked at."""
        self._judging -= 1
        forward.last_event = self.listener.event()
        if forward.in_pass is None:
            self._note_rows(forward, list(tensors_in((args, kwargs))))

    def _count(self, forward: Forward) -> None:
        forward.count += 1
        if forward.last_step != self.run.steps:
            forward.at_steps, forward.last_step = forward.at_steps + 1, self.run.steps

    def _is_hollow(self, module: nn.Module) -> bool:
        """Whether a module has no parameters; remembered, since asking takes longer than calling a small loss."""
        hollow = next(members.parameters(module), None) is None
        if hollow:
            self._hollow.add(module)
        return hollow

    def _wrap_functional_call(self, original: Any) -> Any:
        models, recorder = self, self.recorder

        def functional_call(*args: Any, **kwargs: Any) -> Any:
            def call() -> Any:
                models.listener.evaluations.close()
                models.depth += 1
                try:
                    return original(*args, **kwargs)
                finally:
                    models.depth -= 1

            if recorder.here() and torch._C._functorch.maybe_current_level() is None:
                return recorder.opaque("functional_call", original, args, kwargs, call)
            return call()

        return functional_call

    # ---- what is kept of it

    @guarded
    def _note_forward(self, module: nn.Module, args: Any, kwargs: Any) -> Forward:
        at = spot(4)
        grad = torch.is_grad_enabled()
        loaders = self.listener.loaders
        current = loaders.open
        number = current.number if current is not None and (grad or not current.finished) else None
        key = (id(module), at, module.training, grad, number)
        forward = self._forwards.get(key)
        most = _LOOKS if number is not None else _LOOKS_WITHOUT_LOADER
        looked = False
        if forward is None and not (grad and module.training):
            self.listener.heed((id(module), at, None if current is None else current.loader))
        if forward is None or (self.listener.detail and forward.count < most):
            forward = forward or self._new_forward(key, module, at, grad, number)
            self._look_at_input(forward, module, args, kwargs)
            looked = bool(forward.batches)
        self._seen[id(module), module.training, grad, id(current)] = forward
        self._count(forward)
        forward.last_event = self.listener.event()
        if number is not None or looked:  # without a loader a batch is told by what it holds
            batch = loaders.serial if number is not None else hash((forward.batches[-1], self.run.steps))
            serial = (batch, id(forward))
            self._of_batch[serial] = self._of_batch.get(serial, 0) + 1
            forward.repeats = max(forward.repeats, self._of_batch[serial])
        if self.listener.detail and (not grad or not module.training):
            self.listener.fed.evaluate(forward, module, args, kwargs, at)
        if grad and len(self._pending) < _PENDING:
            self._pending.append((forward, (id(module), at)))
        return forward

    def _new_forward(self, key: Any, module: nn.Module, at: Spot | None, grad: bool, number: int | None) -> Forward:
        model = self._model(module)
        moody = tuple(name for name, kind, _ in describe.moody(module) if kind and module.get_submodule(name).training)
        forward = Forward(model, place(at), module.training, grad, moody, number, self.run.events, 0, self.run.steps)
        self._forwards[key] = forward
        self.run.forwards.append(forward)
        if number is not None:
            with contextlib.suppress(Exception), self.recorder.pause(), torch.no_grad():  # lazy weights cannot be read
                forward.weights = hashing.weights_hash(module)
        forward.frozen = not any(p.requires_grad for p in members.parameters(module))
        self.reloads.called(module)
        if module.training and grad:
            with contextlib.suppress(Exception), self.recorder.pause(), torch.no_grad():
                forward.adapting = norms.adapting(module)
        seen = norms.look(self.listener, module, forward) if len(self.hollow_norms) < _INPUTS else None
        if seen is not None:
            self.hollow_norms.append(seen)
        return forward

    def _model(self, module: nn.Module) -> int:
        if id(module) not in self.roots:
            self.roots[id(module)] = module
            sizes = [(p.numel(), p.requires_grad) for p in members.parameters(module)]
            layers = [Layer(*item) for item in describe.moody(module)]
            trainable, total = sum(n for n, g in sizes if g), sum(n for n, _ in sizes)
            born = place(self.births.get(module))
            model = Model(len(self.run.models), type(module).__name__, layers, trainable, total, born)
            loaded = any(m in self.loaded or describe.is_pretrained(m) for m in members.modules(module))
            model.loaded = self.run.steps == 0 and loaded
            model.fresh_norms = describe.has_fresh_norms(module)
            self.run.models.append(model)
        return list(self.roots).index(id(module))

    def _look_at_input(self, forward: Forward, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = list(tensors_in((args, kwargs)))
        leaves = [t for t in given if t.requires_grad and t.is_leaf and not isinstance(t, nn.Parameter)]
        held = self.listener.optimizers.held_by
        self.run.input_gradients |= any(id(t) not in held for t in leaves)
        self._note_rows(forward, given)
        self._room -= sum(map(size_of, given))
        if len(self.inputs) < _INPUTS and self._room >= 0:
            with self.recorder.pause():
                copies = map_tensors((args, kwargs), lambda t: t.detach().clone())
            self.inputs.append((id(module), copies, forward, forward.in_pass))

    def _note_rows(self, forward: Forward, given: list[torch.Tensor]) -> None:
        if given:
            with self.recorder.pause(), torch.no_grad():
                rows = hashing.row_hashes(given[0])
                forward.rows.update(rows)
                forward.looks.append((self.run.events, frozenset(rows), len(rows)))
                forward.batches.append(hashing.batch_hash(given))

    # ---- what others tell

    def will_be_judged(self) -> None:
        """Weights were loaded into a model that is trained: the next calls without gradients are looked at."""
        self._judging = _LOOKS_WITHOUT_LOADER

    def new_batch(self, first: bool) -> None:
        """A loader gave a batch; with `first`, one of another pass than before."""
        self._of_batch.clear()
        if first:
            self._pending.clear()

    def feed(self) -> None:
        """The forwards since the last backward or step are those that this backward starts from."""
        sites, fed = self.fed_sites, self._fed_since_step
        for forward, site in self._pending:
            if site is None or not sites or site in sites:
                forward.fed += 1
                fed[id(forward)] = forward
        self._pending.clear()

    @property
    def has_fed(self) -> bool:
        """Whether a forward has fed a backward since the last step."""
        return bool(self._fed_since_step)

    def cleared(self, optimizers: set[int]) -> None:
        """The gradients of these optimisers' parameters are cleared: what fed them so far is part of no step."""
        held = self.listener.optimizers.held_by
        for key, forward in list(self._fed_since_step.items()):
            owned = [held[id(p)] for p in members.parameters(self._root(forward)) if id(p) in held]
            if owned and all(optimizers & numbers.keys() for numbers in owned):
                del self._fed_since_step[key]

    def _root(self, forward: Forward) -> nn.Module:
        return list(self.roots.values())[forward.model]

    def stepped(self) -> None:
        """An optimiser step follows the forwards that fed a backward since the last one."""
        for forward in self._fed_since_step.values():
            forward.stepped += 1
        self._fed_since_step.clear()
        self._pending.clear()
