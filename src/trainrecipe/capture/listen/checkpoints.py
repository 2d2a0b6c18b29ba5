"""Hears state dicts: where they are taken from a model, kept, loaded, saved to files and read back."""

from __future__ import annotations

import ast
import numbers
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.listen import choosing, keeping
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.listen.expressions import evaluate
from trainrecipe.capture.tape import storage_of
from trainrecipe.capture.unused import user_files
from trainrecipe.capture.where import Spot, is_user_file, place, spot
from trainrecipe.subjects.checkpoints import Chosen, Loaded, Saved, Taken

_MOST = 100
"""Records kept of each kind."""
_PROBES = 4


class _Live:
    """A state dict that was taken: its record, its model, and some of its tensors, none of them kept alive."""

    def __init__(self, record: Taken, module: nn.Module, state: Any) -> None:
        self.record = record
        self.step = record.step
        self.module = weakref.ref(module)
        tensors = [t for t in state.values() if isinstance(t, torch.Tensor)]
        self.probes = [weakref.ref(t) for t in tensors[:: max(1, len(tensors) // _PROBES)][:_PROBES]]

    def shared(self) -> bool:
        """Whether a tensor of it is still there, and is the model's own memory."""
        module = self.module()
        if module is None:
            return False
        alive = [t for ref in self.probes if (t := ref()) is not None]
        if not alive:
            return False
        own = {storage_of(t) for t in (*members.parameters(module), *members.buffers(module))}
        return all(storage_of(t) in own for t in alive)


class _Kept(NamedTuple):
    """A state that was assigned to a variable: what its name holds later tells whether it is a copy."""

    record: Taken
    module: weakref.ref[nn.Module]
    target: ast.expr

    def live(self, value: Any) -> bool:
        """Whether a variable's value is a state whose tensors all are the model's own memory, perhaps by other objects."""
        module = self.module()
        if module is None or not isinstance(value, Mapping):
            return False
        tensors = [t for t in value.values() if isinstance(t, torch.Tensor) and t.numel()]
        own = {storage_of(t) for t in (*members.parameters(module), *members.buffers(module))}
        return bool(tensors) and all(storage_of(t) in own for t in tensors)


class CheckpointCalls(Ear):
    """The program's state dicts. `record` is what is known of them."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.record = listener.run.checkpoints
        self._live: list[_Live] = []
        self._by_line: dict[Any, Taken] = {}
        self._kept: dict[tuple[str, str], dict[str, _Kept]] = {}
        self._last_taken: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()
        self._saved: dict[Any, Saved] = {}
        self._read: dict[int, weakref.ref[torch.Tensor]] = {}
        self._read_names: list[str] = []
        self._aliases: dict[Any, Taken] = {}
        self._files: set[str] = set()
        self._inside = 0
        self._loads: dict[Any, int] = {}
        self._choices: dict[tuple[str, int], Chosen] = {}

    def install(self, put: Put) -> None:
        """Hear state dicts of models and optimisers, and files of tensors."""
        put(nn.Module, "state_dict", self._wrap_take)
        put(nn.Module, "load_state_dict", self._wrap_load)
        put(torch.optim.Optimizer, "load_state_dict", self._wrap_restore)
        for owner in (torch, torch.serialization):
            put(owner, "save", self._wrap_save)
            put(owner, "load", self._wrap_read)

    # ---- taking

    def _wrap_take(self, original: Any) -> Any:
        ear = self

        def state_dict(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
            if ear._inside or args or kwargs.get("destination") is not None:
                return original(module, *args, **kwargs)
            ear._inside += 1
            try:
                state = original(module, *args, **kwargs)
            finally:
                ear._inside -= 1
            ear._note_taken(module, state)
            return state

        return state_dict

    @guarded
    def _note_taken(self, module: nn.Module, state: Any) -> None:
        self._last_taken[module] = self.run.steps
        at = spot(4)
        if at is None or not isinstance(state, Mapping):
            return
        key = (at, type(module).__name__)
        record = self._by_line.get(key)
        if record is None:
            if len(self.record.taken) >= _MOST:
                return
            frame = _frame_at(at)
            found = keeping.keeping_at(frame) if frame is not None else keeping.Keeping()
            if frame is not None:
                self._note_decision(frame)
            self._files.add(at[0])
            record = self._by_line[key] = Taken(
                type(module).__name__, place(at), 0, found.owner, found.target, found.best, uses=list(found.uses)
            )
            self.record.taken.append(record)
        record.step, record.count = self.run.steps, record.count + 1
        record.trained = self._is_trained(module)
        if record.target:
            self._kept.setdefault((at[0], at[2]), {})[record.target] = _Kept(
                record, weakref.ref(module), ast.parse(record.target, mode="eval").body
            )
        self._live = [live for live in self._live if live.record is not record or live.shared()][-_MOST:]
        self._live.append(_Live(record, module, state))

    def _is_trained(self, module: nn.Module) -> bool:
        held = self.listener.optimizers.held_by
        return any(id(p) in held for p in members.parameters(module))

    def _age(self, module: nn.Module | None, state: Any) -> tuple[int, Taken | None]:
        """How many steps of training lie between a state and now; 0 for one whose age is not known."""
        tensors = {id(t) for t in state.values() if isinstance(t, torch.Tensor)} if isinstance(state, Mapping) else set()
        for live in reversed(self._live):
            if any(id(t) in tensors for ref in live.probes if (t := ref()) is not None):
                return self.run.steps - live.step, live.record
        if module is not None and module in self._last_taken:
            return self.run.steps - self._last_taken[module], None
        return 0, None

    # ---- loading

    def _wrap_load(self, original: Any) -> Any:
        ear = self

        def load_state_dict(module: nn.Module, /, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
            before = ear._before_load(module, state_dict) if not ear._inside else None
            result = original(module, state_dict, *args, **kwargs)
            if before is not None:
                ear._note_pair(module)
                strict = args[0] if args else kwargs.get("strict", True)
                ear._note_loaded(before, bool(strict))
            return result

        return load_state_dict

    @guarded
    def _before_load(self, module: nn.Module, state: Any) -> Loaded | None:
        at = spot(4)
        if at is None or not isinstance(state, Mapping):
            return None
        count = self._loads[at] = self._loads.get(at, 0) + 1
        if count > 8 and count & (count - 1):
            return None  # such as a target network that is renewed at every step
        own = {
            **dict(members.named_parameters(module, remove_duplicate=False)),
            **dict(members.named_buffers(module, remove_duplicate=False)),
        }
        names = [str(name) for name, value in state.items() if isinstance(value, torch.Tensor)]
        matched = [name for name in names if name in own]
        shared = [n for n in matched if storage_of(state[n]) == storage_of(own[n]) and state[n].numel()]
        since, _ = self._age(module, state)
        prefix, prefixed = _prefix(names, own)
        from_file = sum(1 for n in names if self._came_from_file(state[n]))
        record = Loaded(
            type(module).__name__, place(at), self.run.steps, True, len(names), len(own), len(matched), len(shared), since
        )
        record.prefix, record.prefixed, record.from_file = prefix, prefixed, from_file
        record.file_tensors = len(self._read_names)
        record.file_matched = sum(1 for n in self._read_names if n.rpartition("/")[2] in own)
        record.examples, record.own_examples = names[:3] or [n.rpartition("/")[2] for n in self._read_names[:3]], list(own)[:3]
        record.trained, record.event = self._is_trained(module), self.run.events
        if record.trained:
            self.listener.models.will_be_judged()
        self._files.add(at[0])
        return record

    @guarded
    def _note_loaded(self, record: Loaded, strict: bool) -> None:
        record.strict = strict
        if len(self.record.loaded) < _MOST:
            self.record.loaded.append(record)
        if record.from_file:
            self._read_names.clear()

    @guarded
    def _note_pair(self, module: nn.Module) -> None:
        with self.recorder.pause(), torch.no_grad():
            self.listener.weights.pairs.loaded(module, spot(4))

    def _came_from_file(self, tensor: torch.Tensor) -> bool:
        ref = self._read.get(id(tensor))
        return ref is not None and ref() is tensor

    def _wrap_restore(self, original: Any) -> Any:
        ear = self

        def load_state_dict(optimizer: torch.optim.Optimizer, /, *args: Any, **kwargs: Any) -> Any:
            result = original(optimizer, *args, **kwargs)
            ear._note_restored(optimizer)
            return result

        return load_state_dict

    @guarded
    def _note_restored(self, optimizer: torch.optim.Optimizer) -> None:
        if len(self.record.restored) < _MOST and spot(4) is not None:
            watched = self.listener.optimizers.find(optimizer)
            self.record.restored.append((watched.record.number, watched.record.steps))

    # ---- files

    def _wrap_save(self, original: Any) -> Any:
        ear = self

        def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            if not ear._inside:
                ear.listener.evaluations.close()
                ear._note_saved(obj, f)
            return original(obj, f, *args, **kwargs)

        return save

    @guarded
    def _note_saved(self, obj: Any, file: Any) -> None:
        at = spot(4)
        if at is None:
            return
        self._files.add(at[0])
        known = self._saved.get(at)
        since, taken = self._oldest(obj)
        kinds = {"": _kind(obj)}
        if isinstance(obj, Mapping) and kinds[""] == "dict":
            kinds |= {str(k): _kind(v) for k, v in list(obj.items())[:60]}
        if known is None and len(self.record.saved) < _MOST:
            known = self._saved[at] = Saved(place(at), self.run.steps, str(file)[:300], kinds, count=0)
            self.record.saved.append(known)
            frame = _frame_at(at)
            found = keeping.keeping_at(frame) if frame is not None else keeping.Keeping()
            known.best = found.best
        if known is not None:
            known.count, known.step, known.kinds = known.count + 1, self.run.steps, kinds
            if since > known.since and taken is not None:
                known.since, known.taken = since, taken.place

    def _oldest(self, obj: Any) -> tuple[int, Taken | None]:
        """The age of the oldest state dict in an object that is saved, as far as it shares a model's memory."""
        states = [obj, *obj.values()] if isinstance(obj, Mapping) else [obj]
        ages = [self._age(None, s) for s in states if isinstance(s, Mapping)]
        known = [(since, taken) for since, taken in ages if taken is not None and taken.trained]
        live = {id(x.record) for x in self._live if x.shared()}
        return max(((s, t) for s, t in known if id(t) in live), key=lambda pair: pair[0], default=(0, None))

    def _wrap_read(self, original: Any) -> Any:
        ear = self

        def load(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            ear._note_read(result)
            return result

        return load

    @guarded
    def _note_read(self, result: Any) -> None:
        if spot(4) is None:
            return
        found = list(_tensors("", result, 4))[:20000]
        self._read = {id(t): weakref.ref(t) for _, t in found}
        self._read_names = [name for name, _ in found]

    # ---- what is kept beyond steps

    @guarded
    def look(self) -> None:
        """Between phases: which states are still there, and whether the model goes by a second name."""
        for live in self._live:
            if self.run.steps > live.step and live.record.step == live.step and live.shared():
                live.record.held, live.record.since = True, self.run.steps - live.step
        frame: FrameType | None = sys._getframe(2)
        for _ in range(40):
            if frame is None:
                return
            if is_user_file(frame.f_code.co_filename):
                self._look_at_kept(frame)
                self._look_for_aliases(frame)
                self._look_at_choices(frame)
            frame = frame.f_back

    def _look_at_kept(self, frame: FrameType) -> None:
        for kept in self._kept.get((frame.f_code.co_filename, frame.f_code.co_name), {}).values():
            if self.run.steps <= kept.record.step:
                continue
            try:
                value = evaluate(kept.target, frame)
            except Exception:
                continue
            if kept.live(value):
                kept.record.held, kept.record.since = True, self.run.steps - kept.record.step

    def _look_for_aliases(self, frame: FrameType) -> None:
        file = frame.f_code.co_filename
        self._files.add(file)
        for alias in keeping.aliases(file):
            if alias.function != frame.f_code.co_name:
                continue
            try:
                kept, model = evaluate(alias.target, frame), evaluate(alias.value, frame)
            except Exception:
                continue
            if kept is not model or not isinstance(model, nn.Module) or not self._is_trained(model):
                continue
            record = self._aliases.get((file, alias.line))
            if record is None:
                record = Taken(type(model).__name__, keeping.line_of(file, alias), self.run.steps, best=True, alias=True)
                record.uses, record.trained = list(alias.uses), True
                self._aliases[file, alias.line] = record
                self.record.taken.append(record)
            elif self.run.steps > record.step:
                record.held, record.since = True, self.run.steps - record.step

    def _look_at_choices(self, frame: FrameType) -> None:
        """Keep what is compared with the best value so far, and that value."""
        for choice in choosing.choices(frame.f_code.co_filename):
            if choice.function != frame.f_code.co_name:
                continue
            try:
                value, best = (evaluate(e, frame) for e in (choice.value, choice.best))
            except Exception:
                continue
            if not all(isinstance(v, numbers.Real) for v in (value, best)):
                continue
            record = self._choice(frame.f_code.co_filename, choice)
            if record is not None and len(record.values) < _MOST:
                record.values.append((float(value), float(best)))

    def _choice(self, file: str, choice: choosing.Choice) -> Chosen | None:
        key = file, choice.line
        if key not in self._choices and len(self._choices) < _MOST:
            at = place((file, choice.line, choice.function))
            if at is None:
                return None
            self._choices[key] = Chosen(at, ast.unparse(choice.value), ast.unparse(choice.best), choice.higher)
            self.record.choices.append(self._choices[key])
        return self._choices.get(key)

    @guarded
    def _note_decision(self, frame: FrameType) -> None:
        """Weights are kept: by which comparison?"""
        found = choosing.decision(frame)
        if found is None or (found.file, found.line) in self._choices or len(self._choices) >= _MOST:
            return
        at = place((found.file, found.line, found.function))
        if at is not None:
            chosen = Chosen(at, found.value, found.best, found.higher, given=found.given)
            self._choices[found.file, found.line] = chosen
            self.record.choices.append(chosen)

    @guarded
    def note_chooser(self, chooser: Any, choice: Callable[[Any], tuple[str | None, bool]], at: Spot | None) -> None:
        """A framework's object was built; `choice` tells the name of the metric it chooses by, and whether higher is better."""
        metric, higher = choice(chooser)
        where = place(at)
        if isinstance(metric, str) and where is not None and len(self._choices) < _MOST:
            chosen = Chosen(where, metric, "", higher, named=True)
            self._choices[where.file, where.line] = chosen
            self.record.choices.append(chosen)

    def fill(self) -> None:
        """The script is over: read what its source says about states that were not used yet."""
        self._fill()

    @guarded
    def _fill(self) -> None:
        for live in self._live:
            if self.run.steps > live.step and live.record.step == live.step and live.shared():
                live.record.held, live.record.since = True, self.run.steps - live.step
        files = {*user_files(), *self._files}
        for record in self.record.taken:
            record.unread = bool(record.target) and not any(keeping.is_read(file, record.target) for file in files)
        for optimizer in self.run.optimizers:
            if optimizer.place is not None:
                self._files.add(optimizer.place.file)
        for file in sorted(self._files):
            for choice in choosing.choices(file):
                self._choice(file, choice)
            if len(self.record.resumes) < _MOST:
                self.record.resumes += keeping.resumes(file)
            self.record.restores_models |= keeping.restores_models(file)


def _frame_at(at: Any) -> FrameType | None:
    """The frame of a spot."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name) == at:
            return frame
        frame = frame.f_back
    return None


def _prefix(names: list[str], own: Mapping[str, Any]) -> tuple[str, int]:
    """The prefix whose removal (or, marked with +, addition) makes most names match, and how many match then."""
    options: dict[str, int] = {}
    for first in {n.partition(".")[0] for n in names if "." in n}:
        cut = first + "."
        options[cut] = sum(1 for n in names if n.startswith(cut) and n[len(cut) :] in own)
    for first in {n.partition(".")[0] for n in own if "." in n}:
        options["+" + first + "."] = sum(1 for n in names if f"{first}.{n}" in own)
    best = max(options, key=lambda p: options[p], default="")
    return (best, options[best]) if best and options[best] else ("", 0)


def _kind(value: Any) -> str:
    if isinstance(value, nn.Module):
        return "module"
    if isinstance(value, torch.Tensor):
        return "tensor"
    if isinstance(value, Mapping):
        if {"state", "param_groups"} <= set(map(str, value)):
            return "optimizer"
        if "_last_lr" in value or "last_epoch" in value:
            return "scheduler"
        if {"scale", "growth_factor"} <= set(map(str, value)):
            return "scaler"
        return "model" if value and all(isinstance(v, torch.Tensor) for v in value.values()) else "dict"
    if isinstance(value, bool | str) or value is None:
        return "other"
    if isinstance(value, int | float):
        return "number"
    return "method" if callable(value) and hasattr(value, "__self__") else "other"


def _tensors(name: str, value: Any, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping) and depth:
        for key, item in value.items():
            yield from _tensors(f"{name}/{key}", item, depth - 1)
