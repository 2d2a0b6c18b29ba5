"""Whether a loss that asks two trained values to agree is content when both are the same for every example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import plain_name

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.flow import Flow
    from trainrecipe.subjects.step import Step

COMPARING = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "cosine_similarity", "pairwise_distance", "sub"})
"""Operations that compare two values element with element; products of normalised values are taken, too."""
_BETWEEN = frozenset(
    {
        *("normalize", "batch_norm", "layer_norm", "relu", "gelu", "tanh", "leaky_relu", "div", "view", "reshape", "flatten"),
        *("squeeze", "__getitem__", "chunk", "split", "unbind", "float", "to", "type", "contiguous"),
    }
)
"""What may lie between a layer and the comparison."""
SAME = 1e-3
"""Difference between the losses, in the range of the present loss, that is rounding."""
GAIN = 0.05
"""What agreement must gain, as a share of the present loss, for the loss to be one that asks for it."""
ROWS = 8
"""Examples of which each is made to agree alone: pairs that are to stay apart would raise the loss."""


class CollapseIsFree(Check):
    """A loss that asks two views to agree does not reach its best value with the same output for every example.

    What it checks
    --------------
    Comparisons (`mse_loss`, `cosine_similarity`, differences, products of unit vectors) whose two sides both come straight
    from layers and both carry a gradient. In replays of the step the sides are replaced: by values that agree, for all
    examples and for single ones; and by one and the same value for all examples.

    Why it matters
    --------------
    If a constant output is as good as perfect agreement, gradient descent finds it: the loss falls quickly and looks well,
    while the representation says nothing about its input.

    What healthy looks like
    -----------------------
    One side without gradient (`z.detach()`, a momentum encoder under `no_grad`), negatives, a term for variance or
    decorrelation, or a reconstruction.

    What to do
    ----------
    Detach the side that serves as target, as SimSiam and BYOL do, or add negatives or a variance term.

    When it is wrong
    ----------------
    Nothing is said where another backward call trains the same layers, or where an operation that is not known lies between
    layer and comparison. A batch norm without weights in front of the comparison keeps the variance up and can prevent the
    collapse: a note.

    Source
    ------
    Chen and He 2021 (SimSiam), section 4.1: without stop-gradient the loss reaches its minimum and the outputs collapse; Grill
    et al. 2020 (BYOL). That a constant minimises the loss is tested, not assumed.
    """

    title = "The same output for every example minimises the loss"
    rows = ("S18", "S12")
    faults = (62,)
    price = Price.FORWARD
    explains = ("inputs-and-labels-unrelated", "learning-rate-range", "overfit-one-batch")

    def measure(self, step: Step) -> Evidence:
        """Compare the loss with that of agreement, and of one output for all."""
        from trainrecipe.subjects.flow import Flow

        if step.distrust:
            return Evidence(missing=step.distrust)
        flow = Flow.of(step)
        pairs = _pairs(flow)
        if not pairs:
            return Evidence(missing="no comparison has two sides that come from layers and carry a gradient")
        if any(set(map(id, step.tape.parameters)) & set(map(id, other.tape.parameters)) for other in step.others):
            return Evidence(missing="other backward calls train the same layers")
        end = next((op for op in reversed(flow.ops) if any(t is flow.env.get(step.tape.roots[0]) for t in op.outputs)), None)
        if end is None or len(step.tape.roots) != 1 or end.outputs[0].numel() != 1:
            return Evidence(missing="the step does not end in one loss")
        now = float(end.outputs[0].detach())
        agree = _loss(flow, end, {n: v for pair in pairs for n, v in pair.agreeing().items()})
        alike = _loss(flow, end, {n: v for pair in pairs for n, v in pair.constant().items()})
        if agree is None or alike is None:
            return Evidence(missing="the step does not run with other values")
        held = all(pair.held for pair in pairs)
        data = {"now": now, "agree": agree, "alike": alike, "apart": False, "pairs": len(pairs), "held": held}
        if now - agree >= GAIN * abs(now) and alike - agree <= SAME * (now - agree):
            singles = [
                _loss(flow, end, {n: v for pair in pairs for n, v in pair.agreeing(row).items()})
                for row in range(min(ROWS, pairs[0].rows))
            ]
            data["apart"] = any(s is None or s > now + SAME * abs(now) for s in singles)
        return Evidence(data, place=pairs[0].op.place or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        gain = e["now"] - e["agree"]
        if gain < GAIN * abs(e["now"]) or e["apart"]:
            return Ruling.passed("the loss does not ask only for agreement")
        if e["alike"] - e["agree"] > SAME * gain:
            return Ruling.passed(
                f"with one output for all examples the loss is {e['alike']:.3g}, above {e['agree']:.3g} for agreement"
            )
        return Ruling.found(
            Severity.NOTE if e["held"] else Severity.WARNING,
            "The loss only asks two trained outputs to agree: the same output for every input is its minimum.",
            expected="a loss that a constant output does not minimise, or a target without gradient",
            observed=f"the loss is {e['now']:.4g} now, {e['agree']:.4g} when the two sides agree, and {e['alike']:.4g} when "
            "both are the same for every example; both sides carry a gradient",
            fix="Detach the side that serves as target (`z.detach()`), or add negatives or a term that keeps the variance up.",
        )


class _Pair:
    """A comparison with the operations that made its two sides. `held`: something keeps the variance of a side up."""

    def __init__(self, op: Seen, makers: tuple[Seen, Seen], held: bool) -> None:
        self.op, self.makers, self.held = op, makers, held
        self.first = op.inputs[0].detach()
        self.rows = len(self.first)

    def agreeing(self, row: int | None = None) -> dict[int, torch.Tensor]:
        """The first side in place of the second, for all examples or one."""
        second = self.op.inputs[1].detach().clone()
        second[slice(None) if row is None else row] = self.first[slice(None) if row is None else row]
        return {self.makers[0].index: self.first, self.makers[1].index: second}

    def constant(self) -> dict[int, torch.Tensor]:
        """The first example's first side in place of everything."""
        same = self.first[:1].expand_as(self.first).clone()
        return {maker.index: same for maker in self.makers}


