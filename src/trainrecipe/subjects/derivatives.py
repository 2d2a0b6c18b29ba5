"""Derivatives by differences against those of autograd, in float64: of hand-written functions, and of the whole step.

Numeric derivatives are central differences. They count only where halving the distance does not change them, so that kinks
(ReLU, max-pooling), jumps (rounding) and the rounding of numbers are told from a wrong backward.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import math
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture import members
from trainrecipe.capture.tape import RandomState
from trainrecipe.capture.tensors import equal, map_tensors, tensors_in
from trainrecipe.capture.where import is_user_file, place
from trainrecipe.finding import Place

if TYPE_CHECKING:
    from trainrecipe.capture.replay import Twin
    from trainrecipe.subjects.step import Step

ELEMENTS = 16
"""Elements of an input whose derivatives are taken one by one."""
CLOSE = 0.02
"""Relative difference from which a derivative is wrong: approximate backwards on purpose are closer."""
_CALLS = 2
_NODES = 20_000
_H = 1e-5
_STEADY = 1e-3
"""Relative change of a numeric derivative, when the distance is halved, below which it counts."""
_LARGEST = 2**22
"""Elements of the arguments of a call, above which it is left alone."""


@dataclasses.dataclass(slots=True)
class Called:
    """A call of a hand-written autograd function: its class and copies of its arguments."""

    kind: Any
    arguments: list[Any]

    @property
    def name(self) -> str:
        """The name of the class."""
        return str(self.kind.__name__)


@dataclasses.dataclass(slots=True)
class Element:
    """One element of one input: its derivative by autograd and by differences. `verdict`: agree, wrong, surrogate (a gradient
    where the function is flat) or stopped (none where it is not)."""

    position: int
    autograd: float
    numeric: float
    verdict: str = ""


# ---- hand-written functions


def custom_calls(step: Step, twin: Twin) -> list[Called]:
    """The calls of the user's own autograd functions behind the step's loss, the first two of each class."""
    with torch.enable_grad():
        loss = twin.loss()
    kinds = [k for k in _kinds(loss) if _place_of_method(k) is not None]
    if not kinds:
        return []
    seen: dict[Any, list[Called]] = {k: [] for k in kinds}
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(_overheard(kind, seen[kind]))
        with torch.enable_grad():
            twin.run()
    return [c for calls in seen.values() for c in calls]


def _kinds(loss: torch.Tensor) -> list[Any]:
    """The autograd functions in a graph."""
    found: dict[Any, None] = {}
    seen, work = {loss.grad_fn}, [loss.grad_fn]
    while work and len(seen) < _NODES:
        node = work.pop()
        if node is None:
            continue
        kind = getattr(type(node), "_forward_cls", None)
        if kind is not None:
            found.setdefault(kind)
        fresh = [n for n, _ in node.next_functions if n is not None and n not in seen]
        seen.update(fresh)
        work += fresh
    return list(found)


@contextlib.contextmanager
def _overheard(kind: Any, calls: list[Called]) -> Iterator[None]:
    """While this is open, the arguments of calls of an autograd function are kept. Its alias may be bound anywhere, so its
    `forward` is what listens."""
    own = vars(kind).get("forward")
    original = kind.forward
    with_context = kind.setup_context is torch.autograd.Function.setup_context

    def forward(*args: Any, **kwargs: Any) -> Any:
        given = args[1:] if with_context else args
        if len(calls) < _CALLS and not kwargs and sum(t.numel() for t in tensors_in(given)) <= _LARGEST:
            copies = [map_tensors(a, lambda t: t.detach().clone().requires_grad_(t.requires_grad)) for a in given]
            calls.append(Called(kind, copies))
        return original(*args, **kwargs)

    kind.forward = staticmethod(forward)
    try:
        yield
    finally:
        if own is None:
            del kind.forward
        else:
            kind.forward = own


class Derivative:
    """One call of an autograd function, compared with differences. `trouble` says why that was not possible."""

    def __init__(self, called: Called) -> None:
        self.called = called
        self.arguments = [map_tensors(a, _double) for a in called.arguments]
        self.wanted = [i for i, a in enumerate(self.arguments) if isinstance(a, torch.Tensor) and a.requires_grad]
        self.elements: list[Element] = []
        self.trouble = ""
        self.identity = self.manipulates = False
        try:
            self._compare()
        except Exception as error:
            self.trouble = f"it cannot be run in float64: {type(error).__name__}: {error}"

    def _compare(self) -> None:
        outputs = self._call(self.arguments)
        if not outputs:
            self.trouble = "none of its results has a gradient"
            return
        generator = torch.Generator().manual_seed(0)
        self.weights = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.device) for t in outputs]
        inputs = [a.detach() for a in tensors_in(self.arguments)]
        self.identity = any(equal(o, i) for o in outputs for i in inputs)
        self.autograd = self._gradients(1.0)
        self.manipulates = any(not self._scales(factor) for factor in (1.0, 1000.0, -1.0))
        for position in self.wanted:
            if not self._agrees_along(position, generator):
                found = self._elements(position, generator)
                self.elements += found
                if not found:
                    self.trouble = "its forward has kinks or jumps at these arguments, or is not computed in float64"

    def _call(self, arguments: list[Any]) -> list[torch.Tensor]:
        """The results that depend on the arguments; the function gets copies, since it may write to them."""
        torch.manual_seed(0)
        out = self.called.kind.apply(*[map_tensors(a, torch.clone) for a in arguments])
        found = out if isinstance(out, list | tuple) else [out]
        return [t for t in found if isinstance(t, torch.Tensor) and t.is_floating_point() and t.requires_grad]

    def _gradients(self, factor: float) -> list[torch.Tensor]:
        outputs = self._call(self.arguments)
        wanted = [self.arguments[i] for i in self.wanted]
        weights = [(factor * w).to(o.dtype) for w, o in zip(self.weights, outputs, strict=True)]
        found = torch.autograd.grad(outputs, wanted, weights, allow_unused=True)
        return [torch.zeros_like(a) if g is None else g.double() for a, g in zip(wanted, found, strict=True)]

    def _scales(self, factor: float) -> bool:
        """Whether a gradient that is so many times larger comes back so many times larger, as the chain rule has it."""
        pairs = zip(self._gradients(factor), self.autograd, strict=True)
        return all(torch.allclose(a, factor * b, rtol=1e-6, atol=1e-9 * float(a.abs().max())) for a, b in pairs if a.numel())

    def _value(self, position: int, moved: torch.Tensor) -> float:
        arguments = [moved if i == position else a for i, a in enumerate(self.arguments)]
        with torch.enable_grad():
            outputs = self._call(arguments)
        return sum(float((o.detach().double() * w).sum()) for o, w in zip(outputs, self.weights, strict=True))

    def _numeric(self, position: int, direction: torch.Tensor, h: float) -> float:
        base = self.arguments[position].detach()
        up, down = (self._value(position, (base + s * h * direction).requires_grad_()) for s in (1, -1))
        return (up - down) / (2 * h)

    def _agrees_along(self, position: int, generator: torch.Generator) -> bool:
        """Whether the derivative along a random direction is what autograd says; then the elements need no look."""
        base = self.arguments[position].detach()
        if not base.numel():
            return True
        direction = torch.randn(base.shape, generator=generator, dtype=torch.float64).to(base.device)
        expected = self.autograd[self.wanted.index(position)] * direction
        found = [self._numeric(position, direction, h * _scale(base)) for h in (_H / 10, _H / 20)]
        size = float(expected.square().sum().sqrt())
        return all(abs(n - float(expected.sum())) <= 1e-3 * size + 1e-12 for n in found)

    def _elements(self, position: int, generator: torch.Generator) -> list[Element]:
        base = self.arguments[position].detach()
        gradient = self.autograd[self.wanted.index(position)].reshape(-1)
        drawn = torch.randperm(base.numel(), generator=generator)[:ELEMENTS].tolist()
        largest = gradient.abs().topk(min(4, base.numel())).indices.tolist()
        found = []
        for at in dict.fromkeys([*largest, *drawn]):
            direction = torch.zeros_like(base).reshape(-1)
            direction[at] = 1.0
            h = _H * max(abs(float(base.reshape(-1)[at])), 0.1 * _scale(base))
            first, second = (self._numeric(position, direction.reshape(base.shape), d) for d in (h, h / 2))
            if math.isfinite(first) and abs(first - second) <= _STEADY * abs(second) + 1e-9:
                found.append(Element(position, float(gradient[at]), second))
        return _judged(found)


def _judged(elements: list[Element]) -> list[Element]:
    most = max((max(abs(e.autograd), abs(e.numeric)) for e in elements), default=0.0)
    kept = [e for e in elements if max(abs(e.autograd), abs(e.numeric)) > 1e-4 * most]
    for e in kept:
        larger = max(abs(e.autograd), abs(e.numeric))
        if abs(e.autograd - e.numeric) <= CLOSE * larger:
            e.verdict = "agree"
        elif abs(e.numeric) <= 1e-6 * most:
            e.verdict = "surrogate"
        else:
            e.verdict = "stopped" if abs(e.autograd) <= 1e-6 * most else "wrong"
    return kept


def _double(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    return tensor.detach().double().requires_grad_(tensor.requires_grad)


def _scale(tensor: torch.Tensor) -> float:
    return float(tensor.square().mean().sqrt()) or 1.0


# ---- where a backward is written


def backward_place(kind: Any, position: int) -> Place | None:
    """The line of a function's backward that makes the gradient of one argument, as far as its source tells."""
    found = _place_of_method(kind)
    if found is None:
        return None
    file, first, name = found
    line = first
    with contextlib.suppress(OSError, SyntaxError, TypeError, IndexError):
        method = inspect.unwrap(getattr(kind, name))
        lines, first = inspect.getsourcelines(method)
        tree = ast.parse(textwrap.dedent("".join(lines)))
        line = first + _line_in(tree, position) - 1
    return place((file, line, name))


