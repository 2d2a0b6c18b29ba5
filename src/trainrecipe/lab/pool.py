"""Experiments on this machine: several at once, each in a process of its own, with limits; a crash is a result.

with Pool(workers=2, folder=folder) as pool:
    for result in pool.run(experiments):
        ...
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainrecipe.capture.launch import Order
from trainrecipe.lab.changes import applied
from trainrecipe.lab.experiment import Effect, Experiment, Kept, Result
from trainrecipe.wrong_use import WrongUse

STARTS = 3
"""Times that a server which died is started again for one experiment."""
TAIL = 600
"""Characters of what an experiment printed as errors that are kept."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Workers that make experiments. `seconds` is the longest that one may take, `memory` the most bytes (0: no limit).

    Leaving it, by Ctrl-C or an error too, ends what is running; results that are there are kept in `folder`.
    """

    def __init__(self, folder: Path, *, workers: int = 0, seconds: float = 0.0, memory: int = 0) -> None:
        self.kept = Kept(folder)
        self.workers = workers or cores()  # one thread each: small nets waste least so
        self.seconds, self.memory = seconds, memory
        self._servers: dict[int, _Server] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="trainrecipe-lab-")
        self._over = threading.Event()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for server in self._servers.values():
            server.end()
        self._temporary.cleanup()

    def run(self, experiments: Sequence[Experiment], known: Mapping[Experiment, Result] | None = None) -> Iterator[Result]:
        """The results, those that are kept first (`known`, else looked up), the others as they come.

        Raises WrongUse where they cannot be kept.
        """
        known = self.kept.all(experiments) if known is None else known
        yield from known.values()
        waiting: queue.SimpleQueue[Experiment] = queue.SimpleQueue()
        left = [e for e in dict.fromkeys(experiments) if e not in known]
        for experiment in left:
            waiting.put(experiment)
        made: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()
        crew = min(self.workers, len(left))
        threads = [threading.Thread(target=self._work, args=(n, waiting, made), daemon=True) for n in range(crew)]
        for thread in threads:
            thread.start()
        for _ in left:
            result = made.get()
            if isinstance(result, BaseException):
                raise result
            if result.good or result.status == "failed":
                self._keep(result)
            yield result

    def _keep(self, result: Result) -> None:
        try:
            self.kept.put(result)
        except OSError as error:
            why = error.strerror or error
            raise WrongUse(
                f"the result cannot be kept in {self.kept.folder}: {why}; free some space, and say it again"
            ) from None

    def _work(self, number: int, waiting: queue.SimpleQueue[Experiment], made: queue.SimpleQueue[Any]) -> None:
        while not self._over.is_set():
            try:
                experiment = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                made.put(self._make(number, experiment))
            except BaseException as error:
                made.put(error)
                return

    def _make(self, number: int, experiment: Experiment) -> Result:
        folder = Path(tempfile.mkdtemp(dir=self._temporary.name))
        request = _request(experiment, folder)
        began = time.perf_counter()
        for _ in range(STARTS):
            server = self._server(number)
            try:
                code, why, seconds = server.run(request, self.seconds, self.memory)
                break
            except ConnectionError:
                continue
        else:
            return Result(experiment, "killed", time.perf_counter() - began, error="its process could not be started")
        return _result(experiment, folder, code, why, seconds)

    def _server(self, number: int) -> _Server:
        """The server of a worker, which no other worker uses."""
        if number not in self._servers or not self._servers[number].alive:
            self._servers[number] = _Server(max(1, cores() // self.workers))
        return self._servers[number]


def _request(experiment: Experiment, folder: Path) -> dict[str, str]:
    target = experiment.script if experiment.module else os.path.abspath(experiment.script)
    changed = applied(experiment.changes, experiment.script, experiment.module)
    order = Order(
        target=target,
        args=[*experiment.args, *changed.words],
        rehearsal=False,
        log="",
        module=experiment.module,
        scratch=str(folder / "scratch"),
        seed_offset=experiment.seed,
        interventions=list(changed.interventions),
        constants=dict(changed.constants),
        result=str(folder / "result.json"),
    )
    told = json.dumps(dataclasses.asdict(order))
    return {"order": told, "cwd": os.getcwd(), "out": str(folder / "out"), "err": str(folder / "err")}


def _result(experiment: Experiment, folder: Path, code: int, why: str, seconds: float) -> Result:
    """What an experiment left behind."""
    errors = (folder / "err").read_text(errors="replace")[-TAIL:].strip() if (folder / "err").exists() else ""
    try:
        found = json.loads((folder / "result.json").read_text())
    except (OSError, ValueError):
        return Result(experiment, why or "killed" if code < 0 else "failed", seconds, error=errors or _died(code))
    series = {name: [(int(s), float(v)) for s, v in values] for name, values in found["series"].items()}
    effects = tuple(Effect(**e) for e in found["effects"])
    status = why or ("finished" if found["status"] == "finished" and not code else "failed")
    error = "" if status == "finished" else found.get("error") or errors
    return Result(experiment, status, seconds, found["steps"], series, effects, error)


def _died(code: int) -> str:
    return f"it was ended by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"it left with exit code {code}"


class _Server:
    """A warm process, and the experiment that it is making."""

    def __init__(self, threads: int) -> None:
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        command = [sys.executable, "-m", "trainrecipe.lab.server"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        self._running = 0
        self._ready = False

    @property
    def alive(self) -> bool:
        """Whether it can take a request."""
        return self._process.poll() is None

    def run(self, request: dict[str, str], seconds: float, memory: int) -> tuple[int, str, float]:
        """The exit code of an experiment, why it was ended if it was, and how long it took. Raises ConnectionError where the
        server died."""
        if not self._ready:
            self._answer()
            self._ready = True
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        except OSError as error:
            raise ConnectionError from error
        self._running = self._answer()["pid"]
        watch, began = _Watch(self._running, seconds, memory), time.perf_counter()
        try:
            return self._answer()["code"], watch.stop(), time.perf_counter() - began
        finally:
            watch.stop()
            self._running = 0

    def _answer(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            raise ConnectionError("the server has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """End the experiment and the server."""
        if self._running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._running, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class _Watch:
    """Ends a process group that takes longer, or more memory, than it may."""

    def __init__(self, pid: int, seconds: float, memory: int) -> None:
        self.pid, self.memory, self.why = pid, memory, ""
        self._until = time.perf_counter() + seconds if seconds else float("inf")
        self._over = threading.Event()
        if seconds or memory:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            late = time.perf_counter() > self._until
            if late or (self.memory and _resident(self.pid) > self.memory):
                self.why = "timeout" if late else "memory"
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                return

    def stop(self) -> str:
        """Why the process was ended; empty where it was not."""
        self._over.set()
        return self.why


def _resident(pid: int) -> int:
    """Bytes of memory that a process and its children hold."""
    import psutil

    try:
        process = psutil.Process(pid)
        return int(sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]))
    except psutil.Error:
        return 0
