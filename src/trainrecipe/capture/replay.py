"""Replaying a recorded step: the operations between data and loss, on a twin, with other inputs, weights or modes.

A `Tape` is cut out of the recording when the script calls backward: only the operations that the loss depends on, and
copies of everything they consumed. It is trusted only after `verify` reproduced the observed loss bit for bit and the
observed gradients to 1e-6. Moving it to another batch is a second promise, kept by `transfers_to`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointFunction

from trainrecipe.capture import members
from trainrecipe.capture.patch import Patches
from trainrecipe.capture.recorder import Recorder
from trainrecipe.capture.tape import FrozenGenerator, Gained, Op, RandomState, Ref, Tape, Value
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.twin import CannotCopy, Memo
from trainrecipe.capture.where import Spot

GRADIENT_TOLERANCE = 1e-6


class CannotReplay(Exception):
    """A step that cannot be executed again; the message says why."""


def cut(
    recorder: Recorder, roots: Sequence[torch.Tensor], weights: Sequence[torch.Tensor | None], at: Spot | None, since: int = 0
) -> Tape:
    """Cut the step that leads to `roots` out of what was recorded.

    Its history goes back to operation number `since`, or further, if the step does. Raises CannotReplay when nothing leads
    to the roots.
    """
    numbers = [recorder._value(t, top=True) for t in roots]
    values, ops = recorder.values, recorder.ops
    chosen: set[int] = set()
    work = [(n, len(ops)) for n in numbers]
    while work:
        number, before = work.pop()
        value = values[number]
        if not value.requires_grad or value.parameter is not None:
            continue
        makers = [value.outer] if value.outer is not None and value.outer < before else []
        made = makers[0] if makers else -1
        makers += [t for w in recorder.writers.get(value.storage, ()) if made < (t := _top(ops, w)) < before]
        for index in makers:
            if index not in chosen:
                chosen.add(index)
                work += [(n, index) for n in ops[index].inputs]
    if not chosen:
        raise CannotReplay("no recorded operation leads to the loss: it was computed inside a compiled or foreign function")
    start = min(chosen)
    history = recorder.recent(min(start, since))
    first = history[0].index if history else len(ops)
    mine = [history[i - first] if i >= first else ops[i] for i in sorted(chosen)]
    used = {n for op in mine for n in (*op.inputs, *op.outputs)} | set(numbers)
    every = used.union(*(op.inputs for op in history), *(op.outputs for op in history))
    return Tape(
        ops=mine,
        history=history,
        values={n: values[n].unbound() for n in sorted(every)},
        written={s for n in every if (s := values[n].storage) in recorder.writers},
        roots=numbers,
        weights=[w if w is None else w.detach().clone() for w in weights],
        observed=[t.detach().clone() for t in roots],
        at=at,
        trouble=list(recorder.trouble),
        whole=start >= recorder.first_kept,
        made_leaves={n: leaf for n in used if (leaf := values[n].tensor) is not None and _is_made_leaf(values[n], leaf)},
    )


def _is_made_leaf(value: Value, tensor: torch.Tensor) -> bool:
    return value.outer is not None and value.parameter is None and tensor.is_leaf and tensor.requires_grad


def _top(ops: Sequence[Op], index: int) -> int:
    op = ops[index]
    while op.parent is not None:
        op = ops[op.parent]
    return op.index


_OWN = frozenset({*vars(nn.Module()), "_flat_weights", "_flat_weight_refs"})
"""Attributes by which PyTorch's own modules work."""


def _is_kept(value: Any) -> bool:
    return value is None or isinstance(value, torch.Tensor | int | float | str | tuple | list | dict)


def _attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """What a module holds besides parameters, buffers and modules, with the contents of lists and dicts."""
    held = {name: value for name, value in vars(module).items() if name not in _OWN and _is_kept(value)}
    return {name: (value, value.copy() if isinstance(value, list | dict) else None) for name, value in held.items()}