def _line_in(tree: ast.AST, position: int) -> int:
    """The line of the expression that is returned for an argument, or of the last assignment to it."""
    returns = [n for n in ast.walk(tree) if isinstance(n, ast.Return) and n.value is not None]
    if not returns:
        return 1  # a backward that another class only declares
    last = max(returns, key=lambda n: n.lineno)
    value: ast.expr | None = last.value
    if isinstance(value, ast.Tuple):
        value = value.elts[position]
    if isinstance(value, ast.Name):
        assigned = [n for n in ast.walk(tree) if isinstance(n, ast.Assign | ast.AugAssign) and value.id in _targets(n)]
        return max((n.lineno for n in assigned), default=last.lineno)
    return value.lineno if value is not None else last.lineno


def _targets(node: ast.Assign | ast.AugAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}


def _place_of_method(kind: Any) -> tuple[str, int, str] | None:
    """File, line and name of the method that is a function's backward, if the user wrote it."""
    for name in ("backward", "vjp"):
        method = getattr(kind, name, None)
        code = getattr(inspect.unwrap(method), "__code__", None) if method is not None else None
        if code is not None and is_user_file(code.co_filename):
            return code.co_filename, code.co_firstlineno, name
    return None


# ---- the whole step


@dataclasses.dataclass(frozen=True, slots=True)
class Slope:
    """The loss's derivative along one random direction of all weights, by autograd and by differences."""

    autograd: float
    numeric: float
    steady: bool

    @property
    def agrees(self) -> bool:
        """Whether both are the same, as far as differences can tell."""
        return abs(self.autograd - self.numeric) <= _STEADY * max(abs(self.autograd), abs(self.numeric)) + 1e-9


