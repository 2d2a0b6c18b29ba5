"""The facts about the surroundings of a run that its record keeps: versions, machine, and the state of the code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

_PACKAGES = ("trainrecipe", "torch", "numpy")
_GIT_SECONDS = 2.0


def environment(directory: Path | None = None) -> dict[str, str]:
    """Label -> text for the `started` event. Costs one short `git` process; imports nothing of what it names.

    `git` reads like `4f2c91ab03de, 2 files changed`, or is absent outside a repository.
    """
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(_cpus()),
        "argv": shlex.join(sys.argv),
    }
    facts |= {name: version for name in _PACKAGES if (version := _version(name))}
    code = _git(directory or Path.cwd())
    return facts | ({"git": code} if code else {})


def _cpus() -> int:
    # What this process may use; a container or a scheduler often grants fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git(directory: Path) -> str:
    # Without optional locks `git status` leaves the user's index alone; untracked files mean walking data folders.
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or a repository too slow to ask
        return ""
    return _state(done.stdout)


def _state(status: str) -> str:
    lines = status.splitlines()
    commit = next((line.rpartition(" ")[2] for line in lines if line.startswith("# branch.oid ")), "")
    changed = sum(not line.startswith("#") for line in lines)
    at = "no commit yet" if commit == "(initial)" else commit[:12]
    return f"{at}, {changed} file{'s' * (changed != 1)} changed" if changed else f"{at}, clean"
