"""Runs a script in an observed process and shows what was found; shared by `recipe check` and `recipe run`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainrecipe import progress
from trainrecipe.capture import trials
from trainrecipe.capture.exchange import Exchange
from trainrecipe.capture.launch import Order
from trainrecipe.capture.ranks import Among, among_ranks, orders, wait_for_all, wait_for_the_others
from trainrecipe.cli.catalogue import catalogue, chosen
from trainrecipe.cli.output import Format, emit
from trainrecipe.config import Config
from trainrecipe.finding import Severity
from trainrecipe.intervene.knob import find
from trainrecipe.journal.events import EventLog, read_events
from trainrecipe.journal.record import Record
from trainrecipe.scan.origin import named
from trainrecipe.subjects.knob import Knob
from trainrecipe.wrong_use import WrongUse


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the person asked for, beyond the script and its arguments."""

    rehearsal: bool
    module: bool
    form: Format
    output: Path | None
    floor: Severity
    verbose: bool
    in_place: bool
    budget: float
    steps: int | None
    experiments: bool
    twice: bool
    seed_offset: int = 0
    only: tuple[str, ...] = ()
    profile: bool = False
    knob: str = ""
    processes: int = 1
    data: bool = False
    scan_seconds: float = 300.0
    probe_seconds: float = 0.0
    track: bool = False
    on: str = ""


def watch(target: str, args: list[str], wish: Wish) -> int:
    """Run the script observed, show the record, and return the exit code. Raises WrongUse for a script that is none."""
    if not wish.data or not named(target):
        must_exist(target, wish.module)
        if wish.on:
            raise WrongUse(
                f"--on {wish.on}: Ray's workers cannot reach the data sets in the process of {target}; "
                "name a function that makes them, as module:name or file.py:name"
            )
    chosen(catalogue(defaults()), wish.only)
    among = among_ranks()
    knob = _knob(target, wish, alone=among is None) if wish.knob else None
    if among is not None:
        if wish.processes > 1:
            raise WrongUse("--processes starts the ranks itself; leave it out under torchrun, or start recipe without torchrun")
        if among.rank:
            return _watch_as_rank(target, args, wish, among)
    log = _new_log(target, args, wish)
    with tempfile.TemporaryDirectory(prefix="trainrecipe-") as temporary:
        order = _order(target, args, wish, log, Path(temporary))
        if among is not None:
            order = _among(order, among)
        try:
            order = _try(order, knob, Path(temporary)) if knob is not None else order
        except KeyboardInterrupt:
            log.append("ended", status="interrupted", exit_code=130, seconds=0.0)
            code = 130
        else:
            code = _run_ranks(order, wish, Path(temporary)) if wish.processes > 1 else _run(order, wish, Path(temporary))
        if among is not None:
            wait_for_the_others(among)
            shutil.rmtree(among.folder, ignore_errors=True)
    record = _record(log, code)
    report = _write_report(record, log)
    emit(record, wish.form, output=wish.output, floor=wish.floor, report=report, verbose=wish.verbose)
    return _exit_code(record, code, wish.floor)


def must_exist(target: str, module: bool) -> None:
    """Raises WrongUse for a script that is none."""
    if module:
        return
    path = Path(target)
    if path.is_dir():
        raise WrongUse(f"{target} is a folder; name the training script in it, or say -m for a package")
    if not path.exists():
        raise WrongUse(f"no such script: {target} (looked in {Path.cwd()}){_similar(path)}")
    try:
        compile(path.read_bytes(), target, "exec")
    except SyntaxError as error:
        raise WrongUse(f"{target}:{error.lineno} is not valid Python: {error.msg}") from None
    except (OSError, ValueError) as error:
        raise WrongUse(f"{target} cannot be read as Python: {error}") from None


def _similar(path: Path) -> str:
    with contextlib.suppress(OSError):
        scripts = sorted(p.name for p in path.parent.glob("*.py"))
        if scripts:
            return "; there is " + ", ".join(scripts[:6])
    return ""


def _new_log(target: str, args: list[str], wish: Wish) -> EventLog:
    from trainrecipe.journal.code import keep
    from trainrecipe.journal.snapshot import environment
    from trainrecipe.journal.store import Journal

    command = "data" if wish.data else "check" if wish.rehearsal else "run"
    log = Journal.at().new_run(command=command, script=target, args=args, environment=environment())
    keep(log.path.parent, target, wish.module)
    if log.notice:
        print(f"recipe: {log.notice}", file=sys.stderr)
    return log


def _order(target: str, args: list[str], wish: Wish, log: EventLog, temporary: Path) -> Order:
    return Order(
        target=target,
        args=args,
        rehearsal=wish.rehearsal,
        log=str(log.path),
        module=wish.module,
        in_place=wish.in_place,
        scratch=str(temporary / "scratch"),
        budget=wish.budget,
        steps=wish.steps,
        experiments=wish.experiments,
        fingerprint=str(temporary / "first.json") if wish.twice else "",
        other_fingerprint=str(temporary / "second.json") if wish.twice else "",
        seed_offset=wish.seed_offset,
        only=list(wish.only),
        data=str(_table_folder(target, log)) if wish.data or wish.track else "",
        probe_seconds=wish.probe_seconds,
        track=wish.track,
        scan_seconds=wish.scan_seconds,
        on=wish.on,
        clock_from=str(temporary / "clock.json") if wish.profile else "",
    )


