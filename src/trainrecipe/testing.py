"""Runs many scripts under observation quickly, for tests and benchmarks: PyTorch is imported once, each script is forked.

    python -m trainrecipe.testing gallery/batch-mixing/*.py        # what `recipe check` finds, one line a finding
    python -m trainrecipe.testing --run zoo/gan.py                 # the same for `recipe run`

Forking a process that has imported PyTorch is safe as long as it has not started threads; so keep OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib
import json
import os
import pkgutil
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from trainrecipe.capture import ranks as ranking
from trainrecipe.capture import trials
from trainrecipe.capture.launch import Order
from trainrecipe.check import built_in
from trainrecipe.intervene.knob import find
from trainrecipe.journal.events import EventLog, read_events
from trainrecipe.journal.record import Record
from trainrecipe.subjects.knob import Knob

WHOLE_RUN = {
    "non-finite",
    "time-outside-training",
    "best-weights-never-restored",
    "imbalance-hidden",
    "dumb-baselines",
    "folds-share-weights",
}
"""Checks whose gallery shows its fault only later in a training than a rehearsal goes, or in its unrecorded steps."""
PROCESSES = {
    "replicas-differ",
    "shards-overlap",
    "same-draws-on-ranks",
    "evaluates-own-shard",
    "evaluation-padded",
    "split-differs-between-ranks",
    "uneven-shards",
}
"""Checks whose gallery shows its fault only when several processes train together."""
RANKS = 2
"""As so many processes."""
REPEATED = {"irreproducible"}
"""Checks whose gallery shows its fault only when the script is rehearsed twice."""


KNOBS = {"capacity": "hidden=8,128"}
"""Checks whose gallery shows its fault only when a knob of capacity is turned, and that knob."""


def processes_of(script: str) -> int:
    """The processes in which a gallery or zoo script is to train."""
    path = Path(script)
    return RANKS if path.parent.name in PROCESSES or path.stem.startswith("ranks_") else 1


def way_of(script: str) -> dict[str, Any]:
    """How a gallery or zoo script has to be observed for its fault to show: options of `observe`."""
    suspect = Path(script).parent.name
    way = {"rehearsal": suspect not in WHOLE_RUN, "twice": suspect in REPEATED, "processes": processes_of(script)}
    way |= {"data": True} if suspect in {c.id for c in built_in() if c.subject == "Scan"} else {}
    return way | ({"knob": KNOBS[suspect]} if suspect in KNOBS else {})


@dataclasses.dataclass(frozen=True)
class Observed:
    """One script's record, with what it printed and the seconds it took. `code` is the process's exit code."""

    script: str
    record: Record
    output: str
    errors: str
    code: int
    seconds: float
    steps: tuple[dict[str, Any], ...] = ()


def preload() -> None:
    """Import what most scripts import, single-threaded, so that forks start at once."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import numpy
    import sklearn.datasets
    import sklearn.model_selection
    import sklearn.preprocessing
    import torch
    import torch._dynamo  # what the first optimiser of every script imports, for seconds

    import trainrecipe.capture.session
    import trainrecipe.capture.subjects
    import trainrecipe.exam
    import trainrecipe.scan.job

    for module in pkgutil.iter_modules(importlib.import_module("trainrecipe.subjects").__path__, "trainrecipe.subjects."):
        importlib.import_module(module.name)
    assert built_in()
    assert all(m is not None for m in (numpy, sklearn, torch, trainrecipe))
    gc.freeze()  # collections in the forks do not look at what was imported


