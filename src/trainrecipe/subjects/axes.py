"""Which axis holds what after a reshape: the sizes of a layout in memory against those that are read out of it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import torch

from trainrecipe.capture.watch import Seen
from trainrecipe.finding import Place
from trainrecipe.subjects.flow import Flow
from trainrecipe.subjects.step import Step

Sizes = tuple[int, ...]

FLAT = frozenset(
    {
        *("view", "reshape", "flatten", "ravel", "unflatten", "unsqueeze", "squeeze", "contiguous", "clone", "detach"),
        *("view_as", "reshape_as", "to", "float", "double", "half", "bfloat16", "type", "cpu", "cuda", "data.get"),
    }
)
"""Operations that leave the order of elements in memory as it is."""
_RESHAPES = frozenset({"view", "reshape", "flatten", "ravel", "unflatten", "view_as", "reshape_as"})
_POINTWISE = frozenset(
    {
        *("relu", "relu_", "gelu", "silu", "tanh", "tanh_", "sigmoid", "sigmoid_", "elu", "leaky_relu", "selu", "softplus"),
        *(
            "dropout",
            "dropout_",
            "exp",
            "log",
            "sqrt",
            "pow",
            "__pow__",
            "abs",
            "neg",
            "__neg__",
            "clamp",
            "clip",
            "nan_to_num",
        ),
        *("add", "sub", "mul", "div", "__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__"),
        *("__iadd__", "__isub__", "__imul__", "__itruediv__", "add_", "sub_", "mul_", "div_", "masked_fill", "where"),
    }
)
_LAST_AXIS = frozenset({"linear", "layer_norm", "rms_norm"})
"""Operations that read the last axis only."""
_BLIND = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "kl_div"})
_BLIND_LOSSES = _BLIND | {"binary_cross_entropy_with_logits"}
"""Losses that compare element with element, whatever the axes are."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scramble:
    """A reshape that reads `layout` (sizes in memory) as if it were `shape`, which holds the same sizes in another order.

    `certain`: the numbers leave no other explanation; otherwise it could be a regrouping whose sizes happen to agree.
    `user` is the operation that takes the result.
    """

    layout: Sizes
    shape: Sizes
    certain: bool
    user: str
    place: Place | None

    @property
    def moved(self) -> Sizes:
        """The lengths of the axes that change places."""
        whole = set(zip(self.shape, _edges(self.shape), strict=True))
        return tuple(n for n, edge in zip(self.layout, _edges(self.layout), strict=True) if n > 1 and (n, edge) not in whole)


def scrambles(step: Step) -> tuple[list[Scramble], list[Scramble]]:
    """Reshapes that swap axes without moving elements, and those of which it cannot be told. Raises what a replay raises."""
    found = list(_in(Flow.of(step)))
    doubtful = [s for s in found if not s.certain]
    if not doubtful:
        return found, []
    sure = [s for s in found if s.certain]
    places = {str(s.place) for s in sure}
    for other in _variations(step, doubtful):
        seen = {str(s.place): s for s in _in(other)}
        same = {str(op.place) for op in other.ops if op.name in _RESHAPES}
        for s in list(doubtful):
            again = seen.get(str(s.place))
            if again is not None and set(again.moved) != set(s.moved):
                doubtful.remove(s)
                if str(s.place) not in places:
                    places.add(str(s.place))
                    sure.append(s)
            elif again is None and str(s.place) in same:
                doubtful.remove(s)  # with other sizes it is an ordinary regrouping
        if not doubtful:
            break
    return sure, doubtful


def _variations(step: Step, doubtful: Sequence[Scramble]) -> Iterator[Flow]:
    """The step with a position or two less along one axis of its data, for the axes whose length takes part in a scramble."""
    lengths = {n for s in doubtful for n in s.moved}
    until = [n for op in step.tape.modules() for n in op.outputs]
    tensors = [i for i in step.consumed if i.tensor.numel() > 1 and not i.tensor.is_sparse]
    sizes = {(k, n) for i in step.inputs for k, n in enumerate(i.tensor.shape) if n in lengths and n > 3}
    for (axis, size), less in itertools.product(sorted(sizes), (1, 2)):
        changed = {}
        for one in tensors:
            fits = one.tensor.ndim > axis and one.tensor.shape[axis] == size
            if fits:
                changed[one.number] = one.tensor.detach().narrow(axis, 0, size - less).clone()
        try:
            yield Flow(step, overrides=changed, until=until)
        except Exception:  # the program does not run on other sizes
            continue


