"""What a recording is made of (values, operations, random states), and the tape that is cut out of it for one step."""

from __future__ import annotations

import dataclasses
import math
import operator
import random
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from trainrecipe.capture.hashing import exact_hash
from trainrecipe.capture.tensors import dense
from trainrecipe.capture.twin import Memo
from trainrecipe.capture.where import Spot

ESCAPES = frozenset({"numpy", "item", "tolist", "__float__", "__int__", "__bool__", "__array__"})
"""Operations whose result is no tensor, kept because they cut the graph."""
LOSSES = frozenset(
    {
        "cross_entropy",
        "nll_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "kl_div",
        "poisson_nll_loss",
        "gaussian_nll_loss",
        "hinge_embedding_loss",
        "multi_margin_loss",
        "multilabel_margin_loss",
        "multilabel_soft_margin_loss",
        "soft_margin_loss",
        "margin_ranking_loss",
        "triplet_margin_loss",
        "triplet_margin_with_distance_loss",
        "cosine_embedding_loss",
        "ctc_loss",
    }
)
"""PyTorch's loss functions, as they appear in a recording; the tensors given to them are kept."""
LANES = 4093
"""Numbers kept of a gradient: of most layers of a small model all, of a large one too few to weigh on its memory. It is
prime, so that rows that change places, as in an embedding, are added up elsewhere."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ref:
    """A tensor inside recorded arguments: the number of its value."""

    value: int


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenGenerator:
    """A random generator inside recorded arguments: a copy with its state at that moment."""

    generator: torch.Generator


@dataclasses.dataclass(slots=True)
class Storage:
    """Memory that tensors share: a number of its own, since an address is used again, and how many of them are alive."""

    number: int
    alive: int = 0

    def let_go(self, _: object = None) -> None:
        """One of the tensors died, or is forgotten."""
        self.alive -= 1


UNFILLED = "unfilled memory"
"""The source of a tensor that was made without giving it values, as by `torch.empty`."""
_FILLS = frozenset(
    ["bernoulli_", "cauchy_", "exponential_", "fill_", "geometric_", "log_normal_", "normal_", "random_", "uniform_", "zero_"]
)
"""Operations that give their first argument new values, whatever it held."""


@dataclasses.dataclass(slots=True)
class Value:
    """One tensor, held weakly, so that recording keeps no memory alive.

    `producer` is the innermost operation that returned it, `outer` the outermost; None: from outside.

    `parameter` is the leaf that requires a gradient. `constant` is a copy taken when a value that does not depend on
    any parameter was consumed at the top level; once it is `written` to, a later consumption makes a new value.
    `source` tells where a batch tensor came from, or that it is memory that nobody filled (`UNFILLED`).
    """

    ref: weakref.ref[torch.Tensor] | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool
    producer: int | None
    outer: int | None
    storage: int
    version: int
    parameter: torch.Tensor | None = None
    constant: torch.Tensor | None = None
    source: str = ""
    written: bool = False

    @property
    def tensor(self) -> torch.Tensor | None:
        """The tensor itself, as long as the program holds it."""
        return None if self.ref is None else self.ref()

    def unbound(self) -> Value:
        """A copy that no longer knows the tensor itself."""
        return Value(None, *_value_fields(self))


_value_fields = operator.attrgetter(*[f.name for f in dataclasses.fields(Value)][1:])


@dataclasses.dataclass(slots=True)
class Op:
    """One recorded call. Kinds: `function`, `module` (a module call), `opaque` (a callable whose inside is not replayed).

    `args` and `kwargs` (tensors replaced by `Ref`) are kept for top-level operations, and for inner functions as well,
    where they hold the settings of a loss or a softmax. `parent` is the module call it happened in. `kept` holds copies
    of the tensors given to a loss function. `direct`: the user's own line called the function.
    """

    index: int
    kind: str
    name: str
    call: Any
    args: Any
    kwargs: Any
    inputs: tuple[int, ...]
    parent: int | None
    at: Spot | None
    grad: bool
    autocast: tuple[str, bool, torch.dtype] | None
    outputs: tuple[int, ...] = ()
    mutated: tuple[int, ...] = ()
    rng: RandomState | None = None
    memo: Memo | None = None
    training: bool | None = None
    leaks: tuple[tuple[str, str, int], ...] = ()
    kept: tuple[torch.Tensor, ...] = ()
    direct: bool = False

    def copy(self) -> Op:
        """A copy, as `dataclasses.replace` makes it, in a tenth of the time."""
        return Op(*_op_fields(self))

    def forgotten(self) -> Op:
        """What is left of it once its step is long over: which values it took and made, and nothing that holds memory."""
        rest = self.copy()
        rest.call = rest.args = rest.kwargs = rest.memo = rest.rng = None
        rest.kept = ()
        return rest

    @property
    def top(self) -> bool:
        """Whether it is at the top level: executed one by one in a replay."""
        return self.parent is None

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """What was given for a parameter, by position or by name; tensors as `Ref`."""
        if isinstance(self.args, list | tuple) and len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(name, default) if isinstance(self.kwargs, dict) else default


_op_fields = operator.attrgetter(*[f.name for f in dataclasses.fields(Op)])


@dataclasses.dataclass(slots=True)
class RandomState:
    """The random streams of torch (CPU and CUDA), NumPy and Python."""

    default: torch.Tensor
    cuda: list[torch.Tensor]
    numpy: Any
    python: Any

    @classmethod
    def now(cls) -> RandomState:
        """Copy the present state of every stream; moves none of them."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        return cls(torch.get_rng_state(), cuda, np.random.get_state(), random.getstate())

    @property
    def unmoved(self) -> bool:
        """Whether nothing has been drawn from the streams that it holds since."""
        if not _same(self.default, torch.get_rng_state()):
            return False
        if self.cuda and not all(map(_same, self.cuda, torch.cuda.get_rng_state_all())):
            return False
        if self.numpy is None:
            return True
        (kind, keys, *rest), (kind_now, keys_now, *rest_now) = self.numpy, np.random.get_state()
        same = kind == kind_now and rest == rest_now and np.array_equal(keys, keys_now)
        return same and self.python == random.getstate()

    def restore(self) -> None:
        """Put every stream back."""
        torch.set_rng_state(self.default)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        if self.numpy is not None:
            np.random.set_state(self.numpy)
            random.setstate(self.python)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """`torch.equal` for states of a generator, without a call of PyTorch for each operation."""
    return bool(one.numpy().tobytes() == other.numpy().tobytes())


