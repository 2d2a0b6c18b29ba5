"""Hears evaluations: which calls of a model belong to one, what is done with the outputs, which numbers are reported."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from trainrecipe.capture.listen import relations
from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.listen.outputs import Trace
from trainrecipe.capture.listen.reported import Reports
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.where import place, spot
from trainrecipe.subjects.evaluation import Evaluation

_KEPT = 200
"""Evaluations that are kept."""
_BATCHES = 512
"""Batches of one evaluation that are watched, and of one without a loader."""
_BATCHES_WITHOUT_LOADER = 64


class Evaluations(Ear):
    """The program's evaluations. `open` is the trace that sees operations at this moment.

    Watched are the first, second, fourth, eighth … evaluation of each model over each loader, so that a long training costs
    little and its last evaluations are still among them; with `every` all are. Compiled programs are left alone: a mode on
    PyTorch's stack would make it compile again.
    """

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.open: Trace | None = None
        self.compiled = False
        self.every = False
        self.reports = Reports(self)
        self._current: dict[tuple[int, bool, bool], tuple[Any, Trace | None]] = {}
        self._counts: dict[tuple[int, bool, int | None, bool], int] = {}
        self._batch: list[weakref.ref[torch.Tensor]] = []
        self._serial = -1
        self._finished: Trace | None = None

    def install(self, put: Put) -> None:
        """Hear programs being compiled, and what they print."""
        put(torch, "compile", self._wrap_compile)
        self.reports.install(put)

    def _wrap_compile(self, original: Any) -> Any:
        ear = self

        def compile(*args: Any, **kwargs: Any) -> Any:
            ear.compiled = True
            return original(*args, **kwargs)

        return compile

    # ---- what others tell

    def close(self) -> None:
        """Something comes that a mode must not see."""
        trace, self.open = self.open, None
        if trace is not None:
            trace.close()

    @guarded
    def new_batch(self, batch: Any) -> None:
        """A loader gave a batch in a pass that did not train so far."""
        self._batch = [weakref.ref(t) for t in tensors_in(batch, 3)]

    @guarded
    def end_of_pass(self) -> None:
        """A pass is over: what the script does with everything that it collected is looked at."""
        trace = self._finished
        if trace is not None and self.open is None and trace.report.in_pass is not None and not trace.report.broken:
            trace.at_end()
            self.open = trace if trace.is_open else None
        self._finished = None

    def boundary(self, training: bool = False) -> None:
        """Training goes on, or another pass begins: numbers that were worked out by now are final."""
        self.close()
        if self.reports.waiting:
            self.reports.gather("")
            if training:
                self.reports.waiting.clear()
        self.listener.checkpoints.look()

    # ---- model calls

    def called(self, module: Any, args: Any, kwargs: Any, out: Any) -> None:
        """The outermost call of a module returned, without gradients, in eval mode, or where no backward ever started from."""
        listener = self.listener
        current: Any = listener.loaders.open
        if self.compiled or listener.released:
            return
        running = current is not None and not current.finished
        grad = torch.is_grad_enabled()
        if running and grad and (current.trains or current.batches == 1):
            return
        marker = (current.number, self.run.steps if current.trains else -1) if running else (None, self.run.steps)
        key = (id(module), module.training, grad)
        known = self._current.get(key)
        if known is None or known[0] != marker:
            known = self._current[key] = (marker, self._begin(module, current if running else None, grad))
        if known[1] is not None:
            self._watch(known[1], args, kwargs, out)

    @guarded
    def _begin(self, module: Any, current: Any, grad: bool) -> Trace | None:
        """A new evaluation; None when it is not to be watched."""
        aside = current is not None and current.trains
        loader = current.loader if current is not None else None
        key = (id(module), module.training, loader, aside)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if (
            (count & (count - 1) and not self.every)
            or len(self.run.evaluated) >= _KEPT
            or (grad and module.training and current is not None)
        ):
            return None
        if id(module) not in self.listener.models.roots:
            return None
        report = Evaluation(
            number=len(self.run.evaluated),
            model=list(self.listener.models.roots).index(id(module)),
            place=place(spot(5)),
            loader=loader,
            in_pass=current.number if current is not None else None,
            step=self.run.steps,
            training=module.training,
            aside=aside,
        )
        self.run.evaluated.append(report)
        if not module.training and relations.is_fresh(module):
            with self.recorder.pause(), torch.no_grad():
                report.kinship = relations.kinship(
                    module, enumerate(self.listener.models.roots.values()), self.listener.backwards.every()
                )
        trace = Trace(report, self.recorder, self.note_trouble)
        self.reports.expect(report, current, second=count == 2)
        return trace

    @guarded
    def _watch(self, trace: Trace, args: Any, kwargs: Any, out: Any) -> None:
        report = trace.report
        report.calls += 1
        in_pass = report.in_pass is not None
        if report.calls > (_BATCHES if in_pass else _BATCHES_WITHOUT_LOADER):
            report.broken = "it has too many batches"
        if report.broken:
            return
        given = list(tensors_in((args, kwargs), 3))
        batch = [t for ref in self._batch if (t := ref()) is not None] if in_pass else []
        sizes = [t.shape[0] for t in batch or given if t.ndim]
        size = sizes[0] if sizes else None
        outputs = list(tensors_in(out, 3))
        serial = self.listener.loaders.serial
        new = not in_pass or serial != self._serial
        self._serial = serial
        if batch:
            trace.batch(batch)
        trace.stale = self._trained_on()
        trace.called(outputs, size, new)
        if in_pass:
            label = self.run.loaders[report.loader].label if report.loader is not None else None
            trace.give_labels(batch[label] if label is not None and label < len(batch) == len(self._batch) else None)
        self.open = trace
        self._finished = trace

    def _trained_on(self) -> list[list[float]]:
        """The labels of the last batch that was trained on, where they were kept."""
        for seen in self.run.passes[:-4:-1]:
            if seen.trains and seen.labels:
                if self.run.hurried and len(seen.labels) < seen.batches:
                    return []  # its last batch was not looked at
                return [column for column in seen.labels[-1] if column]
        return []
