"""Runs many scripts under observation quickly, for tests and benchmarks: PyTorch is imported once, each script is forked.

    python -m trainrecipe.testing gallery/batch-mixing/*.py        # what `recipe check` finds, one line a finding
    python -m trainrecipe.testing --run zoo/gan.py                 # the same for `recipe run`

Forking a process that has imported PyTorch is safe as long as it has not started threads; so keep OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainrecipe.capture.launch import Order
from trainrecipe.journal.events import EventLog, read_events
from trainrecipe.journal.record import Record


@dataclasses.dataclass(frozen=True)
class Observed:
    """One script's record, with what it printed and the seconds it took. `code` is the process's exit code."""

    script: str
    record: Record
    output: str
    errors: str
    code: int
    seconds: float


def preload() -> None:
    """Import what most scripts import, single-threaded, so that forks start at once."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import numpy
    import sklearn.datasets
    import sklearn.model_selection
    import sklearn.preprocessing
    import torch

    import trainrecipe.capture.session
    import trainrecipe.capture.subjects
    import trainrecipe.exam

    assert all(m is not None for m in (numpy, sklearn, torch, trainrecipe))


def observe(script: str, *, rehearsal: bool = True, twice: bool = False, seed_offset: int = 0, budget: float = 20.0) -> Observed:
    """Run one script in a forked child, in an empty folder, and read back its record."""
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
        )
        if twice:
            again = dataclasses.replace(order, log="", scratch=str(Path(folder, "s2")), fingerprint=str(Path(folder, "2.json")))
            _wait(_fork(again, work, Path(folder, "again")))
            order = dataclasses.replace(
                order, fingerprint=str(Path(folder, "1.json")), other_fingerprint=again.fingerprint
            )
        log = EventLog.create(Path(folder), run="test", command="check" if rehearsal else "run", script=script)
        log.close()
        code = _wait(_fork(order, work, Path(folder, "first")))
        record = Record.from_events(read_events(Path(order.log)))
        output, errors = (Path(folder, f"first.{n}").read_text(errors="replace") for n in ("out", "err"))
    return Observed(script, record, output, errors, code, time.perf_counter() - started)


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


def _fork(order: Order, work: Path, streams: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(f"{streams}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.chdir(work)
        os.environ.update({k: v for k, v in order.environment().items() if k.startswith("TRAINRECIPE")})
        from trainrecipe.capture import launch

        launch.main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Print what is found in each script named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="+")
    parser.add_argument("--run", action="store_true", help="observe the whole training instead of a rehearsal")
    parser.add_argument("--twice", action="store_true", help="rehearse twice, to compare")
    parser.add_argument("--seed-offset", type=int, default=0)
    parser.add_argument("--verbose", "-v", action="store_true", help="also what passed and what was skipped, with evidence")
    options = parser.parse_args()
    preload()
    for script in options.scripts:
        seen = observe(script, rehearsal=not options.run, twice=options.twice, seed_offset=options.seed_offset)
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