def observe(
    script: str,
    *,
    rehearsal: bool = True,
    twice: bool = False,
    seed_offset: int = 0,
    budget: float = 20.0,
    only: Sequence[str] = (),
    processes: int = 1,
    knob: str = "",
    data: bool | str = False,
) -> Observed:
    """Run one script in a forked child, in an empty folder, and read back its record; with several `processes`, as torchrun
    would start it, in that many; with a `knob`, after trials with its values; with `data`, as `recipe data` does, with its
    table in that folder if it is one."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="trainrecipe-test-") as folder:
        work = Path(folder, "work")
        work.mkdir()
        order = Order(
            target=os.path.abspath(script),
            args=[],
            rehearsal=rehearsal,
            log=str(Path(folder, "events.jsonl")),
            scratch=str(Path(folder, "scratch")),
            budget=budget,
            seed_offset=seed_offset,
            only=list(only),
            data=(data if isinstance(data, str) else str(Path(folder, "table"))) if data else "",
            scan_seconds=30.0,
        )
        if data:
            Path(order.data).mkdir(parents=True)
        if twice:
            again = dataclasses.replace(order, log="", scratch=str(Path(folder, "s2")), fingerprint=str(Path(folder, "2.json")))
            _wait(_fork(again, work, Path(folder, "again"), fresh=True))
            order = dataclasses.replace(order, fingerprint=str(Path(folder, "1.json")), other_fingerprint=again.fingerprint)
        if knob:
            order = _try(order, find(knob, order.target), work, Path(folder))
        command = "data" if data else "check" if rehearsal else "run"
        log = EventLog.create(Path(folder), run="test", command=command, script=script)
        log.close()
        code = _run_all(order, processes, work, Path(folder))
        events = list(read_events(Path(order.log)))
        record = Record.from_events(events)
        steps = tuple(step for event in events if event["kind"] == "steps" for step in event["steps"])
        output, errors = (Path(folder, f"rank0.{n}").read_text(errors="replace") for n in ("out", "err"))
    return Observed(script, record, output, errors, code, time.perf_counter() - started, steps)


def observe_all(scripts: Iterable[str], workers: int = 1, **options: object) -> Iterator[Observed]:
    """`observe` each script; with several workers, in that many processes, in the order of completion."""
    if workers <= 1:
        for script in scripts:
            yield observe(script, **options)  # type: ignore[arg-type]
        return
    from concurrent.futures import ThreadPoolExecutor, as_completed

    with ThreadPoolExecutor(workers) as pool:
        for done in as_completed([pool.submit(observe, s, **options) for s in scripts]):  # type: ignore[arg-type]
            yield done.result()


@dataclasses.dataclass(frozen=True)
class Final:
    """What a whole run leaves: a hash of the weights of every module the script made, its output, its exit code."""

    weights: str
    output: str
    code: int
    seconds: float
    record: Record | None = None


def final(script: str, *, observed: bool, processes: int = 1) -> Final:
    """Run a script to its end, with `recipe run` or bare, and hash what it leaves."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="trainrecipe-test-") as folder:
        work = Path(folder, "work")
        work.mkdir()
        order = Order(os.path.abspath(script), [], False, str(Path(folder, "events.jsonl")), in_place=True, budget=8.0)
        record = None
        if observed:
            EventLog.create(Path(folder), run="test", command="run", script=script).close()
        code = _run_all(order, processes, work, Path(folder), weigh=True, bare=not observed)
        if observed:
            record = Record.from_events(read_events(Path(order.log)))
        output = "".join(Path(folder, f"rank{r}.out").read_text(errors="replace") for r in range(processes))
        weights = " ".join(Path(folder, f"rank{r}.weights").read_text() for r in range(processes))
    return Final(weights, output, code, time.perf_counter() - started, record)


def _keep_modules() -> list[Any]:
    """From now on every module that the script makes is kept, so that its weights can be read when the script is over.

    A model that makes layers in every call makes some in our replays, too; those are not the script's.
    """
    from torch import nn

    made: list[Any] = []
    original = nn.Module.__init__
    replays = tuple(os.path.join("trainrecipe", *p) for p in (("exam.py",), ("capture", "replay.py")))

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not frame.f_code.co_filename.endswith(replays):
            frame = frame.f_back
        if frame is None:
            made.append(self)

    nn.Module.__init__ = __init__  # type: ignore[method-assign]
    return made


def _hash_weights(modules: list[Any]) -> str:
    import xxhash

    whole, tensors = xxhash.xxh3_128(), 0
    for module in modules:
        for held in (vars(module).get("_parameters", {}), vars(module).get("_buffers", {})):
            for name, tensor in held.items():
                if tensor is not None and not tensor.is_sparse:
                    whole.update(name.encode())
                    whole.update(repr(tensor.detach().double().flatten().tolist()).encode())
                    tensors += 1
    return f"{tensors} tensors {whole.hexdigest()}"


def _run_bare(order: Order) -> None:
    """The script as Python runs it, with nothing of ours in between."""
    from trainrecipe.capture import launch

    if order.port:
        os.environ.update(launch.rank_environment(order))
    try:
        launch._execute(order)
    except SystemExit:
        raise
    except BaseException as error:
        launch._print_traceback(error)
        raise SystemExit(1) from None


