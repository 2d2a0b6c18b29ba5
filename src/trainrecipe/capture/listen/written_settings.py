"""Settings that are written where an optimiser does not read them: in its defaults, attributes and unknown keys of groups."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch

from trainrecipe.capture.listen.loops import parents_of
from trainrecipe.capture.unused import user_files
from trainrecipe.capture.where import place
from trainrecipe.subjects.run import Run, Written

_OTHER_NAMES = {"learningrate": "lr", "stepsize": "lr", "wd": "weight_decay", "l2": "weight_decay"}
"""What settings are called elsewhere, without underscores and capitals."""
_TELLING = frozenset(
    {
        "print",
        "append",
        "write",
        "log",
        "info",
        "debug",
        "warning",
        "add_scalar",
        "log_metric",
        "set_postfix",
        "set_description",
    }
)
"""Functions that only tell a value."""
_CLOSE = 1e-6


class Settings:
    """What an optimiser's settings are, and what else is written that looks like one. `look` after each step."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.first = {
            k: v for k, given in (getattr(optimizer, "defaults", None) or {}).items() if (v := _number(given)) is not None
        }
        self.known = {*self.first, *(k for g in optimizer.param_groups for k in g)}
        self.used: dict[str, list[float | None]] = {}
        self.varied: set[str] = set()
        self.found: dict[tuple[str, str], Written] = {}

    def look(self, optimizer: torch.optim.Optimizer) -> list[Written]:
        """What was written so far beside settings that never changed."""
        used = {key: [_number(g.get(key)) for g in optimizer.param_groups] for key in self.first}
        self.used = self.used or used
        self.varied |= {key for key in used if used[key] != self.used[key]}
        for form, name, setting, value in self._written(optimizer):
            if any(u is None or abs(u - value) <= _CLOSE * abs(value) for u in used[setting]):
                continue
            default = Written(form, name, setting, value, [u for u in used[setting] if u is not None])
            one = self.found.setdefault((form, name), default)
            one.steps, one.last = one.steps + 1, value
        return [one for one in self.found.values() if one.setting not in self.varied]

    def _written(self, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, str, str, float]]:
        for key, first in self.first.items():
            value = _number(optimizer.defaults.get(key))
            if value is not None and value != first:
                yield "defaults", key, key, value
        for name, given in vars(optimizer).items():
            setting, value = self._meant(name), _number(given)
            if setting and value is not None:
                yield "attribute", name, setting, value
        for group in optimizer.param_groups:
            for name, given in group.items():
                setting = self._meant(name) if name not in self.known else ""
                if setting and (value := _number(given)) is not None:
                    yield "key", name, setting, value

    def _meant(self, name: str) -> str:
        """The setting that a name stands for; empty for other names."""
        plain = _plain(name)
        same = next((key for key in self.first if _plain(key) == plain), _OTHER_NAMES.get(plain, ""))
        return same if same in self.first else ""


def _plain(name: Any) -> str:
    return str(name).lower().replace("_", "").replace("-", "")


def _number(value: Any) -> float | None:
    if isinstance(value, torch.Tensor):
        return float(value) if value.numel() == 1 else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


# ---- what the source says


def fill(run: Run) -> None:
    """Keep of `optimizer.written` what some line of the source writes and none reads, but to tell it."""
    for optimizer in run.optimizers:
        optimizer.written = [one for one in optimizer.written if _is_idle(one)]


def _is_idle(one: Written) -> bool:
    files = user_files()
    writes = [(file, node) for file in files for node in _writes(file, one.form, one.name)]
    if not writes:
        return False
    receivers = frozenset(_receiver(node) for _, node in writes)
    if any(_reads(file, one.form, one.name, receivers) for file in files):
        return False
    file, node = next(((f, n) for f, n in writes if _is_optimizers(f, n, one.form)), writes[0])
    one.place = place((file, node.lineno, ""))
    return True


