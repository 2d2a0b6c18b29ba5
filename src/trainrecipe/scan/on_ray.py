"""A scan on Ray: positions of examples go to its workers, rows of the table come back, examples stay where they are.

    with connected("ray"):                                  # one started on this machine; or an address of a cluster
        scan(splits, folder, elsewhere=reader("package.data:splits", splits))

Each of Ray's worker processes makes the data sets itself, once, from the function that made them here, and measures chunks by
the code of a local scan. So the table is the same bit for bit, and a chunk whose worker or node was lost is read again.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import logging
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data._utils import worker as loader_worker

from trainrecipe.scan.origin import made
from trainrecipe.scan.reading import Chunk, Manner, Reader
from trainrecipe.scan.scan import Elsewhere
from trainrecipe.scan.splits import Source, flattened, sources
from trainrecipe.wrong_use import WrongUse

HERE = "ray"
"""In place of an address: a Ray that is started on this machine, and ended with the scan."""
AHEAD = 4
"""Chunks for each core of the cluster that may be on their way: enough that none waits, few enough for any memory."""
TRIES = 3
"""Times a chunk is read again whose worker or node was lost, which is Ray's own default for tasks."""
COMPARED = 4
"""Examples of a split by which a worker proves that it has made the same data set."""
ANSWER = 5.0
"""Seconds in which a cluster must accept a connection; Ray itself would try for minutes."""
LEFT_HERE = [".git", ".trainrecipe", ".venv", "venv", "__pycache__", "*.pyc"]
"""What no cluster needs of the working directory."""


# ---- here


@contextlib.contextmanager
def connected(on: str) -> Iterator[None]:
    """Be connected to Ray: `ray` starts one on this machine, `host:port` (from one of its nodes) and `ray://host:port` (from
    anywhere) are addresses of a cluster.

    Workers on this machine run in the same directory. To a cluster the working directory is sent, as Ray does it: without what
    `.gitignore` names, and up to its limit of size; and this package with it, which leaves PyTorch, NumPy, Pillow and xxhash to
    be installed there. Raises WrongUse where Ray is not installed, or does not answer.
    """
    ray = _ray()
    try:
        try:
            _join(ray, on)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise WrongUse(f"no connection to Ray by --on {on}: {error}") from error
        yield
    finally:
        ray.shutdown()


