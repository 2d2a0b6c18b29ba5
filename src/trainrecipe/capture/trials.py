"""Short trainings of the whole script with other values of a knob, each in a process of its own, before the rehearsal.

Nothing is taken but the number of trainable weights and the losses. The processes are started by whoever asks; what they
saw goes into one file, which the rehearsal reads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainrecipe.capture import members
from trainrecipe.finding import Place
from trainrecipe.subjects.knob import Knob, Trial

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.launch import Order
    from trainrecipe.capture.listen.listener import Listener
    from trainrecipe.subjects.run import Backward

STEPS = 300
"""Optimiser steps of a trial at most."""
SECONDS = 10.0
SEEDS = 2
"""Seeds per value, to tell what chance does."""


class Process(Protocol):
    """A started trial."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def kill(self) -> None:
        """End it."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """A trial to be made: `errors` is the file for what it prints as errors."""

    told: str
    value: str
    seed: int
    order: Order
    errors: Path


def plan(order: Order, knob: Knob, folder: Path) -> list[Planned]:
    """The trials of a knob, from the smallest value on."""
    planned = []
    for number, (value, seed) in enumerate((v, s) for v in knob.values for s in range(SEEDS)):
        at = folder / f"trial{number}"
        own = dataclasses.replace(
            order,
            args=[*order.args, *knob.arguments(value)],
            log="",
            in_place=False,  # several of them would write the same files
            scratch=f"{at}.scratch",
            fingerprint="",
            other_fingerprint="",
            clock_from="",
            seed_offset=order.seed_offset + seed,
            constants={knob.path: value} if knob.path else {},
            trial_to=f"{at}.json",
        )
        planned.append(Planned(f"{knob.name}={value}", value, seed, own, Path(f"{at}.err")))
    return planned


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Ctrl-C takes effect where the function that is given is called, which raises KeyboardInterrupt.

    Raised at any place it would leave a process that is being started to itself, or be lost in a finaliser.
    """
    came: list[int] = []

    def look() -> None:
        if came:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield look
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield look
    finally:
        signal.signal(signal.SIGINT, before)


def make(
    planned: Sequence[Planned], start: Callable[[Planned], Process], tell: Callable[[str], None] = lambda text: None
) -> list[Trial]:
    """Make all trials, two at a time where there are two cores, and gather what they saw. Interrupted, it ends them all."""
    at_once = min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    waiting, running, codes = list(enumerate(planned)), dict[int, Process](), dict[int, int]()
    try:
        with _interruptible() as look:
            while waiting or running:
                while waiting and len(running) < at_once:
                    number, trial = waiting.pop(0)
                    running[number] = start(trial)
                    look()
                latest = planned[max(running)]
                tell(f"trying {latest.told} ({max(running) + 1} of {len(planned)})")
                time.sleep(0.05)
                look()
                for number, code in [(n, p.poll()) for n, p in running.items()]:
                    if code is not None:
                        codes[number] = code
                        del running[number]
            look()
    finally:
        for process in running.values():
            process.kill()
        tell("")
    return [_made(trial, codes[number]) for number, trial in enumerate(planned)]


def _made(planned: Planned, code: int) -> Trial:
    trial = Trial(planned.value, planned.seed)
    told = Path(planned.order.trial_to)
    if told.exists():
        trial = Trial(trial.value, trial.seed, **json.loads(told.read_text()))
    if code:
        trial.error = _last_line(planned.errors) or f"it ended with exit code {code}"
    elif not trial.losses:
        trial.error = "no backward from a single loss was seen in it"
    return trial


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def write(path: Path, knob: Knob, trials: Sequence[Trial]) -> None:
    """Keep the trials for the rehearsal."""
    path.write_text(json.dumps({"knob": dataclasses.asdict(knob), "trials": [dataclasses.asdict(t) for t in trials]}))


def read(path: Path) -> tuple[Knob, list[Trial]]:
    """What `write` kept."""
    kept = json.loads(path.read_text())
    knob: dict[str, Any] = kept["knob"]
    place = Place(**knob.pop("place")) if knob["place"] else knob.pop("place")
    own = Knob(knob["name"], tuple(knob["values"]), knob["path"], tuple(knob["words"]), place)
    return own, [Trial(**trial) for trial in kept["trials"]]


# ---- in the trial itself


def seen(listener: Listener, *, cut: bool) -> dict[str, Any]:
    """What a trial tells: weights, losses, and whether the script sets a seed; `cut` says that its training was not over."""
    lines: list[Backward] = sorted(listener.run.backwards, key=lambda b: -b.count)
    weights = _trainable(listener)
    return {
        "parameters": sum(tensor.numel() for tensor in weights),
        "tensors": len(weights),
        "losses": [value for _, value in lines[0].losses] if lines else [],
        "beside": lines[1].count if len(lines) > 1 else 0,
        "seeded": bool(listener.seeds.given),
        "cut": cut,
    }


def _trainable(listener: Listener) -> list[torch.Tensor]:
    """Trainable weights of the models that were trained and of the optimisers, and what else the loss gives gradients to."""
    trained = listener.run.trained_models()
    models = [m for number, m in enumerate(listener.models.roots.values()) if number in trained]
    optimizers = [o for o in (w.ref() for w in listener.optimizers.watched.values()) if o is not None]
    tensors: list[torch.Tensor] = [p for model in models for p in members.parameters(model)]
    tensors += [p for o in optimizers for group in o.param_groups for p in group["params"]]
    tensors += listener.backwards.leaves
    return list({id(p): p for p in tensors if p.requires_grad}.values())
