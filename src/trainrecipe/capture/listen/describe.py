"""Facts about the program's objects, read off without touching them: layers, loaders, optimisers, schedules, graphs."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.utils.data import Subset

from trainrecipe.capture import members
from trainrecipe.capture.tape import Tape
from trainrecipe.capture.where import Spot, is_user_file, place
from trainrecipe.finding import Place
from trainrecipe.subjects.run import Optimizer

SCALE_FREE = frozenset({"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta", "Rprop", "Adafactor"})
"""Optimisers whose update hardly depends on the scale of the gradient."""
_HORIZON = ("T_max", "T_0", "total_steps", "total_iters", "step_size", "milestones", "gamma", "last_epoch", "_milestones")

_SETTINGS = ("momentum", "dampening", "nesterov", "betas", "eps", "alpha", "maximize", "fused")


_ATTENTION = "scaled_dot_product_attention"


def moody(module: nn.Module) -> list[tuple[str, str, float]]:
    """The layers below `module` that act differently in training: (name, dropout | batchnorm, dropout probability)."""
    found = []
    for name, layer in members.named_modules(module):
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            found.append((name, "dropout", float(layer.p)))
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats:
            found.append((name, "batchnorm", 0.0))
        elif isinstance(layer, nn.RNNBase | nn.MultiheadAttention) and layer.dropout > 0:
            found.append((name, "dropout", float(layer.dropout)))
        elif (rate := _own_dropout(layer)) > 0:
            found.append((name, "dropout", rate))
    return found


def _own_dropout(layer: nn.Module) -> float:
    """The rate of the dropout that a module's own code applies while `self.training`; 0 where there is none.

    Told by the names that the compiled forward uses: `training`, and a function for dropout that is no layer of its own. The
    rate is a number that it reads, from itself, its settings, a global or a constant; a function's default where none is.
    """
    forward = inspect.unwrap(type(layer).forward)
    code = getattr(forward, "__code__", None)
    if code is None or "training" not in code.co_names or type(layer).__module__.startswith("torch."):
        return 0.0
    names = [n for n in code.co_names if "drop" in n.lower() or n == _ATTENTION]
    applies = [n for n in names if type(getattr(layer, n, None)) in (type(None), int, float)]  # and no layer or method
    if not applies:
        return 0.0
    own = vars(layer)
    holders = [own, forward.__globals__, *(vars(own[n]) for n in code.co_names if hasattr(own.get(n), "__dict__"))]
    asked = [n for n in code.co_names if "drop" in n.lower() or n in ("p", "prob", "rate")]
    rates = [v for held in holders for n in asked if type(v := held.get(n)) in (int, float) and 0 <= v < 1]
    rates = rates or [c for c in code.co_consts if type(c) is float and 0 < c < 1]
    return float(max(rates, default=0.0 if applies == [_ATTENTION] else 0.5))


def innermost(dataset: Any) -> tuple[Any, range | list[int] | None]:
    """The data set behind nested `Subset`s, and the indices of it that are read (None: all, in order)."""
    chain = []
    while isinstance(dataset, Subset):
        chain.append(dataset.indices)
        dataset = dataset.dataset
    if not chain:
        return dataset, None
    indices = [int(i) for i in chain[-1]]
    for outer in reversed(chain[:-1]):
        indices = [indices[int(i)] for i in outer]
    return dataset, indices


def optimizer_record(optimizer: torch.optim.Optimizer, number: int, at: Place | None, step: int) -> Optimizer:
    """What an optimiser is made of when it is built."""
    groups = [
        {
            "lr": float(g.get("lr", 0.0)),
            "weight_decay": float(g.get("weight_decay", 0.0) or 0.0),
            "parameters": len(g["params"]),
            "elements": sum(p.numel() for p in g["params"]),
            "trainable": sum(1 for p in g["params"] if p.requires_grad),
            "settings": {k: _plain(g[k]) for k in _SETTINGS if k in g},
        }
        for g in optimizer.param_groups
    ]
    name = type(optimizer).__name__
    first = optimizer.param_groups[0] if optimizer.param_groups else {}
    return Optimizer(
        number=number,
        name=name,
        place=at,
        groups=groups,
        parameters=sum(g["parameters"] for g in groups),
        momentum=bool(first.get("momentum") or first.get("betas")),
        scale_free=name in SCALE_FREE,
        born_step=step,
        standard=type(optimizer).__module__.startswith("torch.optim"),
    )


def _plain(value: Any) -> Any:
    """A setting of an optimiser as plain numbers."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool) else float(value)