def _in(flow: Flow) -> Iterator[Scramble]:
    """The scrambles of one execution, each once."""
    layouts: dict[int, Sizes] = {}
    reshaped: dict[int, Seen] = {}
    told: set[str] = set()
    shifted: set[int] = set()

    def layout(t: torch.Tensor) -> Sizes:
        return layouts.get(id(t), tuple(t.shape))

    for op in flow.ops:
        operands = [t for t in op.inputs if id(t) in flow.data]
        out = op.outputs[0] if len(op.outputs) == 1 else None
        for t in operands if _reads(op, operands, layouts) else ():
            scrambled = _scrambled(layout(t), tuple(t.shape))
            if scrambled is None or id(t) in shifted or (op.name in _LAST_AXIS and _tail(layout(t), t.shape[-1])):
                continue
            source = reshaped.get(id(t))
            if source is not None and str(source.place) not in told:
                told.add(str(source.place))
                yield Scramble(layout(t), tuple(t.shape), scrambled, op.name, source.place)
        if out is None or not operands:
            continue
        first = next((t for t in operands if t.numel() == out.numel()), operands[0])
        if (_cuts(op) and _scrambled(layout(first), tuple(first.shape)) is not None) or (
            op.name in FLAT and id(first) in shifted
        ):
            shifted.add(id(out))
        if (
            op.name in FLAT
            or (op.name in _POINTWISE and first.shape == out.shape)
            or (op.name in _LAST_AXIS and len(operands) == 1)
        ):
            layouts[id(out)] = _carried(layout(first), first, out)
            source = op if op.name in _RESHAPES and _scrambled(layout(first), tuple(first.shape)) is None else None
            kept = source or reshaped.get(id(first))
            if kept is not None:
                reshaped[id(out)] = kept
        else:
            layouts.pop(id(out), None)
            reshaped.pop(id(out), None)


def _carried(layout: Sizes, given: torch.Tensor, out: torch.Tensor) -> Sizes:
    if given.numel() == out.numel():
        return layout
    aligned = layout and given.ndim and layout[-1] == given.shape[-1]
    return (*layout[:-1], out.shape[-1]) if aligned else tuple(out.shape)


def _reads(op: Seen, operands: list[torch.Tensor], layouts: dict[int, Sizes]) -> bool:
    """Whether an operation cares which axis is which."""
    if op.name in FLAT or op.name in _BLIND_LOSSES:
        return False
    if op.name in _POINTWISE:
        return len({(tuple(t.shape), layouts.get(id(t), tuple(t.shape))) for t in operands}) > 1
    if _cuts(op):
        return False
    whole = op.name in ("sum", "mean") and len(op.args) < 2 and "dim" not in op.kwargs
    return bool(op.outputs) and not whole


def _cuts(op: Seen) -> bool:
    """Whether an operation takes slices. Between two reshapes that shifts the rows of a matrix, as for relative positions."""
    index = op.args[1] if len(op.args) > 1 else None
    parts = index if isinstance(index, tuple) else (index,)
    return op.name == "narrow" or (op.name == "__getitem__" and all(isinstance(p, slice) or p is Ellipsis for p in parts))


def _tail(layout: Sizes, last: int) -> bool:
    """Whether the last axis that is read holds whole trailing axes of the layout."""
    return any(math.prod(layout[k:]) == last for k in range(len(layout)))


def _scrambled(layout: Sizes, shape: Sizes) -> bool | None:
    """None where a reshape merges or splits axes only; else whether reading them in another order is the only explanation."""
    a, b = [n for n in layout if n > 1], [n for n in shape if n > 1]
    if a == b or max(len(a), len(b)) > 6 or math.prod(a) != math.prod(b):
        return None
    if not (_permuted(a, b) or _permuted(b, a)):
        return None
    edges = sorted({*_edges(a), *_edges(b)})
    return any(big % small for small, big in itertools.pairwise(edges)) or _crossed(a, b)


def _permuted(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether merging neighbours of `a` in another order gives `b`, while merging and splitting `a` as it is does not."""
    if _nested(a, b):
        return False
    for order in itertools.permutations(range(len(a))):
        moved = [a[k] for k in order]
        if moved != list(a) and set(_edges(b)) <= set(_edges(moved)) and not _skewed(a, moved):
            return True
    return False


def _skewed(a: Sequence[int], moved: Sequence[int]) -> bool:
    """Whether the axes that change places differ by one in length: the trick that shifts the rows of a matrix."""
    changed = [n for n, m in zip(a, moved, strict=True) if n != m]
    return len(changed) == 2 and abs(changed[0] - changed[1]) == 1


def _edges(sizes: Sequence[int]) -> list[int]:
    """Products of the last one, two, … sizes: where an axis ends in memory."""
    return [math.prod(sizes[k:]) for k in range(len(sizes))]


def _nested(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether each group of axes that covers the same memory is split only, or merged only."""
    common = sorted({1, *_edges(a)} & {1, *_edges(b)})
    for low, high in itertools.pairwise(common):
        parts = [sum(low < e <= high for e in _edges(x)) for x in (a, b)]
        if min(parts) > 1:
            return False
    return True


def _crossed(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether an axis falls apart and each part is joined with parts of other axes, as no regrouping on purpose does."""
    edges = sorted({1, *_edges(a), *_edges(b)})
    pieces = list(itertools.pairwise(edges))

    def axis(sizes: Sequence[int], piece: tuple[int, int]) -> int:
        return next(k for k, e in reversed(list(enumerate(_edges(sizes)))) if piece[1] <= e)

    old = [axis(a, p) for p in pieces]
    new = [axis(b, p) for p in pieces]
    for k in set(old):
        parts = [i for i, o in enumerate(old) if o == k]
        if len({new[i] for i in parts}) > 1 and all(
            any(new[j] == new[i] and old[j] != k for j in range(len(pieces))) for i in parts
        ):
            return True
    return False
