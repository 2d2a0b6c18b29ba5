"""A training step that can be executed again: model, batch and loss, captured from a script or given explicitly.

    from trainrecipe import Step, examine

    step = Step(model, (inputs, labels), lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]))
    examine(step)

Experiments run on a `Twin`, a copy of everything that the step touches; the originals are never changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.hashing import batch_hash
from trainrecipe.capture.recorder import Recorder
from trainrecipe.capture.replay import Agreement, CannotReplay, Twin, cut, transfers_to, verify
from trainrecipe.capture.tape import LOSSES, Batch, Gained, Op, RandomState, Ref, Tape, refs_in
from trainrecipe.capture.twin import CannotCopy, copy_optimizer
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.finding import Place
from trainrecipe.subjects.gradients import Window
from trainrecipe.subjects.names import RESHAPING


@dataclasses.dataclass(frozen=True, slots=True)
class LossCall:
    """One call of a PyTorch loss function inside the step.

    `prediction` and `target` are copies of its first two tensors (target None where it has one tensor only); `settings`
    its other arguments by name (`reduction`, `weight`, `ignore_index`, `label_smoothing`, `pos_weight`, `beta`, …);
    `value` its result as a float when it is a scalar; `input` the number of the value given as prediction; `place` the
    user's line; `counts` tells whether the step's loss depends on it.
    """

    name: str
    prediction: torch.Tensor
    target: torch.Tensor | None
    settings: Mapping[str, Any]
    value: float | None
    input: int
    place: Place | None
    op: Op
    counts: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """A tensor that the step consumes and that depends on no parameter.

    `role` is `input` (it goes into a module, or meets a parameter first), `target` (it meets the model's results first:
    labels, targets, masks, weights), `anchor` (it meets a parameter of its own shape: what a penalty pulls weights to) or
    `state` (what `functional_call` uses as parameters and buffers).
    `number` identifies it for overrides; `tensor` is its value in this step.
    """

    number: int
    role: str
    tensor: torch.Tensor
    op: Op
    source: str = ""

    @property
    def dense(self) -> bool:
        """Whether its values can be reduced along axes, which those of sparse tensors cannot."""
        return self.tensor.layout == torch.strided


class Step:
    """A training step that can be executed again, on a twin.

    `Step(model, batch, loss, optimizer=None)`: `loss(model, batch)` computes the scalar that would be called backward on.
    The model, its random state and its gradients are left exactly as they were. Raises TypeError when `loss` does not
    return a scalar tensor that depends on the model.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Any,
        loss: Callable[[nn.Module, Any], torch.Tensor],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        tape = _record(model, batch, loss)
        self._fill([tape], optimizer, {id(p): n for n, p in members.named_parameters(model)}, first=True)
        self.given = (model, batch, loss)

    @classmethod
    def from_tapes(
        cls,
        tapes: Sequence[Tape],
        optimizer: torch.optim.Optimizer | None,
        names: Mapping[int, str],
        *,
        births: Mapping[Any, Spot | None] | None = None,
        evaluates: bool = True,
    ) -> Step:
        """A step captured from a script: the tapes of one backward call, first step first."""
        made = cls.__new__(cls)
        made._fill(tapes, optimizer, names, first=tapes[0].step == 0)
        made.births = births or {}
        made.evaluates = evaluates
        return made

    def _fill(
        self, tapes: Sequence[Tape], optimizer: torch.optim.Optimizer | None, names: Mapping[int, str], first: bool
    ) -> None:
        self.tape, *self.later = tapes
        self.optimizer = optimizer
        self.names = names
        self.first = first
        self.births: Mapping[Any, Spot | None] = {}
        self.evaluates = True
        self.deadline = float("inf")
        self.inputs_seen: list[tuple[int, Any]] = []
        self.rates: list[float] = []
        self.built_rate = 0.0
        self.planned_steps: int | None = None
        self.optimizer_place: Place | None = None
        self.clip: tuple[str, float, float] | None = None
        self.last: Tape | None = None
        self.broken: Tape | None = None
        self.values_seen: Sequence[tuple[int, float]] = ()
        self.graded: frozenset[int] | None = None
        self.steppers: Sequence[torch.optim.Optimizer] = () if optimizer is None else (optimizer,)
        self.repeats = 1
        self.window: Window | None = None
        self.others: Sequence[Step] = ()
        self.labels_seen: Sequence[float] = ()
        self.batches_seen: Sequence[Batch] = ()
        self.finished = False
        self.known: dict[str, Any] = {}
        self.batch_sizes: frozenset[int] = frozenset()
        self.paddings: frozenset[float] = frozenset()
        self.loaded = False
        self.copies = 0
        self.reads: Place | None = None
        self.place = place(self.tape.at)

    # ---- trust

    @functools.cached_property
    def agreement(self) -> Agreement:
        """Whether replaying reproduces what was observed."""
        if self.tape.agreement is None:
            self.tape.agreement = verify(self.tape)
        return self.tape.agreement  # type: ignore[no-any-return]

    @functools.cached_property
    def transfers(self) -> str:
        """Why the step cannot be moved to another batch; empty when it was proven that it can."""
        if not self.agreement.exact:
            return self.agreement.why
        if not self.later:
            return "only one step was seen"
        return transfers_to(self.tape, self.later[0])

    @functools.cached_property
    def distrust(self) -> str:
        """Why no experiment can be made on this step; empty when it can."""
        if not self.agreement.exact:
            return f"the step cannot be replayed: {self.agreement.why}"
        twin = Twin(self.tape)
        if not twin.single:
            return "parameters change inside the step, so it is not a function of one set of weights"
        if not self.trained(twin):
            return "the loss depends on none of the weights that are trained"
        return ""

    def seconds_left(self) -> float:
        """What remains of the time for experiments; a check that needs more stops early and says so."""
        return self.deadline - time.perf_counter()

    # ---- what was seen

    @property
    def observed(self) -> float:
        """The value that backward was called on (with loss scaling or accumulation as the script did it)."""
        return float(sum(t.double().sum() for t in self.tape.observed))

    @functools.cached_property
    def losses(self) -> list[LossCall]:
        """The calls of PyTorch's loss functions, in order. Hand-written losses are not among them."""
        reached = self._reached
        found = []
        for op in self.tape.history:
            if op.name in LOSSES and op.kept:
                found.append(self._loss_call(op, any(o in reached for o in op.outputs)))
        return found

    def _loss_call(self, op: Op, counts: bool) -> LossCall:
        settings = _settings(op)
        value = self._constant_value(op)
        target = op.kept[1] if len(op.kept) > 1 else None
        return LossCall(op.name, op.kept[0], target, settings, value, op.inputs[0], place(op.at), op, counts)

    def _constant_value(self, op: Op) -> float | None:
        if op.call is None or not op.kept:
            return None
        kept = iter(op.kept)
        fill = functools.partial(_replace_refs, kept=kept)
        with torch.no_grad(), contextlib.suppress(Exception):
            out = op.call(*fill(op.args), **fill(op.kwargs))
            return float(out) if isinstance(out, torch.Tensor) and out.numel() == 1 else None
        return None

    @functools.cached_property
    def _reached(self) -> set[int]:
        """Values that the loss depends on, inner ones included."""
        producers = self.producers
        seen: set[int] = set()
        work = list(self.tape.roots)
        while work:
            number = work.pop()
            if number in seen:
                continue
            seen.add(number)
            for op in producers.get(number, ()):
                work += op.inputs
        return seen

    @functools.cached_property
    def producers(self) -> dict[int, list[Op]]:
        """For each value the operations that made it: the innermost first."""
        made: dict[int, list[Op]] = {}
        for op in self.tape.history:
            for number in (*op.outputs, *op.mutated):
                made.setdefault(number, []).append(op)
        for ops in made.values():
            ops.sort(key=lambda op: op.kind != "function")
        return made

    def producer(self, number: int, before: int | None = None) -> Op | None:
        """The innermost operation that made a value or wrote to it last; None when it came from outside.

        `before` leaves out operations from that index on, so that the state an operation saw can be told.
        """
        ops = [op for op in self.producers.get(number, ()) if op.kind != "module" and (before is None or op.index < before)]
        written = [op for op in ops if op.kind == "function" and number in op.mutated]
        made = [op for op in ops if number not in op.inputs]
        return next(iter(written[-1:] or made or ops), None)

    def back(
        self, number: int, through: frozenset[str] = RESHAPING, limit: int = 40, before: int | None = None
    ) -> Iterator[Op]:
        """The chain of operations that made a value, last first, following the first tensor through `through`.

        The first operation that is not in `through` is yielded and ends the chain. `before` is as for `producer`.
        """
        while limit and (op := self.producer(number, before)) is not None:
            yield op
            if op.name not in through or not op.inputs:
                return
            number, before = op.inputs[0], op.index
            limit -= 1

    def place_of(self, op: Op) -> Place | None:
        """Where to point for an operation: the line that built its layer, if that is a PyTorch layer, else its own line."""
        parent = self.tape.around(op)
        if parent is not None and type(parent.call).__module__.startswith("torch.nn.") and parent.call in self.births:
            return place(self.births[parent.call]) or place(op.at)
        return place(op.at)

    # ---- inputs and predictions

    @functools.cached_property
    def consumed(self) -> list[Input]:
        """Everything that the step consumes and that depends on no parameter, in order."""
        found: dict[int, Input] = {}
        leaves = {n for n, v in self.tape.values.items() if v.parameter is not None}
        constants = set(self.tape.constants()) - leaves - self.tape.overwritten()
        for op in self.tape.ops:
            direct = op.kind == "module" or any(n in leaves for n in op.inputs) or op.name == "functional_call"
            for number in op.inputs:
                value = self.tape.values.get(number)
                if number in constants and number not in found and value is not None and value.constant is not None:
                    role = "input" if direct else "target"
                    if op.kind != "module" and any(self._alike(number, n) for n in op.inputs if n in leaves):
                        role = "anchor"
                    elif op.name == "functional_call" and number in set(refs_in((op.args[1:2], op.kwargs))):
                        role = "state"
                    found[number] = Input(number, role, value.constant, op, value.source)
        return list(found.values())

    def _alike(self, number: int, leaf: int) -> bool:
        """Whether a value has the shape of a parameter, beyond a single row."""
        shape = self.tape.values[number].shape
        return len(shape) > 1 and shape == self.tape.values[leaf].shape

    @property
    def inputs(self) -> list[Input]:
        """What goes into the model."""
        return [i for i in self.consumed if i.role == "input"]

    @property
    def targets(self) -> list[Input]:
        """What meets the model's results: labels, targets, masks, weights."""
        return [i for i in self.consumed if i.role == "target"]

    @functools.cached_property
    def batch_size(self) -> int | None:
        """The common length of the first axis of inputs and targets; None when there is none."""
        sizes = [i.tensor.shape[0] for i in self.consumed if i.tensor.ndim]
        shared = [n for n in set(sizes) if n > 1 and sizes.count(n) >= min(2, len(sizes))]
        first = next((i.tensor.shape[0] for i in self.inputs if i.tensor.ndim), None)
        if not shared and first in self.batch_sizes and all(n % first == 0 for n in sizes):
            return first  # such as targets that are flattened to one per position
        return first if first in shared or (first is not None and first > 1 and len(sizes) == 1) else max(shared, default=None)

    @functools.cached_property
    def predictions(self) -> list[int]:
        """Numbers of the values that are the step's predictions, computable by `Twin.run(until=…)`.

        The first tensor of each top-level loss function; without one, the model results that first meet a target; without
        targets, everything that modules return with a gradient.
        """
        top = {n for op in self.tape.ops for n in op.outputs}
        known = [c.input for c in self.losses if c.counts and c.op.parent is None and c.input in top]
        if known:
            return list(dict.fromkeys(known))
        targets = {i.number for i in self.targets if i.tensor.ndim and i.tensor.numel() > 1}
        meeting = [op for op in self.tape.ops if op.kind == "function" and any(n in targets for n in op.inputs)]
        joined = [n for op in meeting[:1] for n in op.inputs if n in top]
        if joined:
            return joined
        results = [n for op in self.tape.modules() for n in op.outputs if self.tape.values[n].requires_grad]
        return [n for n in results if n not in self.tape.roots] or results

    # ---- experiments

    def twin(self) -> Twin:
        """A fresh working copy in the state of the recorded step. Raises CannotReplay or CannotCopy."""
        return Twin(self.tape)

    def trained(self, twin: Twin) -> list[torch.Tensor]:
        """The twin's parameters that the optimiser holds (all with a gradient, when there is no optimiser)."""
        held = None
        if self.optimizer is not None:
            held = {id(p) for g in self.optimizer.param_groups for p in g["params"]}
        reached = {id(p) for p in self.tape.parameters}
        return [w for o, w in twin.leaves if (id(o) in held if held is not None else id(o) in reached)]

    def optimizer_for(self, twin: Twin) -> torch.optim.Optimizer | None:
        """The script's optimiser, copied onto the twin; None when there is none or its class is not PyTorch's own."""
        if self.optimizer is None:
            return None
        try:
            return copy_optimizer(self.optimizer, lambda p: _or_loose(twin.working(p), p))
        except (CannotCopy, TypeError, ValueError):
            return None

    @property
    def peak_rate(self) -> float:
        """The largest learning rate that the optimiser is known to have had, or to be meant to reach after warm-up."""
        known = [*self.rates, self.built_rate]
        for group in self.optimizer.param_groups if self.optimizer is not None else ():
            known += [float(v) for k in ("lr", "initial_lr", "max_lr") if (v := group.get(k)) is not None]
        return max(known, default=0.0)

    def clip_as_script(self, parameters: Sequence[torch.Tensor]) -> None:
        """Clip the gradients of `parameters` as the script clips those of its own, if it does."""
        if self.clip is None:
            return
        kind, limit, norm_type = self.clip
        if kind == "value":
            nn.utils.clip_grad_value_(parameters, limit)
        else:
            nn.utils.clip_grad_norm_(parameters, limit, norm_type)

    def parameter(self, number: int) -> torch.Tensor | None:
        """The script's own leaf behind a value of the recording; None when that value is not a leaf."""
        value = self.tape.values.get(number)
        return None if value is None else value.parameter

    def owner(self, parameter: torch.Tensor) -> nn.Module | None:
        """The module of the script that one of its parameters belongs to."""
        for op in self.tape.modules():
            for module in members.modules(op.call):
                if any(p is parameter for p in module._parameters.values()):
                    return module
        return None

    def place_of_parameter(self, parameter: torch.Tensor) -> Place | None:
        """The line that built the layer of a parameter; the step's own line where that was not seen."""
        owner = self.owner(parameter)
        return (place(self.births.get(owner)) if owner is not None else None) or self.place

    def name(self, parameter: torch.Tensor) -> str:
        """The qualified name of one of the script's parameters, or its shape where it has none."""
        return self.names.get(id(parameter)) or f"tensor{tuple(parameter.shape)}"

    @functools.cached_property
    def consumers(self) -> dict[int, list[Op]]:
        """For each value the functions that took it, in order."""
        takers: dict[int, list[Op]] = {}
        for op in self.tape.history:
            for number in dict.fromkeys(op.inputs):
                if op.kind == "function":
                    takers.setdefault(number, []).append(op)
        return takers

    @functools.cached_property
    def derived(self) -> set[int]:
        """Values that trainable parameters went into, even through `detach`, and the parameters themselves."""
        found = {n for n, v in self.tape.values.items() if v.parameter is not None or v.requires_grad}
        for op in self.tape.history:
            if op.kind != "module" and any(n in found for n in op.inputs):
                found.update((*op.outputs, *op.mutated))
        return found

    def reaches(self, op: Op) -> bool:
        """Whether the step's loss depends on what an operation made."""
        return any(n in self._reached for n in (*op.outputs, *op.mutated))

    def each(self) -> list[Step]:
        """This step and every later one that was recorded at the same line, each as a step of its own."""
        later = [
            Step.from_tapes([tape], self.optimizer, self.names, births=self.births, evaluates=self.evaluates)
            for tape in self.later
        ]
        return [self, *later]

    def value_and_gradient(self, number: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """A top-level value of the replayed step with the gradient of the step's loss in it; None when it has none.

        Raises what a replay raises; ask `distrust` first.
        """
        twin = self.twin()
        env = twin.run()
        value = env.get(number)
        if value is None or not value.requires_grad:
            return None
        roots = [env[n] for n in self.tape.roots]
        weights = [torch.ones_like(r) if w is None else w for r, w in zip(roots, self.tape.weights, strict=True)]
        (gradient,) = torch.autograd.grad(roots, [value], weights, allow_unused=True)
        return None if gradient is None else (value.detach(), gradient.detach())

    @functools.cached_property
    def latest(self) -> Step:
        """This step as it was recorded last, with the weights of that moment; itself where no later one can be replayed."""
        for tape in (self.last, *reversed(self.later)):
            if tape is None or tape is self.tape:
                continue
            step = Step.from_tapes([tape], self.optimizer, self.names, births=self.births, evaluates=self.evaluates)
            if not step.distrust:
                step.inputs_seen, step.graded, step.steppers = self.inputs_seen, self.graded, self.steppers
                step.repeats, step.deadline, step.batch_sizes = self.repeats, self.deadline, self.batch_sizes
                step.paddings, step.loaded = self.paddings, self.loaded
                step.batches_seen, step.finished = self.batches_seen, self.finished
                return step
        return self

    def feeds(self) -> list[dict[int, torch.Tensor]]:
        """The batches that were seen at this step, as overrides for `Twin.run`, each once: its own and later ones."""
        if any(self.tape.values[n].storage in self.tape.written for n in self.tape.constants()):
            return []  # the step writes into what it consumes, which would last from one replay to the next
        found: dict[int, dict[int, torch.Tensor]] = {}
        for batch in (Batch.of(self.tape), *(Batch.of(t) for t in self.later), *self.batches_seen):
            given = batch.on(self.tape)
            if given is not None:
                found.setdefault(batch_hash(list(given.values())), given)
        return list(found.values())

    def batches(self, op: Op) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Arguments of the calls of a module that fed a training step, as far as they were kept: one pair per batch."""
        return [given for number, given in self.inputs_seen if number == id(op.call)]


def _or_loose(found: torch.Tensor | None, original: torch.Tensor) -> torch.Tensor:
    return found if found is not None else original.detach().clone().requires_grad_(original.is_floating_point())


def _settings(op: Op) -> dict[str, Any]:
    values = dict(zip(op.inputs, op.kept, strict=False))
    return {k: values.get(v.value) if isinstance(v, Ref) else v for k, v in (op.kwargs or {}).items()}


def _replace_refs(frozen: Any, kept: Iterator[torch.Tensor]) -> Any:
    if isinstance(frozen, Ref):
        return next(kept)
    if isinstance(frozen, list | tuple):
        return type(frozen)(_replace_refs(v, kept) for v in frozen)
    if isinstance(frozen, dict):
        return {k: _replace_refs(v, kept) for k, v in frozen.items()}
    return frozen


def _record(model: nn.Module, batch: Any, loss: Callable[[nn.Module, Any], torch.Tensor]) -> Tape:
    """Run `loss(model, batch)` once under a recorder, backward on the tape's own twin, and leave no trace."""
    recorder = Recorder()
    call = nn.Module.__call__
    apply = vars(torch.autograd.Function)["apply"]
    depth = 0

    def watched(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if not recorder.here() or (depth == 0 and next(members.parameters(module), None) is None):
            return call(module, *args, **kwargs)
        depth += 1
        try:
            return recorder.module(module, args, kwargs, call)
        finally:
            depth -= 1

    before = RandomState.now()
    state = [(b, b.detach().clone()) for b in members.buffers(model)]
    nn.Module.__call__ = watched  # type: ignore[method-assign]
    torch.autograd.Function.apply = recorder.wrap_apply(torch.autograd.Function.apply)  # type: ignore[method-assign]
    recorder.start()
    try:
        with torch.enable_grad():
            value = loss(model, batch)
        if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
            raise TypeError(f"loss(model, batch) must return a scalar tensor that depends on the model, not {value!r:.200}")
        recorder.stop()
        tape = cut(recorder, [value], [None], spot(3))
        leaves = [p for p in members.parameters(model) if p.requires_grad]
        grads = torch.autograd.grad(value, leaves, allow_unused=True) if leaves else ()
    except CannotReplay as error:
        raise TypeError(f"loss(model, batch) gives a loss that no operation on the model leads to: {error}") from None
    finally:
        recorder.stop()
        nn.Module.__call__ = call  # type: ignore[method-assign]
        torch.autograd.Function.apply = apply  # type: ignore[method-assign]
        before.restore()
        with torch.no_grad():
            for buffer, old in state:
                buffer.copy_(old)
    tape.gradients = [(p, Gained.of(g)) for p, g in zip(leaves, grads, strict=True) if g is not None]
    return tape
