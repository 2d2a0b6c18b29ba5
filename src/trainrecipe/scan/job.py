"""The data stage for one program: scan its data sets, examine what was found, write it all down.

python -m trainrecipe.scan.job       the child process of `recipe data module:attribute`, with its order in the environment
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainrecipe import progress
from trainrecipe.capture.launch import ENVIRONMENT, Order
from trainrecipe.dataset.outliers import rank
from trainrecipe.finding import Place
from trainrecipe.journal.events import EventLog, append_to
from trainrecipe.scan import overview
from trainrecipe.scan.defaults import usual_defaults
from trainrecipe.scan.origin import made
from trainrecipe.scan.scan import Elsewhere, scan
from trainrecipe.scan.splits import Source, sources
from trainrecipe.scan.standing_out import keep_looks
from trainrecipe.subjects.examples import read_place
from trainrecipe.subjects.scan import Scan
from trainrecipe.table.store import Store
from trainrecipe.wrong_use import WrongUse

Examine = Callable[[list[Any]], None]
"""Examines subjects and logs the answers."""


def study(
    order: Order,
    splits: list[Source],
    log: Callable[..., None],
    examine: Examine,
    *,
    kind: str,
    places: Mapping[str, Place] | None = None,
    beside: tuple[Any, ...] = (),
) -> Store:
    """Scan, examine the table (and what is `beside` it, such as the program's `Data`), and add what was computed to it.

    `kind` is that of the manifest's source: `script` or `module`.
    """
    folder = Path(order.data)
    target = order.target if not order.module else f"-m {order.target}"
    origin = {"kind": kind, "target": target, "args": list(order.args), "stamp": stamp(order.target)}
    try:
        with _elsewhere(order, splits) as elsewhere:
            store = scan(
                splits,
                folder,
                name=folder.name,
                origin=origin,
                budget=order.scan_seconds,
                tell=_show,
                elsewhere=elsewhere,
            )
    finally:
        progress.show()
    if order.on and (streams := [s.name for s in splits if s.is_stream]):
        store.manifest.notes.append(
            f"read on this machine, since a stream cannot be entered in its middle: {', '.join(streams)}"
        )
        store.save()
    subject = Scan(store, places or {})
    log("summary", facts=overview.facts(store))
    with usual_defaults():
        examine([subject, *beside])
        rank(subject)
    for picture in overview.pictures(subject):
        log("picture", picture=picture.to_json())
    if order.probe_seconds:
        _probe(splits, order.probe_seconds, log)
    progress.show("writing what was found")
    keep_looks(subject, splits)
    subject.write_found()
    progress.show()
    return store


@contextlib.contextmanager
def _elsewhere(order: Order, splits: list[Source]) -> Iterator[Elsewhere | None]:
    """Where examples are read: on Ray where that was asked for, else here."""
    if not order.on:
        yield None
        return
    from trainrecipe.scan import on_ray

    progress.show(f"connecting to Ray ({order.on})")
    with on_ray.connected(order.on):
        yield on_ray.reader(order.target, splits)


def _probe(splits: list[Source], seconds: float, log: Callable[..., None]) -> None:
    """Tell what small experiments on the training split say."""
    from trainrecipe.scan.probing import probes

    chosen = next((s for s in splits if s.role == "train"), splits[0])
    try:
        found = probes(chosen, seconds, lambda text: progress.show(f"probing: {text}"))
    finally:
        progress.show()
    if isinstance(found, str):
        log("summary", facts={"probes": f"none: {found}"})
        return
    log("summary", facts={"probes": found.says})
    for answer in found.answers:
        log("message", level="info", text=answer.says)
        log("picture", picture=answer.picture.to_json())


def stamp(target: str) -> str:
    """When the file that makes the data was last changed; empty where no file is named."""
    path = Path(target.rpartition(":")[0] or target)
    return str(path.stat().st_mtime_ns) if path.is_file() else ""


def _show(split: str, read: int, planned: int | None, left: float | None) -> None:
    share = f" of {planned:,}" if planned is not None else ""
    time_left = "" if left is None else f", {_duration(left)} left"
    progress.show(f"reading {split}: {read:,}{share} examples{time_left}")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def main() -> None:
    """Entry point of the child process."""
    order = Order(**json.loads(os.environ.pop(ENVIRONMENT)))
    started = time.perf_counter()
    events = append_to(Path(order.log))
    status, code = "broken", 2
    try:
        status, code = _from_module(order, events)
    except KeyboardInterrupt:
        status, code = "interrupted", 130
    except WrongUse as error:
        events.append("message", level="error", text=str(error))
        status, code = "failed", 2
    except Exception:
        events.append("message", level="error", text="trainrecipe failed: " + traceback.format_exc(limit=8))
    events.append("ended", status=status, exit_code=code, seconds=round(time.perf_counter() - started, 3))
    raise SystemExit(code)


def _from_module(order: Order, events: EventLog) -> tuple[str, int]:
    from trainrecipe.capture.launch import _print_traceback

    try:
        splits = sources(made(order.target))
    except WrongUse:
        raise
    except Exception as error:
        _print_traceback(error)
        events.append("message", level="error", text=f"{order.target} raised {type(error).__name__}: {error}")
        return "failed", 1
    places = {s.name: place for s in splits if (place := read_place(s.dataset)) is not None}

    def examine(subjects: list[Any]) -> None:
        examined(order, subjects, events.append)

    study(order, splits, events.append, examine, kind="module", places=places)
    return "finished", 0


def examined(order: Order, subjects: list[Any], log: Callable[..., None]) -> None:
    """Let all checks of data examine, and log their answers."""
    from trainrecipe.cli.catalogue import catalogue, chosen
    from trainrecipe.config import Config
    from trainrecipe.exam import examine

    config = Config.load()
    checks = [c for c in chosen(catalogue(config), order.only) if c.subject in ("Scan", "Data")]
    done = examine(
        *subjects,
        checks=checks,
        config=config,
        budget=order.budget,
        script=os.path.abspath(order.target),
        starting=lambda check, share: progress.show(f"examining, {share:.0%}: {check}"),
    )
    progress.show()
    for finding in done.answers:
        log("finding", finding=finding.to_json())


if __name__ == "__main__":
    main()
