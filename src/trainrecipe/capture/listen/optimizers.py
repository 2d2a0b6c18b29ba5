"""Hears optimisers: where they are built, what they hold, when gradients are cleared, and every step."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from trainrecipe.capture import members
from trainrecipe.capture.listen import describe, loops
from trainrecipe.capture.listen.clock import now
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.listen.written_settings import Settings
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.subjects.run import Optimizer, OptimizerStep, Scheduler

_PROBES = 8
"""Parameters of an optimiser that are looked at to tell whether a backward reached it."""
_FEW = 4
_LOOKED_AT = 2
"""Optimisers over tensors of the same shapes whose first steps are looked at in detail: of the folds that follow, none."""
"""Optimisers that are kept although nothing recorded was made for them: their gradients may come from nowhere."""
_LARGEST = 50_000_000
"""Elements above which an optimiser's weights are not copied to measure its updates."""

Mark = list[tuple[int, int]]


class Watched:
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
        self.marks: Mark | None = None
        self.wiped = False
        self.scheduled_event = -1
        self.last_scheduler: Scheduler | None = None
        self.before: list[torch.Tensor] = []
        self.accounted = False
        self.held: torch.optim.Optimizer | None = None
        self.settings = Settings(optimizer)
        self.trainable: int | None = None

    def thaws_or_freezes(self) -> bool:
        """Whether another number of the parameters can be trained than when this was last asked."""
        before, self.trainable = self.trainable, sum(p.requires_grad for p in self.parameters)
        return before not in (None, self.trainable)

    def rate(self, optimizer: torch.optim.Optimizer) -> float:
        """The present learning rate of the group with the most elements. Groups are replaced when a state is loaded."""
        groups = optimizer.param_groups
        return float(groups[self.largest].get("lr", 0.0)) if self.largest < len(groups) else 0.0

    def probes(self) -> list[torch.Tensor]:
        """A few parameters, spread evenly: enough to tell whether a backward reached this optimiser."""
        return self.parameters[:: max(1, len(self.parameters) // _PROBES)]

    def mark(self) -> Mark:
        """The identity and version of the probes' gradients."""
        return [(0, 0) if p.grad is None else (id(p.grad), p.grad._version) for p in self.probes()]

    def has_same_gradients(self) -> bool:
        """Whether the probes' gradients are the tensors of after the last step: others may have been put in their place."""
        return self.marks is None or [n for n, _ in self.marks] == [n for n, _ in self.mark()]

    def gradients_are_zero(self) -> bool:
        """Whether every gradient is None or exactly zero."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        return not any(bool(g.coalesce().values().any() if g.is_sparse else g.any()) for g in grads)

    def look_at_leftovers(self, mark: Mark) -> None:
        """Before a backward: are the gradients empty, or just as the last step left them?"""
        if self.backwards and self.fresh:
            return
        if self.gradients_are_zero():
            self.fresh, self.backwards = True, 0
        elif not self.fresh and not self.backwards:
            self.fresh = False if self.marks is None or self.marks == mark else None


class Optimizers(Ear):
    """The program's optimisers.

    `watched` is by id of the optimiser. By id of the parameter: `held_by` the numbers of the optimisers that hold it with
    the highest rate of a step, `built_with` the rates that they were built with, `updates` the norms of some of its
    updates, `moves` which of its elements ever had a gradient and which ever moved. `versions`: of an optimiser's first
    parameter after its last step, by number.
    """

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.watched: dict[int, Watched] = {}
        self.held_by: dict[int, dict[int, float]] = {}
        self.built_with: dict[int, dict[int, float]] = {}
        self.updates: dict[int, list[dict[str, float]]] = {}
        self.moves: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.versions: dict[int, int] = {}
        self._shapes: list[list[torch.Size]] = []

    def install(self, put: Put) -> None:
        """Hear optimisers being built, grown and cleared."""
        put(nn.Module, "zero_grad", self._wrap_module_zero)
        put(torch.optim.Optimizer, "__init__", self._wrap_init)
        put(torch.optim.Optimizer, "zero_grad", self._wrap_zero)
        put(torch.optim.Optimizer, "add_param_group", self._wrap_add_group)

    def hooks(self) -> list[Any]:
        """Register for every optimiser's step; the handles undo it."""
        return [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]

    # ---- what they are made of

    def _wrap_init(self, original: Any) -> Any:
        ear = self

        def __init__(optimizer: torch.optim.Optimizer, /, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            ear._watch(optimizer, spot(2))

        return __init__

    @guarded
    def _watch(self, optimizer: torch.optim.Optimizer, at: Spot | None) -> Watched:
        self.recorder.wake()
        record = describe.optimizer_record(optimizer, len(self.run.optimizers), place(at), self.run.steps)
        self.run.optimizers.append(record)
        watched = Watched(record, optimizer)
        record.born_pass, record.built_in = len(self.run.passes), loops.innermost()
        self._note_replaced(watched)
        self.watched[id(optimizer)] = watched
        self._note_held(watched, optimizer, stepped=False)
        self.listener.horizon.birth(record.number)
        self.listener.sources.build()
        self.listener.folds.built(record.replaces, record.untouched, record.name)
        shapes = [p.shape for p in watched.parameters]
        if self._shapes.count(shapes) < _LOOKED_AT:
            self._shapes.append(shapes)
            self.listener.rouse()
        weakref.finalize(optimizer, self.watched.pop, id(optimizer), None)
        return watched

    def _note_replaced(self, watched: Watched) -> None:
        """Whether an optimiser takes the place of an earlier one over the very same tensors."""
        keys = [id(p) for p in watched.parameters]
        if not keys or not all(self.listener.ledger.knows(p) for p in watched.parameters[:1]):
            return
        shared = set.intersection(*(set(self.held_by.get(key, ())) for key in keys))
        for number in sorted(shared, reverse=True):
            old = self.run.optimizers[number]
            if (
                number != watched.record.number
                and old.steps
                and old.name == watched.record.name
                and old.parameters == len(keys)
            ):
                watched.record.replaces = number
                watched.record.untouched = self.versions.get(number) == watched.parameters[0]._version
                return

    @guarded
    def note_fold(self) -> None:
        """Training goes on after an evaluation: perhaps in another fold, with the weights as the last step left them."""
        stepped = [w for w in self.watched.values() if w.record.steps and w.parameters]
        untouched = bool(stepped) and all(self.versions.get(w.record.number) == w.parameters[0]._version for w in stepped)
        self.listener.folds.resumes(untouched, stepped[0].record.name if stepped else "")

    def find(self, optimizer: torch.optim.Optimizer) -> Watched:
        """The optimiser under observation; one that was built unseen is so from now on."""
        return self.watched.get(id(optimizer)) or self._watch(optimizer, None)

    def _note_held(self, watched: Watched, optimizer: torch.optim.Optimizer, stepped: bool = True) -> None:
        """Which parameters an optimiser holds, and the highest rate of a step: kept beyond its own life."""
        number = watched.record.number
        for group in optimizer.param_groups:
            rate = float(group.get("lr") or 0.0) if stepped else 0.0
            for parameter in group["params"]:
                held = self.held_by.setdefault(id(parameter), {})
                held[number] = max(rate, held.get(number, 0.0))
                self.built_with.setdefault(id(parameter), {}).setdefault(number, float(group.get("lr") or 0.0))

    def _wrap_add_group(self, original: Any) -> Any:
        ear = self

        def add_param_group(optimizer: torch.optim.Optimizer, /, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            watched = ear.watched.get(id(optimizer))
            if watched is not None:
                ear._note_grown(watched, optimizer, spot(2))

        return add_param_group

    @guarded
    def _note_grown(self, watched: Watched, optimizer: torch.optim.Optimizer, at: Spot | None) -> None:
        watched.parameters = [p for g in optimizer.param_groups for p in g["params"]]
        watched.marks = None
        added = place(at)
        if added is not None:
            watched.record.grown.append(added)
        self._note_held(watched, optimizer, stepped=False)

    # ---- their gradients

    def _wrap_zero(self, original: Any) -> Any:
        ear, listener = self, self.listener

        def zero_grad(optimizer: torch.optim.Optimizer, /, *args: Any, **kwargs: Any) -> None:
            if not listener.detail and not ear.recorder.active:
                original(optimizer, *args, **kwargs)
                if listener.models.has_fed:
                    ear._note_wiped([ear.find(optimizer)])
                return  # what else happens to gradients is looked at in detailed steps only
            with ear.recorder.pause():
                original(optimizer, *args, **kwargs)
            ear._note_cleared([ear.find(optimizer)], spot(2))

        return zero_grad

    def _wrap_module_zero(self, original: Any) -> Any:
        ear = self

        def zero_grad(module: nn.Module, /, *args: Any, **kwargs: Any) -> None:
            with ear.recorder.pause():
                original(module, *args, **kwargs)
            own = {id(p) for p in members.parameters(module)}
            cleared = [w for w in ear.watched.values() if w.parameters and id(w.parameters[0]) in own]
            ear._note_cleared(cleared, spot(2))

        return zero_grad

    @guarded
    def _note_cleared(self, cleared: list[Watched], at: Spot | None) -> None:
        for watched in cleared:
            watched.cleared_event = self.listener.event()
            watched.clear_spot = at
            watched.fresh = True
        self._note_wiped(cleared)

    @guarded
    def _note_wiped(self, cleared: list[Watched]) -> None:
        if self.listener.models.has_fed:
            self.listener.models.cleared({w.record.number for w in cleared})

    def before_backward(self) -> list[tuple[Watched, Mark]]:
        """Look at what is left in the gradients; the marks tell afterwards whom the backward reached."""
        marks = [(w, w.mark()) for w in self.watched.values()]
        for watched, mark in marks:
            watched.look_at_leftovers(mark)
        return marks

    def after_backward(self, marks: list[tuple[Watched, Mark]], at: Spot | None) -> None:
        """Note which optimisers' gradients have changed since `before_backward`."""
        for watched, mark in marks:
            if watched.mark() != mark:
                watched.backwards += 1
                watched.wiped = not watched.gradients_are_zero()
                watched.backward_event = self.listener.event()
                watched.backward_spot = at

    # ---- their steps

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        known = self.watched.get(id(optimizer))
        if known is not None and not known.record.steps:
            known.record.resumes = bool(optimizer.state)
        self.listener.about_to_train()
        if not self.listener.detail and self.recorder._mode is None:
            self.listener.stopwatch.stepping = now()
            return
        self._enter_step(optimizer)
        closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
        if closure is None:
            self.listener.interrupt_recording()
            self._look_before_step(optimizer)
        else:
            self.listener.resumes = False
            self.find(optimizer).record.takes_closure = True

    @guarded
    def _enter_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.listener.detail:
            self.listener.ledger.enter_step(self.find(optimizer).record.number)

    @guarded
    def _look_before_step(self, optimizer: torch.optim.Optimizer) -> None:
        watched = self.find(optimizer)
        watched.before = []
        if not watched.record.steps:
            self.listener.replicas.before_first_step(watched)
        if self.listener.detail:
            self.listener.ledger.use(watched.record.number, watched.parameters)
            watched.accounted = True
        if self.listener.detail and sum(p.numel() for p in watched.parameters) <= _LARGEST:
            with torch.no_grad():
                watched.before = [p.detach().clone() for p in watched.parameters]

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self.listener.seeds.awaits:
            self.listener.seeds.step(self.find(optimizer).record.number)
        if self.listener.detail or not self._step_lightly(optimizer):
            self._look_after_step(optimizer)
        self.listener.end_of_step()

    @guarded
    def _step_lightly(self, optimizer: torch.optim.Optimizer) -> bool:
        """What an unsampled step keeps: that it happened, and its learning rate. False when a detailed look is due."""
        watched = self.watched.get(id(optimizer))
        if watched is None:
            return False
        watched.record.steps += 1
        self.versions[watched.record.number] = watched.parameters[0]._version
        watched.record.rates.append(watched.rate(optimizer))
        if self.run.hurried and watched.thaws_or_freezes():
            self.listener.rouse()
        stopwatch = self.listener.stopwatch
        stopwatch.optimiser += now() - stopwatch.stepping
        if self.listener.stepped_lightly():
            watched.backwards, watched.fresh, watched.marks = 0, None, None
        return True

    @guarded
    def _look_after_step(self, optimizer: torch.optim.Optimizer) -> None:
        listener = self.listener
        watched = self.find(optimizer)
        record = watched.record
        if listener.detail:
            if not watched.accounted:  # its closure has computed the gradients meanwhile
                listener.ledger.use(record.number, watched.parameters)
            self._detail_of_step(watched)
            self._belongs_to(watched, optimizer)
            self._note_held(watched, optimizer)
            record.written = watched.settings.look(optimizer) if record.standard and not record.grown else []
            current = listener.loaders.open
            listener.horizon.step(record.number, record.steps, current.number if current is not None else None)
        watched.accounted = False
        if watched.parameters:
            self.versions[record.number] = watched.parameters[0]._version
        listener.ledger.after_step(record.number)
        record.steps += 1
        if listener.detail:
            listener.replicas.stepped(watched)
            listener.means.stepped(watched.parameters)
        record.rates.append(watched.rate(optimizer))
        watched.backwards, watched.fresh = 0, None
        watched.marks = watched.mark() if listener.detail else None
        self.recorder.parameters_changed()
        listener.stepped()

    def _belongs_to(self, watched: Watched, optimizer: torch.optim.Optimizer) -> None:
        """Note which optimiser the tapes since the last step were made for, and keep it: scripts often drop theirs."""
        own = {id(p) for p in watched.parameters}
        for tape in (t for kept in self.listener.backwards.tapes.values() for t in kept if t.stepped is None):
            if any(id(p) in own for p in tape.parameters):
                tape.stepped = watched.record.number
                watched.held = optimizer
        if watched.record.steps < _FEW and sum(w.held is not None for w in self.watched.values()) < _FEW:
            watched.held = optimizer

    def _detail_of_step(self, watched: Watched) -> None:
        record = watched.record
        if record.step_place is None:
            record.step_place, record.loop = place(spot(5)), loops.innermost()
            record.by_length = loops.asks_for_more_than_a_remainder(spot(5))
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
            self._measure_update(watched, seen)
            watched.before = []

    def _measure_update(self, watched: Watched, seen: OptimizerStep) -> None:
        """Fill in the norms of gradient, weight and update of one step, per parameter and for all of them."""
        with torch.no_grad():
            after = [p.detach() for p in watched.parameters]
            steps = [a.float() - b.float() for a, b in zip(after, watched.before, strict=True)]
            update = torch._foreach_norm(steps)
            weight = torch._foreach_norm([b.float() for b in watched.before])
            for p, b, u, w in zip(watched.parameters, watched.before, update, weight, strict=True):
                if p.grad is not None:
                    self._note_update(p, b, {"step": seen.step, "update": float(u), "weight": float(w)})
        seen.update_norm = float(torch.stack(list(update)).norm()) if update else None
        seen.weight_norm = float(torch.stack(list(weight)).norm()) if weight else None
        norms = [h[-1]["gradient"] for p in watched.parameters if (h := self.updates.get(id(p)))]
        seen.grad_norm = sum(n * n for n in norms) ** 0.5

    def _note_update(self, parameter: torch.Tensor, before: torch.Tensor, entry: dict[str, float]) -> None:
        """Keep one update of a parameter, and which elements ever had a gradient and which ever moved."""
        grad = parameter.grad
        assert grad is not None
        entry |= {"stuck": 0.0, "elements": float(parameter.numel())}
        if grad.is_sparse:
            entry["gradient"] = float(grad.coalesce().values().float().norm())
        else:
            entry["gradient"] = float(grad.float().norm())
            pushed, moved = grad.ne(0), parameter.detach().ne(before)
            entry["stuck"] = float((pushed & ~moved).sum() / pushed.sum().clamp(min=1))
            known = self.moves.get(id(parameter))
            if known is None or known[0].shape != moved.shape:
                self.moves[id(parameter)] = (pushed, moved)
            else:
                known[0].logical_or_(pushed)
                known[1].logical_or_(moved)
        history = self.updates.setdefault(id(parameter), [])
        history.append(entry)
        del history[8:-16]  # the first and the last
