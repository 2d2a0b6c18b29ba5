from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import JOINING, RESHAPING, plain_name

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.flow import Flow
    from trainrecipe.subjects.step import Step

TIMES = frozenset({"mul", "rmul", "div", "truediv", "true_divide"})
PRODUCTS = frozenset({"matmul", "mm", "bmm", "einsum", "linear", "sum", "cosine_similarity"})
MASKING = frozenset({"masked_fill", "fill_diagonal", "where", "add", "sub"})
"""What takes entries out of a softmax, by a large negative number."""
ROUNDING = 1e-3
MASKED = -50.0
"""Logits below which an entry has no part in a softmax over cosines."""
FALL = 0.25
"""Share of log N by which the loss can fall at most, up to which it stays at chance: 0.013 for pairs among 250 and a factor of
0.07, 0.18 without a factor; 0.66 for plain cosines with 10 classes; 1.0 for a factor of 14."""
STEPS = 2


class NarrowLogits(Check):
    """Cosines are scaled up before a softmax, so that it can become certain.

    What it checks
    --------------
    Where the logits of a cross-entropy are products of unit vectors (cosines) times a constant: how low the loss can become
    at best, from that constant and the number of entries of the softmax.

    Why it matters
    --------------
    Cosines lie between −1 and 1, whatever the weights are. Multiplied by a temperature of 0.07, where dividing by it is
    meant, they differ by 0.14 at most: the softmax stays all but uniform and the loss near log N, and its gradient treats
    easy and hard negatives alike.

    What healthy looks like
    -----------------------
    Cosines divided by a temperature below one, or multiplied by a scale of 10 to 64.

    What to do
    ----------
    Divide by the temperature: `a @ b.T / 0.07`.

    When it is wrong
    ----------------
    A scale that is learned can grow, and is not looked at. Plain cosines without any scale are a note where there are many
    entries. Losses written by hand with exponentials are not seen through.

    Source
    ------
    Cosines differ by 2 at most, so that the loss is at least log(1 + (N − 1) exp(−2 s)) with a factor of s; where N vectors
    are told from each other, by (N + 1) / (N − 1) on average. Wang et al. 2017 (NormFace), proposition 2; T. Chen et al. 2020
    (SimCLR), equation 1.
    """

    title = "Cosines in a softmax are too small for it to become certain"
    rows = ("S18", "S19")
    faults = (10,)
    price = Price.FORWARD
    explains = ("overfit-one-batch", "learning-rate-range", "learning-rate-starved", "loss-constant", "vanishing-gradients")

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.flow import Flow

        if step.distrust:
            return Evidence(missing=step.distrust)
        if not any(c.name in ("cross_entropy", "nll_loss") and c.counts for c in step.losses):
            return Evidence(missing="the loss has no cross-entropy")
        first = {c.at: c for c in _cosines(Flow.of(step))}
        later = [{c.at for c in _cosines(Flow.of(one))} for one in step.each()[1:STEPS]] if first else []
        found = [c for at, c in first.items() if all(at in others for others in later)]
        if not found:
            return Evidence(missing="no cross-entropy takes cosines of unit vectors times a constant")
        return [
            Evidence(
                {"factor": c.factor, "entries": c.entries, "chance": math.log(c.entries), "floor": c.floor, "loss": c.loss},
                place=c.place,
            )
            for c in found
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        factor, entries, chance, floor = (evidence[k] for k in ("factor", "entries", "chance", "floor"))
        fall = 1 - floor / chance
        if fall >= FALL:
            return Ruling.passed(f"cosines times {factor:.3g}: the loss can fall from {chance:.3g} to {floor:.3g}")
        inverse = 1 / factor if factor else math.inf
        loss = float(evidence["loss"])
        return Ruling.found(
            Severity.WARNING if factor < 1 - ROUNDING else Severity.NOTE,
            f"The logits are cosines times {factor:.3g}, so the softmax over {entries} entries stays nearly uniform.",
            expected=f"cosines times 10 to 64, so that the loss can come far below log {entries} = {chance:.2f}",
            observed=f"the loss is {loss:.2f} and cannot become less than {floor:.2f}, whatever the weights are",
            fix=f"Divide by the temperature instead of multiplying (a factor of {inverse:.3g})."
            if factor < 1 - ROUNDING
            else "Divide the cosines by a temperature such as 0.1.",
        )


@dataclasses.dataclass(frozen=True)
class _Cosines:
    """Logits of a cross-entropy that are cosines times `factor`, with `entries` in each softmax. `paired`: every row has
    another target, among as many vectors as there are rows."""

    at: Any
    factor: float
    entries: int
    paired: bool
    loss: float
    place: Any

    @property
    def floor(self) -> float:
        """The least mean cross-entropy: right pairs alike, and the others as far apart as they can be, two by two or all."""
        n = self.entries
        apart = min(2.0, (n + 1) / (n - 1)) if self.paired else 2.0
        return math.log1p((n - 1) * math.exp(-self.factor * apart))


def _cosines(flow: Flow) -> list[_Cosines]:
    import torch

    found = []
    for op in flow.ops:
        if op.name not in ("cross_entropy", "nll_loss") or op.index not in flow.reaching or len(op.inputs) < 2:
            continue
        logits, target, at = op.inputs[0], op.inputs[1], op
        made = flow.maker(logits, op)
        if op.name == "nll_loss":
            if made is None or made.name not in ("log_softmax", "special_log_softmax"):
                continue
            logits, at = made.inputs[0], made
        if logits.ndim != 2 or target.is_floating_point() or target.ndim != 1:
            continue
        parts = _parts(flow, logits, at, 1.0, None, 12)
        if not parts:
            continue
        factor, place = max(parts, key=lambda p: p[0])
        values = logits.detach().double()
        kept = values[values > MASKED]
        entries = round(kept.numel() / max(1, len(values)))
        valid = (target >= 0) & (target < values.shape[1])
        if (
            entries < 2
            or not math.isfinite(factor)
            or not bool(valid.any())
            or float(kept.abs().max()) > factor * (1 + ROUNDING)
        ):
            continue
        loss = float(torch.nn.functional.cross_entropy(values[valid], target[valid]))
        paired = values.shape[0] == values.shape[1] and len(set(target.tolist())) == len(target)
        found.append(_Cosines(op.at, factor, entries, paired, loss, place or op.place))
    return found


def _parts(
    flow: Flow, tensor: torch.Tensor, before: Seen, factor: float, place: Any, depth: int
) -> list[tuple[float, Any]] | None:
    """The constant factors that products of unit vectors have in a tensor, each with the line that multiplies; None where it
    is made of anything else."""
    op = flow.maker(tensor, before)
    if op is None or not depth:
        return None
    name = plain_name(op)
    moving = [t for t in op.inputs if t.requires_grad]
    if name in JOINING:
        parts = [_parts(flow, t, op, factor, place, depth - 1) for t in op.inputs]
        return None if any(p is None for p in parts) else [x for p in parts if p for x in p]
    if name in PRODUCTS and _is_cosine(flow, op):
        return [(abs(factor), place)]
    if len(moving) != 1 or name not in TIMES | {"neg"} | MASKING | RESHAPING:
        return None
    if name in TIMES:
        number = _number(op, moving[0])
        if number is None or (name not in ("mul", "rmul") and op.args and op.args[0] is not moving[0]):
            return None
        factor, place = (factor * number if name in ("mul", "rmul") else factor / number), place or op.place
    return _parts(flow, moving[0], op, factor, place, depth - 1)


def _number(op: Seen, moving: torch.Tensor) -> float | None:
    """The one number that an operation multiplies a tensor with, or divides it by; None where it is something else."""
    import torch

    others = [a for a in op.args if a is not moving]
    if len(others) != 1:
        return None
    other = others[0]
    if isinstance(other, torch.Tensor):
        return float(other) or None if other.numel() == 1 and not other.is_complex() else None
    return float(other) or None if isinstance(other, int | float) else None


def _is_cosine(flow: Flow, op: Seen) -> bool:
    """Whether an operation multiplies unit vectors."""
    if op.name == "cosine_similarity":
        return True
    given = op.inputs
    if op.name == "sum":
        made = flow.maker(op.inputs[0], op)
        if made is None or plain_name(made) != "mul" or len(made.inputs) != 2:
            return False
        given = made.inputs
    return len(given) == 2 and all(_unit(t) for t in given)


def _unit(tensor: torch.Tensor) -> bool:
    """Whether the vectors along some axis have length one."""
    import torch

    if not tensor.is_floating_point() or not tensor.numel() or tensor.layout != torch.strided:
        return False
    values = tensor.detach().double()
    return any(
        values.shape[axis] > 1 and bool(((values.norm(dim=axis) - 1).abs() < ROUNDING).all()) for axis in range(values.ndim)
    )
