"""Stacks of weights that are one linear map: nothing bends the signal between two of them."""

from __future__ import annotations

import dataclasses

import torch

from trainrecipe.capture.watch import LAYER_KINDS, Seen
from trainrecipe.capture.where import place
from trainrecipe.finding import Place
from trainrecipe.subjects.flow import Flow
from trainrecipe.subjects.step import Step

MOST_TESTED = 12
"""Pairs that are proven by experiment at most."""
_FACTORS = frozenset({"interpolate", "upsample", "pixel_shuffle", "pixel_unshuffle", "fold", "unfold", "grid_sample"})
"""Operations between two weights that tell that the pair is meant: changes of resolution."""
_LAYERS = frozenset({"linear", "conv1d", "conv2d", "conv3d", "addmm"})
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """Two trained weights with nothing but linear operations between them.

    `bend` is how far the way from the first to the second is from linear: the second difference of its result over the
    first, 0 for a linear map. `between` names the operations in between, `sizes` the widths before, between and after;
    `near` tells that both belong to the same module and are of the same kind, and that the first adds a bias: without one it
    may be a factor on purpose.
    """

    first: str
    second: str
    between: tuple[str, ...]
    sizes: tuple[int, int, int]
    bend: float
    near: bool
    place: Place | None


def linear_pairs(step: Step) -> tuple[list[Pair], int]:
    """The pairs of a step that could be a single weight, and the number of weights. Raises what a replay raises."""
    flow = Flow.of(step, evaluating=True)
    names = {id(w): step.name(o) for o, w in flow.twin.leaves}
    held = {id(w) for w in step.trained(flow.twin)}
    weighted = [(op, w) for op in flow.ops if op.index in flow.reaching and (w := flow.weight_in(op)) is not None]
    found: list[Pair] = []
    seen: set[tuple[str, str]] = set()
    for second, w2 in weighted:
        chain = _chain(flow, second)
        if chain is None:
            continue
        *between, first = chain
        w1 = flow.weight_in(first)
        assert w1 is not None
        if not _trained(w1, held) or not _trained(w2, held) or not _redundant(flow, first, w1, second, w2):
            continue
        if any(t is w for op in flow.cone(second) if op is not first for t in op.inputs for w in (w1, w2)) or w1 is w2:
            continue  # a linear recurrence
        biased = _biased(flow, first, w1), _biased(flow, second, w2)
        if any(op.name not in _LAYERS and not b for op, b in zip((first, second), biased, strict=True)):
            continue  # a product with a bare matrix: keys, values, prototypes, a basis
        key = (_called(first, w1, names), _called(second, w2, names))
        if key in seen or len(seen) >= MOST_TESTED:
            continue
        seen.add(key)
        sizes = (_widths(flow, first, w1)[0], _widths(flow, first, w1)[1], _widths(flow, second, w2)[1])
        bend = _bend(flow, first, second)
        near = _near(first, second) and (biased[0] or any("norm" in op.name for op in between))
        kinds = tuple(op.name for op in reversed(between))
        found.append(Pair(*key, kinds, sizes, bend, near, _place(flow, first)))
    return found, len({id(w) for _, w in weighted})


def _trained(weight: torch.Tensor, held: set[int]) -> bool:
    """Whether the optimiser holds a weight; one that is computed, as by weight normalisation, is taken to be trained."""
    return id(weight) in held or not weight.is_leaf


def _chain(flow: Flow, second: Seen) -> list[Seen] | None:
    """From what feeds `second` back to the weight before it; None unless nothing else enters or leaves in between."""
    chain: list[Seen] = []
    after = second
    for op in flow.back(flow.data_in(second)[0], second):
        out = next((t for t in after.inputs if any(t is o for o in op.outputs)), None)
        if out is None or len({id(u) for u in flow.users(out, op)}) != 1 or op.name in _FACTORS:
            return None
        chain.append(op)
        if flow.weight_in(op) is not None:
            return chain
        if len(flow.data_in(op)) != 1:
            return None
        after = op
    return None


