"""Which numbers a program reports about an evaluation: those in its variables and in what it prints.

The numbers that could be reported (the mean over examples, the mean over batches, sums divided by this or that count) are
worked out from what was seen batch by batch, and looked for. So nothing needs to be known of how a program adds up.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import math
import re
import sys
from collections.abc import Iterator, Mapping
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainrecipe.capture.listen.ear import Put, guarded
from trainrecipe.capture.where import Spot, is_user_file, place, spot
from trainrecipe.subjects.evaluation import POOLED, Evaluation, Reported, Score
from trainrecipe.subjects.run import Loader, Pass

if TYPE_CHECKING:
    from trainrecipe.capture.listen.evaluations import Evaluations

_NUMBERS = 600
"""Numbers in the variables of the stack that are looked at."""
_GATHERINGS = 12
"""Looks at the variables and texts after one evaluation."""
_IN_TEXT = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?:[eE][-+]?\d+)?")
_LOOSE, _EXACT = 3e-6, 1e-10
_READS_FRAMES = frozenset({"locals", "vars", "eval", "exec", "dir"})


@dataclasses.dataclass(slots=True)
class Expected:
    """An evaluation whose numbers are waited for, with the pass it was made in and the one evaluation before it, if any."""

    report: Evaluation
    seen: Pass | None
    first: Evaluation | None = None
    looks: int = _GATHERINGS


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A number that could be reported of one score. `right`: it weights every example equally."""

    score: int
    how: str
    right: bool
    value: float


class Reports:
    """Looks for numbers of evaluations that are over."""

    def __init__(self, ear: Evaluations) -> None:
        self.ear = ear
        self.waiting: list[Expected] = []

    def install(self, put: Put) -> None:
        """Hear what is printed and logged."""
        if isinstance(sys.stdout, io.TextIOWrapper):  # `print` itself stays as it is: programs ask whether `sink is print`
            put(sys.stdout, "write", self._wrap_write)
        put(logging.Logger, "handle", self._wrap_handle)

    def note_trouble(self, where: str, error: BaseException) -> None:
        """Keep an error of ours."""
        self.ear.note_trouble(where, error)

    def _wrap_write(self, original: Any) -> Any:
        reports, line = self, io.StringIO()

        def write(text: str, /) -> int:
            if reports.waiting and type(text) is str and not torch.compiler.is_compiling():
                line.write(text)  # print() writes every argument by itself
                if "\n" in text:
                    whole = line.getvalue()
                    line.seek(0)
                    line.truncate()
                    reports._heard((whole,))
            return original(text)  # type: ignore[no-any-return]

        return write

    def _wrap_handle(self, original: Any) -> Any:
        reports = self

        def handle(logger: Any, record: Any) -> Any:
            if reports.waiting:
                reports._heard((record.msg, *(record.args if isinstance(record.args, tuple) else ())), record)
            return original(logger, record)

        return handle

    @guarded
    def _heard(self, parts: Any, record: Any = None) -> None:
        if any(type(p) not in (str, int, float, bool, type(None)) and not isinstance(p, np.generic) for p in parts):
            parts = [p for p in parts if isinstance(p, str | int | float | np.generic)]
        text = (
            record.getMessage()
            if record is not None and len(parts) == 1 + len(record.args or ())
            else " ".join(map(str, parts))
        )
        self.gather(text)

    def expect(self, report: Evaluation, seen: Pass | None, second: bool) -> None:
        """An evaluation begins whose numbers are to be looked for; `second`: one of its kind was made before."""
        alike = (e for e in self.ear.run.evaluated if e is not report and e.alike(report))
        self.waiting.append(Expected(report, seen, next(alike, None) if second else None))
        del self.waiting[:-4]

    @guarded
    def gather(self, text: str) -> None:
        """Look at the text and at the variables of the stack for numbers of evaluations that are over."""
        ready = [e for e in self.waiting if self._over(e)]
        if not ready:
            return
        with self.ear.recorder.pause():
            trace = self.ear.open
            if trace is not None:
                trace.aside()
            at = spot(4)
            found = list(_in_text(text, at)) + list(_in_variables(sys._getframe(2)))
            for expected in ready:
                expected.looks -= 1
                candidates = list(_candidates(expected, self.ear.run.loaders))
                expected.report.reported += _matches(candidates, found, expected.report.reported)
            if trace is not None:
                trace.resume()
        self.waiting = [e for e in self.waiting if e.looks > 0 and not (text == "" and e in ready)]

    def at_end(self) -> None:
        """The script is over: its module's variables are looked at."""
        main = sys.modules.get("__main__")
        if self.waiting and main is not None:
            self._at_end(main)

    @guarded
    def _at_end(self, main: ModuleType) -> None:
        found: list[Found] = []
        found += [(n, v, 0.0, None) for n, v in _flat("", dict(vars(main)), 2)][:_NUMBERS]
        for expected in self.waiting:
            candidates = list(_candidates(expected, self.ear.run.loaders))
            expected.report.reported += _matches(candidates, found, expected.report.reported)
        self.waiting.clear()

    def _over(self, expected: Expected) -> bool:
        report, seen = expected.report, expected.seen
        if not report.scores or report.broken or report.aside:
            return False
        if seen is None:
            return True
        current = self.ear.listener.loaders.open
        return seen.finished or (current is not None and current is not seen)


