from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import plain_name

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

REDUCTIONS = frozenset({"mean", "sum", "nanmean", "nansum", "dot", "norm", "vdot"})
SCALING = frozenset(
    {"add", "radd", "sub", "rsub", "neg", "mul", "rmul", "div", "true_divide", "squeeze", "stack", "view", "reshape"}
)
"""Operations on scalars through which a term reaches the loss with a constant factor."""
SIZES = frozenset({"pow", "square", "abs"})
MANY = 0.25
"""Share of examples without gradient from which clipping each is more than the removal of outliers: residuals of unit
variance clipped at ±1 lose 0.32, at ±2 0.05."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """An operation that cuts off a loss from above. `whole`: it is the loss, not one of its terms. `each`: per
    example. `number` is the value that is cut off."""

    op: Op
    limit: float
    whole: bool
    each: bool
    number: int


class ClipLoss(Check):
    """The loss is not clipped: gradients may be, the loss may not.

    What it checks
    --------------
    The way from the value that backward was called on, through sums and constant factors, back to an operation that
    cuts a loss off from above at a number: `clamp(max=…)`, `minimum`, `hardtanh`, `where`. The same for one term of
    the loss, and for residuals or losses of single examples just before they are averaged. In a replay of each
    recorded step it is counted how often the limit acts, so that the gradient is exactly zero.

    Why it matters
    --------------
    Above the limit the derivative is zero: exactly the batches and examples that are most wrong teach nothing, and
    a model that starts badly never leaves. What was meant is to clip the gradient.

    What healthy looks like
    -----------------------
    The loss goes into backward as it is; `clip_grad_norm_` bounds the size of the update afterwards.

    What to do
    ----------
    Remove the clamp and call `torch.nn.utils.clip_grad_norm_(model.parameters(), …)` between backward and step; against
    outliers use `huber_loss`.

    When it is wrong
    ----------------
    Limits from below (hinge, free bits), clipped ratios and values as in PPO, clamped scales and probabilities are
    not losses and are not looked at. A limit that never acted in the recorded steps is only noted. A loss written
    as a robust, truncated one is reported when it mutes a quarter of the examples or more.

    Source
    ------
    The recipe's list of common mistakes ("clipping the loss instead of the gradients"); the derivative of min(x, c)
    is 0 for x > c.
    """

    title = "The loss is clipped, so its gradient vanishes"
    rows = ("S24", "S18")
    price = Price.FORWARD
    explains = (
        "overfit-one-batch",
        "learning-rate-range",
        "vanishing-gradients",
        "unused-parameters",
        "parameters-never-updated",
        "learning-rate-starved",
        "update-ratio",
        "unused-inputs",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Find the limits, and how often they act."""
        steps = step.each()
        found = _limits(step)
        if not found:
            return Evidence({"limit": None}, place=step.place)
        return [_look(steps, i, limit) for i, limit in enumerate(found)]

    def judge(self, evidence: Evidence) -> Ruling:
        """A limit that acted is a fault; one that did not is a habit."""
        limit = evidence["limit"]
        if limit is None:
            return Ruling.passed("nothing cuts off the loss from above")
        if evidence["share"] is None:
            return Ruling.unsure(f"the loss is cut off at {limit:.4g}, but whether that acts cannot be told: {evidence['why']}")
        share, seen = evidence["share"], evidence["steps"]
        what = "examples" if evidence["each"] else "the recorded steps"
        if share == 0 and (evidence["each"] or evidence["operation"] == "where"):
            return Ruling.passed(f"{evidence['operation']} could cut off the loss at {limit:.4g}, but never did")
        acts = share >= MANY if evidence["each"] else share > 0
        severity = (
            Severity.NOTE if not acts else Severity.ERROR if evidence["whole"] and not evidence["each"] else Severity.WARNING
        )
        subject = (
            "Losses of single examples are"
            if evidence["each"]
            else "The loss is"
            if evidence["whole"]
            else "A term of the loss is"
        )
        return Ruling.found(
            severity,
            f"{subject} cut off at {limit:.4g} before backward; above it the gradient is zero.",
            expected="a loss without an upper limit; gradients may be clipped instead",
            observed=f"{evidence['operation']} at {limit:.4g} acts on {share:.0%} of {what} ({seen} seen)",
            fix="Remove it and clip the gradient between backward and step: clip_grad_norm_(model.parameters(), 1.0)"
            + ("; against outliers use huber_loss." if evidence["each"] else "."),
        )


def _limits(step: Step) -> list[Limit]:
    """The limits on the way from the root back through sums and constant factors, and one reduction."""
    found: list[Limit] = []
    work: list[_Way] = [_Way(n, None, True, False, 1) for n in step.tape.roots]
    seen: set[int] = set()
    while work:
        way = work.pop()
        op = step.producer(way.number, way.before)
        if op is None or op.index in seen:
            continue
        seen.add(op.index)
        limit, limited = _limit(step, op), _limited(step, op)
        if limit is not None and limited is not None:
            if _cuts(op, limit, way.sign) and (way.each or _is_loss(step, limited, op.index)):
                found.append(Limit(op, limit, way.whole, way.each, limited))
            continue
        work += _onward(step, op, way)
    return found


@dataclasses.dataclass(frozen=True)
class _Way:
    """A value on the way back. `sign`.

    That of the loss's slope in it, or 0 behind a square, where both ends are upper ones.
    """

    number: int
    before: int | None
    whole: bool
    each: bool
    sign: int


