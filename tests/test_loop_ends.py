"""Loops that can be told to end: until they are, a script does what it would do anyway."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from trainrecipe.capture import loop_ends, rewritten
from trainrecipe.capture.listen.loops import needs_another
from trainrecipe.capture.where import add_user_root, is_user_file

SOURCE = """
def train_all(stop):
    seen = []
    for epoch in range(4):
        step(epoch)
        for item in iter([1, 2, 3]):
            if item == 2 and epoch == 1:
                continue
            if epoch == 3:
                break
            seen.append((epoch, item))
            step(item)
        else:
            seen.append("else")
        turns = 0
        while turns < 2 and step(turns):
            turns += 1
        seen.append(turns)
    else:
        seen.append("end")
    return seen

def step(value):
    calls.append(value)
    hook(value)
    return True

calls = []
result = train_all(False)
names = sorted(globals())
"""


def run(tmp_path: Path, hook: Any, ending: bool) -> dict[str, Any]:
    path = str(tmp_path / "script.py")
    space: dict[str, Any] = {"hook": hook}
    exec(rewritten.compiled(SOURCE.encode(), path) if ending else compile(SOURCE, path, "exec"), space)
    return space


def test_a_loop_that_is_not_told_to_end_runs_as_written(tmp_path: Path) -> None:
    before = dir(builtins)
    plain, asking = (run(tmp_path, lambda value: None, ending) for ending in (False, True))
    assert asking["result"] == plain["result"]
    assert asking["calls"] == plain["calls"]
    assert asking["names"] == plain["names"]
    assert dir(builtins) == before


def test_loops_end_after_the_turn_that_they_are_in(tmp_path: Path) -> None:
    path = str(tmp_path / "script.py")
    loops = [(path, SOURCE.splitlines().index("    for epoch in range(4):") + 1)]

    def hook(value: int) -> None:
        if value == 3:  # in the inner loop of the first turn
            loop_ends.end(loops)

    space = run(tmp_path, hook, ending=True)
    assert loop_ends.can_end(loops)
    assert not loop_ends.can_end([(path, 1)])
    assert space["result"] == [(0, 1), (0, 2), (0, 3), "else", 2, "end"]


def test_an_error_of_the_script_keeps_its_line(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(tmp_path, lambda value: 1 / (value - 2), ending=True)
    lines = [entry.lineno for entry in caught.traceback if str(entry.path).endswith("script.py")]
    assert [SOURCE.splitlines()[n] for n in lines] == ["result = train_all(False)", "            step(item)", "    hook(value)"]


BATCHES = """
def bare(items):
    return next(items)

def with_default(items):
    return next(items, None)

def guarded(items):
    try:
        return next(items)
    except StopIteration:
        return None

def loop(items):
    for item in items:
        return item
"""


def test_a_bare_next_needs_another_item(tmp_path: Path) -> None:
    path = tmp_path / "batches.py"
    path.write_text(BATCHES)
    add_user_root(str(tmp_path))
    sys.path.insert(0, str(tmp_path))
    try:
        import batches  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(tmp_path))

    library: dict[str, Any] = {"needs_another": needs_another}
    exec("class Asked:\n  __iter__ = lambda self: self\n  __next__ = lambda self: needs_another()", library)
    told = {name: getattr(batches, name)(library["Asked"]()) for name in ("bare", "with_default", "guarded", "loop")}
    assert told == {"bare": True, "with_default": False, "guarded": False, "loop": False}


def test_a_loop_that_runs_before_pytorch_is_there_or_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for torch in (None, type(sys)("torch")):
        monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
        assert run(tmp_path, lambda value: None, True)["result"] == run(tmp_path, lambda value: None, False)["result"]


def test_packages_of_another_environment_are_not_the_users(tmp_path: Path) -> None:
    installed = tmp_path / "env" / "lib" / "python3.11" / "site-packages" / "net"
    assert not is_user_file(str(installed / "model.py"))
    assert is_user_file(str(tmp_path / "env" / "model.py"))
    add_user_root(str(installed))  # the script that runs lies there
    assert is_user_file(str(installed / "model.py"))
