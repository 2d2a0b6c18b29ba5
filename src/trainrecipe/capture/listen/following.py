"""Follows the predictions for one batch while the script trains, on a copy of the model that gets the present weights.

The copy is a twin of a recorded step whose replay was proven exact. Its random streams are those of the recording, so that
what changes from look to look are the weights alone; those of the program are left as they are.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.listen.ear import guarded
from trainrecipe.capture.memory import is_burden
from trainrecipe.capture.silence import no_exchange
from trainrecipe.capture.tape import Tape, autocast_state
from trainrecipe.subjects.dynamics import Dynamics
from trainrecipe.subjects.predicted import Reader, reader_of

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener
    from trainrecipe.capture.replay import Twin

FIRST = 3
"""Steps of each optimiser after which a rehearsal begins to follow; a whole run does when its steps are recorded."""
INTERVAL = 64
"""Steps between two looks of a whole run, doubled each time when there are too many looks; powers of two are looked at, too."""
_DENSE = 8
"""Steps between two looks at the beginning of a whole run."""
_SECOND = 4
"""The first step of a rehearsal that is looked at after those that were recorded; then there are two looks per doubling."""
_BROKEN = 2
"""Looks that may fail before the following ends."""


class Following:
    """Looks at the predictions for the batch of the first recorded step. `begin` when there is a tape, `look` after steps.

    `why` tells, where there is nothing to look at, for which reason.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.interval = INTERVAL
        self.wanted = False
        self.tried = False
        self.dynamics: Dynamics | None = None
        self._twin: Twin | None = None
        self._reader: Reader | None = None
        self._sources: list[tuple[nn.Module, nn.Module]] = []
        self._failures = 0
        self.why = "no step was recorded"

    def note_trouble(self, where: str, error: BaseException) -> None:
        """Keep an error of ours."""
        self.listener.note_trouble(where, error)

    def held(self) -> Iterator[torch.Tensor]:
        """The weights of the copy."""
        if self._twin is not None:
            yield from (w for _, w in self._twin.leaves)

    def end(self) -> None:
        """Let go of the copy; what was seen stays."""
        self._twin, self._reader, self.tried = None, None, True
        self._sources.clear()

    def stepped(self, step: int) -> None:
        """Called after each step that was looked at in detail, and after every eighth one."""
        if not self.wanted:
            return
        if self.listener.detail_always and not self.tried:
            optimizers = sum(1 for o in self.listener.run.optimizers if o.steps)
            if step >= FIRST * max(1, optimizers):
                self.begin()
        elif self._due(step):
            self.look(step)

    def _due(self, step: int) -> bool:
        low = step & -step
        if not self.listener.detail_always:
            return step == low or step % (_DENSE if step < INTERVAL else self.interval) == 0
        return step >= _SECOND and step in (low, 3 * low)  # 4, 6, 8, 12, 16, 24, 32, 48, …

    # ---- the copy

    @guarded
    def begin(self) -> None:
        """Make the copy, and look at the predictions under the weights of the steps that were recorded so far."""
        if self.tried or not self.wanted or self.listener.released:
            return
        self.tried = True
        with self._aside():
            self._begin()

    def _begin(self) -> None:
        from trainrecipe.subjects.step import Step

        tapes = self._tapes()
        if not tapes:
            return
        step = Step.from_tapes(tapes, None, {})
        found = reader_of(step) if not step.distrust else step.distrust
        if isinstance(found, str):
            self.why = found
            return
        twin = step.twin()
        if not self.listener.detail_always and is_burden([*self.listener.held(), *(w for _, w in twin.leaves)]):
            return
        self._reader, self.dynamics = found
        self._twin = twin
        self._sources = [(twin.module(op), op.call) for op in step.tape.modules()]
        for tape in tapes:
            sources = self._recorded(tape, tapes[0])
            weights = {id(o): f for o, f in tape.first_values() if isinstance(f, torch.Tensor)}
            if sources is not None:
                self._look(tape.step, weights, sources)
        if not self.listener.detail_always:
            self._look(self.listener.run.steps, None, self._sources)

    def _tapes(self) -> list[Tape]:
        """The recorded steps of the backward call that reaches most parameters."""
        every = [[t for t in tapes if t.gradients] for tapes in self.listener.backwards.tapes.values()]
        return max((t for t in every if t), key=lambda tapes: sum(p.numel() for p in tapes[0].parameters), default=[])

    def _recorded(self, tape: Tape, first: Tape) -> list[tuple[nn.Module, nn.Module]] | None:
        """The working modules of the first tape with their copies in another one; None where that has other modules."""
        theirs, mine = tape.modules(), first.modules()
        if [id(op.call) for op in theirs] != [id(op.call) for op in mine] or not tape.copied:
            return None
        return [(w, op.memo.get(op.call)) for (w, _), op in zip(self._sources, theirs, strict=True) if op.memo is not None]

    # ---- looking

    @guarded
    def look(self, step: int) -> None:
        """Look at the predictions under the present weights."""
        if self._twin is None:
            return
        if any(o.shape != w.shape for o, w in self._twin.leaves):
            self.end()
            return
        with self._aside():
            try:
                self._look(step, None, self._sources)
            except Exception:
                self._failures += 1
                if self._failures >= _BROKEN:
                    self.end()
                raise

    def _look(self, step: int, weights: dict[int, torch.Tensor] | None, sources: Sequence[tuple[nn.Module, nn.Module]]) -> None:
        twin, reader, dynamics = self._twin, self._reader, self.dynamics
        assert twin is not None
        assert reader is not None
        assert dynamics is not None
        if dynamics.looks and dynamics.looks[-1].step >= step:
            return
        with torch.no_grad():
            moved = self._take(weights, sources)
            prediction = twin.run(until=[reader.number])[reader.number]
            look = reader.read(prediction, step)
        look.moved = moved or not dynamics.looks
        if dynamics.add(look):
            self.interval *= 2

    def _take(self, weights: dict[int, torch.Tensor] | None, sources: Sequence[tuple[nn.Module, nn.Module]]) -> bool:
        """Give the copy other weights and buffers. Returns whether the weights changed."""
        assert self._twin is not None
        pairs = [(w, o if weights is None else weights.get(id(o))) for o, w in self._twin.leaves]
        ours = [w.data for w, o in pairs if o is not None]
        theirs = [o.detach() for _, o in pairs if o is not None]
        moved = not all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        torch._foreach_copy_(ours, theirs)
        for working, source in sources:
            buffers = dict(members.named_buffers(source))
            for name, buffer in members.named_buffers(working):
                if name in buffers and buffers[name].shape == buffer.shape:
                    buffer.copy_(buffers[name])
        return moved

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """The listener hears nothing of what is done here, and neither does the program."""
        models, listener = self.listener.models, self.listener
        models.depth += 1
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(listener.recorder.pause())
                stack.enter_context(no_exchange())
                stack.enter_context(contextlib.redirect_stdout(io.StringIO()))  # models may print in forward
                stack.enter_context(torch.inference_mode(False))
                stack.enter_context(torch.enable_grad())
                stack.enter_context(self._no_autocast())
                yield
        finally:
            models.depth -= 1
            listener.stopwatch.restart()

    @contextlib.contextmanager
    def _no_autocast(self) -> Iterator[Any]:
        ambient = autocast_state()
        if ambient is None:
            yield
            return
        with torch.autocast(ambient[0], enabled=False):
            yield