def _onward(step: Step, op: Op, way: _Way) -> list[_Way]:
    ours = [n for n in dict.fromkeys(op.inputs) if n in step.derived]
    name = plain_name(op)
    if name in REDUCTIONS:
        many = len(ours) == 1 and _size(step, ours[0]) > 1
        return [_Way(n, op.index, way.whole, way.each or many, way.sign) for n in ours if not (many and way.each)]
    if way.each and name in SIZES and len(ours) == 1:
        return [_Way(ours[0], op.index, way.whole, True, 0)]
    if name not in SCALING:
        return []
    whole = way.whole and len(ours) == 1
    return [
        _Way(n, op.index, whole, way.each, way.sign * sign) for n in ours if (sign := _slope(step, op, name, n)) is not None
    ]


def _slope(step: Step, op: Op, name: str, number: int) -> int | None:
    """The sign with which a value enters a result; None when it is not a constant factor."""
    first = getattr(op.argument(0, "input"), "value", None) == number
    if name in ("neg", "rsub"):
        return -1
    if name == "sub":
        return 1 if first else -1
    if name not in ("mul", "rmul", "div", "true_divide"):
        return 1
    factor = _number(step, op.argument(1 if first else 0, "other"))
    if factor is None or (not first and name in ("div", "true_divide")):
        return None
    return 1 if factor > 0 else -1


def _cuts(op: Op, limit: float, sign: int) -> bool:
    """Whether a limit from above is one of the loss.

    Not behind a minus, and behind a square only with one from below too.
    """
    if sign:
        return sign > 0
    low = op.argument(1, "min_val", -1.0) if plain_name(op) == "hardtanh" else op.argument(1, "min")
    return isinstance(low, int | float) and low < 0 < limit


def _size(step: Step, number: int) -> int:
    return math.prod(step.tape.values[number].shape) if number in step.tape.values else 1


def _is_loss(step: Step, number: int, before: int) -> bool:
    """Whether a scalar is an average or a sum over examples, as a loss is and a learned scale is not."""
    from trainrecipe.capture.tape import LOSSES

    if _size(step, number) != 1:
        return False
    for _ in range(20):
        op = step.producer(number, before)
        if op is None or not op.inputs:
            return False
        if op.name in LOSSES or (plain_name(op) in REDUCTIONS and _size(step, op.inputs[0]) > 1):
            return True
        ours = [n for n in op.inputs if n in step.derived]
        if not ours:
            return False
        number, before = ours[0], op.index
    return False


def _limit(step: Step, op: Op) -> float | None:
    """The number from which on an operation does not follow its first operand any more; None when it has none."""
    name = plain_name(op)
    if name in ("clamp", "clip"):
        return _number(step, op.argument(2, "max"))
    if name == "clamp_max":
        return _number(step, op.argument(1, "max"))
    if name == "hardtanh":
        return _number(step, op.argument(2, "max_val", 1.0))
    if name == "relu6":
        return 6.0
    given = {"min": (0, 1), "minimum": (0, 1), "where": (1, 2)}.get(name)
    if given is None or len(op.inputs) < 2:
        return None
    numbers = [_number(step, op.argument(i, "")) for i in given]
    known = [v for v in numbers if v is not None]
    return known[0] if len(known) == 1 else None


def _limited(step: Step, op: Op) -> int | None:
    """The value that a limit is put on."""
    ours = [n for n in op.inputs if n in step.derived]
    floating = [n for n in ours if n in step.tape.values and step.tape.values[n].dtype.is_floating_point]
    return floating[0] if floating else None


def _number(step: Step, given: object) -> float | None:
    if isinstance(given, int | float):
        return float(given) if math.isfinite(given) else None
    number = getattr(given, "value", None)
    value = step.tape.values.get(number) if number is not None else None
    if value is None or value.constant is None or value.parameter is not None or value.constant.numel() != 1:
        return None
    return float(value.constant)


def _look(steps: list[Step], index: int, limit: Limit) -> Evidence:
    from trainrecipe.capture.where import place

    data = {
        "limit": limit.limit,
        "operation": plain_name(limit.op),
        "whole": limit.whole,
        "each": limit.each,
        "share": None,
        "steps": 0,
        "why": "",
    }
    shares: list[float] = []
    for step in steps:
        own = _limits(step)
        if index >= len(own) or own[index].op.at != limit.op.at:
            continue
        share = _share(step, own[index])
        if share is None:
            data["why"] = step.agreement.why or "it lies inside a module"
        else:
            shares.append(share)
    if shares:
        data |= {"share": sum(shares) / len(shares), "steps": len(shares)}
    return Evidence(data, place=place(limit.op.at))


def _share(step: Step, limit: Limit) -> float | None:
    """How much of what a limit is put on lies above it, in a replay.

    Inside a module, whether all gradients are zero.
    """
    import torch

    out = limit.op.outputs[0]
    if limit.op.top and step.agreement.exact:
        with torch.no_grad():
            env = step.twin().run(until=[limit.number, out])
        if limit.number in env and out in env and limit.number != out:
            values, kept = env[limit.number].double(), env[out].double()
            return float(((values > limit.limit) & (kept < values)).double().mean())
    if limit.each or not limit.whole or not step.tape.gradients:
        return None
    return float(all(g.zero for _, g in step.tape.gradients))
