from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.flow import Flow
    from trainrecipe.subjects.step import Step

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
CELLS = frozenset({"lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"})
COMPARES = frozenset({"sub", "rsub", "subtract", "gather", "getitem"})
"""What a loss written by hand does to predictions and targets first, beside the loss functions."""
MOVES = frozenset(
    {"repeat", "detach", "expand_as", "type_as", "requires_grad", "data.get", "tile", "mul", "rmul", "div", "truediv"}
)
"""What may lie between the noise and the layer: nothing is computed from it but a factor."""
MATTERS = 0.02
"""Change of the predictions with another draw, relative to their spread: 0.01 for noise of a hundredth that fades."""
VISIBLE = 1e-3
STEPS = 3


class RandomHiddenState(Check):
    """A recurrent layer starts from the same state each time.

    What it checks
    --------------
    Whether the first state that an LSTM, a GRU or an RNN is given is noise that the forward draws each time, also in
    evaluation, while the layer reads data and its results are compared with targets. The predictions are computed again with
    other draws, to see how much they depend on them.

    Why it matters
    --------------
    The state is part of the input. With another one each time, the same example gets another prediction each time, in
    evaluation too, and the layer has to learn to forget the noise before it can read: short sequences suffer most.

    What healthy looks like
    -----------------------
    Zeros, which is what PyTorch takes when no state is given; a learned state; or one that another network makes.

    What to do
    ----------
    Leave the state away, or use `torch.zeros`.

    When it is wrong
    ----------------
    Noise that goes through a layer first (the latent of a VAE), noise beside a code, layers that read nothing but noise, as
    in a generator, results that only another network judges, and noise in training only are all meant, and not reported.

    Source
    ------
    PyTorch documentation of LSTM: the states "default to zeros if not provided"; its examples pass `torch.randn` only to show
    the shapes.
    """

    title = "A recurrent layer starts from noise"
    rows = ("S10", "S17")
    faults = (41,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        if step.distrust:
            return Evidence(missing=step.distrust)
        if not any(op.name in RECURRENT | CELLS for op in step.tape.history):
            return Evidence(missing="the step has no recurrent layer")
        from trainrecipe.subjects.flow import Flow

        flow = Flow.of(step)
        found = _noisy(flow)
        if not found:
            return Evidence({"layers": 0, "steps": 1}, place=step.place)
        steps = step.each()[1:STEPS]
        again = [_noisy(Flow.of(one)) for one in steps]
        idle = _noisy(Flow.of(step, evaluating=True))
        found = [f for f in found if all(any(f.alike(o) for o in others) for others in [*again, idle])]
        found = [f for f in found if (f.inside or steps) and not any(f.stays(others) for others in again)]
        if not found:
            return Evidence({"layers": 0, "steps": 1 + len(steps)}, place=step.place)
        change = _change(flow, found)
        if change is None:
            return Evidence(missing="what the predictions are with another draw cannot be told")
        first = found[0].layer
        return Evidence(
            {
                "layers": len(found),
                "name": first.name,
                "change": round(change, 4),
                "inside": all(f.inside for f in found),
                "steps": 1 + len(steps),
            },
            place=found[0].place or first.place or step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["layers"] or evidence["change"] < VISIBLE:
            return Ruling.passed("no recurrent layer that reads data starts from noise that changes its predictions")
        kind = evidence["name"].removesuffix("_cell").removesuffix("_tanh").removesuffix("_relu").upper()
        return Ruling.found(
            Severity.WARNING if evidence["change"] >= MATTERS else Severity.NOTE,
            f"The first state of the {kind} is noise, drawn anew "
            + ("in every forward, in evaluation too." if evidence["inside"] else "in every step."),
            expected="the same first state each time: zeros, or a learned one",
            observed=f"with another draw the predictions for the same batch change by {evidence['change']:.0%} of their spread",
            fix="Leave the state away (PyTorch starts from zeros), or use torch.zeros in place of torch.randn.",
        )


class _Noisy:
    """A recurrent layer that starts from noise: the operation, the drawn tensors, and what drew them."""

    def __init__(self, layer: Seen, drawn: list[tuple[torch.Tensor, Seen | None, int | None]], place: Any) -> None:
        self.layer = layer
        self.drawn = drawn
        self.place = place

    @property
    def inside(self) -> bool:
        """Whether the forward itself draws all of it."""
        return all(op is not None for _, op, _ in self.drawn)

    def alike(self, other: _Noisy) -> bool:
        """Whether it is the same layer in another run."""
        return self.layer.at == other.layer.at and self.layer.name == other.layer.name

    def stays(self, others: list[_Noisy]) -> bool:
        """Whether the noise is the same in another run: drawn once, and kept."""
        from trainrecipe.capture.tensors import equal

        theirs = [t for o in others for t, _, _ in o.drawn]
        return all(any(equal(t, o) for o in theirs) for t, _, _ in self.drawn)


def _noisy(flow: Flow) -> list[_Noisy]:
    """The recurrent layers of a run that read data, start from raw noise, and whose results meet targets."""
    numbers = {id(t): n for n, t in flow.env.items()}
    real = {id(flow.env[i.number]) for i in flow.step.consumed if i.number in flow.env and _is_data(flow.step, i.number)}
    found = []
    for op in flow.ops:
        if op.name not in RECURRENT | CELLS or op.index not in flow.reaching:
            continue
        states = _states(op)
        drawn = [d for t in states if (d := _source(flow, op, t, numbers)) is not None]
        if not states or len(drawn) < len(states) or not _reads(flow, op, real) or not _compared(flow, op, real):
            continue
        made = drawn[0][1]
        at = made.place if made is not None else _drawn_at(flow.step, drawn[0][2])
        found.append(_Noisy(op, drawn, at))
    return found


def _states(op: Seen) -> list[torch.Tensor]:
    """The first state that a recurrent function is given: one tensor, or two for an LSTM."""
    import torch

    args = list(op.args)
    at = 2 if op.name in RECURRENT and len(args) > 2 and isinstance(args[1], torch.Tensor) and _counts(args[1]) else 1
    given = args[at] if len(args) > at else op.kwargs.get("hx")
    given = list(given) if isinstance(given, list | tuple) else [given]
    return [t for t in given if isinstance(t, torch.Tensor) and t.is_floating_point()]


def _counts(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds the batch sizes of packed sequences."""
    return tensor.ndim == 1 and not tensor.is_floating_point()


def _source(
    flow: Flow, before: Seen, tensor: torch.Tensor, numbers: dict[int, int]
) -> tuple[torch.Tensor, Seen | None, int | None] | None:
    """The draw that a tensor is nothing but a reshaped or scaled copy of, with what drew it or its number."""
    from trainrecipe.subjects.names import GAUSSIAN, JOINING, RESHAPING, UNIFORM, plain_name

    for _ in range(12):
        op = flow.maker(tensor, before) or _shares(flow, tensor, before)
        if op is None:
            number = numbers.get(id(tensor))
            return (tensor, None, number) if number is not None and _drawn_at(flow.step, number) is not None else None
        if op.name in GAUSSIAN | UNIFORM and not any(t.requires_grad for t in op.inputs):
            return tensor, op, None
        floats = [t for t in op.inputs if t.is_floating_point() and t.numel() > 1]
        if op.name in JOINING or (op.name not in RESHAPING and plain_name(op) not in MOVES) or len(floats) != 1:
            return None
        tensor, before = floats[0], op
    return None


def _shares(flow: Flow, tensor: torch.Tensor, before: Seen) -> Seen | None:
    """What drew the memory of a tensor that no operation made, as `Variable` hands on another tensor of the same memory."""
    from trainrecipe.subjects.names import GAUSSIAN, UNIFORM

    drawn = [op for op in flow.ops[: before.index] if op.name in GAUSSIAN | UNIFORM and op.outputs]
    return next((op for op in drawn if op.outputs[0].data_ptr() == tensor.data_ptr() != 0), None)


def _drawn_at(step: Step, number: int | None) -> Any:
    """Where a value that the step consumes was drawn at random, or None where it was not."""
    from trainrecipe.capture.where import place
    from trainrecipe.subjects.names import GAUSSIAN, JOINING, RESHAPING, UNIFORM

    if number is None:
        return None
    *_, op = (None, *step.back(number, (RESHAPING - JOINING) | MOVES))
    return place(op.at) if op is not None and op.name in GAUSSIAN | UNIFORM else None


def _is_data(step: Step, number: int) -> bool:
    """Whether a value from outside is neither drawn by the step nor the same everywhere."""
    import torch

    tensor = next(i.tensor for i in step.consumed if i.number == number)
    if tensor.layout != torch.strided:
        return True
    return tensor.numel() > 1 and bool((tensor != tensor.flatten()[0]).any()) and _drawn_at(step, number) is None


def _reads(flow: Flow, op: Seen, real: set[int]) -> bool:
    """Whether what a layer reads, beside its state, depends on data."""
    given = op.args[0]
    if id(given) in real:
        return True
    made = flow.maker(given, op)
    if made is None:
        return False
    return any(id(t) in real for o in (made, *flow.cone(made)) for t in o.inputs)


def _compared(flow: Flow, op: Seen, real: set[int]) -> bool:
    """Whether what a layer makes is compared with data."""
    from trainrecipe.capture.tape import LOSSES
    from trainrecipe.subjects.names import plain_name

    after = {id(t) for t in op.outputs}
    kin = set(real)
    for later in flow.ops[op.index + 1 :]:
        mine = any(id(t) in after for t in later.inputs)
        theirs = any(id(t) in kin for t in later.inputs)
        if mine and theirs and later.index in flow.reaching and (later.name in LOSSES or plain_name(later) in COMPARES):
            return True
        if mine:
            after.update(id(t) for t in later.outputs)
        elif theirs and not any(t.requires_grad for t in later.inputs):
            kin.update(id(t) for t in later.outputs)
    return False


def _change(flow: Flow, found: list[_Noisy]) -> float | None:
    """How much the predictions change with another draw, relative to their spread over the batch."""
    import torch

    from trainrecipe.capture.watch import run_watched

    generator = torch.Generator().manual_seed(0)
    changes, overrides = {}, {}
    for noise, op, number in (d for f in found for d in f.drawn):
        new = noise.detach().flatten()[torch.randperm(noise.numel(), generator=generator).to(noise.device)].reshape(noise.shape)
        if op is not None:
            changes[op.index] = new
        elif number is not None:
            overrides[number] = new
    step = flow.step
    try:
        after = run_watched(step, step.twin(), lambda seen: changes.get(seen.index), overrides=overrides)
    except Exception:
        return None
    largest = None
    for number in step.predictions:
        a, b = flow.env.get(number), after.get(number)
        if a is None or b is None or a.shape != b.shape or a.numel() < 2 or not a.is_floating_point():
            continue
        a, b = a.detach().double(), b.detach().double()
        spread = float((a - a.mean(0)).square().mean().sqrt()) or float(a.std())
        moved = float((a - b).square().mean().sqrt())
        if spread > 0 and math.isfinite(moved / spread):
            largest = max(largest or 0.0, moved / spread)
    return largest
