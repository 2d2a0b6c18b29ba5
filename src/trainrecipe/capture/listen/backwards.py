"""Hears backward passes: their losses, the graphs behind them, and the tape of each recorded step."""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.hashing import exact_hash
from trainrecipe.capture.listen import describe, loops
from trainrecipe.capture.listen.clock import now
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.listen.recurrence import carried_state, picked_rows
from trainrecipe.capture.listen.scalers import factor_of
from trainrecipe.capture.listen.stream import Stream
from trainrecipe.capture.replay import CannotReplay, cut
from trainrecipe.capture.tape import Batch, Gained, Tape
from trainrecipe.capture.tensors import dense, size_of
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.subjects.draws import Carried
from trainrecipe.subjects.run import Backward

TAPES = 3
"""Tapes kept per backward call in the user's code: one to examine and two to prove that it moves to other batches."""
BATCHES = 16
"""Batches kept per backward call, beyond those of the tapes: what a step consumes, without its weights."""
_NETWORKS = 4
"""Networks that are told apart at one line."""
_BATCH_BYTES = 32 * 2**20
"""Bytes that these may take together."""
_PICKED = 6
"""Steps of which the rows are kept that the script picked, where state is carried from step to step."""
_LOSSES = 20000
"""Losses kept per backward call in the user's code."""
_COLLECTIONS = 8
"""Garbage collections of ours at most, to tell graphs that are held from those that only wait for one."""


