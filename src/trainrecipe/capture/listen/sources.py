"""What the user's source says that may not have happened yet: steps of optimisers, optimisers that are built later.

A rehearsal sees only the beginning of a run. Before a check says that something never happens, it asks here whether the
program contains a line for it that was not reached.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import itertools
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

import torch
from torch.optim import lr_scheduler

from trainrecipe.capture.listen.expressions import evaluate
from trainrecipe.capture.listen.loops import call_at, tree_of
from trainrecipe.capture.where import is_user_file, place
from trainrecipe.subjects.run import Run, Site

_FRAMES = 60


class Sources:
    """Looks at the source behind the frames of the stack, a few times, and keeps what each call site is."""

    def __init__(self, looks: int = 6) -> None:
        self.sites: dict[tuple[str, int], str] = {}
        self._read: set[CodeType] = set()
        self._callers: dict[tuple[str, str], set[int]] = {}
        self._looks = looks

    def look(self) -> None:
        """Read the files of the user's frames on the stack."""
        if self._looks <= 0:
            return
        self._looks -= 1
        frame: FrameType | None = sys._getframe(1)
        for _ in range(_FRAMES):
            if frame is None:
                return
            file = frame.f_code.co_filename
            if frame.f_code not in self._read and is_user_file(file):
                self._read.add(frame.f_code)
                for line, kind in _sites(_parts(file), frame):
                    if self.sites.get((file, line), "step") == "step":
                        self.sites[file, line] = kind
            frame = frame.f_back

    def build(self) -> None:
        """An optimiser is built: note which calls in the user's code led to it."""
        frame: FrameType | None = sys._getframe(1)
        for _ in range(_FRAMES):
            if frame is None:
                return
            file = frame.f_code.co_filename
            node = call_at(frame) if is_user_file(file) else None
            if node is not None and isinstance(node.func, ast.Name | ast.Attribute):
                self._callers.setdefault((file, ast.unparse(node.func)), set()).add(node.lineno)
            frame = frame.f_back

    def _other_calls(self) -> Iterator[tuple[str, int]]:
        """Calls of the functions that built an optimiser, from lines that were not reached."""
        for (file, name), lines in self._callers.items():
            last = name.rpartition(".")[2]
            for node in _parts(file).calls:
                if _called(node) == last and node.lineno not in lines and ast.unparse(node.func) == name:
                    yield file, node.lineno

    def fill(self, run: Run) -> None:
        """Write `run.unreached`: the sites that were not executed, less the other branches of a choice that was made."""
        done = {(p.file, p.line) for p in _executed(run)}
        done |= {(file, other) for file, line in done for run_of in _parts(file).runs if line in run_of for other in run_of}
        for file, line in self._other_calls():
            self.sites.setdefault((file, line), "build")
        for (file, line), kind in self.sites.items():
            spot = place((file, line, ""))
            if spot is None or (spot.file, line) in done:
                continue
            chosen = [done_line for done_file, done_line in done if done_file == spot.file]
            if kind != "build" or not any(_alternatives(_parts(file).choices, line, other) for other in chosen):
                run.unreached.append(Site(kind, spot))


def _executed(run: Run) -> Iterator[Any]:
    for optimizer in run.optimizers:
        yield from (p for p in (optimizer.place, optimizer.step_place, *optimizer.grown) if p is not None)
    for scheduler in run.schedulers:
        if scheduler.step_place is not None:
            yield scheduler.step_place


@dataclasses.dataclass(slots=True)
class _Parts:
    """What is of interest in a file: its calls, the lines that set a learning rate, the branches of its choices.

    `runs` are the lines of plain statements that follow one another: if one is executed, all are.
    """

    calls: list[ast.Call]
    rates: list[int]
    choices: list[list[list[ast.stmt]]]
    runs: list[range]


@functools.cache
def _parts(file: str) -> _Parts:
    found = _Parts([], [], [], [])
    tree = tree_of(file)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Call):
            found.calls.append(node)
        elif isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(_is_rate(t) for t in targets):
                found.rates.append(node.lineno)
        elif isinstance(node, ast.If):
            found.choices.append([node.body, node.orelse])
        elif isinstance(node, ast.Match):
            found.choices.append([case.body for case in node.cases])
        for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            if isinstance(block, list):
                found.runs.extend(_runs(block))
    return found


def _runs(block: list[ast.stmt]) -> Iterator[range]:
    """The lines of each series of plain statements in a block."""
    for plain, series in itertools.groupby(
        block, lambda s: isinstance(s, ast.Expr | ast.Assign | ast.AugAssign | ast.AnnAssign)
    ):
        statements = list(series)
        if plain and len(statements) > 1:
            yield range(statements[0].lineno, (statements[-1].end_lineno or statements[-1].lineno) + 1)


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _sites(parts: _Parts, frame: FrameType) -> Iterator[tuple[int, str]]:
    for line in parts.rates:
        yield line, "rate"
    for node in parts.calls:
        kind = _call_kind(node, frame)
        if kind:
            yield node.lineno, kind


def _is_rate(target: ast.AST) -> bool:
    return isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant) and target.slice.value == "lr"


def _call_kind(node: ast.Call, frame: FrameType) -> str:
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("step", "add_param_group"):
        return "group" if node.func.attr == "add_param_group" else _step_kind(node.func.value, frame)
    if not isinstance(node.func, ast.Name | ast.Attribute):
        return ""
    try:
        function = evaluate(node.func, frame)
    except Exception:
        return ""
    return "build" if isinstance(function, type) and issubclass(function, torch.optim.Optimizer) else ""


def _step_kind(receiver: ast.expr, frame: FrameType) -> str:
    try:
        value = evaluate(receiver, frame)
    except Exception:
        return "step"
    if isinstance(value, torch.optim.Optimizer | torch.amp.GradScaler):
        return "optimizer step"
    wraps = any(isinstance(v, torch.optim.Optimizer) for v in getattr(value, "__dict__", {}).values())
    if isinstance(value, lr_scheduler.LRScheduler) or not (wraps or isinstance(value, torch.nn.Module)):
        return "other step"
    return "optimizer step"


def _alternatives(choices: list[list[list[ast.stmt]]], line: int, other: int) -> bool:
    """Whether two lines are in different branches of one `if` or `match`."""
    for branches in choices:
        homes = [[n for n, b in enumerate(branches) if _within(b, at)] for at in (line, other)]
        if homes[0] and homes[1] and homes[0] != homes[1]:
            return True
    return False


def _within(body: list[ast.stmt], line: int) -> bool:
    return bool(body) and body[0].lineno <= line <= (body[-1].end_lineno or 0)
