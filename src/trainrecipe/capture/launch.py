"""Runs the user's script as `__main__` under observation, in a process of its own: `python -m trainrecipe.capture.launch`.

The command line (the parent process) starts this with an `Order` in the environment, waits, and reads the run's event
log. Nothing is imported before the script that the script would miss: PyTorch is observed from the moment the script
imports it, so that environment variables set at its top keep their effect.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.abc
import importlib.machinery
import json
import os
import runpy
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainrecipe.capture.frameworks import CHOOSERS, LIGHTNING

if TYPE_CHECKING:
    from trainrecipe.capture.session import Session

ENVIRONMENT = "TRAINRECIPE_ORDER"


@dataclasses.dataclass
class Order:
    """What the parent asks for. `target` is a script's path or, with `module`, a module's name.

    `clock_to` is a file for times: nothing but times is taken then, and another execution reads them as `clock_from`.
    `constants` are those of the script that take other values than their own; `trial_to` is a file for what such a trial of
    it shows, and another execution reads what all trials showed as `trials_from`.
    `data` is the folder of a table of examples, which are read into it when the rehearsal is over, for about `scan_seconds`,
    and probed for `probe_seconds`; with `track` each example is followed through a whole run instead, and what is told of it
    is added to that table. `on` is the Ray on which the examples of named data sets are read: `ray` or an address.
    `result` is a file for what an experiment tells: the whole script with the `interventions` in force.
    `exchange` is a folder through which the ranks of one distributed training tell each other what they saw; `rank` and
    `world` say which rank this is and of how many, `port` where they meet (0: the environment says all that already).
    """

    target: str
    args: list[str]
    rehearsal: bool
    log: str
    module: bool = False
    in_place: bool = False
    scratch: str = ""
    budget: float = 20.0
    steps: int | None = None
    experiments: bool = True
    fingerprint: str = ""
    other_fingerprint: str = ""
    seed_offset: int = 0
    clock_to: str = ""
    clock_from: str = ""
    constants: dict[str, str] = dataclasses.field(default_factory=dict)
    trial_to: str = ""
    trials_from: str = ""
    only: list[str] = dataclasses.field(default_factory=list)
    data: str = ""
    scan_seconds: float = 300.0
    probe_seconds: float = 0.0
    track: bool = False
    on: str = ""
    exchange: str = ""
    rank: int = 0
    world: int = 1
    port: int = 0
    interventions: list[str] = dataclasses.field(default_factory=list)
    result: str = ""

    @property
    def ends_loops(self) -> bool:
        """Whether the script may be led on to its end by leaving its training loops early: in a rehearsal with one process."""
        alone = not (self.exchange or self.in_place or self.module or self.constants)
        return self.rehearsal and bool(self.log) and self.steps is None and alone

    def environment(self) -> dict[str, str]:
        """The environment of the child process."""
        return {**os.environ, ENVIRONMENT: json.dumps(dataclasses.asdict(self))}


@dataclasses.dataclass
class Outcome:
    """How the script ended: the `status` of the run, its exit code, and what must be raised again at the very end."""

    status: str
    code: int
    error: BaseException | None = None


def main() -> None:
    """Entry point of the child process."""
    order = Order(**json.loads(os.environ.pop(ENVIRONMENT)))
    if order.port:
        os.environ.update(rank_environment(order))
    _leave(_observe(order, functools.partial(_execute, order)))


def observe(order: Order, execute: Callable[[], None]) -> int:
    """Run a part of the script under observation in a process that the script has started itself. Returns its exit code."""
    from trainrecipe.capture.where import add_user_root

    if not order.module:
        add_user_root(os.path.dirname(os.path.abspath(order.target)))
    return _observe(order, execute).code


def _observe(order: Order, execute: Callable[[], None]) -> Outcome:
    session = _session(order)
    outcome = Outcome("broken", 2)
    try:
        with _scratch(order):
            outcome = _run(execute, session)
            _conclude(session, outcome)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return outcome


def _session(order: Order) -> Session:
    from trainrecipe.capture.session import Session

    return Session(order)


@contextlib.contextmanager
def _scratch(order: Order) -> Iterator[None]:
    if not (order.rehearsal or order.result) or order.in_place:
        yield
        return
    from trainrecipe.capture.scratch.scratch import Scratch

    own = [Path(f).parent for f in (order.log, order.fingerprint, order.clock_to, order.trial_to, order.result) if f]
    own += [Path(order.data)] if order.data else []
    own += [Path(order.exchange)] if order.exchange else []
    with Scratch(Path(order.scratch), leave=[*own, *_compiled_code()]):
        yield


def _compiled_code() -> list[Path]:
    """Where compilers keep what they made of a program: the system loads it from there, past any redirection."""
    home, caches = Path.home(), Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    usual = {
        "TRITON_CACHE_DIR": Path(os.environ.get("TRITON_HOME") or home) / ".triton",
        "TORCH_EXTENSIONS_DIR": caches / "torch_extensions",
    }
    named = {name: Path(os.environ[name]) for name in (*usual, "TORCHINDUCTOR_CACHE_DIR") if os.environ.get(name)}
    return list((usual | named).values())


def _run(execute: Callable[[], None], session: Session) -> Outcome:
    when_imported("torch", session.begin)
    for name in (*LIGHTNING, *CHOOSERS):
        when_imported(name, functools.partial(session.teach, name))
    try:
        execute()
    except SystemExit as leaving:
        code = _exit_code(leaving)
        if code and session.enough:
            return Outcome("rehearsed", 0)
        return Outcome(session.natural_end() if code == 0 else "exited", code)
    except KeyboardInterrupt as error:
        session.end()
        _print_traceback(error)
        return Outcome("interrupted", 130, error)
    except BaseException as error:
        enough = session.enough
        session.end()
        if type(error).__name__ == "RehearsalOver" or enough:
            return Outcome("rehearsed", 0)
        if _expects_ranks(error):
            session.log("message", level="error", text=ALONE)
        _print_traceback(error)
        return Outcome("failed", 1, error)
    finally:
        session.end()
    return Outcome(session.natural_end(), 0)


ALONE = "the script wants to be one of several processes: say `--processes 2`, and it runs as torchrun would start it"


def _expects_ranks(error: BaseException) -> bool:
    """Whether the script failed since it was not started as torchrun starts it."""
    if "RANK" in os.environ:
        return False
    asked = isinstance(error, KeyError) and error.args and error.args[0] in RANK_VARIABLES
    return bool(asked) or (isinstance(error, ValueError) and "env:// rendezvous" in str(error))


RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def rank_environment(order: Order) -> dict[str, str]:
    """What torchrun tells each process about its place among the others, all of them on this machine."""
    rank, world = str(order.rank), str(order.world)
    found = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "GROUP_RANK": "0",
        "ROLE_RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": world,
        "ROLE_WORLD_SIZE": world,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(order.port),
        "TORCHELASTIC_RUN_ID": "trainrecipe",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
    }
    return found if "OMP_NUM_THREADS" in os.environ else {**found, "OMP_NUM_THREADS": "1"}


def _execute(order: Order) -> None:
    sys.argv = [order.target, *order.args]
    if order.module:
        sys.path[0] = os.getcwd()
        with _turned_module(order):
            runpy.run_module(order.target, run_name="__main__", alter_sys=True)
        return
    path = os.path.abspath(order.target)
    sys.path[0] = os.path.dirname(path)
    from trainrecipe.capture.where import add_user_root

    add_user_root(os.path.dirname(path))
    with open(path, "rb") as file:
        code = _compiled(order, file.read(), path)
    main_module = types.ModuleType("__main__")
    main_module.__dict__.update(__file__=path, __builtins__=__builtins__, __spec__=None, __cached__=None)
    sys.modules["__main__"] = main_module
    with _imports(order):
        exec(code, main_module.__dict__)


@contextlib.contextmanager
def _imports(order: Order) -> Iterator[None]:
    """What is different about modules that the script imports: their training loops, too, can be ended."""
    if not order.ends_loops:
        yield
        return
    from trainrecipe.capture.where import is_user_file

    with _compiling(order, is_user_file):
        yield


def _compiled(order: Order, source: bytes, path: str) -> types.CodeType:
    """The script's code: its training loops can be ended, or a constant has another value, where that was asked for."""
    if order.ends_loops:
        from trainrecipe.capture import rewritten

        return rewritten.compiled(source, path)
    if not order.constants:
        return compile(source, path, "exec", dont_inherit=True)
    from trainrecipe.intervene.settings import turned

    return compile(turned(source, path, order.constants), path, "exec", dont_inherit=True)


