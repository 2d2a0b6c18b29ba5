"""The structure of a step: its layers in the order of execution, with what they hold, cost and give.

for row in structure(step): print(row.name, row.shape, row.parameters, row.flops)
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from trainrecipe.capture.watch import LAYER_KINDS, Seen, run_watched
from trainrecipe.subjects.kernels import CONVOLUTIONS, alive_share
from trainrecipe.subjects.layers import WEIGHTED
from trainrecipe.subjects.names import RESHAPING

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

_NORMS = frozenset({"batch_norm", "instance_norm"})


@dataclasses.dataclass(slots=True)
class Row:
    """One layer, or one function with weights that the program calls itself.

    `shape` is that of its last result, `parameters` the number of its own, `flops` the floating-point operations of one
    forward (a multiplication and an addition are two), `memory` the bytes of the results that it makes, `low` and `high` their
    range, `remark` what is odd about it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    flops: int
    memory: int
    low: float
    high: float
    calls: int = 1
    remark: str = ""


class _Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts floating-point operations by PyTorch's own formulas."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += int(formula(*args, **(kwargs or {}), out_val=out))
        return out


def structure(step: Step) -> list[Row]:
    """The layers of a step, one forward. Raises what a replay raises; ask `distrust` first."""
    table = _Table(step)
    with _Flops() as table.counter:
        run_watched(step, table.twin, table.look)
    return list(table.rows.values())


class _Table:
    def __init__(self, step: Step) -> None:
        self.step = step
        self.twin = step.twin()
        self.leaves = {id(w): w for _, w in self.twin.leaves}
        self.rows: dict[Any, Row] = {}
        self.counter = _Flops()
        self._before = 0
        self._biased: dict[int, Row] = {}
        self._kept: list[Seen] = []

    def look(self, seen: Seen) -> None:
        """Add one operation to the layer that it belongs to."""
        flops, self._before = self.counter.total - self._before, self.counter.total
        self._kept.append(seen)  # keeps the tensors alive, so that their identities stay unique
        out = next((t for t in seen.outputs if t.is_floating_point()), None)
        layer = seen.layer if seen.layer is not None and type(seen.layer).__module__.startswith(LAYER_KINDS) else None
        held = {id(t): t for t in seen.inputs if id(t) in self.leaves}
        if out is None or (layer is None and not flops and not held):
            return
        key = (seen.top, seen.path) if layer is not None else ("call", seen.at, seen.name)
        kind = type(layer).__name__ if layer is not None else seen.name
        made = 0 if seen.name in RESHAPING or any(out is t for t in seen.inputs) else out.nbytes
        low, high = _range(out)
        row = self.rows.get(key)
        if row is None:
            name = (seen.path if layer is not None else f"line {seen.at[1]}" if seen.at else seen.path) or kind
            row = self.rows[key] = Row(name, kind, (), sum(t.numel() for t in held.values()), 0, 0, low, high, 0)
        row.shape, row.calls, row.flops, row.memory = tuple(out.shape), row.calls + 1, row.flops + flops, row.memory + made
        row.low, row.high = min(row.low, low), max(row.high, high)
        self._remark(seen, row, out)

    def _remark(self, seen: Seen, row: Row, out: torch.Tensor) -> None:
        if seen.name in WEIGHTED and sum(t.ndim == 1 and id(t) in self.leaves for t in seen.inputs) == 1:
            self._biased[id(out)] = row
        if seen.name in _NORMS and (before := self._biased.get(id(seen.inputs[0]))) is not None:
            before.remark = "its bias has no effect before the norm"
        if seen.name in CONVOLUTIONS and (dead := 1 - alive_share(seen)) > 0:
            row.remark = f"{dead:.0%} of its weights meet padding only"


def _range(value: torch.Tensor) -> tuple[float, float]:
    if not value.numel():
        return 0.0, 0.0
    low, high = value.detach().float().aminmax()
    return float(low), float(high)
