"""Scripts that start their ranks themselves, by `torch.multiprocessing.spawn`, as many guides to distributed training do.

The function that each process is to run is called for rank 0 in this process, which is observed already; the others are
started as the script would start them, each with an observation of its own, and tell rank 0 what they saw (exchange.py).
The random streams begin as those of a new process do; where processes are forked, as those of this one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import multiprocessing

from trainrecipe.capture.launch import Order, observe
from trainrecipe.capture.ranks import PATIENCE

if TYPE_CHECKING:
    from trainrecipe.capture.session import Session

FOLDER = "ranks"
"""Where, in the run's folder, the ranks tell each other what they saw."""


def owners() -> Iterator[Any]:
    """The modules that hold `start_processes`."""
    yield importlib.import_module("torch.multiprocessing.spawn")
    yield multiprocessing


def wrap(session: Session) -> Callable[[Any], Any]:
    """What takes the place of `torch.multiprocessing.start_processes`."""

    def make(original: Any) -> Any:
        def start_processes(
            fn: Any, args: Any = (), nprocs: int = 1, join: bool = True, daemon: bool = False, start_method: str = "spawn"
        ) -> Any:
            plain = join and start_method in ("spawn", "fork") and nprocs > 1
            here = threading.current_thread() is threading.main_thread()
            wanted = plain and here and session.exchange is None and session.awaits_ranks()
            first = _first(session.order, nprocs) if wanted else None
            if first is None:
                return original(fn, args, nprocs, join, daemon, start_method)
            session.join_ranks(first)
            told = json.dumps(dataclasses.asdict(first))
            forked = start_method == "fork"
            other, given = (_forked, (session, told, fn, args)) if forked else (_other, (told, fn, args))
            others = original(other, given, nprocs - 1, False, daemon, start_method)
            return _train(session, fn, args, others, forked)

        return start_processes

    return make


def _first(order: Order, world: int) -> Order | None:
    """The order of rank 0; None where there is no place to meet."""
    folder = Path(order.log).parent / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return dataclasses.replace(order, exchange=str(folder), world=world, fingerprint="", other_fingerprint="")


def _train(session: Session, fn: Any, args: Any, others: Any, forked: bool) -> None:
    """Rank 0's part, and then the wait for the others."""
    _Watch(session, others).start()
    with contextlib.nullcontext() if forked else _new_process():
        try:
            fn(0, *args)
        except SystemExit as leaving:
            if leaving.code:
                _end(others)
                raise
        except BaseException:
            if not session.enough:
                _end(others)
            raise
    while not others.join():
        pass


def _end(others: Any) -> None:
    for process in others.processes:
        process.terminate()


@contextlib.contextmanager
def _new_process() -> Iterator[None]:
    """The random stream of PyTorch as a new process finds it: seeded by chance, whatever the script seeded before."""
    before = torch.default_generator.get_state()
    torch.default_generator.seed()
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def _other(number: int, told: str, fn: Any, args: Any) -> None:
    """In a process of its own: a rank other than 0."""
    order = Order(**json.loads(told))
    order = dataclasses.replace(order, rank=number + 1, log="", experiments=False)
    code = observe(order, lambda: fn(order.rank, *args))
    if code:
        os._exit(code)


def _forked(number: int, session: Session, told: str, fn: Any, args: Any) -> None:
    """The same in a fork, which begins with the observation of rank 0: that ends here."""
    session.leave()
    order = Order(**json.loads(told))
    _other(number, json.dumps(dataclasses.asdict(dataclasses.replace(order, in_place=True))), fn, args)


class _Watch:
    """Notes which of the other ranks have ended, and ends those that rank 0 leaves behind."""

    def __init__(self, session: Session, others: Any) -> None:
        self.session = session
        self.others = others

    def start(self) -> None:
        threading.Thread(target=self._watch, daemon=True, name="trainrecipe ranks").start()

    def _watch(self) -> None:
        running = dict(enumerate(self.others.processes, 1))
        until = float("inf")
        while running:
            for rank, process in list(running.items()):
                if process.exitcode is not None:
                    del running[rank]
                    if self.session.exchange is not None:
                        self.session.exchange.gone(rank)
            if self.session.enough:
                until = min(until, time.perf_counter() + PATIENCE)
            if time.perf_counter() > until:
                _end(self.others)
                until = float("inf")
            time.sleep(0.05)