@contextlib.contextmanager
def _turned_module(order: Order) -> Iterator[None]:
    """While a module is run as the script: its code, too, has the other value."""
    if not order.constants:
        yield
        return
    from trainrecipe.intervene.knob import source_of

    source = source_of(order.target)
    path = os.path.realpath(source) if source is not None else ""
    with _compiling(order, lambda file: os.path.realpath(file) == path):
        yield


@contextlib.contextmanager
def _compiling(order: Order, wanted: Callable[[str], bool]) -> Iterator[None]:
    """Compile the modules whose files are `wanted` as the script itself is, when they are imported."""
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader: importlib.machinery.SourceFileLoader, fullname: str) -> types.CodeType | None:
        file = loader.get_filename(fullname)
        return _compiled(order, Path(file).read_bytes(), file) if wanted(file) else original(loader, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        importlib.machinery.SourceFileLoader.get_code = original  # type: ignore[method-assign]


def _conclude(session: Session, outcome: Outcome) -> None:
    try:
        session.conclude(outcome.status)
    except KeyboardInterrupt:
        outcome.status, outcome.code = "interrupted", 130
    except Exception:
        session.log("message", level="error", text="trainrecipe failed: " + traceback.format_exc(limit=8))
        outcome.status = outcome.status if outcome.code else "broken"
    session.log("ended", status=outcome.status, exit_code=outcome.code, seconds=round(time.perf_counter() - session.started, 3))


def _leave(outcome: Outcome) -> None:
    if isinstance(outcome.error, KeyboardInterrupt):  # die of the signal, as Python does, so that shells and loops notice
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(2 if outcome.status == "broken" else outcome.code)


def _exit_code(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print(leaving.code, file=sys.stderr)
    return 1


def _print_traceback(error: BaseException) -> None:
    """The traceback as Python would print it without us: frames of this file and of the listener are left out."""
    own = os.path.dirname(os.path.abspath(__file__)) + os.sep
    trace = error.__traceback__
    while trace is not None and (trace.tb_frame.f_code.co_filename.startswith((own, "<frozen runpy"))):
        trace = trace.tb_next
    error = error.with_traceback(trace)  # the hook prints the exception's own traceback
    sys.excepthook(type(error), error, trace)


def when_imported(name: str, act: Callable[[], None]) -> None:
    """Call `act` right after module `name` has been imported, or now if it already is."""
    if name in sys.modules:
        act()
    else:
        sys.meta_path.insert(0, _AfterImport(name, act))


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds one module through the other finders, and has a function called once that module is complete."""

    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self.name = name
        self.act = act

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of the awaited module, with a loader that calls `act` afterwards; None for every other module."""
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            original = loader.exec_module

            def exec_module(module: types.ModuleType) -> None:
                del loader.exec_module
                original(module)
                self.act()

            loader.exec_module = exec_module
        return spec


if __name__ == "__main__":
    main()
