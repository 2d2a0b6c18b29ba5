"""The structure of a step: its layers as a tree, with what they hold, cost and give in one forward.

for layer in structure(step): print(layer.name, layer.shape, layer.parameters, layer.flops)
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from trainrecipe.capture import members
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.watch import LAYER_KINDS, Seen, watching
from trainrecipe.subjects.kernels import CONVOLUTIONS, alive_share
from trainrecipe.subjects.layers import WEIGHTED

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

_NORMS = frozenset({"batch_norm", "instance_norm"})
_ACTIVATIONS = frozenset(
    {
        *("relu", "relu_", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "hardtanh"),
        *("sigmoid", "sigmoid_", "tanh", "tanh_", "softmax", "log_softmax", "glu", "clamp", "clamp_min"),
    }
)
"""Functions that are worth a row of their own where the program calls them without a layer."""
_HUGE = 1e4
"""Deviation of a result beyond which it is remarked upon: half precision ends at 65,504."""


@dataclasses.dataclass(slots=True)
class Values:
    """How the elements of a result are distributed; `spread` is the sum of squared distances from the mean."""

    count: int = 0
    mean: float = 0.0
    spread: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")
    zeros: int = 0
    finite: bool = True

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Values:
        """Measure every element; where some are not finite, the finite ones."""
        elements = tensor.detach().float().flatten()
        if not elements.numel():
            return cls()
        low, high = map(float, elements.aminmax())
        finite = math.isfinite(low) and math.isfinite(high)
        if not finite:
            elements = elements[elements.isfinite()]
            if not elements.numel():
                return cls(finite=False)
            low, high = map(float, elements.aminmax())
        count = elements.numel()
        variance, mean = torch.var_mean(elements, correction=0)
        zeros = count - int(torch.count_nonzero(elements)) if low <= 0 <= high else 0
        return cls(count, float(mean), float(variance) * count, low, high, zeros, finite)

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return float((self.spread / self.count) ** 0.5) if self.count else 0.0

    def add(self, other: Values) -> None:
        """Take in the elements of another result."""
        count = self.count + other.count
        if other.count:
            gap = other.mean - self.mean
            self.spread += other.spread + gap * gap * self.count * other.count / count
            self.mean += gap * other.count / count
        self.count, self.zeros = count, self.zeros + other.zeros
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.finite = self.finite and other.finite


@dataclasses.dataclass(slots=True, eq=False)
class Layer:
    """A module, or a function with weights or a cost that the program calls itself, with everything inside it.

    `entered` and `shape` are the shapes of its last input and result, None where it is not called; `flops` are the
    floating-point operations of matrix products and convolutions in one forward (a multiplication and an addition are
    two); `memory` the bytes that are kept for backward, weights and data not counted; `values` its results; `calls` how
    often it is called; `repeats` how many equal layers in a row it stands for, with their sums; `remark` what is odd.
    """

    name: str
    kind: str
    weights: dict[int, tuple[int, bool]]
    children: list[Layer] = dataclasses.field(default_factory=list)
    entered: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    flops: int = 0
    memory: int = 0
    values: Values = dataclasses.field(default_factory=Values)
    calls: int = 0
    repeats: int = 1
    remark: str = ""
    first: float = float("inf")

    @property
    def parameters(self) -> int:
        """Elements of its parameters, those of layers inside included, tied ones once."""
        return sum(count for count, _ in self.weights.values())

    @property
    def trainable(self) -> int:
        """Elements that require a gradient."""
        return sum(count for count, trained in self.weights.values() if trained)

    def leaves(self) -> Iterator[Layer]:
        """The innermost layers."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def rows(self, depth: int = 0) -> Iterator[tuple[int, Layer]]:
        """Itself and every layer inside it, each with its depth."""
        yield depth, self
        for child in self.children:
            yield from child.rows(depth + 1)

    def alike(self) -> Any:
        """What equal layers have in common."""
        inner = tuple(child.alike() for child in self.children)
        sizes = tuple(sorted(self.weights.values()))
        return self.kind, self.entered, self.shape, sizes, self.flops, self.calls, self.remark, inner