def slopes(step: Step, directions: int) -> list[Slope] | str:
    """Derivatives of the step's loss in float64 along random directions of the trained weights; a string says why not."""
    twin = step.twin()
    try:
        whole = _InDouble(step, twin)
        found = [whole.slope(k) for k in range(directions)]
    except Exception as error:
        return f"the step cannot be executed in float64: {type(error).__name__}: {error}"
    return found if all(math.isfinite(s.autograd + s.numeric) for s in found) else "the loss is not finite"


class _InDouble:
    """A twin whose weights, buffers and inputs are in float64."""

    def __init__(self, step: Step, twin: Twin) -> None:
        self.twin = twin
        modules = [twin.module(op) for op in step.tape.modules()]
        for module in modules:
            module.double()
        for _, weight in twin.leaves:
            if weight.is_floating_point():
                weight.data = weight.data.double()
        constants = ((n, step.tape.values[n]) for n in step.tape.constants())
        self.overrides = {
            n: v.constant.double()
            for n, v in constants
            if v.constant is not None and v.parameter is None and v.constant.is_floating_point()
        }
        self.buffers = [(b, b.clone()) for m in modules for b in members.buffers(m)]
        self.weights = [w for w in step.trained(twin) if w.is_floating_point()]
        loss = self._loss()
        if loss.dtype is not torch.float64:
            raise TypeError("the loss comes out in another precision")
        found = torch.autograd.grad(loss, self.weights, allow_unused=True)
        self.gradients = [torch.zeros_like(w) if g is None else g.to_dense() for w, g in zip(self.weights, found, strict=True)]

    def slope(self, seed: int) -> Slope:
        generator = torch.Generator().manual_seed(seed)
        directions = [
            torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w.device) * _scale(w.detach())
            for w in self.weights
        ]
        expected = sum(float((g * d).sum()) for g, d in zip(self.gradients, directions, strict=True))
        near, nearer = (self._difference(directions, h) for h in (1e-6, 1e-7))
        steady = abs(near - nearer) <= _STEADY * abs(nearer) + 1e-7
        best = min(near, nearer, key=lambda n: abs(n - expected))  # a kink between them spoils the wider one only
        return Slope(expected, best, steady)

    def _difference(self, directions: list[torch.Tensor], h: float) -> float:
        up = self._moved(directions, h)
        return (up - self._moved(directions, -h)) / (2 * h)

    def _moved(self, directions: list[torch.Tensor], h: float) -> float:
        before = [w.detach().clone() for w in self.weights]
        with torch.no_grad():
            for w, d in zip(self.weights, directions, strict=True):
                w.add_(h * d)
            try:
                return float(self._loss())
            finally:
                for w, old in zip(self.weights, before, strict=True):
                    w.copy_(old)

    def _loss(self) -> torch.Tensor:
        with torch.no_grad():
            for buffer, old in self.buffers:
                buffer.copy_(old)
        before = RandomState.now()
        try:
            return self.twin.loss(self.overrides)
        finally:
            before.restore()