@dataclasses.dataclass(frozen=True, slots=True)
class Gained:
    """What backward added to the gradient of a leaf, small enough to be kept of every recorded step.

    `largest` is the largest magnitude of an element. `sums` holds the sum of every `LANES`-th element, from each of the first
    `LANES` on, divided by the root of how many they are, so that rounding weighs as much as in one element; of a tensor
    with no more elements than that, the elements themselves. It is None where no replay will be compared with it.
    """

    largest: float
    sums: torch.Tensor | None

    @classmethod
    def of(cls, gradient: torch.Tensor, sums: bool = True) -> Gained:
        """Measure a gradient of any layout and dtype."""
        elements = dense(gradient.detach()).reshape(-1)
        largest = float(torch.linalg.vector_norm(elements, float("inf"))) if elements.numel() else 0.0
        return cls(largest, _lanes(elements) if sums else None)

    @property
    def zero(self) -> bool:
        """Whether all of it is zero."""
        return self.largest == 0

    @property
    def finite(self) -> bool:
        """Whether all of it is finite."""
        return math.isfinite(self.largest)

    def difference(self, other: Gained) -> float:
        """The largest gap between the sums, relative to the largest magnitude; 0 where they are equal.

        Sums that are not finite have to be so in both, else the difference is infinite.
        """
        assert self.sums is not None
        assert other.sums is not None
        finite = self.sums.isfinite()
        if not torch.equal(finite, other.sums.isfinite()):
            return math.inf
        gap = _most((self.sums - other.sums)[finite])
        scale = self.largest if self.finite else _most(self.sums[finite])
        return gap / scale if scale else gap


