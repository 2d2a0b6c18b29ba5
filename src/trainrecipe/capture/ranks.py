"""Starting a script as several processes that train together, as `torchrun --standalone --nproc-per-node N` does."""

from __future__ import annotations

import dataclasses
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from trainrecipe.capture.exchange import WAIT, Exchange
from trainrecipe.capture.launch import Order

PATIENCE = 10.0
"""Seconds that the other ranks have to end when rank 0 has ended its rehearsal, or failed."""


class Process(Protocol):
    """A started rank."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def kill(self) -> None:
        """End it."""


def orders(order: Order, processes: int, folder: Path) -> list[Order]:
    """One order per rank, rank 0 first; they meet at a port of their own and tell each other what they saw in `folder`."""
    exchange = folder / "ranks"
    exchange.mkdir()
    first = dataclasses.replace(order, exchange=str(exchange), world=processes, port=free_port())
    return [first, *(dataclasses.replace(first, rank=rank, log="") for rank in range(1, processes))]


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_all(ranks: Mapping[int, Process], order: Order) -> int:
    """The exit code of rank 0 once every rank has ended; ranks that rank 0 leaves behind are ended."""
    exchange = Exchange(Path(order.exchange), 0, order.world)
    running = dict(ranks)
    code: int | None = None
    until = float("inf")
    while running:
        for rank, process in list(running.items()):
            ended = process.poll()
            if ended is None:
                continue
            del running[rank]
            exchange.gone(rank)
            if rank == 0:
                code = ended
                until = time.perf_counter() + PATIENCE if ended or order.rehearsal else float("inf")
        if time.perf_counter() > until:
            for process in running.values():
                process.kill()
            until = float("inf")
        time.sleep(0.02)
    return code or 0


# ---- started by torchrun itself


@dataclasses.dataclass(frozen=True)
class Among:
    """This process's place among those that a launcher such as torchrun has started on this machine."""

    rank: int
    world: int
    folder: Path


def among_ranks() -> Among | None:
    """The place that the environment gives to this process; None where it is alone."""
    rank, world, port = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    if not (rank.isdigit() and world.isdigit() and port) or int(world) < 2:
        return None
    run = os.environ.get("TORCHELASTIC_RUN_ID", "") + os.environ.get("TORCHELASTIC_RESTART_COUNT", "")
    name = "".join(c for c in f"{port}-{run}-{os.getppid()}" if c.isalnum() or c == "-")
    folder = Path(tempfile.gettempdir(), f"trainrecipe-ranks-{os.getuid()}-{name}")
    folder.mkdir(exist_ok=True)
    return Among(int(rank), int(world), folder)


def wait_for_the_others(among: Among) -> None:
    """In rank 0, before the folder is removed: the others may still be writing to it."""
    until = time.perf_counter() + WAIT
    local = min(among.world, int(os.environ.get("LOCAL_WORLD_SIZE", among.world)))
    while time.perf_counter() < until and not all((among.folder / f"gone-{r}").exists() for r in range(1, local)):
        time.sleep(0.05)