class Backwards(Ear):
    """The program's calls of `backward` and of `torch.autograd.grad` for parameters.

    `tapes` are the first recorded steps of each site, `latest` the last sound one, `broken` the first whose loss or gradients
    were not finite. A site is a line that calls backward; where another network is trained there later on, of another
    shape, that is another site. `inside` tells whether a backward is under way. `leaves` are what the first loss of
    each line gives gradients to, where nothing is looked at but losses.
    """

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.tapes: dict[Any, list[Tape]] = {}
        self.latest: dict[Any, Tape] = {}
        self.broken: dict[Any, Tape] = {}
        self.batches: dict[Any, list[Batch]] = {}
        self._weights: dict[Any, tuple[set[int], list[torch.Size]]] = {}
        self.stream = Stream()
        self.leaves: list[torch.Tensor] = []
        self.inside = False
        self._records: dict[Spot | None, Backward] = {}
        self._last = Backward(None)
        self._last_spot: Spot | None = None
        self._alive: weakref.WeakSet[_Sentinel] = weakref.WeakSet()
        self._scaled: dict[int, torch.Tensor] = {}
        self._collections = _COLLECTIONS
        self._uncopied: set[Any] = set()
        self._room = _BATCH_BYTES
        self.asked: set[int] = set()
        """Leaves whose gradients `torch.autograd.grad` was asked for, which accumulates none."""
        self.owned: set[int] = set()
        """Parameters of recorded steps that the called models owned at the time."""

    @property
    def wanting(self) -> bool:
        """Whether some line that calls backward has fewer tapes than are kept of each."""
        lacking = any(len(kept) < TAPES for kept in self.tapes.values())
        return lacking or not self.tapes or not self._uncopied <= self.tapes.keys()

    def every(self) -> list[Tape]:
        """All tapes that are kept, each once."""
        kept = [t for tapes in self.tapes.values() for t in tapes]
        return list({id(t): t for t in (*kept, *self.latest.values(), *self.broken.values())}.values())

    def install(self, put: Put) -> None:
        """Hear `backward`, `torch.autograd.grad`, autograd functions and loss scaling."""
        put(torch.Tensor, "backward", self._wrap_tensor_backward)
        put(torch.autograd, "backward", self._wrap_backward)
        put(torch.autograd, "grad", self._wrap_grad)
        put(torch.autograd.Function, "apply", self.recorder.wrap_apply)
        put(torch.amp.GradScaler, "scale", self._wrap_scale)

    # ---- what happens

    def _wrap_tensor_backward(self, original: Any) -> Any:
        ear, listener = self, self.listener

        def backward(
            tensor: torch.Tensor, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False, inputs: Any = None
        ) -> Any:
            if ear.inside:
                return original(tensor, gradient, retain_graph, create_graph, inputs)
            listener.about_to_train()
            if not listener.detail and ear._note_lightly(tensor):
                ear.inside, begun = True, now()
                try:
                    result = original(tensor, gradient, retain_graph, create_graph, inputs)
                finally:
                    ear.inside = False
                listener.stopwatch.backward += now() - begun
                if listener.on_event is not None:
                    listener.tell("backward")
                return result
            call = functools.partial(original, tensor, gradient, retain_graph, create_graph, inputs)
            return ear._backward([tensor], [gradient], call)

        return backward

    def _wrap_backward(self, original: Any) -> Any:
        ear = self

        def backward(tensors: Any, grad_tensors: Any = None, *args: Any, **kwargs: Any) -> Any:
            if ear.inside:
                return original(tensors, grad_tensors, *args, **kwargs)
            roots = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
            given = [grad_tensors] if isinstance(grad_tensors, torch.Tensor) else grad_tensors
            weights = list(given) if given is not None else [None] * len(roots)
            return ear._backward(roots, weights, lambda: original(tensors, grad_tensors, *args, **kwargs))

        return backward

    def _wrap_grad(self, original: Any) -> Any:
        ear = self

        def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if ear.inside or ear.listener.models.depth:
                return original(outputs, inputs, *args, **kwargs)
            roots = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
            wanted = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
            create = bool(kwargs.get("create_graph")) or (len(args) > 2 and bool(args[2]))
            leaves = all(t.is_leaf for t in wanted)
            if create or not leaves:
                if ear.listener.detail:
                    ear.listener.scalars.gradient(roots)
                return original(outputs, inputs, *args, **kwargs)
            call = functools.partial(original, outputs, inputs, *args, **kwargs)
            given = args[0] if args else kwargs.get("grad_outputs")
            weights = [given] if isinstance(given, torch.Tensor) else list(given or [None] * len(roots))
            result = ear._backward(roots, weights, call, wanted)
            if not any(isinstance(t, torch.nn.Parameter) for t in wanted):
                ear.recorder.happened(original, (outputs, inputs, *args), kwargs, result)
            return result

        return grad

    def _wrap_scale(self, original: Any) -> Any:
        ear = self

        def scale(scaler: Any, outputs: Any) -> Any:
            scaled = original(scaler, outputs)
            if isinstance(outputs, torch.Tensor):
                ear._scaled = {id(scaled): outputs}
            return scaled

        return scale

    def _backward(
        self, roots: list[torch.Tensor], weights: list[Any], call: Callable[[], Any], wanted: Sequence[torch.Tensor] = ()
    ) -> Any:
        listener = self.listener
        listener.about_to_train()
        light = not listener.detail and self._note_lightly(roots[0])
        self.inside = True
        if light:
            begun = now()
            try:
                result = call()
            finally:
                self.inside = False
            listener.stopwatch.backward += now() - begun
            listener.tell("backward")
            return result
        try:
            with self.recorder.pause():
                before = self._before(roots, weights)
                result = call()
                self._after(before, result, wanted)
        finally:
            self.inside = False
        listener.end_of_backward()
        listener.tell("backward")
        return result

    # ---- what is kept of it

    @guarded
    def _note_lightly(self, root: torch.Tensor) -> bool:
        """What an unsampled step keeps of a backward: that it happened, its loss, and the forwards that fed it."""
        run, listener = self.run, self.listener
        if not run.backwards or self.recorder.active or listener.every_loss:
            return False
        listener.ledger.blind()
        record = self._last
        record.count += 1
        run.events += 1
        record.last_event = run.events
        if run.passes:
            listener.loaders.backward()
        if root.is_cpu and root.numel() == 1 and not self._scaled:
            self._note_loss(record, root.item())
        listener.models.feed()
        return True

    @guarded
    def _before(self, roots: list[torch.Tensor], weights: list[Any]) -> Any:
        listener = self.listener
        self.recorder.wake()
        self.recorder.cuts += 1
        at = self._last_spot = spot(4)
        record = self._records.get(at)
        if record is None:
            record = self._records[at] = Backward(place(at), first_event=self.run.events, loop=loops.innermost())
            self.run.backwards.append(record)
        self._last = record
        record.count += 1
        record.last_event = listener.event()
        listener.loaders.backward()
        root = self._scaled.get(id(roots[0]), roots[0])
        if root.numel() == 1 and (listener.detail or listener.every_loss or root.device.type == "cpu"):
            self._note_loss(record, float(root.detach()))
        if listener.every_loss and record.count == 1:
            self.leaves += describe.leaves(root)
        tape, marks = None, []
        if listener.detail:
            self._measure_graph(record, roots[0])
            listener.sources.look()
            marks = listener.optimizers.before_backward()
            listener.ledger.before_backward(factor_of(roots[0]))
            tape = self._cut(roots, weights, at)
            listener.scalars.backward(tape)
        grads = []
        if tape is not None:
            self._note_stream(tape)
            self.listener.means.before_backward(tape)
            listener.replicas.hear_gradients(leaves := tape_leaves(tape))
            for parameter in leaves:
                old = parameter.grad if tape.copied else None  # where no copies are made, whether a gradient came is all
                grads.append((parameter, None if old is None else old.detach().clone()))
        listener.models.feed()
        return tape, grads, marks

    @guarded
    def _note_stream(self, tape: Tape) -> None:
        """Remember what the step was fed: its targets, or which tensor of the loader's batch they are."""
        current = self.listener.loaders.open
        column = self.stream.note(self.recorder, tape, self.listener.since, keep=not self.run.passes)
        if current is not None and self.run.carried is None:
            at = carried_state(self.recorder, self.listener.loaders.mark)
            self.run.carried = None if at is None else Carried(place(at), current.loader)
        elif not self.run.passes:
            self._note_picked(tape)
        if current is not None and column is not None:
            loader = self.run.loaders[current.loader]
            loader.label = column if loader.label is None else loader.label
        self.listener.fed.train(tape)

    def _note_picked(self, tape: Tape) -> None:
        """Whether state is carried from step to step where the script picks the rows of its batches itself."""
        carried = self.run.carried
        if carried is None and tape.step > 0:
            at = carried_state(self.recorder, self.listener.since)
            self.run.carried = carried = None if at is None else Carried(place(at), None)
        if carried is not None and len(carried.picked) < _PICKED:
            carried.picked.append(picked_rows(self.recorder, tape))

    def _note_loss(self, record: Backward, value: float) -> None:
        entry = (self.run.steps, value)
        if len(record.losses) < _LOSSES:
            record.losses.append(entry)
        if len(self.run.losses) < _LOSSES:
            self.run.losses.append(entry)

    def _cut(self, roots: list[torch.Tensor], weights: list[Any], at: Spot | None) -> Tape | None:
        if not self.recorder.ops:
            return None
        try:
            tape = cut(self.recorder, roots, weights, at, self.listener.window)
        except CannotReplay as error:
            self.recorder.note_trouble(str(error))
            return None
        tape.step = self.run.steps
        tape.site = self._site(tape)
        self.listener.models.fed_sites.update((id(op.call), op.at) for op in tape.ops if op.kind == "module")
        if len(self.tapes.get(tape.site, ())) < TAPES:
            held = self.listener.optimizers.held_by
            self._last.flows = sorted({*self._last.flows, *describe.flows(tape, held)})
        return tape

    def _site(self, tape: Tape) -> Any:
        """The line that calls backward, with a number where networks without a weight in common were trained there before."""
        weights: list[torch.Tensor] = [
            p for op in tape.ops if isinstance(op.call, torch.nn.Module) for p in members.parameters(op.call)
        ]
        weights += [p for n in tape.constants() if (p := tape.values[n].parameter) is not None]
        mine, shapes = {id(p) for p in weights}, [p.shape for p in weights]
        for number in range(_NETWORKS):
            key = tape.at if tape.at is None or not number else (*tape.at, number)
            known, known_shapes = self._weights.setdefault(key, (mine, shapes))
            if not mine or mine & known or shapes == known_shapes:
                return key
        return tape.at

    @guarded
    def _after(self, before: Any, result: Any, wanted: Sequence[torch.Tensor]) -> None:
        local = self.listener.replicas.heard_gradients()
        if before is None:
            return
        tape, grads, marks = before
        if self.listener.detail:
            self.listener.ledger.after_backward(self.run.backwards.index(self._last))
        self.listener.optimizers.after_backward(marks, self._last_spot)
        self.recorder.parameters_changed()
        if tape is None:
            return
        self.asked.update(map(id, wanted))
        given = dict(zip(map(id, wanted), result, strict=True)) if wanted else {}
        alone = []
        for parameter, old in grads:
            new = given.get(id(parameter)) if wanted else parameter.grad
            if new is None or not (wanted or old is None or not torch.equal(dense(new), dense(old))):
                continue
            gained = new.detach() - old if old is not None and not wanted else new
            gained = local.get(id(parameter), gained)  # what a wrapper left in `grad` is the mean over the ranks
            tape.gradients.append((parameter, Gained.of(gained, sums=tape.copied)))
            alone.append((parameter, gained))
        self.listener.means.after_backward(alone)
        self.listener.replicas.trained_at = self.listener.replicas.trained_at or tape.at
        self._keep_batch(tape)
        if not self.recorder.copying:
            self._uncopied |= {tape.site} - self.tapes.keys()
            return
        kept = self.tapes.setdefault(tape.site, [])
        if len(kept) < TAPES:
            kept.append(tape)
            self._note_owned(tape)
            if not tape.copied and len(kept) == 1:
                tape.hashes = {id(p): exact_hash(p) for p in tape.parameters}
        sound = all(bool(t.isfinite().all()) for t in tape.observed) and all(g.finite for _, g in tape.gradients)
        if sound or tape.site not in self.latest:
            self.latest[tape.site] = tape
        if not sound:
            self.broken.setdefault(tape.site, tape)

    def _note_owned(self, tape: Tape) -> None:
        """Which of a step's parameters its models own now; layers may be exchanged later."""
        own = {id(p) for root in self.listener.models.roots.values() for p in members.parameters(root)}
        self.owned |= own & {id(p) for p in tape.parameters}

    def _keep_batch(self, tape: Tape) -> None:
        """Keep what a step consumed, so that experiments have more than one batch to train on."""
        kept = self.batches.setdefault(tape.site, [])
        if len(kept) >= BATCHES:
            return
        batch = Batch.of(tape)
        self._room -= sum(size_of(t) for t in batch.constants if t is not None)
        if self._room >= 0:
            kept.append(batch)

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
        sentinel = _Sentinel(record, self.run.steps if self.run.optimizers else record.count)
        _unscaled(root.grad_fn).metadata["trainrecipe"] = sentinel
        self._alive.add(sentinel)
        if alive >= 2 and not record.held_name:
            record.held_name, record.held_at = describe.who_holds_a_graph(self._last_spot)

    def _count_alive(self, record: Backward) -> int:
        """Earlier losses of this line, from before the last optimiser step, whose graphs are alive."""
        now = self.run.steps if self.run.optimizers else record.count
        return len([s for s in self._alive if s.backward is record and s.step < now])