def _writes(file: str, form: str, name: str) -> Iterator[ast.expr]:
    """Where a file writes it."""
    for node in parents_of(file):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            if _is_it(node, form, name) and not (form == "attribute" and _receiver(node) == "self"):
                yield node
        elif isinstance(node, ast.Call) and form == "attribute" and getattr(node.func, "id", "") == "setattr":
            if len(node.args) == 3 and _constant(node.args[1]) == name:
                yield node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "update":
            keys = [k.arg for k in node.keywords] + [_constant(k) for a in node.args for k in getattr(a, "keys", ())]
            held = isinstance(node.func.value, ast.Attribute) and node.func.value.attr == "defaults"
            if form != "attribute" and name in keys and held == (form == "defaults"):
                yield node


def _is_it(node: ast.Subscript | ast.Attribute, form: str, name: str) -> bool:
    if form == "attribute":
        return isinstance(node, ast.Attribute) and node.attr == name
    if not isinstance(node, ast.Subscript) or _constant(node.slice) != name:
        return False
    held = isinstance(node.value, ast.Attribute) and node.value.attr == "defaults"
    return held == (form == "defaults")


def _constant(node: ast.AST | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _receiver(node: ast.expr) -> str:
    """What it is written to, as written."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.args[0] if isinstance(node.func, ast.Name) else node.func.value)  # type: ignore[attr-defined]
    return ast.unparse(node.value)  # type: ignore[attr-defined]


def _is_optimizers(file: str, node: ast.expr, form: str) -> bool:
    """Whether it is plain that an optimiser, or one of its groups, is written to."""
    receiver = _receiver(node)
    if form != "key":
        return "opt" in receiver.lower()
    loops = [n for n in parents_of(file) if isinstance(n, ast.For | ast.comprehension)]
    return "param_groups" in receiver or any(
        receiver in ast.unparse(n.target) and "param_groups" in ast.unparse(n.iter) for n in loops
    )


def _reads(file: str, form: str, name: str, receivers: frozenset[str]) -> bool:
    """Whether a file reads it for something else than to tell it or to write it again."""
    for node in parents_of(file):
        if _is_read(file, node, form, name, receivers) and not _is_idle_read(file, node, form, name):
            return True
    return False


def _is_read(file: str, node: ast.AST, form: str, name: str, receivers: frozenset[str]) -> bool:
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        at = {"getattr": 1, "get": 0, "pop": 0, "setdefault": 0}.get(called, -1)
        return 0 <= at < len(node.args) and _constant(node.args[at]) == name
    if isinstance(node, ast.Attribute) and form == "defaults" and node.attr == "defaults":
        above = parents_of(file)[node]
        if isinstance(above, ast.Subscript):
            return isinstance(above.ctx, ast.Load) and _constant(above.slice) in (None, name)
        return not (isinstance(above, ast.Attribute) and above.attr == "update")
    if not isinstance(node, ast.Subscript | ast.Attribute) or not isinstance(node.ctx, ast.Load) or form == "defaults":
        return False
    return _is_it(node, form, name) and (form == "key" or ast.unparse(node.value) in receivers)


def _is_idle_read(file: str, node: ast.AST, form: str, name: str) -> bool:
    """Whether what is read is only told, or becomes the next value of the same."""
    parents = parents_of(file)
    while node in parents:
        below, node = node, parents[node]
        if isinstance(node, ast.JoinedStr):
            return True
        if isinstance(node, ast.Call) and below is not node.func:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in _TELLING:
                return True
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return any(isinstance(t, ast.Subscript | ast.Attribute) and _is_it(t, form, name) for t in targets)
        if isinstance(node, ast.If) and below is node.test:
            inside = [n for s in node.body for n in ast.walk(s) if isinstance(n, ast.Subscript | ast.Attribute)]
            return any(isinstance(n.ctx, ast.Store) and _is_it(n, form, name) for n in inside)
    return False