Found = tuple[str, float, float, Spot | None]


def _in_text(text: str, at: Spot | None) -> Iterator[Found]:
    for match in list(_IN_TEXT.finditer(text))[:40]:
        digits = match.group().partition(".")[2]
        mantissa, _, exponent = digits.lower().partition("e")
        scale = 10.0 ** int(exponent or 0)
        yield text[: match.start()][-24:], float(match.group()), 0.5 * 10.0 ** -len(mantissa) * scale, at


def _in_variables(frame: FrameType | None) -> Iterator[Found]:
    left = _NUMBERS
    for _ in range(40):
        if frame is None or left <= 0:
            return
        code = frame.f_code
        if is_user_file(code.co_filename) and (code.co_name == "<module>" or not _READS_FRAMES & set(code.co_names)):
            at = (code.co_filename, frame.f_lineno, code.co_name)
            for name, value in _flat("", frame.f_locals, 3):
                left -= 1
                if left <= 0:
                    return
                yield name, value, 0.0, at
        frame = frame.f_back


def _flat(name: str, value: Any, depth: int) -> Iterator[tuple[str, float]]:
    """The floats in a variable: itself, the last ones of a list, the values of a dict, the attributes of an object."""
    if isinstance(value, float | np.floating):
        yield name, float(value)
    elif isinstance(value, torch.Tensor):
        if value.numel() == 1 and value.is_floating_point() and not value.is_meta and value.layout == torch.strided:
            yield name, float(value.detach())
    elif not depth:
        return
    elif isinstance(value, list | tuple):
        for item in value[-2:] if isinstance(value, list) else value[:6]:
            yield from _flat(f"{name}[]", item, depth - 1)
    elif isinstance(value, dict):
        for key, item in list(value.items())[:200]:
            if not (isinstance(key, str) and key.startswith("__")):
                yield from _flat(f"{name}.{key}" if name else str(key), item, depth - 1)
    elif depth >= 2 and name in ("self", "trainer", "state") and not isinstance(value, ModuleType | type):
        held = getattr(value, "__dict__", None)
        if isinstance(held, Mapping):
            yield from _flat(name, dict(held), depth - 1)


