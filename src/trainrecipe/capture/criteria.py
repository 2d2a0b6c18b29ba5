"""From the loss objects that were built and the recorded steps to what a check can compare: which were used, and how."""

from __future__ import annotations

import ast
import functools
import inspect
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from trainrecipe.capture.tape import LOSSES, Op
from trainrecipe.capture.where import place
from trainrecipe.subjects.criteria import Criterion, LossUse

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener

FUNCTIONS = {
    "CrossEntropyLoss": "cross_entropy",
    "NLLLoss": "nll_loss",
    "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
}
SETTINGS = {"weight": None, "pos_weight": None, "ignore_index": -100, "label_smoothing": 0.0}


def fill_criteria(listener: Listener) -> None:
    """Fill what `run` tells about loss objects and the losses that were used."""
    run = listener.run
    tapes = [t for tapes in listener.backwards.tapes.values() for t in tapes[:1]]
    called = {id(op.call) for tape in tapes for op in tape.history if op.kind == "module"}
    for module, at, step in listener.models.criteria:
        settings = _settings(module)
        if settings:
            run.criteria.append(
                Criterion(
                    type(module).__name__,
                    FUNCTIONS[type(module).__name__],
                    settings,
                    place(at),
                    id(module) in called or id(module) in listener.models.called_criteria,
                    "" if at is None else _bound(at[0], at[1]),
                    run.steps - step,
                )
            )
    for tape in tapes:
        for op in tape.history:
            if op.name in LOSSES and op.kept:
                settings = _bound_settings(op)
                used = [k for k, default in SETTINGS.items() if k in settings and _differs(settings[k], default)]
                run.loss_uses.append(LossUse(op.name, used, place(op.at), settings.get("reduction") != "none"))


def _settings(module: nn.Module) -> dict[str, str]:
    """What differs from the defaults; equal weights do not."""
    found = {}
    for name, default in SETTINGS.items():
        value = getattr(module, name, default)
        if isinstance(value, torch.Tensor):
            flat = value.detach().flatten()
            if bool((flat != flat[0]).any()) or (name == "pos_weight" and float(flat[0]) != 1):
                found[name] = str([round(float(v), 4) for v in flat[:8]])
        elif value != default:
            found[name] = str(value)
    return found


def _bound_settings(op: Op) -> dict[str, Any]:
    """The arguments that a loss function was given, by name."""
    try:
        return inspect.signature(getattr(F, op.name)).bind(*op.args, **op.kwargs).arguments
    except (TypeError, ValueError, AttributeError):
        return {}


def _differs(value: Any, default: Any) -> bool:
    return value is not None and not (isinstance(value, int | float) and value == default)


@functools.lru_cache(maxsize=32)
def _tree(file: str) -> ast.Module | None:
    try:
        with open(file, encoding="utf-8") as source:
            return ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):
        return None


def _bound(file: str, line: int) -> str:
    """What the file does with the name that a statement at `line` gives its value."""
    tree = _tree(file)
    if tree is None:
        return ""
    stores = [(n, name) for n in ast.walk(tree) if isinstance(n, ast.Assign | ast.AnnAssign) for name in _targets(n)]
    own = [(n, name) for n, name in stores if n.lineno <= line <= (n.end_lineno or n.lineno)]
    if len(own) != 1:
        return ""
    statement, name = own[0]
    again = [n for n, other in stores if other == name and n is not statement and n.lineno > line]
    read = any(_reads(node, name) for node in ast.walk(tree))
    return "never read" if not read else "overwritten" if again else "read"


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """The names that an assignment gives its value, attributes with a dot before them."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [t.id if isinstance(t, ast.Name) else f".{t.attr}" for t in targets if isinstance(t, ast.Name | ast.Attribute)]


def _reads(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name and isinstance(node.ctx, ast.Load)
    return isinstance(node, ast.Attribute) and f".{node.attr}" == name and isinstance(node.ctx, ast.Load)
