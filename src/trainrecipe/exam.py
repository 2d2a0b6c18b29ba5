"""The examination: every check that fits a subject measures it, judges, draws, and leaves a finding.

    examination = examine(step)          # a Step, a Run, Data, or several of them
    for finding in examination.findings: ...

An exception inside a check is a finding about the check (`unsure`, with the error), never an exception of the caller.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from trainrecipe.check import Check, Price, built_in
from trainrecipe.config import BUDGET, Config
from trainrecipe.finding import Evidence, Finding, Ruling, Severity, Verdict
from trainrecipe.journal.record import merge
from trainrecipe.picture import Picture
from trainrecipe.waivers import waiver_for


@dataclasses.dataclass(frozen=True)
class Examination:
    """The answers of all checks, the headline first."""

    answers: tuple[Finding, ...]

    @property
    def findings(self) -> list[Finding]:
        """What is wrong."""
        return [f for f in self.answers if f.verdict is Verdict.FINDING]

    @property
    def passed(self) -> list[Finding]:
        """Hypotheses that held."""
        return [f for f in self.answers if f.verdict is Verdict.PASS]

    @property
    def skipped(self) -> list[Finding]:
        """What could not be decided, and why."""
        return [f for f in self.answers if f.verdict in (Verdict.SKIP, Verdict.UNSURE)]

    def fails(self, floor: Severity = Severity.WARNING) -> bool:
        """Whether an unwaived finding is at or above `floor`."""
        return any(f.counts(floor) for f in self.findings)

    def _repr_html_(self) -> str:
        from trainrecipe.view.report import to_html

        return to_html(self.record(), fragment=True)

    def __str__(self) -> str:
        from rich.console import Console

        from trainrecipe.view import terminal

        console = Console(width=100, color_system=None)
        with console.capture() as captured:
            terminal.show(self.record(), console)
        return captured.get()

    def record(self) -> Any:
        """This examination as a record that every view shows."""
        from trainrecipe.journal.record import Record

        return Record(
            run="",
            command="examine",
            script="",
            args=(),
            cwd="",
            started="",
            status="finished",
            exit_code=None,
            seconds=sum(f.seconds for f in self.answers),
            environment={},
            facts={},
            findings=tuple(self.findings),
            passed=tuple(self.passed),
            skipped=tuple(self.skipped),
            pictures=(),
            messages=(),
        )


def examine(
    *subjects: Any,
    checks: Sequence[Check] | None = None,
    config: Config | None = None,
    budget: float = BUDGET,
    script: str = "",
    tell: Callable[[Finding], None] | None = None,
    starting: Callable[[str, float], None] | None = None,
) -> Examination:
    """Let every fitting check examine the subjects.

    `checks` defaults to the built-in ones, less those that `config` disables; `budget` is the time in seconds for
    experiments that train; `tell` is called with each answer as soon as it is certain, `starting` with each check that
    begins and the share of the checks that are done.
    """
    config = config or Config()
    chosen = [c for c in (built_in() if checks is None else checks) if c.id not in config.disable]
    deadline = time.perf_counter() + budget
    experiments = sum(_trains(c) for c in chosen for s in subjects if type(s).__name__ == c.subject)
    answers: list[Finding] = []
    for done, check in enumerate(sorted(chosen, key=lambda c: list(Price).index(c.price))):
        if starting is not None:
            starting(check.id, done / len(chosen))
        for subject in subjects:
            if type(subject).__name__ != check.subject:
                continue
            _share(subject, check, experiments, deadline)
            experiments -= _trains(check)
            for finding in ask(check, subject):
                reason = waiver_for(finding, config, script) if finding.verdict is Verdict.FINDING else None
                answer = dataclasses.replace(finding, waived=reason)
                answers.append(answer)
                if tell is not None:
                    tell(answer)
    return Examination(tuple(merge(_distinct(answers))))


def ask(check: Check, subject: Any) -> Iterator[Finding]:
    """One check's answers about one subject."""
    started = time.perf_counter()
    try:
        with _no_trace():
            measured = check.measure(subject)
        pieces = [measured] if isinstance(measured, Evidence) else list(measured)
    except Exception as error:
        yield _failed(check, error, time.perf_counter() - started)
        return
    seconds = time.perf_counter() - started
    for evidence in pieces:
        try:
            ruling = Ruling.skipped(evidence.missing) if evidence.missing else check.judge(evidence)
            picture = None if evidence.missing else check.draw(evidence)
        except Exception as error:
            yield _failed(check, error, seconds)
            continue
        yield _answer(check, ruling, evidence, seconds, picture)


def _failed(check: Check, error: Exception, seconds: float) -> Finding:
    at = ""
    trace = error.__traceback__
    while trace is not None:
        at = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"
        trace = trace.tb_next
    told = str(error).partition("\n")[0][:300]  # PyTorch lists every kernel that it has
    says = f"the check itself failed: {type(error).__name__}: {told}{at}"
    return _answer(check, Ruling.unsure(says), Evidence(), seconds)


def _answer(check: Check, ruling: Ruling, evidence: Evidence, seconds: float, picture: Picture | None = None) -> Finding:
    return Finding(
        check=check.id,
        title=check.title,
        ruling=ruling,
        evidence=evidence,
        why=check.why,
        version=check.version,
        picture=picture,
        seconds=seconds,
        explains=check.explains,
        price=check.price.value,
    )


def _trains(check: Check) -> bool:
    """Whether a check trains, so that it needs a share of the time for experiments."""
    return check.price in (Price.TRAIN, Price.SWEEP)


def _share(subject: Any, check: Check, experiments: int, deadline: float) -> None:
    """Give an experiment at most twice its equal share of the time that is left; `experiments` are still to come."""
    if not hasattr(subject, "deadline"):
        return
    left = max(0.0, deadline - time.perf_counter())
    subject.deadline = time.perf_counter() + (min(left, 2 * left / max(1, experiments)) if _trains(check) else left)


def _distinct(answers: Iterable[Finding]) -> list[Finding]:
    """One answer per check and place: the gravest, and of skips only those where nothing else was said."""
    grade = {Verdict.FINDING: 0, Verdict.UNSURE: 1, Verdict.PASS: 2, Verdict.SKIP: 3}
    best: dict[tuple[str, str], Finding] = {}
    spoken: dict[str, int] = {}
    for f in answers:
        spoken[f.check] = min(grade[f.verdict], spoken.get(f.check, grade[f.verdict]))
    for f in answers:
        if f.verdict is not Verdict.FINDING and grade[f.verdict] > spoken[f.check]:
            continue
        key = (f.check, str(f.place) if f.verdict is Verdict.FINDING else "")
        if key not in best or grade[f.verdict] < grade[best[key].verdict]:
            best[key] = f
    return list(best.values())


@contextlib.contextmanager
def _no_trace() -> Iterator[None]:
    """Random streams, gradient mode and warnings are after a measurement what they were before it."""
    import sys

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "torch" not in sys.modules:
            yield
            return
        import torch

        from trainrecipe.capture.tape import RandomState

        state, grad = RandomState.now(), torch.is_grad_enabled()
        try:
            with torch.enable_grad(), torch.inference_mode(False):
                yield
        finally:
            state.restore()
            torch.set_grad_enabled(grad)