def _candidates(expected: Expected, loaders: list[Loader]) -> Iterator[Candidate]:
    """What could be reported of an evaluation, for each number that was computed once per batch."""
    report, seen = expected.report, expected.seen
    batches = seen.batches if seen is not None else len(report.sizes)
    lengths = {batches, seen.length if seen is not None and seen.length else batches}
    loader = loaders[report.loader] if report.loader is not None else None
    for index, score in enumerate(report.scores):
        if len(score.values) != batches or batches < 2 or not score.kind or 0 in score.sizes:
            continue
        if not all(map(math.isfinite, score.values)):
            continue
        size = loader.batch_size if loader is not None else None
        if size and (set(score.sizes[:-1]) != {size} or score.sizes[-1] > size):
            continue  # the first axis counts something else: nodes, time
        cut = seen is None or seen.cut or not seen.finished
        yield from _of_score(index, score, lengths, loader, loaders, cut)
        if expected.first is not None and expected.first.complete:
            yield from _pooled(index, score, expected.first)


def _pooled(index: int, score: Score, first: Evaluation) -> Iterator[Candidate]:
    """What is reported if whatever adds up still holds the evaluation before."""
    earlier = next((s for s in first.scores if (s.place, s.name, s.kind) == (score.place, score.name, score.kind)), None)
    if earlier is None or len(earlier.values) != len(first.sizes):
        return
    values, sizes = earlier.values + score.values, earlier.sizes + score.sizes
    if score.kind == "count":
        yield Candidate(index, POOLED, False, sum(values) / sum(sizes))
        yield Candidate(index, POOLED, False, sum(v / n for v, n in zip(values, sizes, strict=True)) / len(values))
    else:
        yield Candidate(index, POOLED, False, sum(v * n for v, n in zip(values, sizes, strict=True)) / sum(sizes))
        yield Candidate(index, POOLED, False, sum(values) / len(values))


def _of_score(
    index: int, score: Score, lengths: set[int], loader: Loader | None, loaders: list[Loader], cut: bool
) -> Iterator[Candidate]:
    values, sizes = np.asarray(score.values), np.asarray(score.sizes, dtype=float)
    seen = float(sizes.sum())
    whole = {seen, float(loader.examples)} if cut and loader is not None and loader.examples else {seen}
    others = {float(x.examples) for x in loaders if x.examples} - whole
    size = float(loader.batch_size) if loader is not None and loader.batch_size else 0.0
    if score.kind == "count":
        for n in whole:
            yield Candidate(index, "the mean over examples", True, float(values.sum()) / n)
        for length in lengths:
            yield Candidate(index, "the mean of batch means", False, float((values / sizes).sum()) / length)
            yield Candidate(index, "the count over the number of batches", False, float(values.sum()) / length)
            if size:
                full = float(values.sum()) / (length * size)
                yield Candidate(index, "the count over batches times batch size", False, full)
        for n in others:
            yield Candidate(index, "the count over the size of another data set", False, float(values.sum()) / n)
        return
    for n in whole:
        yield Candidate(index, "the mean over examples", True, float((values * sizes).sum()) / n)
        yield Candidate(index, "the sum of batch means over the number of examples", False, float(values.sum()) / n)
    for length in lengths:
        yield Candidate(index, "the mean of batch means", False, float(values.sum()) / length)
        yield Candidate(
            index, "the sum over examples over the number of batches", False, float((values * sizes).sum()) / length
        )


def _matches(candidates: list[Candidate], found: list[Found], known: list[Reported]) -> Iterator[Reported]:
    """The candidates that some number reproduces, the right ones first where two cannot be told apart."""
    room = 200 - len(known)
    for name, value, half, at in found:
        if not math.isfinite(value) or value == 0:
            continue
        for c in candidates:
            for scale in (1.0, 100.0):
                target = c.value * scale
                error = abs(value - target)
                if error <= max(half * 1.000001, _LOOSE * abs(target)) and room > 0:
                    room -= 1
                    exact = not half and error <= _EXACT * abs(target)
                    yield Reported(c.score, c.how, c.right, name, value, half / scale, exact, place(at))


__all__ = ["Candidate", "Reports"]