def _unscaled(node: Any) -> Any:
    """The node of the loss itself, below divisions by a count and multiplications by a scale: what a script keeps."""
    while type(node).__name__ in ("DivBackward0", "MulBackward0", "NegBackward0", "ToCopyBackward0"):
        below = [n for n, _ in node.next_functions if n is not None]
        if len(below) != 1 or type(below[0]).__name__ == "AccumulateGrad":
            break
        node = below[0]
    return node


class _Sentinel:
    """Lives in the metadata of a loss's graph node: as long as it is alive, so is that graph."""

    __slots__ = ("__weakref__", "backward", "step")

    def __init__(self, backward: Backward, step: int) -> None:
        self.backward = backward
        self.step = step


def tape_leaves(tape: Tape) -> list[torch.Tensor]:
    """The script's leaves that a tape's step may give a gradient to."""
    leaves: dict[int, torch.Tensor] = {}
    for op in tape.ops:
        for original, _frozen in op.memo.pairs() if op.memo is not None else ():
            if isinstance(original, torch.Tensor) and original.is_leaf and original.requires_grad:
                leaves[id(original)] = original
        if op.memo is None and isinstance(op.call, nn.Module):
            leaves |= {id(p): p for p in members.parameters(op.call) if p.requires_grad}
        for number in op.inputs:
            parameter = tape.values[number].parameter if number in tape.values else None
            if parameter is not None:
                leaves[id(parameter)] = parameter
    leaves |= {id(leaf): leaf for leaf in tape.made_leaves.values()}
    return list(leaves.values())