def structure(step: Step) -> list[Layer]:
    """The models of a step, and functions with weights outside of them. Raises what a replay raises; ask `distrust` first."""
    return _Survey(step).made()


def whole(layers: Sequence[Layer]) -> Layer:
    """The sum of layers; weights that several use count once."""
    total = Layer("total", "", {})
    for layer in layers:
        total.weights |= layer.weights
        total.flops += layer.flops
        total.memory += layer.memory
    return total


def folded(layers: Sequence[Layer]) -> list[Layer]:
    """Equal numbered layers in a row as one, with their sums, at every depth."""
    made: list[Layer] = []
    row: list[Layer] = []
    for layer in layers:
        if row and not (layer.name.isdigit() and row[-1].name.isdigit() and row[-1].alike() == layer.alike()):
            made.append(_joined(row))
            row = []
        row.append(layer)
    return made + ([_joined(row)] if row else [])


def _joined(row: Sequence[Layer]) -> Layer:
    if len(row) == 1:
        return dataclasses.replace(row[0], children=folded(row[0].children))
    first = row[0]
    name = first.name if first.name == row[-1].name else f"{first.name}–{row[-1].name}"
    made = dataclasses.replace(first, name=name, weights={}, flops=0, memory=0, values=Values(), repeats=len(row))
    for layer in row:
        made.weights |= layer.weights
        made.flops += layer.flops
        made.memory += layer.memory
        made.values.add(layer.values)
    made.children = folded([_joined(each) for each in zip(*(r.children for r in row), strict=True)])
    return made


def _note_shared(layers: Sequence[Layer]) -> None:
    """Remark on layers whose weights are those of one before them."""
    owners: dict[int, str] = {}
    for leaf in (leaf for layer in layers for leaf in layer.leaves()):
        known = {owners[key] for key in leaf.weights if key in owners}
        if len(known) == 1 and not leaf.remark and next(iter(known)) != leaf.name:
            leaf.remark = f"shares weights with {next(iter(known))}"
        owners |= {key: leaf.name for key in leaf.weights if key not in owners}


# ---- counting


class _Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts floating-point operations by PyTorch's own formulas, and a few that it lacks."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        formula = flop_registry.get(packet)
        if formula is not None:
            self.total += int(formula(*args, **(kwargs or {}), out_val=out))
        elif (own := _FORMULAS.get(str(packet))) is not None:
            with contextlib.suppress(Exception):
                self.total += int(own(*args))
        return out


def _recurrent(given: torch.Tensor, *rest: Any) -> int:
    """Each weight matrix of a recurrent layer meets each element of the sequence once."""
    matrices = [t for t in tensors_in(rest) if t.ndim == 2]
    positions = given.numel() // max(1, given.shape[-1])
    return 2 * positions * sum(t.numel() for t in matrices)


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> int:
    return int(sdpa_flop_count(q.shape, k.shape, v.shape))  # type: ignore[no-untyped-call]


_FORMULAS: dict[str, Callable[..., int]] = {
    "aten.mkldnn_rnn_layer": lambda given, w1, w2, *_: _recurrent(given, w1, w2),
    "aten._cudnn_rnn": lambda given, weights, *_: _recurrent(given, weights),
    "aten._scaled_dot_product_flash_attention_for_cpu": lambda q, k, v, *_: _attention(q, k, v),
    "aten.mv": lambda a, *_: 2 * a.numel(),
    "aten.dot": lambda a, *_: 2 * a.numel(),
}


def _constant(rows: torch.Tensor) -> bool:
    return len(rows) > 1 and torch.equal(rows[0], rows[-1]) and bool((rows == rows[:1]).all())