def _widths(flow: Flow, op: Seen, weight: torch.Tensor) -> tuple[int, int]:
    """The number of features that a weight takes and gives."""
    shape = weight.shape
    if op.name == "linear":
        return shape[1], shape[0]
    if op.name in _CONVOLUTIONS:
        return flow.data_in(op)[0].shape[1], shape[0]
    from_left = op.inputs and op.inputs[0] is weight
    return (shape[-1], shape[-2]) if from_left else (shape[-2], shape[-1])


def _redundant(flow: Flow, first: Seen, w1: torch.Tensor, second: Seen, w2: torch.Tensor) -> bool:
    """Whether a pair has nothing over a single weight: no bottleneck in between, no cheap factors of a large kernel."""
    if "transpose" in first.name + second.name or w1.ndim == 2 != w2.ndim:
        return False
    before, middle = _widths(flow, first, w1)
    after = _widths(flow, second, w2)[1]
    if middle < min(before, after):
        return False
    convolutions = [(op, w) for op, w in ((first, w1), (second, w2)) if op.name in _CONVOLUTIONS]
    for op, w in convolutions:
        grouped = w.shape[1] != flow.data_in(op)[0].shape[1]
        if grouped or len(set(w.shape[2:])) > 1:
            return False
    if len(convolutions) == 2:
        large = [max(w.shape[2:]) > 1 for _, w in convolutions]
        return large[0] == large[1]
    return True


def _biased(flow: Flow, op: Seen, weight: torch.Tensor) -> bool:
    """Whether a layer adds a bias: a vector of weights, in the same operation or in the next."""
    users = flow.users(op.outputs[0], op)
    later = users[0].inputs if len(users) == 1 and users[0].name in ("add", "__add__", "__radd__", "add_", "__iadd__") else []
    vectors = [t for t in (*op.inputs, *later) if t.requires_grad and t is not weight and id(t) not in flow.data]
    return any(max(t.shape, default=0) == t.numel() for t in vectors)


def _bend(flow: Flow, first: Seen, second: Seen) -> float:
    """How far the result of `second` is from a linear function of that of `first`."""
    base = first.outputs[0].detach()
    noise = torch.randn(base.shape, generator=torch.Generator().manual_seed(0)).to(base)
    change = noise * (2 * base.float().std() + 1e-6).to(base.dtype)
    results = [flow.rerun({first.index: moved}, second) for moved in (base, base + change, base - change)]
    if any(r is None for r in results):
        return float("inf")
    middle, up, down = (r[0].detach().double() for r in results if r is not None)
    if not middle.shape == up.shape == down.shape or not middle.numel():
        return float("inf")  # as an expert that is given no row
    moved = float((up - down).abs().max()) / 2
    return float((up + down - 2 * middle).abs().max()) / moved if moved > 0 else float("inf")


def _called(op: Seen, weight: torch.Tensor, names: dict[int, str]) -> str:
    return names.get(id(weight)) or (f"{op.path}.weight" if op.path else op.name)


def _place(flow: Flow, op: Seen) -> Place | None:
    """Where the activation should be: the line of forward that applies the layer, or the line that built it in a container."""
    called = next((o.call for o in flow.step.tape.ops if o.index == op.top and o.kind == "module"), None)
    holder = None
    if called is not None and op.layer is not None and type(op.layer).__module__.startswith(LAYER_KINDS) and op.path:
        holder = called.get_submodule(op.path.rpartition(".")[0])
    contained = holder is None or type(holder).__module__.startswith(LAYER_KINDS)
    return op.place if contained else place(op.at) or op.place


def _scope(op: Seen) -> tuple[int, str]:
    """The module that a layer belongs to: the one that holds it, or the one whose code runs the function."""
    layer = op.layer is not None and type(op.layer).__module__.startswith(LAYER_KINDS)
    return op.top, op.path.rpartition(".")[0] if layer else op.path


def _near(first: Seen, second: Seen) -> bool:
    same_kind = first.name == second.name or (first.name not in _CONVOLUTIONS and second.name not in _CONVOLUTIONS)
    return same_kind and _scope(first) == _scope(second) and (first.inside or not second.inside)