def _join(ray: Any, on: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if on == HERE:
        ray.init(address="local", include_dashboard=False, **quiet)
        return
    _knock(on)
    package = str(Path(__file__).parents[1])
    code = {"working_dir": os.getcwd(), "py_modules": [package], "excludes": LEFT_HERE}
    ray.init(address=on, runtime_env=code, **quiet)


def reader(target: str, splits: Sequence[Source]) -> Elsewhere:
    """What reads chunks on the Ray that one is connected to. Workers make the data sets from `target`, `module:name` or
    `file.py:name`; `splits` are those that were made of it here.

    While it reads, it raises WrongUse where a worker cannot make the data sets, where they differ from those here, or where a
    chunk cannot be read at all, with what the worker said.
    """
    ray = _ray()
    read = ray.remote(num_cpus=1, max_retries=TRIES, scheduling_strategy="SPREAD")(measured)
    here = {s.name: flattened(s) for s in splits}

    def elsewhere(split: str, chunks: list[np.ndarray], manner: Manner) -> Iterator[Chunk]:
        if not chunks:
            return
        work = ray.put(Work(_from_here(target), manner, _sample(here[split], chunks, manner)))
        most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        going: collections.deque[tuple[np.ndarray, Any]] = collections.deque()
        for chunk in chunks:
            if len(going) == most:
                yield _result(split, *going.popleft())
            going.append((chunk, read.remote(work, chunk)))
        while going:
            yield _result(split, *going.popleft())

    return elsewhere


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise WrongUse("a scan on Ray needs Ray: pip install 'trainrecipe[ray]'") from None
    return ray


def _knock(on: str) -> None:
    """Raises WrongUse for what is no address, OSError where nothing answers there."""
    address = re.fullmatch(r"(?:ray://)?([^\s:/]+):(\d+)", on)
    if address is None:
        raise WrongUse(f"--on {on} is no address of Ray: say `ray` for one on this machine, host:port or ray://host:port")
    socket.create_connection((address[1], int(address[2])), ANSWER).close()


def _from_here(target: str) -> str:
    """A file's target by its path from the working directory, which on a cluster is another one."""
    head, _, name = target.rpartition(":")
    inside = head.endswith(".py") and Path(head).is_absolute() and Path(head).is_relative_to(Path.cwd())
    return f"{Path(head).relative_to(Path.cwd())}:{name}" if inside else target


def _sample(source: Source, chunks: Sequence[np.ndarray], manner: Manner) -> Chunk:
    """What a few examples from all over the split are here."""
    every = np.concatenate(chunks)
    some = np.unique(every[np.linspace(0, len(every) - 1, COMPARED).astype(np.int64)])
    return Reader(source.dataset, [some], manner)[0]


def _result(split: str, positions: np.ndarray, reference: Any) -> Chunk:
    from ray import exceptions, get

    try:
        chunk: Chunk = get(reference)
    except exceptions.RayTaskError as error:
        said = error.cause
        text = str(said) if isinstance(said, WrongUse) else f"{split} cannot be read on Ray: {type(said).__name__}: {said}"
        raise WrongUse(text) from error
    except exceptions.RayError as error:
        raise WrongUse(
            f"{split}, examples {positions[0]} to {positions[-1]}: Ray lost each worker that read them "
            f"({type(error).__name__}); does reading one of them end the process, or take more memory than there is?"
        ) from error
    return chunk


# ---- in Ray's workers


@dataclasses.dataclass(frozen=True)
class Work:
    """What a worker has to know of a split: how its data set is made, how it is read, and what some of its examples are."""

    target: str
    manner: Manner
    sample: Chunk


def measured(work: Work, positions: np.ndarray) -> Chunk:
    """Rows of the examples at these positions."""
    torch.set_num_threads(1)  # as in a loader's worker
    with torch.no_grad():
        kept, split = _readers(work.target), work.manner.split
        if split not in kept or kept[split].manner != work.manner:
            kept[split] = _begun(work)
        return _read(kept[split], positions)


def _read(reader: Reader, positions: np.ndarray) -> Chunk:
    reader.chunks = [positions]
    return reader[0]


def _begun(work: Work) -> Reader:
    """A reader of a data set that was made here, and is the one that was meant."""
    split = work.manner.split
    source = _made(work.target).get(split)
    if source is None:
        raise WrongUse(f"{work.target} makes no split {split!r} on {socket.gethostname()}")
    reader = Reader(source.dataset, [], work.manner)
    if source.workers and source.worker_init is not None:  # may open other data than those of the sample
        loader_worker._worker_info = loader_worker.WorkerInfo(id=0, num_workers=1, seed=work.manner.seed, dataset=reader)
        source.worker_init(0)
    elif not _agrees(reader, work.sample):
        raise WrongUse(
            f"{split} is another data set on {socket.gethostname()}: {work.target} must make the same examples in the same "
            "order everywhere. Is it shuffled without a seed? Are its files there, and the libraries that decode them the same?"
        )
    return reader


def _agrees(reader: Reader, sample: Chunk) -> bool:
    """Whether the examples are those of the sample, as far as those could be read."""
    try:
        found = _read(reader, sample.columns["index"]).columns["hash"]
    except IndexError:
        return False
    expected = sample.columns["hash"]
    varying = reader.manner.random and reader.manner.raw == "item"
    same = found != 0 if varying else found == expected
    return bool((same | (expected == 0)).all())


@functools.lru_cache(maxsize=1)
def _readers(target: str) -> dict[str, Reader]:
    """By split, the readers that were begun; they are kept while the process lives and reads nothing else."""
    return {}


@functools.lru_cache(maxsize=1)
def _made(target: str) -> dict[str, Source]:
    try:
        return {s.name: flattened(s) for s in sources(made(target))}
    except WrongUse as error:
        raise WrongUse(f"on {socket.gethostname()}: {error}") from error
    except (Exception, SystemExit) as error:
        raise WrongUse(f"{target} raised {type(error).__name__} on {socket.gethostname()}: {error}") from error