def _pairs(flow: Flow) -> list[_Pair]:
    found = []
    for op in flow.ops:
        if op.index not in flow.reaching or len(op.inputs) != 2 or not op.outputs:
            continue
        a, b = op.inputs
        if a is b or a.shape != b.shape or a.ndim < 2 or len(a) < 4 or a.shape[1:].numel() < 2:
            continue
        if not (a.requires_grad and b.requires_grad and id(a) in flow.data and id(b) in flow.data):
            continue
        first, second = flow.maker(a, op), flow.maker(b, op)
        if first is None or second is None or first is second or len(first.outputs) != 1 or len(second.outputs) != 1:
            continue
        unit = plain_name(op) == "mul" and {plain_name(first), plain_name(second)} <= {"normalize", "div"}
        sides = _layer_before(flow, a, op), _layer_before(flow, b, op)
        if (plain_name(op) in COMPARING or unit) and all(sides):
            found.append(_Pair(op, (first, second), "held" in sides))
    return found


def _layer_before(flow: Flow, tensor: torch.Tensor, before: Seen) -> str:
    """Whether a value is what a layer of weights gives, through nothing but normalisation, activations and reshapes: `free`,
    or `held` by a batch norm without weights, which keeps the variance up; empty for anything else."""
    held = False
    for op in flow.back(tensor, before):
        if flow.weight_in(op) is not None:
            return "held" if held else "free"
        if plain_name(op) not in _BETWEEN:
            return ""
        held = held or (op.name == "batch_norm" and not op.weights)
    return ""


def _loss(flow: Flow, end: Seen, changes: dict[int, torch.Tensor]) -> float | None:
    """The loss when results of operations are replaced; None where the step does not run so."""
    made = flow.rerun(changes, end)
    return float(made[0].detach()) if made else None