def _table_folder(target: str, log: EventLog) -> Path:
    """Where the table of a target's examples is kept: beside the runs, by a name that one can read."""
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in target.removesuffix(".py")).strip("-")
    folder = log.path.parent.parent.parent / "data" / (name or "data")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _knob(target: str, wish: Wish, *, alone: bool) -> Knob:
    """What `--knob` means in this script. Raises WrongUse."""
    if wish.processes > 1 or not alone:
        how = f"--processes {wish.processes}" if wish.processes > 1 else "torchrun"
        raise WrongUse(
            f"--knob {wish.knob} cannot be combined with {how}: its trials are single processes; leave one of them out"
        )
    return find(wish.knob, target, wish.module)


def _try(order: Order, knob: Knob, temporary: Path) -> Order:
    """Make the trials of a knob before anything else runs. Ctrl-C ends them all."""
    threads = max(1, (os.cpu_count() or 1) // 2)

    def start(planned: trials.Planned) -> subprocess.Popen[bytes]:
        with planned.errors.open("wb") as errors:
            quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": errors}
            return _start(planned.order, defaults={"OMP_NUM_THREADS": str(threads)}, **quiet)

    kept = temporary / "trials.json"
    trials.write(kept, knob, trials.make(trials.plan(order, knob, temporary), start, progress.show))
    return dataclasses.replace(order, trials_from=str(kept))


def _run(order: Order, wish: Wish, temporary: Path) -> int:
    second = None
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if order.clock_from:  # alone on the machine, before the others
        timed = dataclasses.replace(
            order, log="", scratch=str(temporary / "scratch3"), fingerprint="", other_fingerprint="", clock_to=order.clock_from
        )
        with _leave_interrupt_to_child():
            _start(dataclasses.replace(timed, clock_from=""), **quiet).wait()
    if order.other_fingerprint:
        again = dataclasses.replace(
            order, log="", scratch=str(temporary / "scratch2"), fingerprint=order.other_fingerprint, other_fingerprint=""
        )
        second = _start(again, **quiet)
    machine = wish.form is not Format.TERMINAL and wish.output is None
    first = _start(order, stdout=sys.stderr if machine else None)
    with _leave_interrupt_to_child():
        code = first.wait()
    if second is not None:
        second.kill()
        second.wait()
    shutil.rmtree(temporary / "scratch", ignore_errors=True)
    return code


def _run_ranks(order: Order, wish: Wish, temporary: Path) -> int:
    """Run all ranks, and return the exit code of rank 0."""
    machine = wish.form is not Format.TERMINAL and wish.output is None
    every = orders(_once(order), wish.processes, temporary)
    with _leave_interrupt_to_child():
        ranks = {one.rank: _start(one, stdout=sys.stderr if machine or one.rank else None) for one in every}
        code = wait_for_all(ranks, every[0])
    shutil.rmtree(temporary / "scratch", ignore_errors=True)
    return code


def _among(order: Order, among: Among) -> Order:
    """The order for a process that torchrun has started."""
    scratch = str(among.folder / "scratch")
    return dataclasses.replace(_once(order), exchange=str(among.folder), rank=among.rank, world=among.world, scratch=scratch)


def _once(order: Order) -> Order:
    """The order without what another execution of the script is compared by."""
    return dataclasses.replace(order, fingerprint="", other_fingerprint="", clock_from="")


def _watch_as_rank(target: str, args: list[str], wish: Wish, among: Among) -> int:
    """A rank other than 0 that torchrun has started: it makes no report, and tells rank 0 what it saw."""
    order = Order(target, args, wish.rehearsal, "", module=wish.module, in_place=wish.in_place, steps=wish.steps)
    with _leave_interrupt_to_child():
        code = _start(_among(dataclasses.replace(order, experiments=False), among), stdout=sys.stderr).wait()
    Exchange(among.folder, among.rank, among.world).gone(among.rank)
    return _positive(code)


def _start(order: Order, *, defaults: Mapping[str, str] | None = None, **streams: Any) -> subprocess.Popen[bytes]:
    """Start the script in an observed process; `defaults` are for what its environment leaves open."""
    sys.stdout.flush()
    job = "trainrecipe.scan.job" if order.data and named(order.target) else "trainrecipe.capture.launch"
    command = [sys.executable, "-m", job]
    return subprocess.Popen(command, env={**(defaults or {}), **order.environment()}, **streams)


@contextlib.contextmanager
def _leave_interrupt_to_child() -> Iterator[None]:
    """Ctrl-C goes to the whole process group: the script handles it, we wait and write the report all the same."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _record(log: EventLog, code: int) -> Record:
    record = Record.from_events(read_events(log.path))
    if record.status == "running":  # killed, or it left through os._exit
        log.append("message", level="error", text=_how_it_died(code))
        log.append("ended", status="interrupted" if code < 0 else "exited", exit_code=_positive(code), seconds=record.seconds)
        record = Record.from_events(read_events(log.path))
    log.close()
    return record


def _how_it_died(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"the script's process was ended by {name} before it could be examined"
    return f"the script left its process with code {code} (os._exit?) before it could be examined"


def _write_report(record: Record, log: EventLog) -> Path | None:
    from trainrecipe.view import report

    try:
        return report.write(record, log.report)
    except OSError as error:
        print(f"recipe: the report could not be written to {log.report}: {error.strerror}", file=sys.stderr)
        return None


def _positive(code: int) -> int:
    return 128 - code if code < 0 else code


def _exit_code(record: Record, code: int, floor: Severity) -> int:
    if code:
        return _positive(code)
    if record.status == "broken":
        return 2
    return 1 if record.fails(floor) else 0


def defaults() -> Config:
    """The project's configuration. Raises ConfigError."""
    return Config.load(Path(os.getcwd()))
