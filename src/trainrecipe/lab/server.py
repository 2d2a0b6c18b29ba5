"""A process with PyTorch imported already, of which each experiment is a fork: `python -m trainrecipe.lab.server`.

Reads one request a line (JSON: an order, a folder, files for the output), answers with the process's number, and with its exit
code once it has ended. One experiment at a time: as many servers are started as experiments may run at once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import select
import signal
import sys
import traceback
from typing import Any

from trainrecipe.capture.launch import ENVIRONMENT

LOOK = 0.01
"""Seconds between looks at whether an experiment has ended."""


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what is printed on the way is no answer
    _warm()
    answers.write(json.dumps({"ready": os.getpid()}) + "\n")
    while line := sys.stdin.readline():
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            _run(request)
        answers.write(json.dumps({"pid": pid}) + "\n")
        answers.write(json.dumps({"code": _ended(pid)}) + "\n")


def _ended(pid: int) -> int:
    """The exit code of an experiment. Where whoever asked for it is gone, it is ended, and so is this process."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if select.select([0], [], [], LOOK)[0]:  # nothing is sent meanwhile: standard input has ended
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os._exit(1)


_OWN = ("trainrecipe.capture.session", "trainrecipe.capture.listen.listener", "trainrecipe.lab.running")


def _warm() -> None:
    """Import what every experiment needs."""
    for name in ("numpy", "torch", *_OWN):
        importlib.import_module(name)
    from trainrecipe.capture.where import HARNESS
    from trainrecipe.intervene.intervention import interventions

    interventions()
    HARNESS.update(sys.modules)


def _run(request: dict[str, Any]) -> None:
    """In the fork: become the experiment. Never returns."""
    code = 70
    try:
        os.setsid()  # so that it can be ended with all that it starts
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for path, number, flags in ((request["out"], 1, _WRITE), (request["err"], 2, _WRITE), (os.devnull, 0, os.O_RDONLY)):
            os.dup2(os.open(path, flags, 0o644), number)
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.chdir(request["cwd"])
        os.environ[ENVIRONMENT] = request["order"]
        _forget_chance()
        from trainrecipe.capture import launch

        launch.main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _forget_chance() -> None:
    """Random streams that begin by chance in a new process do so here."""
    import numpy

    random.seed()
    numpy.random.seed()


if __name__ == "__main__":
    main()
