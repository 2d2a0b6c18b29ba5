"""The listener: which ears there are, and which steps are looked at in detail.

In detail (gradients, graph sizes, hashes, tapes) only some steps are looked at; the others cost a few counters.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch

from trainrecipe.capture.listen import own_rates, written_settings
from trainrecipe.capture.listen.backwards import Backwards
from trainrecipe.capture.listen.checkpoints import CheckpointCalls
from trainrecipe.capture.listen.clips import Clips
from trainrecipe.capture.listen.clock import Stopwatch
from trainrecipe.capture.listen.cuda_graphs import CudaGraphs
from trainrecipe.capture.listen.draws import Draws
from trainrecipe.capture.listen.ear import Ear, guarded
from trainrecipe.capture.listen.evaluations import Evaluations
from trainrecipe.capture.listen.fed import Fed
from trainrecipe.capture.listen.folds import Folds
from trainrecipe.capture.listen.following import Following
from trainrecipe.capture.listen.horizon import Horizon
from trainrecipe.capture.listen.inits import InitCalls
from trainrecipe.capture.listen.ledger import Ledger
from trainrecipe.capture.listen.loaders import Loaders
from trainrecipe.capture.listen.means import Means
from trainrecipe.capture.listen.models import Models
from trainrecipe.capture.listen.optimizers import Optimizers
from trainrecipe.capture.listen.padding import Padding
from trainrecipe.capture.listen.recomputed import Recomputed
from trainrecipe.capture.listen.replicas import Replicas
from trainrecipe.capture.listen.scalars import Scalars
from trainrecipe.capture.listen.scalers import Scalers
from trainrecipe.capture.listen.schedulers import Schedulers
from trainrecipe.capture.listen.seeds import Seeds
from trainrecipe.capture.listen.sources import Sources
from trainrecipe.capture.listen.tracked import Tracked
from trainrecipe.capture.listen.weights import WeightSamples
from trainrecipe.capture.patch import Patches
from trainrecipe.capture.recorder import Recorder
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.subjects.run import Run

DETAILED = 12
"""Steps at the beginning that are looked at in detail; afterwards only those whose number is a power of two."""
_OPTIMIZERS = 8
"""Optimisers up to which each adds to these steps."""
IDLE = 64
"""Backwards without an optimiser step after which details are kept in bounds: long accumulation windows, manual updates."""
_STEPS_KEPT = 4
"""Steps back to which the recorder keeps its operations."""
_TROUBLE = 50
_ROUSED = 12
"""Steps of another network, or another part of one, that are looked at on the way to the end."""
_HEEDED = 12
"""Kinds of evaluations, by model, line and loader, up to which one that was not seen before is looked at."""


class Listener:
    """Observes the program from `install` to `remove`. `detail_always` is for rehearsals, which last a few steps only,
    `detail_never` for taking times, with `every_loss` for the losses as well, on whatever device they are.

    `ranks`: this is one of several processes that train together. With `follow` the predictions for one batch are looked at
    all along, with `track` those for every example. `on_event(kind)` is called before a batch is taken
    and after each backward and optimiser step: a rehearsal uses it to stop the script by raising. `on_tapes` is called once,
    when the steps at the beginning are recorded. `trouble` holds errors of ours, which never reach the program.
    """

    def __init__(
        self,
        *,
        detail_always: bool = False,
        detail_never: bool = False,
        every_loss: bool = False,
        on_event: Callable[[str], None] | None = None,
        on_tapes: Callable[[], None] | None = None,
        limit_batches: Callable[[Any, Any], Any] | None = None,
        ranks: bool = False,
        follow: bool = False,
        track: bool = False,
    ) -> None:
        self.run = Run()
        self.recorder = Recorder()
        self.trouble: list[str] = []
        self.detail_always = detail_always
        self.detail_never = detail_never
        self.every_loss = every_loss
        self.detail = not detail_never
        self.on_event = on_event
        self.on_tapes = on_tapes
        self.limit_batches = limit_batches
        self.stopwatch = Stopwatch()
        self.run.clock = self.stopwatch.record
        self.horizon = Horizon()
        self.folds = Folds(self.run)
        self.sources = Sources()
        self.seeds = Seeds(self)
        self.models = Models(self)
        self.loaders = Loaders(self)
        self.fed = Fed(self)
        self.draws = Draws(self)
        self.backwards = Backwards(self)
        self.optimizers = Optimizers(self)
        self.clips = Clips(self)
        self.schedulers = Schedulers(self)
        self.weights = WeightSamples(self)
        self.scalers = Scalers(self)
        self.ledger = Ledger(self)
        self.scalars = Scalars(self)
        self.padding = Padding(self)
        self.inits = InitCalls(self)
        self.evaluations = Evaluations(self)
        self.checkpoints = CheckpointCalls(self)
        self.replicas = Replicas(self, among=ranks)
        self.recomputed = Recomputed(self)
        self.means = Means(self)
        self.following = Following(self)
        self.following.wanted = follow
        self.tracked = Tracked(self)
        self.tracked.wanted = track
        self._ears: tuple[Ear, ...] = (
            self.models,
            self.loaders,
            self.fed,
            self.draws,
            self.backwards,
            self.optimizers,
            self.clips,
            self.schedulers,
            self.scalers,
            self.padding,
            self.inits,
            self.seeds,
            self.weights,
            self.evaluations,
            self.checkpoints,
            self.replicas,
            self.recomputed,
        )
        self.resumes = False
        self._heeded: set[Any] = set()
        self._roused = 0
        self.released = False
        self._patches = Patches()
        self._graphs = CudaGraphs(self)
        self._recorded = False
        self._handles: list[Any] = []
        self._idle = 0
        self._boundaries: list[int] = []
        self._backward_ends: list[int] = []

    # ---- on and off

    def install(self, recording: bool = True) -> None:
        """Begin to listen and, with `recording`, to record."""
        self._hear()
        self._graphs.install()
        if recording:
            self.recorder.start_late()

    def join_ranks(self) -> None:
        """The script has started others that train together with this process."""
        self.replicas.among = True
        self.replicas.hear_exchanges(self._patches.put)

    def remove(self) -> None:
        """Stop listening and restore everything."""
        self.evaluations.close()
        self.recorder.stop()
        self._graphs.remove()
        self._turn_deaf()

    def suspend(self) -> None:
        """Hear nothing until `resume`: everything is as it is without us."""
        self._recorded = self.recorder.active
        self.evaluations.close()
        self.recorder.stop()
        self._turn_deaf()

    def resume(self) -> None:
        """Go on after `suspend`."""
        self._hear()
        self.recorder.parameters_changed()
        if self._recorded:
            self.recorder.start()

    def _hear(self) -> None:
        self._handles = [*self.weights.hooks(), *self.optimizers.hooks()]
        for ear in self._ears:
            ear.install(self._patches.put)

    def _turn_deaf(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._patches.undo()

    def note_trouble(self, where: str, error: BaseException) -> None:
        """Keep an error of ours, at most fifty."""
        if len(self.trouble) < _TROUBLE:
            at = traceback.extract_tb(error.__traceback__)[-1]
            self.trouble.append(f"{where}: {type(error).__name__}: {error} ({at.filename.rpartition('/')[2]}:{at.lineno})")

    def event(self) -> int:
        """The number of a new event."""
        self.run.events += 1
        return self.run.events

    def tell(self, kind: str) -> None:
        """Tell who asked for it that a batch is to be taken (`batch`), or that a `backward` or `step` is over."""
        if self.on_event is not None:
            try:
                self.on_event(kind)
            except BaseException:
                self.checkpoints.look()  # what the script holds is out of reach once its frames are gone
                raise

    # ---- which steps are looked at in detail, as the ears tell of them

    @property
    def since(self) -> int:
        """The number of operations that were recorded when the present step began."""
        return self._boundaries[-1] if self._boundaries else 0

    @property
    def window(self) -> int:
        """The number of operations that were recorded before the present backward and the one before began."""
        return self._backward_ends[-2] if len(self._backward_ends) > 1 else 0

    @guarded
    def end_of_backward(self) -> None:
        """Where backwards follow each other without a step, details are kept in bounds as well."""
        self._idle += 1
        self._backward_ends.append(len(self.recorder.ops))
        if len(self._backward_ends) > IDLE:
            self.recorder.forget(self._backward_ends.pop(0))
        if self._idle >= IDLE and self.detail and not self.detail_always:
            self.detail = False
            self._rest()
            self._tapes_are_there()

    def about_to_train(self) -> None:
        """A backward or an optimiser's step comes: what was evaluated or loaded before it is over."""
        if self.run.hurried and self.detail and not self._roused:
            self.detail = False
            self._rest()
        if self.inits.pending:
            self.inits.compare()
        evaluations = self.evaluations
        if evaluations.open is not None or evaluations.reports.waiting:
            evaluations.boundary(training=True)
            self.optimizers.note_fold()

    def interrupt_recording(self) -> None:
        """An optimiser's step is not recorded; `end_of_step` goes on. One step may be taken inside another."""
        self.resumes |= self.recorder.active
        self.recorder.stop()

    def end_of_step(self) -> None:
        """An optimiser's step is over, and everything about it is noted."""
        if self.resumes:
            self.recorder.start()
        self.tell("step")

    def stepped_lightly(self) -> bool:
        """Count a step that was not looked at. Returns whether it was chosen whether to look at the next one."""
        self.run.steps += 1
        self.run.events += 1
        self.ledger.blind()
        self.models.stepped()
        self._idle = 0
        if self.run.steps & (self.run.steps - 1):
            self._time()
            if not self.run.steps & 7:
                self.following.stepped(self.run.steps)
            return False
        self._choose_detail()
        self.following.stepped(self.run.steps)
        return True

    def stepped(self) -> None:
        """Count a step that was looked at."""
        self.scalars.step()
        self.run.steps += 1
        self.event()
        self.models.stepped()
        self._idle = 0
        self._boundaries.append(len(self.recorder.ops))
        if self._roused:
            self._roused -= 1
            if not self._roused:
                self.detail = False
                self._rest()
        if len(self._boundaries) > _STEPS_KEPT:
            first = self._boundaries.pop(0)
            self._backward_ends = [end for end in self._backward_ends if end > first]
            self.recorder.forget(first)
        self._choose_detail()
        self.following.stepped(self.run.steps)

    def _time(self) -> None:
        """A step without a detailed look is over; on the way to the end evaluations are looked at in between."""
        if self.run.hurried:
            self.stopwatch.restart()
        else:
            self.stopwatch.commit()

    def _choose_detail(self) -> None:
        if self.detail_always:
            return
        if self.detail_never:
            self._time()
            return
        self.stopwatch.restart()
        step = self.run.steps
        early = step < DETAILED * _OPTIMIZERS and step < DETAILED * max(1, self._kinds_of_optimizers())
        self.detail = early or step & (step - 1) == 0
        if self.detail:
            self.resumes = True
            self.recorder.copying = not self.released and (not early or self.backwards.wanting)
        else:
            self._rest()
        if not early:
            self._tapes_are_there()

    def _kinds_of_optimizers(self) -> int:
        """How many optimisers take turns; one that is built anew again and again is one."""
        return len({(o.place, o.parameters) for o in self.run.optimizers if o.steps})

    def lighten(self) -> None:
        """From now on no step is looked at in detail: enough was seen, and the script goes on to its end."""
        self.horizon.close(self.run.passes)
        self.detail_always, self.detail_never, self.detail = False, True, False
        self.run.hurried = True
        self._rest()

    def heed(self, kind: Any) -> None:
        """On the way to the end a model is evaluated: look in detail at what is new, until training goes on."""
        if self.run.hurried and not self.detail and len(self._heeded) < _HEEDED and kind not in self._heeded:
            self.detail, self.recorder.copying = True, False
            self.recorder.start()
        self._heeded.add(kind)

    def rouse(self) -> None:
        """On the way to the end another network, or another part of one, is about to be trained: its first steps are looked at
        in detail."""
        if self.run.hurried and not self.released:
            self._roused, self.detail, self.recorder.copying = _ROUSED, True, True
            self.recorder.start()

    def _rest(self) -> None:
        if self.recorder.active:
            self.recorder.stop()
        self.resumes = False
        self.recorder.clear()
        self.scalars.forget()
        self._boundaries.clear()
        self._backward_ends.clear()

    def _tapes_are_there(self) -> None:
        if self.on_tapes is not None:
            callback, self.on_tapes = self.on_tapes, None
            callback()
        if not self.following.tried:
            self.following.begin()

    # ---- at the end

    def held(self) -> Iterator[torch.Tensor]:
        """Every tensor that is kept for examination."""
        for tape in self.backwards.every():
            yield from tape.held()
        for batch in (b for kept in self.backwards.batches.values() for b in kept):
            yield from (t for t in batch.constants if t is not None)
        yield from tensors_in([given for _, given, _, _ in self.models.inputs])
        yield from self.fed.held()
        yield from self.following.held()

    def release(self) -> None:
        """Let go of what was recorded, and make no more copies of the model."""
        self.released = True
        self.following.end()
        for tape in self.backwards.every():
            tape.slim()
        self.recorder.clear()
        self.models.inputs.clear()
        self.models.reloads.release()
        self.fed.release()
        self.backwards.batches.clear()

    def fill_plan(self) -> None:
        """Work out how long the run is meant to last and which learning rates it plans. Called when the script is over."""
        self.following.look(self.run.steps)
        self.run.dynamics = self.following.dynamics
        self.following.end()
        self._fill(self.horizon.fill)
        self.schedulers.fill()
        self._fill(own_rates.fill)
        self._fill(written_settings.fill)
        self.evaluations.reports.at_end()
        self.checkpoints.fill()
        self._fill(self.sources.fill)

    @guarded
    def _fill(self, fill: Callable[[Run], None]) -> None:
        fill(self.run)
