"""The loss of a step as a sum: a replay in which every operation is watched, and the summands found on the way back.

Terms inside a module and terms in the loop are alike here, since every operation is seen with its live tensors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture.tape import LOSSES
from trainrecipe.capture.watch import run_watched
from trainrecipe.subjects.names import JOINING, LAYERS, RESHAPING, plain_name

if TYPE_CHECKING:
    from trainrecipe.capture.replay import Twin
    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.step import Step

SUMS = frozenset({"add", "radd", "sub", "subtract", "rsub"}) | JOINING
"""Operations whose result is a sum of their operands, up to signs."""
SCALES = frozenset({"neg", "negative", "mul", "rmul", "multiply", "div", "divide", "true_divide", "truediv"}) | RESHAPING
"""Operations that are linear in one operand."""
REDUCTIONS = frozenset({"mean", "sum", "nanmean", "nansum"})
PRODUCTS = frozenset({"matmul", "mm", "addmm", "bmm", "einsum", "baddbmm"})
MOST_TERMS = 64


class Graph:
    """One watched replay of a step: every operation with its live tensors, and which operation made which tensor."""

    def __init__(self, step: Step, twin: Twin | None = None) -> None:
        self.step = step
        self.twin = twin or step.twin()
        self.ops: list[Seen] = []
        self.makers: dict[int, list[Seen]] = {}
        with torch.enable_grad():
            self.env = run_watched(step, self.twin, self._look)
            self.root = self.twin.total(self.env)
        if step.tape.weights == [None] and len(step.tape.roots) == 1:
            self.root = self.env[step.tape.roots[0]]

    def _look(self, seen: Seen) -> None:
        self.ops.append(seen)  # keeps the tensors alive, so that their identities stay unique
        for out in seen.outputs:
            self.makers.setdefault(id(out), []).append(seen)

    def maker(self, tensor: torch.Tensor, before: int | None = None) -> Seen | None:
        """The last operation that made a tensor or wrote to it; `before` leaves out operations from that index on."""
        made = self.makers.get(id(tensor), ())
        return next((s for s in reversed(made) if before is None or s.index < before), None)

    def cone(self, tensor: torch.Tensor, stop: Any = None) -> Iterator[Seen]:
        """The operations that a tensor came out of, each once; those for which `stop` holds end the search."""
        seen: set[int] = set()
        work: list[tuple[torch.Tensor, int | None]] = [(tensor, None)]
        while work:
            given, before = work.pop()
            op = self.maker(given, before)
            if op is None or op.index in seen:
                continue
            seen.add(op.index)
            yield op
            if stop is None or not stop(op):
                work += [(t, op.index) for t in op.inputs]


@dataclasses.dataclass(eq=False)
class Piece:
    """One summand: a live tensor, and the operation that stands for it."""

    tensor: torch.Tensor
    op: Seen | None
    flips: tuple[Seen, ...] = ()
    weight: torch.Tensor | None = None

    @property
    def key(self) -> Any:
        """What summands of one line have in common."""
        return None if self.op is None else (self.op.name, self.op.at, self.op.path)


def pieces_of(graph: Graph) -> Iterator[Piece]:
    """The summands of a loss: back from the root through sums, constant factors and means of sums of losses."""
    work: list[tuple[torch.Tensor, int | None, tuple[Seen, ...]]] = [(graph.root, None, ())]
    done: set[tuple[int, int | None]] = set()
    while work:
        tensor, before, flips = work.pop()
        if (id(tensor), before) in done or not tensor.requires_grad:
            continue
        done.add((id(tensor), before))
        op = graph.maker(tensor, before)
        onward = [] if op is None else _onward(graph, op)
        if onward and op is not None:
            work += [(t, op.index, (*flips, op) if _flips(op, t) else flips) for t in onward]
        else:
            yield Piece(tensor, op if op is None else _principal(graph, op), flips)


def _flips(op: Seen, operand: torch.Tensor) -> bool:
    """Whether an operation turns the sign of one of its operands."""
    name = plain_name(op)
    given = list(op.args) if isinstance(op.args, list | tuple) else []
    if name in ("neg", "negative"):
        return True
    if name in ("sub", "subtract") and len(given) > 1:
        return given[1] is operand
    if name == "rsub":
        return bool(given) and given[0] is operand
    others = [g for g in given if g is not operand]
    return name in SCALES and any(_negative(g) for g in others)


def _negative(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1 and not value.is_complex() and float(value.detach()) < 0
    return isinstance(value, int | float) and value < 0


def _onward(graph: Graph, op: Seen) -> list[torch.Tensor]:
    """The operands in which an operation is linear, where the sum goes on behind it; none where a term ends."""
    moving = [t for t in op.inputs if t.requires_grad]
    name = plain_name(op)
    if name in SUMS or (name == "sum" and len(moving) > 1):
        return moving
    if (
        name in SCALES
        and len(moving) == 1
        and op.inputs
        and not (name.endswith(("div", "divide")) and moving[0] is not _first(op))
    ):
        return moving
    if name in REDUCTIONS and len(moving) == 1 and (moving[0].numel() == 1 or _adds_losses(graph, moving[0], op.index)):
        return moving
    return []


def _first(op: Seen) -> Any:
    return op.args[0] if isinstance(op.args, list | tuple) and op.args else op.inputs[0]


def _adds_losses(graph: Graph, tensor: torch.Tensor, before: int) -> bool:
    """Whether a tensor is a sum of several tensors that are each a loss per example."""
    leaves, sums = 0, 0
    work: list[tuple[torch.Tensor, int]] = [(tensor, before)]
    while work:
        given, at = work.pop()
        op = graph.maker(given, at)
        if op is None:
            return False
        moving = [t for t in op.inputs if t.requires_grad]
        name = plain_name(op)
        if name in SUMS and moving:
            sums += len(moving) > 1
            work += [(t, op.index) for t in moving]
        elif name in SCALES and len(moving) == 1:
            work.append((moving[0], op.index))
        elif op.name in LOSSES or name in REDUCTIONS:
            leaves += 1
        else:
            return False
        if len(work) > MOST_TERMS:
            return False
    return bool(sums) and leaves > 1


def _principal(graph: Graph, op: Seen) -> Seen:
    """The loss function behind reductions, masks and factors, if there is one; else the operation itself."""
    at: Seen | None = op
    for _ in range(8):
        if at is None or at.name in LOSSES:
            break
        moving = [t for t in at.inputs if t.requires_grad]
        if len(moving) != 1 or plain_name(at) not in (SCALES | REDUCTIONS | {"clamp", "pow", "sqrt"}):
            at = None
            break
        at = graph.maker(moving[0], at.index)
    return at if at is not None and at.name in LOSSES else op


# ---- layers


def weighs(op: Seen) -> bool:
    """Whether an operation applies weights."""
    return op.name in LAYERS or (plain_name(op) in PRODUCTS and any(is_weight(t) for t in op.inputs))


def weights_of(op: Seen) -> list[torch.Tensor]:
    """The leaves that an operation applies."""
    return [t if t._base is None else t._base for t in op.inputs if is_weight(t)]


def is_weight(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a trainable leaf, or a view of one."""
    base = tensor._base if tensor._base is not None else tensor
    return base.is_leaf and base.requires_grad
