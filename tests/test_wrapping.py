"""Arithmetic that is heard: the same results, the same errors, and small whole numbers that wrap around are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainrecipe.capture import rewritten, wrapping
from trainrecipe.capture.where import add_user_root

SPEAKING = "# uint8\n"
VALUES = ("3", "2.5", "'ab'", "[1, 2]", "(1,)", "np.uint8(200)", "a", "b", "a[:, None]", "np.float32(2)", "None", "b'x'")


def names() -> dict[str, Any]:
    return {"np": np, "a": np.arange(250, 255, dtype=np.uint8), "b": np.full(5, 3, np.uint8)}


def ran(source: str, path: str = "heard.py") -> dict[str, Any]:
    """What a file leaves when it is compiled so that it is heard."""
    space = names()
    exec(rewritten.compiled((SPEAKING + source).encode(), path), space)
    return space


def outcome(expression: str, heard: bool) -> str:
    source = f"try:\n    x = {expression}\nexcept Exception as error:\n    x = (type(error), str(error))\n"
    space = names()
    with np.errstate(all="ignore"):
        exec(rewritten.compiled((SPEAKING + source).encode(), "x.py") if heard else source, space)
    return f"{type(space['x'])} {getattr(space['x'], 'dtype', '')} {space['x']!r}"


@pytest.mark.parametrize("sign", ["+", "-", "*"])
def test_results_and_errors_are_those_of_python(sign: str) -> None:
    for left in VALUES:
        for right in VALUES:
            expression = f"{left} {sign} {right}"
            assert outcome(expression, True) == outcome(expression, False), expression


def test_what_wraps_around_is_counted(tmp_path: Path) -> None:
    add_user_root(str(tmp_path))
    path = tmp_path / "script.py"
    source = "low = b - a\nhigh = a + b\nfine = a - b\nwide = a.astype(np.int32) - b\n"
    path.write_text(SPEAKING + source)
    space = ran(source, str(path))
    assert space["low"].tolist() == [9, 8, 7, 6, 5]
    found = {w.place.line: w for w in wrapping.found() if w.place is not None and w.place.file == str(path)}
    assert {line: (w.share, w.elements) for line, w in found.items()} == {2: (1.0, 5), 3: (0.4, 5), 4: (0.0, 5)}
    assert found[3].dtype == "uint8"
    assert found[3].sign == "+"


def test_patterns_models_and_names_are_left_alone() -> None:
    source = """
import torch
order = []
def told(x):
    order.append(x)
    return x
total = told(1) - told(2) * told(3)
match 1 + 2j:
    case 1 + 2j:
        kind = "complex"
class Net(torch.nn.Module):
    def forward(self, x):
        return x + x
text = f"{total + 1:>4}"
names = sorted(n for n in dir() if not n.startswith("__"))
"""
    space = ran(source)
    assert space["order"] == [1, 2, 3]
    assert space["total"] == -5
    assert space["kind"] == "complex"
    assert space["text"] == "  -4"
    assert wrapping.result not in space["Net"].forward.__code__.co_consts
    assert space["names"] == ["Net", "a", "b", "kind", "np", "order", "text", "told", "torch", "total"]


def test_files_that_do_not_speak_of_small_numbers_are_not_changed() -> None:
    code = rewritten.compiled(b"x = 1\ny = x + x\n", "plain.py")
    assert wrapping.result not in code.co_consts