def _fork(
    order: Order, work: Path, streams: Path, *, bare: bool = False, weights: Path | None = None, fresh: bool = False
) -> int:
    """Run the script in a fork; a `fresh` one has random states of its own where a process would begin with chance."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    modules: list[Any] = []
    try:
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(f"{streams}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.chdir(work)
        os.environ.update({k: v for k, v in order.environment().items() if k.startswith("TRAINRECIPE")})
        from trainrecipe.capture import launch
        from trainrecipe.capture.where import HARNESS

        HARNESS.update(sys.modules)
        if fresh:
            _seed_by_chance()
        if weights is not None:
            modules = _keep_modules()
        if bare:
            _run_bare(order)
        else:
            launch.main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        if weights is not None:
            weights.write_text(_hash_weights(modules))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _seed_by_chance() -> None:
    import numpy

    random.seed()
    numpy.random.seed()


class _Forked:
    """A forked rank, or trial."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _run_all(order: Order, processes: int, work: Path, folder: Path, weigh: bool = False, bare: bool = False) -> int:
    """Fork one process per rank, and return the exit code of rank 0."""
    if processes <= 1:
        return _wait(_fork(order, work, folder / "rank0", weights=folder / "rank0.weights" if weigh else None, bare=bare))
    ranks: dict[int, ranking.Process] = {}
    every = ranking.orders(order, processes, folder)
    for one in every:
        weights = folder / f"rank{one.rank}.weights" if weigh else None
        ranks[one.rank] = _Forked(_fork(one, work, folder / f"rank{one.rank}", weights=weights, bare=bare))
    return ranking.wait_for_all(ranks, every[0])


def _try(order: Order, knob: Knob, work: Path, folder: Path) -> Order:
    """The order with what trials of the knob have shown."""

    def start(planned: trials.Planned) -> _Forked:
        return _Forked(_fork(planned.order, work, planned.errors.with_suffix("")))

    kept = folder / "trials.json"
    trials.write(kept, knob, trials.make(trials.plan(order, knob, folder), start))
    return dataclasses.replace(order, trials_from=str(kept))


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def serve() -> None:
    """Answer requests, one JSON object per line, from standard input to standard output until it ends."""
    preload()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        script = request.pop("script")
        if request.pop("final", False):
            done = final(script, **request)
            answer: dict[str, Any] = {"weights": done.weights, "output": done.output, "code": done.code}
        else:
            seen = observe(script, **request)
            found = [f.to_json() for f in seen.record.findings]
            answer = {
                "status": seen.record.status,
                "findings": found,
                "failed": [f.ruling.says for f in seen.record.skipped if "itself failed" in f.ruling.says]
                + list(seen.record.trouble),
                "steps": seen.steps,
                "messages": [text for _, text in seen.record.messages],
                "errors": seen.errors[-3000:],
                "seconds": seen.seconds,
            }
        out.write(json.dumps(answer) + "\n")
        out.flush()


def main() -> None:
    """Print what is found in each script named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*")
    parser.add_argument("--run", action="store_true", help="observe the whole training instead of a rehearsal")
    parser.add_argument("--twice", action="store_true", help="rehearse twice, to compare")
    parser.add_argument("--processes", type=int, default=1, help="as so many ranks, as torchrun would start them")
    parser.add_argument("--seed-offset", type=int, default=0)
    parser.add_argument("--knob", help="with trials of this knob, as in hidden=32,128 (default: the one of its gallery)")
    parser.add_argument("--data", action="store_true", help="look at the data sets, as recipe data does")
    parser.add_argument("--only", metavar="CHECK", nargs="+", default=[], help="make these checks and no others")
    parser.add_argument("--verbose", "-v", action="store_true", help="also what passed and what was skipped, with evidence")
    parser.add_argument("--serve", action="store_true", help="answer requests from standard input (for the tests)")
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    preload()
    for script in options.scripts:
        seen = observe(
            script,
            rehearsal=not options.run,
            twice=options.twice,
            seed_offset=options.seed_offset,
            only=options.only,
            processes=options.processes,
            knob=options.knob or way_of(script).get("knob", ""),
            data=options.data or way_of(script).get("data", False),
        )
        r = seen.record
        print(f"{script}: {r.status} code {seen.code} {seen.seconds:.1f}s, {r.facts.get('seen', '')}", flush=True)
        if r.status in ("failed", "broken"):
            print(seen.errors[-1500:])
        for level, text in r.messages:
            print(f"    {level}: {text[-1500:]}")
        for f in r.findings:
            at = f"{os.path.basename(f.place.file)}:{f.place.line}" if f.place else "-"
            print(f"    {f.severity} {f.check} {at} | {f.ruling.says}")
            for child in f.related:
                print(f"        beneath it: {child.severity} {child.check} | {child.ruling.says}")
            if options.verbose:
                print(f"        {dict(f.evidence.data)}")
        for f in (*r.skipped, *(r.passed if options.verbose else ())):
            if options.verbose or "itself failed" in f.ruling.says:
                print(f"    {f.verdict} {f.check} | {f.ruling.says} {dict(f.evidence.data) if options.verbose else ''}")


if __name__ == "__main__":
    main()
