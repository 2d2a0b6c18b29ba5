"""One observed execution of a script: listens from the import of PyTorch on, examines, and writes the event log."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainrecipe import progress
from trainrecipe.capture.exchange import STALLED, Exchange
from trainrecipe.capture.frameworks import CHOOSERS, LIGHTNING, note_choosers, teach_lightning
from trainrecipe.capture.patch import Patches
from trainrecipe.journal.events import append_to

if TYPE_CHECKING:
    from trainrecipe.capture.launch import Order
    from trainrecipe.capture.listen.clock import Sampler
    from trainrecipe.capture.listen.listener import Listener
    from trainrecipe.capture.rehearsal import Rehearsal
    from trainrecipe.finding import Finding
    from trainrecipe.lab.running import Running
    from trainrecipe.subjects.step import Step

TIMED_STEPS = 400
"""Optimiser steps that are timed at most where only times are taken."""
TIMED_SECONDS = 10.0


class Session:
    """What the launcher drives: `begin` when PyTorch is there, `end` when the script is over, `conclude` to examine."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.started = time.perf_counter()
        self.events = append_to(Path(order.log)) if order.log else None
        self.listener: Listener | None = None
        self.rehearsal: Rehearsal | None = None
        self.sampler: Sampler | None = None
        self.experiment: Running | None = None
        self.taught = Patches()
        self.trouble = ""
        self.exchange: Exchange | None = None
        if order.exchange:
            self.exchange = Exchange(Path(order.exchange), order.rank, order.world)
        self._early: set[str] = set()
        self.led_to_end = False

    def log(self, kind: str, **fields: Any) -> None:
        """Append an event to the run's log."""
        if self.events is not None:
            self.events.append(kind, **fields)

    @property
    def over(self) -> str:
        """Why the rehearsal was stopped; empty while it goes on, and for whole runs."""
        if self.order.rehearsal and self.order.rank and self.exchange is not None and self.exchange.over():
            return "rank 0 has seen enough"
        return self.rehearsal.over if self.rehearsal is not None and self.rehearsal.raised else ""

    @property
    def enough(self) -> bool:
        """Whether a rehearsal has seen what it must: how the script ends is its own affair."""
        return bool(self.over) or (self.rehearsal is not None and self.rehearsal.going_on)

    def natural_end(self) -> str:
        """The script ran to its end: the status that this is for a whole run or a rehearsal."""
        self.led_to_end = self.rehearsal is not None and self.rehearsal.shortened and not self.over
        return "rehearsed" if self.over or self.led_to_end else "finished"

    def begin(self) -> None:
        """Start to listen. Whatever goes wrong here is reported, and the script runs on unobserved."""
        try:
            self._begin()
        except Exception as error:
            self.trouble = f"the script could not be observed: {type(error).__name__}: {error}"

    def _begin(self) -> None:
        from trainrecipe.capture.listen.listener import Listener
        from trainrecipe.capture.rehearsal import STEPS, Rehearsal

        order = self.order
        if order.seed_offset:
            from trainrecipe.intervene.seed import shift_seeds

            shift_seeds(order.seed_offset)
        if order.result:
            from trainrecipe.lab.running import Running

            listener = Listener(detail_never=True, every_loss=True)
            listener.evaluations.every = True
            self.experiment = Running(order.interventions)
            self.experiment.begin(listener)  # before we listen: what is changed is what is heard
        elif order.trial_to:
            from trainrecipe.capture import trials

            listener = Listener(detail_never=True, every_loss=True)
            self.rehearsal = Rehearsal(listener.run, steps=trials.STEPS, seconds=trials.SECONDS, rounds=False)
            listener.on_event = self.rehearsal.event
        elif order.clock_to:
            from trainrecipe.capture.listen.clock import Sampler

            listener = Listener(detail_never=True)
            self.rehearsal = Rehearsal(listener.run, steps=TIMED_STEPS, seconds=TIMED_SECONDS, rounds=False)
            listener.on_event = self.rehearsal.event
            self.sampler = Sampler()
        elif order.rehearsal:
            follow = order.experiments and not order.rank
            listener = Listener(detail_always=True, ranks=bool(order.exchange), follow=follow)
            told = self.exchange.over if self.exchange is not None and order.rank else None
            tell = self.exchange.say_over if self.exchange is not None and not order.rank else None
            alone = self.exchange is None and order.steps is None and bool(order.log) and not order.in_place
            horizon = listener.horizon
            way, phase, leave = (horizon.way, horizon.in_later_loop, self._leave_loops) if alone else (None, None, None)
            self.rehearsal = Rehearsal(
                listener.run,
                steps=order.steps or STEPS,
                told=told,
                tell=tell,
                way=way,
                phase=phase,
                leave=leave if order.ends_loops else None,
                lighten=listener.lighten,
            )
            listener.on_event = self.rehearsal.event
            listener.limit_batches = self.rehearsal.cut
        else:
            follow = order.experiments and not order.rank
            early = self._examine_early if order.experiments and not order.rank else None
            listener = Listener(on_tapes=early, ranks=bool(order.exchange), follow=follow, track=order.track)
        listener.run.script = order.target
        listener.run.rehearsal = order.rehearsal
        listener.install(recording=not (order.clock_to or order.trial_to or order.result))
        self.listener = listener
        if self.exchange is not None and order.rehearsal:
            self.exchange.watch(lambda: listener.run.events, self._leave_rank, self._stalled)
        if self.exchange is None:
            from trainrecipe.capture import spawned

            for owner in spawned.owners():
                self.taught.put(owner, "start_processes", spawned.wrap(self))
        if self.sampler is not None:
            self.sampler.start()

    def _leave_loops(self) -> bool:
        """Leave the loops around the training once their present turns are over. Returns False where that is not possible."""
        from trainrecipe.capture import loop_ends

        assert self.listener is not None
        loops = self.listener.horizon.outer_loops(self.listener.run.passes)
        if not loops or not loop_ends.can_end(loops):
            return False
        loop_ends.end(loops)
        return True

    def teach(self, name: str) -> None:
        """A module of a framework was imported that counts batches, or chooses weights, itself."""
        if self.listener is None:
            return
        if name in CHOOSERS:
            note_choosers(name, self.listener.checkpoints, self.taught)
        elif name in LIGHTNING and self.listener.limit_batches is not None:
            teach_lightning(name, self.listener.loaders, self.listener.horizon, self.taught)

    def end(self) -> None:
        """The script is over, however it ended: stop listening."""
        self.taught.undo()
        if self.rehearsal is not None:
            self.rehearsal.close()
        if self.listener is not None:
            self.listener.remove()
        if self.sampler is not None and self.listener is not None:
            self.listener.run.clock.lines, self.sampler = self.sampler.stop(), None

    def conclude(self, status: str) -> None:
        """Examine what was seen and log every answer."""
        if self.exchange is not None:
            self.exchange.say_over()
            self.exchange.stop()
            if self.order.rank:
                self._hand_over(status)
                return
        from trainrecipe.capture.silence import no_exchange

        with no_exchange():
            self._conclude(status)

    def _conclude(self, status: str) -> None:
        if self.listener is None:
            if self.order.result:
                failed = {"status": "failed", "steps": 0, "series": {}, "effects": [], "error": self.trouble}
                Path(self.order.result).write_text(json.dumps(failed))
                return
            text = self.trouble or "the script never imported PyTorch, so no training was seen: check the script that trains"
            self.log("message", level="error" if self.trouble else "warning", text=text)
            return
        if self.experiment is not None:
            self.experiment.end(Path(self.order.result), status)
            return
        if self.order.clock_to:
            Path(self.order.clock_to).write_text(json.dumps(dataclasses.asdict(self.listener.run.clock)))
            return
        if self.order.trial_to:
            from trainrecipe.capture import trials

            Path(self.order.trial_to).write_text(json.dumps(trials.seen(self.listener, cut=bool(self.over))))
            return
        self._write_fingerprint()
        if self.order.fingerprint and not self.order.log:
            return
        self._read_clock()
        self._read_trials()
        from trainrecipe.capture import overview, subjects
        from trainrecipe.capture.criteria import fill_criteria

        listener = self.listener
        listener.run.ended = "shortened" if self.led_to_end else status
        listener.fill_plan()
        subjects.fill_parameters(listener)
        subjects.fill_untaught(listener)
        subjects.fill_stream(listener)
        fill_criteria(listener)
        if self.order.data and not self.order.track:
            self._study_data()
            return
        self._wait_for_other()
        steps = self._steps()
        self.log("summary", facts=overview.facts(listener, self.over))
        if not listener.run.backwards:
            self.log("message", level="warning", text=overview.no_training(listener, status))
        data = subjects.data(listener, may_read=self.order.rehearsal)
        self._examine([*steps, listener.run, data, *self._ranks(status)])
        if not listener.released:
            self._tell_of(steps)
        for picture in overview.of_run(listener.run, listener.note_trouble):
            self.log("picture", picture=picture.to_json())
        if self.order.track:
            self._tell_of_examples(data)
        if listener.trouble or listener.recorder.trouble:
            self.log("trouble", listener=listener.trouble, recorder=listener.recorder.trouble[:50])

    def _study_data(self) -> None:
        """Scan the data sets that the script reads, and examine them with what was seen of their use."""
        from trainrecipe.capture import subjects
        from trainrecipe.scan.job import examined, study
        from trainrecipe.scan.program import program_splits

        assert self.listener is not None
        data = subjects.data(self.listener, may_read=True)
        splits, places = program_splits(data)
        if not splits:
            text = "the script was seen to read no data: no DataLoader gave a batch, and no model was fed"
            self.log("message", level="error", text=text)
            return

        def examine(found: list[Any]) -> None:
            examined(self.order, found, self.log)

        study(self.order, splits, self.log, examine, kind="script", places=places, beside=(data,))

    def _tell_of_examples(self, data: Any) -> None:
        """Add what became of every example to the table of the script's data, and draw how they were learnt."""
        from trainrecipe.scan.tracking import kept, pictures

        assert self.listener is not None
        told, notice = kept(self.listener.tracked.histories, data, Path(self.order.data))
        self.log("message", level="info", text=notice)
        for picture in pictures(told):
            self.log("picture", picture=picture.to_json())

    def _tell_of(self, steps: list[Step]) -> None:
        """Log what was captured, and the pictures of it."""
        from trainrecipe.capture import overview

        self.log("steps", steps=[overview.captured(step) for step in steps])
        assert self.listener is not None
        for picture in overview.of_steps(steps, self.listener.note_trouble):
            self.log("picture", picture=picture.to_json())

    def _examine(self, subjects: list[Any], tell: Callable[[Finding], None] | None = None) -> None:
        from trainrecipe.cli.catalogue import catalogue, chosen
        from trainrecipe.config import Config
        from trainrecipe.exam import examine

        config = Config.load()
        done = examine(
            *subjects,
            checks=chosen(catalogue(config), self.order.only),
            config=config,
            budget=self.order.budget,
            script=os.path.abspath(self.order.target),
            tell=tell,
            starting=None if tell is not None else _show_progress,
        )
        _show_progress()
        for finding in done.answers:
            self.log("finding", finding=finding.to_json())

    def _examine_early(self) -> None:
        """In a whole run: examine the captured steps as soon as they are there, in the middle of the training."""
        assert self.listener is not None
        listener = self.listener
        listener.remove()
        try:
            from trainrecipe.capture import memory
            from trainrecipe.capture.silence import no_exchange

            with no_exchange():
                steps = self._steps()
                self._examine(steps, tell=self._announce)
            if memory.is_burden(listener.held()):
                self._tell_of(steps)
                listener.release()
        except Exception as error:
            listener.note_trouble("early examination", error)
        finally:
            listener.install(recording=False)

    def _announce(self, finding: Finding) -> None:
        key = f"{finding.check} {finding.place}"
        if finding.severity is None or finding.waived is not None or key in self._early:
            return
        self._early.add(key)
        with contextlib.suppress(Exception):
            where = f" {os.path.relpath(finding.place.file)}:{finding.place.line}" if finding.place else ""
            print(f"recipe: {finding.severity.value}: {finding.title} [{finding.check}]{where}", file=sys.stderr, flush=True)

    # ---- ranks: processes that train together

    def awaits_ranks(self) -> bool:
        """The script is about to start its ranks: whether they are to be observed. What rehearses it once more ends here."""
        if self.order.fingerprint and not self.order.log:
            from trainrecipe.capture.rehearsal import RehearsalOver

            raise RehearsalOver
        return bool(self.order.log) and self.listener is not None

    def leave(self) -> None:
        """This is a fork of the observed process: everything is as it is without us, and another session may begin."""
        self.exchange = None
        self.end()

    def join_ranks(self, order: Order) -> None:
        """From now on this is rank 0 of several, as `order` says."""
        listener = self.listener
        assert listener is not None
        self.order = order
        self.exchange = exchange = Exchange(Path(order.exchange), 0, order.world)
        listener.join_ranks()
        if self.rehearsal is not None:
            self.rehearsal.tell, self.rehearsal.way, self.rehearsal.phase = exchange.say_over, None, None
            self.rehearsal.leave = None
        if order.rehearsal:
            exchange.watch(lambda: listener.run.events, self._leave_rank, self._stalled)

    def _steps(self) -> list[Step]:
        """The captured steps that may be replayed."""
        from trainrecipe.capture import subjects

        assert self.listener is not None
        if not self.order.experiments or self.listener.released or self.listener.replicas.sharded:
            return []
        return list(subjects.steps(self.listener))

    def _hand_over(self, status: str) -> None:
        """Tell rank 0 what this rank saw."""
        if self.exchange is None or self.listener is None:
            return
        from trainrecipe.capture.rank_facts import rank_facts

        self.listener.fill_plan()
        self.exchange.hand_over(rank_facts(self.listener, status).to_json())

    def _leave_rank(self) -> None:
        """Rank 0 has ended its rehearsal, and this rank waits for it for ever: the end, from a thread beside the script."""
        with contextlib.suppress(Exception):
            self._hand_over("rehearsed")
        self._leave(0)

    def _stalled(self, told: str) -> None:
        """All ranks wait for each other: say where, and end."""
        text = f"the ranks wait for each other, and nothing has happened for {STALLED:.0f} seconds: {told}"
        with contextlib.suppress(Exception):
            self.log("message", level="error", text=text)
            self.log("ended", status="failed", exit_code=1, seconds=round(time.perf_counter() - self.started, 3))
        if self.exchange is not None:
            self.exchange.say_over()
        self._leave(1)

    @staticmethod
    def _leave(code: int) -> None:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

    def _ranks(self, status: str) -> list[Any]:
        """What all ranks saw, as a subject; none where the script trains alone."""
        if self.exchange is None or self.listener is None:
            return []
        from trainrecipe.capture.rank_facts import rank_facts
        from trainrecipe.subjects.ranks import RankFacts, Ranks

        others, silent = self.exchange.collect()
        facts = [rank_facts(self.listener, status), *(RankFacts.from_json(other) for other in others)]
        for other in facts[1:]:
            if other.status == "failed":
                self.log("message", level="error", text=f"rank {other.rank} failed; its error is printed above")
        missing = f"nothing was heard of rank {', '.join(map(str, silent))}" if silent else ""
        if missing:
            self.log("message", level="warning", text=f"{missing}: it ended before it could tell, or runs on another machine")
        return [Ranks(self.exchange.world, sorted(facts, key=lambda f: f.rank), missing)]

    # ---- fingerprints: two rehearsals with the same seed are compared

    def _write_fingerprint(self) -> None:
        if not self.order.fingerprint or self.listener is None:
            return
        from trainrecipe.capture.fingerprint import fingerprint

        marks = fingerprint(self.listener)
        self.listener.run.fingerprint = marks
        target = Path(self.order.fingerprint)
        partial = target.with_suffix(".part")
        partial.write_text(json.dumps(marks))
        partial.replace(target)

    def _read_clock(self) -> None:
        """Take over the times that another execution has taken."""
        from trainrecipe.finding import Place
        from trainrecipe.subjects.run import Clock, HotLine

        path = Path(self.order.clock_from)
        if self.listener is None or not self.order.clock_from or not path.exists():
            return
        known = json.loads(path.read_text())
        lines = [HotLine(Place(**line["place"]) if line["place"] else None, line["share"]) for line in known.pop("lines")]
        self.listener.run.clock = Clock(**known, lines=lines)

    def _read_trials(self) -> None:
        """Take over what other executions have shown with other values of a knob."""
        from trainrecipe.capture import trials

        if self.listener is not None and self.order.trials_from:
            self.listener.run.knob, self.listener.run.trials = trials.read(Path(self.order.trials_from))

    def _wait_for_other(self) -> None:
        if not self.order.other_fingerprint or self.listener is None:
            return
        from trainrecipe.subjects.run import Run

        path = Path(self.order.other_fingerprint)
        until = time.perf_counter() + 20
        while not path.exists() and time.perf_counter() < until:
            time.sleep(0.05)
        if path.exists():
            marks = [(str(a), str(b)) for a, b in json.loads(path.read_text())]
            self.listener.run.twin_run = Run(fingerprint=marks)


def _show_progress(check: str = "", share: float = 0.0) -> None:
    """Tell which check is being made; without one, that none is."""
    progress.show(f"examining, {share:.0%}: {check}" if check else "")