def _lanes(elements: torch.Tensor) -> torch.Tensor:
    whole, rest = divmod(elements.numel(), LANES)
    if not whole:
        return elements.clone()
    wide = torch.promote_types(elements.dtype, torch.float32)
    sums = elements[: whole * LANES].view(whole, LANES).sum(0, dtype=wide)
    sums[:rest] += elements[whole * LANES :]
    return sums / math.sqrt(whole + bool(rest))


def _most(values: torch.Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


@dataclasses.dataclass(slots=True)
class Tape:
    """One step cut out of the recording.

    `ops` are the top-level operations that the loss depends on, in order; `history` every operation, inner ones too, that
    was recorded from the backward before the last one on, or since the first of `ops`; `roots` the values that backward was
    called on, with the `weights` given to it; `observed` their values; `made_leaves` the leaves that the operations
    themselves make, such as noise that requires a gradient; `written` the storages that an operation wrote into; `gradients`
    what backward added to each leaf (filled in after it ran); `stepped` the number of the optimiser that stepped next over
    leaves that got one; `site` is where it belongs: its line, and which of several networks that are trained there; `hashes`
    stand, by id of the leaf, for copies that are not kept; `agreement` is what a replay of it came to, once it was tried, and
    `flows` are executions of it that checks share.
    """

    ops: list[Op]
    history: list[Op]
    values: dict[int, Value]
    written: set[int]
    roots: list[int]
    weights: list[torch.Tensor | None]
    observed: list[torch.Tensor]
    at: Spot | None
    trouble: list[str]
    step: int = 0
    stepped: int | None = None
    site: Any = None
    made_leaves: dict[int, torch.Tensor] = dataclasses.field(default_factory=dict)
    hashes: dict[int, str] = dataclasses.field(default_factory=dict)
    gradients: list[tuple[torch.Tensor, Gained]] = dataclasses.field(default_factory=list)
    whole: bool = True
    agreement: Any = None
    flows: dict[bool, Any] = dataclasses.field(default_factory=dict)

    @property
    def parameters(self) -> list[torch.Tensor]:
        """The leaves that got a gradient from this step, as the script's own objects."""
        return [p for p, _ in self.gradients]

    def around(self, op: Op) -> Op | None:
        """The call that an operation happened in; None at the top level, or where the history does not reach so far."""
        index = -1 if op.parent is None else op.parent - self.history[0].index
        return self.history[index] if index >= 0 else None

    def outermost(self, op: Op) -> Op:
        """The top-level operation that an operation happened in, or is."""
        while (outer := self.around(op)) is not None:
            op = outer
        return op

    def constants(self) -> list[int]:
        """Values that depend on no parameter, and the parameters, in the order in which the operations consume them."""
        made: set[int] = set()
        seen: dict[int, None] = {}
        for op in self.ops:
            for ref in refs_in((op.args, op.kwargs)):
                if ref not in made:
                    seen.setdefault(ref)
            made.update(op.outputs)
            made.update(number for _, _, number in op.leaks)
        return list(seen)

    def overwritten(self) -> set[int]:
        """Constants whose former content matters to nobody: what takes them first fills them, or fills unfilled memory."""
        met: set[int] = set()
        found: set[int] = set()
        for op in self.ops:
            first = op.inputs[0] if op.inputs else None
            value = self.values.get(first) if first is not None else None
            fresh = value is not None and first not in met and first in op.mutated
            if first is not None and value is not None and fresh and (op.name in _FILLS or value.source == UNFILLED):
                found.add(first)
            met.update(op.inputs, op.outputs)
        return found

    @property
    def copied(self) -> bool:
        """Whether every module of the step could be copied."""
        return all(op.memo is not None for op in self.ops if op.kind == "module")

    def first_values(self) -> Iterator[tuple[torch.Tensor, torch.Tensor | str]]:
        """Each leaf of the script's with a copy of it as the step began, or with its hash where no copy is kept."""
        for op in self.ops:
            for original, frozen in op.memo.pairs() if op.memo is not None else ():
                if isinstance(original, torch.Tensor):
                    yield original, frozen
        for value in (self.values[number] for number in self.constants()):
            if value.parameter is not None and value.constant is not None:
                yield value.parameter, value.constant
        for parameter in self.parameters:
            if id(parameter) in self.hashes:
                yield parameter, self.hashes[id(parameter)]

    def held(self) -> Iterator[torch.Tensor]:
        """Every tensor that the tape keeps for itself."""
        for op in self.history:
            yield from (f for _, f in op.memo.pairs() if isinstance(f, torch.Tensor)) if op.memo is not None else ()
            yield from op.kept
        yield from (v.constant for v in self.values.values() if v.constant is not None)
        yield from (g.sums for _, g in self.gradients if g.sums is not None)

    def slim(self) -> None:
        """Let go of every copy; what stays tells what happened, but cannot be replayed."""
        self.hashes |= {id(o): exact_hash(f) for o, f in self.first_values() if isinstance(f, torch.Tensor) and f.requires_grad}
        for op in (*self.history, *self.ops):
            op.memo, op.kept = None, ()
        for value in self.values.values():
            value.constant = None
        self.agreement = None
        self.flows.clear()
        self.gradients = [(p, dataclasses.replace(g, sums=None)) for p, g in self.gradients]

    def modules(self) -> list[Op]:
        """The atomic module calls, in order."""
        return [op for op in self.ops if op.kind == "module"]


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What one step consumed: the `constants` of its tape in order (None for parameters), and the names of its operations.

    `sizes` are lists of whole numbers that calls of modules were given, such as the lengths of sequences.
    """

    constants: list[torch.Tensor | None]
    operations: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, tape: Tape) -> Batch:
        """The batch of a tape; it shares the tape's copies."""
        values = (tape.values[n] for n in tape.constants())
        constants = [v.constant if v.parameter is None else None for v in values]
        sizes = tuple(s for op in tape.ops if op.kind == "module" for s in sizes_in((op.args, op.kwargs)))
        return cls(constants, tuple(op.name for op in tape.ops), sizes)

    def on(self, tape: Tape) -> dict[int, torch.Tensor] | None:
        """This batch as overrides for a replay of `tape`; None when that is another program or has other shapes."""
        numbers = tape.constants()
        own = Batch.of(tape)
        if (own.operations, own.sizes) != (self.operations, self.sizes) or len(numbers) != len(self.constants):
            return None
        found: dict[int, torch.Tensor] = {}
        for number, mine, theirs in zip(numbers, own.constants, self.constants, strict=True):
            if mine is None or theirs is None:
                if mine is not theirs:
                    return None
                continue
            if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
                return None
            found[number] = theirs
        return found


def sizes_in(frozen: Any) -> Iterator[tuple[int, ...]]:
    """The lists of whole numbers inside recorded arguments."""
    if isinstance(frozen, Mapping):
        frozen = list(frozen.values())
    if isinstance(frozen, list | tuple) and frozen:
        if all(type(v) is int for v in frozen):
            yield tuple(frozen)
        else:
            for v in frozen:
                yield from sizes_in(v)


def refs_in(frozen: Any) -> Iterator[int]:
    """The numbers of the values inside recorded arguments."""
    if isinstance(frozen, Ref):
        yield frozen.value
    elif isinstance(frozen, Mapping):
        for v in frozen.values():
            yield from refs_in(v)
    elif isinstance(frozen, list | tuple):
        for v in frozen:
            yield from refs_in(v)
    elif isinstance(frozen, slice):
        yield from refs_in((frozen.start, frozen.stop, frozen.step))


def name_of(func: Any) -> str:
    """The name of a torch function as people write it; property reads and writes are `data.get`, `data.set`."""
    name = str(getattr(func, "__name__", type(func).__name__))
    if name in ("__get__", "__set__"):
        return f"{getattr(func.__self__, '__name__', '')}.{name.strip('_')}"
    return name


def storage_of(tensor: torch.Tensor) -> int:
    """A number that tensors sharing memory have in common as long as they live."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except Exception:
        return id(tensor)


def autocast_state() -> tuple[str, bool, torch.dtype] | None:
    """The autocast in force: device type, whether its cache is on, dtype; None when autocast is off."""
    for device in ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",):
        if torch.is_autocast_enabled(device):
            return device, torch.is_autocast_cache_enabled(), torch.get_autocast_dtype(device)
    return None
