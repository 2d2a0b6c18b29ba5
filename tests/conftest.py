"""One helper process per test worker runs scripts under observation: it has imported PyTorch once and forks for each."""

from __future__ import annotations

import functools
import gc
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = {
    "lightning_trainer": "lightning",
    "lightning_checkpoint": "lightning",
    "transformers_trainer": "transformers",
    "accelerate_loop": "accelerate",
    "keras_torch": "keras",
    "skorch_classifier": "skorch",
}


def pytest_collection_finish() -> None:
    """Collections, of which a listener makes several, need not look at what all tests imported."""
    gc.collect()
    gc.freeze()


@functools.cache
def _server() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trainrecipe.testing", "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@functools.cache
def _answer(request: str) -> dict[str, Any]:
    process = _server()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, "the helper process died"
    answer: dict[str, Any] = json.loads(line)
    return answer


def ask(script: str, **request: object) -> dict[str, Any]:
    """What the helper process answers about a script; the same question is asked once per worker."""
    framework = FRAMEWORKS.get(Path(script).stem)
    if framework and importlib.util.find_spec(framework) is None:  # importing Keras would choose a backend
        pytest.skip(f"{framework} is not installed")
    return _answer(json.dumps({"script": script, **request}, sort_keys=True))


@pytest.fixture(name="ask")
def _ask_fixture() -> Any:
    return ask


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests about one script go to the same worker, which then runs it once."""
    for item in items:
        script = getattr(item, "callspec", None) and item.callspec.params.get("script")  # type: ignore[attr-defined]
        if script:
            item.add_marker(pytest.mark.xdist_group(str(script)))


def pytest_sessionfinish() -> None:
    """End the helper process, if one was started."""
    if _server.cache_info().currsize:
        process = _server()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait(timeout=30)