def eps_share(optimizer: torch.optim.Optimizer) -> float | None:
    """The share of elements whose root of the second moment is below eps, so that eps sets the size of their update."""
    below, every = 0, 0
    for group in optimizer.param_groups:
        if "betas" not in group or "eps" not in group or group["eps"] is None or isinstance(group["eps"], tuple):
            continue
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            second, step = state.get("exp_avg_sq"), float(state.get("step", 0) or 0)
            if isinstance(second, torch.Tensor) and step:
                sample = second.detach().reshape(-1)
                sample = sample[:: max(1, sample.numel() // 4096)]
                root = (sample / (1 - float(group["betas"][1]) ** step)).sqrt()
                live = root > 0
                below += int((live & (root < float(group["eps"]))).sum())
                every += int(live.sum())
    return below / every if every else None


def unwrapped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimiser that takes the steps for one that wraps it, such as Accelerate's."""
    for _ in range(4):
        mine = {id(p) for g in optimizer.param_groups for p in g["params"]}
        inner = [v for v in vars(optimizer).values() if isinstance(v, torch.optim.Optimizer)]
        same = [o for o in inner if mine == {id(p) for g in o.param_groups for p in g["params"]}]
        if not same:
            break
        optimizer = same[0]
    return optimizer


def horizon(scheduler: Any) -> dict[str, float]:
    """The lengths a scheduler was built with, in the units of its own steps."""
    found = {}
    for name in _HORIZON:
        value = getattr(scheduler, name, None)
        if isinstance(value, Counter | list) and value and all(isinstance(v, int | float) for v in value):
            value = max(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found


def graph_size(node: Any, number: int = 0, most: int = 20000) -> tuple[int, int]:
    """How many nodes the autograd graph behind `node` has, counted up to `most`, and how many of them belong to an earlier
    graph. Nodes are marked with `number`; those that stand for parameters belong to every graph and do not count."""
    size = shared = 0
    for one in _nodes(node, most):
        size += 1
        if one.next_functions:
            shared += one.metadata.setdefault("trainrecipe graph", number) < number
    return size, shared


def leaves(root: torch.Tensor, most: int = 20000) -> list[torch.Tensor]:
    """The tensors that a loss sends gradients to, found in its autograd graph of at most so many nodes."""
    return [node.variable for node in _nodes(root.grad_fn, most) if hasattr(node, "variable")]


def _nodes(root: Any, most: int) -> Iterator[Any]:
    """The nodes of an autograd graph, each once, at most so many."""
    work = [root] if root is not None else []
    seen = set(work)
    for _ in range(most):
        if not work:
            return
        node = work.pop()
        yield node
        for child, _index in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                work.append(child)


def flows(tape: Tape, held_by: Mapping[int, Iterable[int]]) -> set[tuple[int, int]]:
    """Pairs of optimisers of which the first one's parameters feed the second one's on the way to a tape's loss."""
    behind: dict[int, set[int]] = {}
    found: set[tuple[int, int]] = set()
    for op in tape.ops:
        leaves = [v.parameter for n in op.inputs if (v := tape.values.get(n)) is not None and v.parameter is not None]
        leaves += list(members.parameters(op.call)) if isinstance(op.call, torch.nn.Module) else []
        own = {number for leaf in leaves for number in held_by.get(id(leaf), ())}
        before = {number for n in op.inputs for number in behind.get(n, ())}
        found |= {(a, b) for a in before for b in own if a != b}
        for n in (*op.outputs, *op.mutated):
            behind[n] = behind.get(n, set()) | before | own
    return found


def is_pretrained(module: nn.Module) -> bool:
    """Whether a module says that it came from a named checkpoint, as those of Transformers and Diffusers do."""
    return bool(vars(module).get("name_or_path") or getattr(vars(module).get("config"), "_name_or_path", ""))


def has_fresh_norms(module: nn.Module) -> bool:
    """Whether a batch-norm layer with running statistics has not seen a batch yet."""
    norms = [m for m in members.modules(module) if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    return any(m.num_batches_tracked is not None and int(m.num_batches_tracked) == 0 for m in norms)


def who_holds_a_graph(at: Spot | None) -> tuple[str, Place | None]:
    """The variable that keeps graphs alive: a tensor with a graph, or a list of them, in the frames of the user's loop.

    Returns its name and the line that assigns or appends to it; empty when nothing such is found.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_user_file(frame.f_code.co_filename):
            for name, line in _accumulators(frame.f_code.co_filename):
                value = _look_up(frame, name)
                if _holds_graph(value):
                    return name, place((frame.f_code.co_filename, line, frame.f_code.co_name))
        frame = frame.f_back
    return "", None


def _holds_graph(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.grad_fn is not None
    if isinstance(value, list) and len(value) >= 3:
        return all(isinstance(v, torch.Tensor) and v.grad_fn is not None for v in value[-3:])
    return False


def _look_up(frame: FrameType, name: str) -> Any:
    head, *rest = name.split(".")
    value = frame.f_locals.get(head, frame.f_globals.get(head))
    for part in rest:
        value = getattr(value, part, None)
    return value


@functools.cache
def _accumulators(filename: str) -> list[tuple[str, int]]:
    """Names that a file adds to or appends to, with the line: `total += x`, `total = total + x`, `losses.append(x)`."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except SyntaxError:
        return []
    return list(_find_accumulators(tree))


def _find_accumulators(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            yield ast.unparse(node.target), node.lineno
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.Add):
            target = ast.unparse(node.targets[0])
            if target in (ast.unparse(node.value.left), ast.unparse(node.value.right)):
                yield target, node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
            yield ast.unparse(node.func.value), node.lineno