class _Survey:
    """One watched forward on a twin."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.twin = step.twin()
        called = [self.twin.module(op) for op in step.tape.modules()]
        self.leaves = {
            id(w): w for w in (*(w for _, w in self.twin.leaves), *(p for m in called for p in members.parameters(m)))
        }
        self.flops = _Flops()
        self.saved = 0
        self.layers: dict[int, Layer] = {}
        self.roots: list[Layer] = []
        self._parents: dict[int, Layer] = {}
        self._modules: dict[int, nn.Module] = {}
        self._stack: list[Layer] = []
        self._calls: dict[Any, Layer] = {}
        self._used: set[int] = set()
        self._given: dict[int, torch.Tensor | None] = {}
        self._biased: dict[int, Layer] = {}
        self._kept: list[Any] = []
        self._measured: dict[tuple[int, int], Values] = {}
        self._flops_before = self._saved_before = 0
        self._storages = {self._storage(t) for t in self._own_tensors()}
        self._clock = 0

    def made(self) -> list[Layer]:
        """Run the step, and put the layers in the order of their first call."""
        handles = list(self._hooks())
        try:
            kept = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda t: t)
            with self.flops, kept, watching(self.step, self.twin, self._look):
                self.twin.run()
        finally:
            for handle in handles:
                handle.remove()
        for layer in self.roots:
            self._arrange(layer)
        called = sorted((r for r in self.roots if r.first < float("inf")), key=lambda r: r.first)
        _note_shared(called)
        return called

    # ---- the tree

    def _hooks(self) -> Iterator[Any]:
        calls = {id(op.call): op for op in self.step.tape.modules()}
        for op in sorted(calls.values(), key=lambda op: -sum(1 for _ in members.modules(op.call))):
            working = dict(members.named_modules(self.twin.module(op)))
            for path, module in working.items():
                if id(module) in self.layers:
                    continue
                above, _, own = path.rpartition(".")
                weights = {id(p): (p.numel(), p.requires_grad) for p in members.parameters(module)}
                layer = Layer(own, type(module).__name__, weights)
                self.layers[id(module)], self._modules[id(module)] = layer, module
                if path and id(working[above]) in self.layers:
                    parent = self.layers[id(working[above])]
                    parent.children.append(layer)
                    self._parents[id(layer)] = parent
                else:
                    layer.name = self._prefix(op.call) or layer.kind
                    self.roots.append(layer)
                yield module.register_forward_pre_hook(self._enter, with_kwargs=True)
                yield module.register_forward_hook(self._leave)

    def _prefix(self, module: nn.Module) -> str:
        """The name of a module that the program calls, as its parameters tell it."""
        for local, parameter in members.named_parameters(module):
            name = self.step.names.get(id(parameter), "")
            if name.endswith("." + local):
                return name.removesuffix("." + local)
        return ""

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        with torch._C.DisableTorchFunction():
            self._settle()
            layer = self.layers[id(module)]
            given = next((t for t in tensors_in((args, kwargs))), None)
            layer.entered = tuple(given.shape) if given is not None else layer.entered
            self._given[id(layer)] = given
            self._note_first(layer)
            self._stack.append(layer)

    def _leave(self, module: nn.Module, args: Any, out: Any) -> None:
        with torch._C.DisableTorchFunction(), torch.no_grad():
            self._settle()
            layer = self.layers[id(module)]
            if layer in self._stack:
                del self._stack[self._stack.index(layer) :]
            layer.calls += 1
            self._result(layer, out)

    def _note_first(self, layer: Layer) -> None:
        self._clock += 1
        up: Layer | None = layer
        while up is not None:
            up.first = min(up.first, self._clock)
            up = self._parents.get(id(up))

    def _result(self, layer: Layer, out: Any) -> None:
        self._kept.append(out)  # keeps the tensors alive, so that their identities stay unique
        result = next((t for t in tensors_in(out) if t.is_floating_point()), None)
        if result is None or result.layout != torch.strided or result.is_nested:
            return
        layer.shape = tuple(result.shape)
        key = (id(result), result._version)
        if key not in self._measured:
            self._measured[key] = Values.of(result)
        layer.values.add(self._measured[key])
        if not layer.remark:
            layer.remark = self._oddity(layer, result)

    def _oddity(self, layer: Layer, result: torch.Tensor) -> str:
        if not layer.values.finite:
            return "gives values that are not finite"
        if result.numel() > 1 and layer.values.zeros == layer.values.count:
            return "gives zeros only"
        if layer.values.deviation > _HUGE:
            return "gives values far beyond what half precision holds"
        size = self.step.batch_size
        given = self._given.get(id(layer))
        varies = given is not None and given.shape[:1] == (size,) and not _constant(given)
        return "gives the same for every example" if varies and result.shape[:1] == (size,) and _constant(result) else ""

    def _arrange(self, layer: Layer) -> None:
        """Leave out modules that are never called but whose weights the layer around them uses itself."""
        for child in layer.children:
            self._arrange(child)
        called = layer.first < float("inf")
        kept = [c for c in layer.children if c.first < float("inf") or (called and self._idle(c))]
        layer.children = sorted(kept, key=lambda c: c.first)

    def _idle(self, layer: Layer) -> bool:
        if not layer.weights or layer.weights.keys() & self._used:
            return False
        layer.remark, layer.children = "not called", []
        return True

    # ---- what is executed

    def _look(self, seen: Seen) -> None:
        with torch.no_grad():
            self._note(seen)

    def _note(self, seen: Seen) -> None:
        held = {id(t): (t.numel(), t.requires_grad) for t in seen.inputs if id(t) in self.leaves}
        self._used |= held.keys()
        out = next((t for t in seen.outputs if t.is_floating_point()), None)
        around = self._stack[-1] if self._stack else None
        library = seen.layer is not None and type(seen.layer).__module__.startswith(LAYER_KINDS)
        costs = self.flops.total > self._flops_before
        activates = around is not None and seen.name in _ACTIVATIONS and self._written_here(seen)
        row = around
        if out is not None and not library and (held or costs or activates):
            row = self._function(seen, around, held)
            row.calls += 1
            given = next(iter(seen.inputs), None)
            row.entered = tuple(given.shape) if given is not None else None
            self._result(row, out)
        self._settle(row)
        if out is not None and row is not None:
            self._remark(seen, row, out)

    @staticmethod
    def _written_here(seen: Seen) -> bool:
        """Whether the line that is told is one of the layer's own code, not that of a call into a library."""
        if seen.layer is None or seen.at is None:
            return True
        module = sys.modules.get(type(seen.layer).__module__)
        return getattr(module, "__file__", None) == seen.at[0]

    def _function(self, seen: Seen, around: Layer | None, held: dict[int, tuple[int, bool]]) -> Layer:
        key = (id(around), seen.at, seen.name)
        if key not in self._calls:
            line = f"line {seen.at[1]}" if seen.at is not None and self._written_here(seen) else seen.name
            row = self._calls[key] = Layer(line, seen.name, {})
            (self.roots if around is None else around.children).append(row)
            if around is not None:
                self._parents[id(row)] = around
            self._note_first(row)
        row = self._calls[key]
        row.weights |= held
        return row

    def _remark(self, seen: Seen, row: Layer, out: torch.Tensor) -> None:
        if seen.name in WEIGHTED and sum(t.ndim == 1 and id(t) in self.leaves for t in seen.inputs) == 1:
            self._biased[id(out)] = row
        if seen.name in _NORMS and (before := self._biased.get(id(seen.inputs[0]))) is not None:
            before.remark = "its bias has no effect before the norm"
        if seen.name in CONVOLUTIONS and (dead := 1 - alive_share(seen)) > 0:
            row.remark = f"{dead:.0%} of its weights meet padding only"
        self._kept.append(seen)

    def _settle(self, row: Layer | None = None) -> None:
        """Give what was computed and kept since the last time to a layer and those around it."""
        flops, saved = self.flops.total - self._flops_before, self.saved - self._saved_before
        self._flops_before, self._saved_before = self.flops.total, self.saved
        row = row if row is not None else (self._stack[-1] if self._stack else None)
        while row is not None:
            row.flops += flops
            row.memory += saved
            row = self._parents.get(id(row))

    # ---- memory

    def _own_tensors(self) -> Iterator[torch.Tensor]:
        """Weights, buffers and data, which are there in any case."""
        yield from self.leaves.values()
        for op in self.step.tape.modules():
            yield from members.buffers(self.twin.module(op))
        yield from (v.constant for v in self.step.tape.values.values() if v.constant is not None)

    def _storage(self, tensor: torch.Tensor) -> int:
        return int(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else id(tensor)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        with contextlib.suppress(Exception):
            key = self._storage(tensor)
            if key not in self._storages:
                self._storages.add(key)
                self._kept.append(tensor)
                self.saved += tensor.untyped_storage().nbytes()
        return tensor
