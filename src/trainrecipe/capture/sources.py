"""What the user's source says that may not have happened yet: steps of optimisers, optimisers that are built later.

A rehearsal sees only the beginning of a run. Before a check says that something never happens, it asks here whether the
program contains a line for it that was not reached.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch.optim import lr_scheduler

from trainrecipe.capture.horizon import call_at, evaluate, tree_of
from trainrecipe.capture.where import is_user_file, place
from trainrecipe.subjects.run import Run, Site

_FRAMES = 60


class Sources:
    """Looks at the source behind the frames of the stack, a few times, and keeps what each call site is."""

    def __init__(self, looks: int = 6) -> None:
        self.sites: dict[tuple[str, int], str] = {}
        self._trees: dict[str, ast.Module] = {}
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
            tree = tree_of(file) if is_user_file(file) else None
            if tree is not None:
                self._trees[file] = tree
                for line, kind in _sites(tree, frame):
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
            tree = tree_of(file)
            for node in ast.walk(tree) if tree is not None else ():
                if isinstance(node, ast.Call) and ast.unparse(node.func) == name and node.lineno not in lines:
                    yield file, node.lineno

    def fill(self, run: Run) -> None:
        """Write `run.unreached`: the sites that were not executed, less the other branches of a choice that was made."""
        done = {(p.file, p.line) for p in _executed(run)}
        for file, line in self._other_calls():
            tree = tree_of(file)
            if tree is not None:
                self._trees[file] = tree
                self.sites.setdefault((file, line), "build")
        for (file, line), kind in self.sites.items():
            spot = place((file, line, ""))
            if spot is None or (spot.file, line) in done:
                continue
            chosen = [done_line for done_file, done_line in done if done_file == spot.file]
            if kind != "build" or not any(_alternatives(self._trees[file], line, other) for other in chosen):
                run.unreached.append(Site(kind, spot))


def _executed(run: Run) -> Iterator[Any]:
    for optimizer in run.optimizers:
        yield from (p for p in (optimizer.place, optimizer.step_place, *optimizer.grown) if p is not None)
    for scheduler in run.schedulers:
        if scheduler.step_place is not None:
            yield scheduler.step_place


def _sites(tree: ast.Module, frame: FrameType) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            kind = _call_kind(node, frame)
            if kind:
                yield node.lineno, kind
        elif isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(_is_rate(t) for t in targets):
                yield node.lineno, "rate"


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


def _alternatives(tree: ast.Module, line: int, other: int) -> bool:
    """Whether two lines are in different branches of one `if` or `match`."""
    for node in ast.walk(tree):
        branches: list[list[ast.stmt]] = []
        if isinstance(node, ast.If):
            branches = [node.body, node.orelse]
        elif isinstance(node, ast.Match):
            branches = [case.body for case in node.cases]
        homes = [[n for n, b in enumerate(branches) if _within(b, at)] for at in (line, other)]
        if homes[0] and homes[1] and homes[0] != homes[1]:
            return True
    return False


def _within(body: list[ast.stmt], line: int) -> bool:
    return bool(body) and body[0].lineno <= line <= (body[-1].end_lineno or 0)