class Twin:
    """A working copy of everything that a tape's step touches. Each twin starts from the state at recording time."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.memo = Memo()
        if not tape.whole:
            raise CannotReplay("operations that the loss depends on happened before the recording began")
        self._keep: list[Any] = []
        self.leaves = self._leaves()
        self.evaluating = False
        self._attributes: dict[nn.Module, dict[str, tuple[Any, Any]]] | None = None

    def _leaves(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs of the script's leaf and its working copy; a leaf has several when it changed inside the step."""
        copies: dict[int, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]] = {}
        for original, frozen in self._copied_leaves():
            known = copies.setdefault(id(original), [])
            if any(f is frozen for _, f, _ in known):
                continue
            same = next((w for _, f, w in known if torch.equal(f, frozen)), None)  # copied twice, unchanged in between
            working = self.memo.tensor(frozen) if same is None else self.memo.put(frozen, same)
            known.append((original, frozen, working))
        pairs = {(id(o), id(w)): (o, w) for known in copies.values() for o, _, w in known}
        return list(pairs.values())

    def _copied_leaves(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every trained leaf of the script's with each of its copies, in order."""
        for op in self.tape.ops:
            for original, frozen in op.memo.pairs() if op.memo is not None else ():
                if isinstance(frozen, torch.Tensor) and frozen.is_leaf and frozen.requires_grad:
                    yield original, frozen
        for number in self.tape.constants():
            value = self.tape.values[number]
            if value.parameter is not None and value.constant is not None and value.constant.requires_grad:
                yield value.parameter, value.constant

    @property
    def single(self) -> bool:
        """Whether no parameter changed its value inside the step, so that the step is a function of one set of weights."""
        return len({id(o) for o, _ in self.leaves}) == len(self.leaves)

    def working(self, original: torch.Tensor) -> torch.Tensor | None:
        """The working copy of one of the script's leaves; None when this step does not use it."""
        return next((w for o, w in self.leaves if o is original), None)

    def module(self, op: Op) -> nn.Module:
        """The working copy of the module that `op` calls. Raises CannotReplay."""
        frozen = op.memo.get(op.call) if op.memo is not None else None
        if frozen is None:
            raise CannotReplay(f"no copy of {op.name} could be made: " + "; ".join(self.tape.trouble[-1:]))
        return self.memo.module(frozen)

    def run(
        self, overrides: Mapping[int, torch.Tensor] | None = None, until: Iterable[int] | None = None, *, rng: bool = True
    ) -> dict[int, torch.Tensor]:
        """Execute the step and return every value it made, by number. Raises CannotReplay, or what the operations raise.

        `overrides` replaces values, whether they came from outside or are made by an operation; `until` stops once these
        are known; with `rng` the random streams are set to what they were at each operation.
        """
        self._begin_anew()
        env: dict[int, torch.Tensor] = dict(overrides or {})
        for number, tensor in env.items():
            if tensor.is_cuda and not tensor.is_floating_point() and not tensor.is_complex():
                self._check_places(number, tensor)
        fixed = frozenset(env)
        wanted = None if until is None else set(until)
        before = RandomState.now()
        grad = torch.is_grad_enabled()
        with contextlib.ExitStack() as stack:
            stack.callback(before.restore)
            stack.callback(torch.set_grad_enabled, grad)
            stack.enter_context(_nothing_recomputed())
            inner = stack.enter_context(contextlib.ExitStack())
            autocast: Any = None
            for op in self.tape.ops:
                if wanted is not None and wanted <= env.keys():
                    break
                if op.outputs and all(v in fixed for v in op.outputs):
                    continue
                if op.autocast != autocast:
                    inner.close()
                    autocast = op.autocast
                    if autocast is not None:
                        device, cache, dtype = autocast
                        inner.enter_context(torch.autocast(device, dtype=dtype, cache_enabled=cache))
                torch.set_grad_enabled(op.grad and grad)
                if rng and op.rng is not None:
                    op.rng.restore()
                self._execute(op, env, fixed)
        return env

    def _begin_anew(self) -> None:
        """Give the modules the attributes of before the first run: a forward may keep a state or a cache for the next."""
        if self._attributes is None:
            roots = [
                self.module(op) for op in self.tape.ops if op.kind == "module" and op.memo is not None and op.memo.get(op.call)
            ]
            self._attributes = {m: _attributes(m) for root in roots for m in members.modules(root)}
            return
        for module, kept in self._attributes.items():
            present = vars(module)
            for name in [n for n, v in present.items() if n not in kept and n not in _OWN and _is_kept(v)]:
                del present[name]
            for name, (value, contents) in kept.items():
                if present.get(name) is not value:
                    present[name] = value
                if isinstance(value, list):
                    value[:] = contents
                elif isinstance(value, dict):
                    value.clear()
                    value.update(contents)

    def _check_places(self, number: int, tensor: torch.Tensor) -> None:
        """Refuse whole numbers that may name places outside of a table, or starts of bags out of order: on a GPU that is no
        exception, but the end of the process's CUDA context. Raises CannotReplay."""
        value = self.tape.values.get(number)
        known = value.constant if value is not None else None
        if known is None or not known.numel() or tensor.dtype == torch.bool or not tensor.numel():
            return
        if known.min() > tensor.min() or known.max() < tensor.max():
            raise CannotReplay("whole numbers outside of the recorded range are not tried on a GPU")
        if _are_offsets(known) and not _are_offsets(tensor):
            raise CannotReplay("what look like offsets are not tried in another order on a GPU")

    def loss(self, overrides: Mapping[int, torch.Tensor] | None = None, *, rng: bool = True) -> torch.Tensor:
        """The scalar that backward was called on, with its graph to the working parameters."""
        return self.total(self.run(overrides, rng=rng))

    def call(self, op: Op, given: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """Execute one operation alone, on other inputs than the recorded ones, and return what it made and was given."""
        env = dict(given)
        before = RandomState.now()
        with _nothing_recomputed(), contextlib.ExitStack() as stack:
            stack.callback(before.restore)
            if op.autocast is not None:
                device, cache, dtype = op.autocast
                stack.enter_context(torch.autocast(device, dtype=dtype, cache_enabled=cache))
            if op.rng is not None:
                op.rng.restore()
            self._execute(op, env, frozenset())
        return env

    def total(self, env: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """The scalar that backward was called on, out of the values that `run` returned."""
        parts = [env[n] if w is None else (env[n] * w).sum() for n, w in zip(self.tape.roots, self.tape.weights, strict=True)]
        return sum(parts[1:], parts[0]) if parts[0].ndim == 0 else sum(p.sum() for p in parts)  # type: ignore[return-value]

    def _execute(self, op: Op, env: dict[int, torch.Tensor], fixed: frozenset[int]) -> None:
        args = self._thaw(op.args, op, env)
        kwargs = self._thaw(op.kwargs, op, env)
        if op.kind == "module":
            module = self.module(op)
            wanted = bool(op.training) and not self.evaluating
            if module.training != wanted:
                module.train(wanted)
            out = module(*args, **kwargs)
            for path, name, number in op.leaks:
                env[number] = getattr(module.get_submodule(path), name)
        elif self.evaluating and "training" in kwargs:
            out = op.call(*args, **{**kwargs, "training": False})
        else:
            out = _unless_checkpoint(op.call)(*args, **kwargs)
        made = list(tensors_in(out))
        if len(made) != len(op.outputs):
            raise CannotReplay(f"{op.name} returned {len(made)} tensors in the replay, {len(op.outputs)} when it was recorded")
        env.update((n, t) for n, t in zip(op.outputs, made, strict=True) if n not in fixed)

    def _thaw(self, frozen: Any, op: Op, env: dict[int, torch.Tensor]) -> Any:
        if isinstance(frozen, Ref):
            return self._look_up(frozen.value, op, env)
        if isinstance(frozen, FrozenGenerator):
            return frozen.generator.clone_state()
        if isinstance(frozen, nn.Module):
            copied = op.memo.get(frozen) if op.memo is not None else None
            return frozen if copied is None else self.memo.module(copied)
        if isinstance(frozen, slice):
            return slice(*(self._thaw(v, op, env) for v in (frozen.start, frozen.stop, frozen.step)))
        if isinstance(frozen, tuple) and hasattr(frozen, "_fields"):
            return tuple.__new__(type(frozen), [self._thaw(v, op, env) for v in frozen])
        if type(frozen) in (list, tuple):
            return type(frozen)(self._thaw(v, op, env) for v in frozen)
        if isinstance(frozen, dict):
            thawed = {k: self._thaw(v, op, env) for k, v in frozen.items()}
            return thawed if type(frozen) is dict else type(frozen)(thawed)
        return frozen

    def _look_up(self, number: int, op: Op, env: dict[int, torch.Tensor]) -> torch.Tensor:
        if number in env:
            return env[number]
        value = self.tape.values[number]
        if value.constant is None:
            raise CannotReplay(f"{op.name} consumes a tensor that was let go of before it could be copied")
        if value.parameter is not None:
            return self.memo.tensor(value.constant)
        tensor = value.constant.clone() if value.storage in self.tape.written else value.constant
        env[number] = tensor
        return tensor


@contextlib.contextmanager
def _nothing_recomputed() -> Iterator[None]:
    """Reentrant checkpoints, which refuse `torch.autograd.grad`, keep what they compute instead; the gradients are the same."""
    patches = Patches()
    patches.put(CheckpointFunction, "apply", lambda _: _kept)
    try:
        yield
    finally:
        patches.undo()


def _kept(function: Callable[..., Any], preserve_rng_state: bool, /, *args: Any) -> Any:
    """What a reentrant checkpoint gives: a graph where one of the arguments has one, and none for what is inside otherwise."""
    taught = any(isinstance(a, torch.Tensor) and a.requires_grad for a in args)
    with torch.set_grad_enabled(taught and torch.is_grad_enabled()):
        return function(*args)


def _unless_checkpoint(call: Any) -> Any:
    return _kept if CheckpointFunction in getattr(call, "args", ()) else call  # recorded with its class as first argument


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """How well a replay reproduces what was observed: `loss` bit for bit, `gradient` the largest relative difference."""

    loss: bool
    gradient: float
    why: str = ""

    @property
    def exact(self) -> bool:
        """Whether the replay may be trusted."""
        return self.loss and self.gradient <= GRADIENT_TOLERANCE


def verify(tape: Tape) -> Agreement:
    """Replay a tape on a fresh twin and compare with the observed loss and gradients."""
    try:
        twin = Twin(tape)
        with torch.enable_grad():
            env = twin.run()
            roots = [env[n] for n in tape.roots]
            same = all(torch.equal(a.detach(), b) for a, b in zip(roots, tape.observed, strict=True))
            if not same:
                return Agreement(False, float("nan"), "the replayed loss differs from the observed one")
            return Agreement(True, *_compare_gradients(twin, roots, env))
    except (CannotReplay, CannotCopy) as error:
        return Agreement(False, float("nan"), str(error))
    except Exception as error:
        return Agreement(False, float("nan"), f"the replay failed with {type(error).__name__}: {error}")


def _compare_gradients(twin: Twin, roots: list[torch.Tensor], env: Mapping[int, torch.Tensor]) -> tuple[float, str]:
    tape = twin.tape
    pairs = twin.leaves + [(leaf, env[n]) for n, leaf in tape.made_leaves.items() if env[n].requires_grad]
    leaves = [w for _, w in pairs]
    grads = torch.autograd.grad(roots, leaves, tape.weights, allow_unused=True, retain_graph=False)
    total: dict[int, torch.Tensor] = {}
    for (original, _), g in zip(pairs, grads, strict=True):
        if g is not None:
            total[id(original)] = total[id(original)] + g if id(original) in total else g
    worst = 0.0
    for parameter, observed in tape.gradients:
        replayed = total.get(id(parameter))
        if replayed is None:
            if not observed.zero:
                return float("inf"), "a parameter that got a gradient is not reached in the replay"
            continue
        worst = max(worst, observed.difference(Gained.of(replayed)))
    return worst, "" if worst <= GRADIENT_TOLERANCE else f"the replayed gradients differ by {worst:.1e} (relative)"


def _are_offsets(tensor: torch.Tensor) -> bool:
    """Whether whole numbers rise from zero, as the starts of bags in a row of elements do."""
    return tensor.ndim == 1 and len(tensor) > 1 and int(tensor[0]) == 0 and bool((tensor.diff() >= 0).all())


def transfers_to(tape: Tape, other: Tape) -> str:
    """Why `tape`'s program does not reproduce the loss observed on `other`'s batch and weights; empty when it does."""
    if [op.name for op in tape.ops] != [op.name for op in other.ops]:
        return "the next step ran other operations"
    mine, theirs = tape.constants(), other.constants()
    if len(mine) != len(theirs):
        return "the next step consumed another number of tensors"
    values = dict(tape.values)
    for a, b in zip(mine, theirs, strict=True):
        values[a] = dataclasses.replace(other.values[b], outer=None, storage=tape.values[a].storage)
    ops = [_moved(a, b) for a, b in zip(tape.ops, other.ops, strict=True)]
    moved = dataclasses.replace(tape, ops=ops, values=values)
    try:
        with torch.no_grad() if all(not op.name.startswith("grad") for op in ops) else contextlib.nullcontext():
            env = Twin(moved).run()
    except Exception as error:
        return f"the step cannot be executed on the next batch: {type(error).__name__}: {error}"
    for number, observed in zip(tape.roots, other.observed, strict=True):
        if not torch.equal(env[number].detach(), observed):
            return "executed on the next batch it gives another loss than the script saw (a value changes from step to step)"
    return ""


def _moved(mine: Op, theirs: Op) -> Op:
    """My operation with the other's module, random state and generators."""
    kwargs = mine.kwargs
    if isinstance(kwargs, dict):
        drawn = {k: v for k, v in (theirs.kwargs or {}).items() if isinstance(v, FrozenGenerator)}
        kwargs = {**kwargs, **drawn}
    return dataclasses.replace(mine, rng=theirs.rng, memo=theirs.memo, call=theirs.call, kwargs=kwargs)
