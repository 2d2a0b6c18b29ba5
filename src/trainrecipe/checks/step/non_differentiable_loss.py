"""Whether a part of the loss has no gradient, because it counts, rounds or picks instead of measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import plain_name

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step
    from trainrecipe.subjects.summands import Graph

COUNTS = frozenset(
    {
        *("argmax", "argmin", "argsort", "gt", "lt", "ge", "le", "eq", "ne", "greater", "less", "greater_equal", "less_equal"),
        *("equal", "not_equal", "bool", "long", "int", "isclose", "topk", "max", "min", "sort", "multinomial", "bernoulli"),
    }
)
"""Operations whose result has no gradient at all: decisions."""
FLAT = frozenset({"round", "floor", "ceil", "trunc", "sign", "sgn", "heaviside", "fix"})
"""Operations whose derivative is zero everywhere."""
STRETCH = 1.5


class NonDifferentiableLoss(Check):
    """Every part of the loss that depends on the predictions has a gradient in them.

    What it checks
    --------------
    Two signs. (1) Something is added to the loss that the model made and that left the graph at a decision (`argmax`, a
    comparison, a conversion to whole numbers), so that it changes the value and teaches nothing. (2) A term's gradient is
    exactly zero although its value changes when the weights do, and an operation with zero derivative (`round`, `sign`,
    `floor`) lies between prediction and loss.

    Why it matters
    --------------
    Accuracy, F-score or IoU of thresholded predictions look like losses and print like losses, but nothing in the net
    moves because of them.

    What healthy looks like
    -----------------------
    Soft counterparts: probabilities instead of decisions in an F-score or IoU, cross-entropy instead of accuracy.

    What to do
    ----------
    Leave the threshold out of the loss (soft Dice, soft F1), and report the metric next to it.

    When it is wrong
    ----------------
    Straight-through estimators have a gradient and are not reported. Terms that are detached on purpose, targets, masks
    and sampled choices that are multiplied with something that has a gradient are not parts of a sum and not looked at.
    A loss that has no gradient at all is found by graph-cut.

    Source
    ------
    Fault catalogue 17 (forum thread 102279, an F-score as loss). Whether a gradient exists is an identity.
    """

    title = "A part of the loss has no gradient"
    rows = ("S18", "S12")
    faults = (17,)
    price = Price.BACKWARD
    explains = (
        "optimizer-without-gradients",
        "overfit-one-batch",
        "learning-rate-range",
        "vanishing-gradients",
        "unused-parameters",
        "parameters-never-updated",
        "update-ratio",
        "graph-cut",
        "unused-inputs",
        "input-independent-baseline",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Look for what is added without a gradient, and for terms without one."""
        found = [Evidence({"kind": "added", "operation": plain_name(op)}, place=step.place_of(op)) for op in _added(step)]
        if found:
            return found
        if step.distrust:
            return Evidence(missing=step.distrust)
        return _flat(step)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["kind"]:
            return Ruling.passed("every term of the loss has a gradient")
        if e["kind"] == "added":
            return Ruling.found(
                Severity.WARNING,
                f"A part of the loss goes through `{e['operation']}`, which has no gradient: it is printed and not trained.",
                expected="every term that depends on the predictions has a gradient in them",
                observed=f"a summand of the loss that comes from the model and leaves the graph at `{e['operation']}`",
                fix="Use a soft form (probabilities instead of decisions), or leave the term out of the loss and log it.",
            )
        return Ruling.found(
            Severity.ERROR if e["whole"] else Severity.WARNING,
            f"The gradient of {'the loss' if e['whole'] else 'a term of the loss'} is exactly zero: `{e['operation']}` has a "
            "derivative of zero everywhere.",
            expected="a gradient where the loss depends on the weights",
            observed=f"with other weights the loss goes from {e['before']:.4g} to {e['after']:.4g}, and every gradient is 0",
            fix=f"Leave `{e['operation']}` out of the loss, or let the gradient pass by it (straight-through): "
            "x + (x.round() - x).detach().",
        )


def _added(step: Step) -> list[Op]:
    """Decisions through which something reaches the loss as a summand without a gradient."""
    from trainrecipe.subjects.origins import cone
    from trainrecipe.subjects.summands import SCALES, SUMS

    values = step.tape.values
    found: list[Op] = []
    work: list[tuple[int, int | None]] = [(n, None) for n in step.tape.roots]
    seen: set[int] = set()
    while work:
        number, before = work.pop()
        op = step.producer(number, before)
        value = values.get(number)
        if op is None or op.index in seen or value is None:
            continue
        seen.add(op.index)
        if not value.requires_grad:
            if number in step.derived:
                cuts = [o for o in cone(step, number) if _cuts(step, o)]
                last = max(cuts, key=lambda o: o.index, default=None)
                first = min(cuts, key=lambda o: o.index, default=None)
                if last is not None and first is not None and plain_name(first) in COUNTS:
                    found.append(first)
            continue
        name = plain_name(op)
        moving = [n for n in op.inputs if n in values and values[n].requires_grad]
        if name in SUMS or (name == "sum" and len(op.inputs) > 1):
            work += [(n, op.index) for n in op.inputs]
        elif name in SCALES and len(moving) == 1:
            work += [(n, op.index) for n in moving]
    return found


def _cuts(step: Step, op: Op) -> bool:
    values = step.tape.values
    had = op.grad and any(values[n].requires_grad for n in op.inputs if n in values)
    return had and bool(op.outputs) and not any(values[n].requires_grad for n in op.outputs if n in values)


def _flat(step: Step) -> Evidence:
    """A term whose gradient is zero behind an operation that is flat everywhere."""
    import torch

    from trainrecipe.subjects.summands import Graph, pieces_of

    graph = Graph(step)
    trained = step.trained(graph.twin)
    pieces = [p for p in pieces_of(graph) if p.tensor.requires_grad]
    for piece in pieces:
        flat = [op for op in graph.cone(piece.tensor) if plain_name(op) in FLAT and any(t.requires_grad for t in op.inputs)]
        if not flat:
            continue
        grads = torch.autograd.grad(piece.tensor.sum(), trained, retain_graph=True, allow_unused=True)
        if any(g is not None and bool((g != 0).any()) for g in grads):
            continue
        before, after = _stretched(step, piece.tensor, graph)
        if before != after:
            data: dict[str, Any] = {"kind": "flat", "operation": plain_name(flat[0]), "whole": len(pieces) == 1}
            return Evidence({**data, "before": before, "after": after}, place=flat[0].place)
    return Evidence({"kind": ""}, place=step.place)


def _stretched(step: Step, tensor: torch.Tensor, graph: Graph) -> tuple[float, float]:
    """The sum of a tensor of the step now, and with every trained weight stretched and moved."""
    import torch

    from trainrecipe.capture.watch import run_watched

    maker = graph.maker(tensor)
    twin = step.twin()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in step.trained(twin):
            noise = torch.rand(weight.shape, generator=generator).to(weight)
            weight.mul_(STRETCH).add_(noise * (float(weight.abs().mean()) or 1.0))
    after: list[float] = []

    def look(seen: Any) -> None:
        if maker is not None and seen.index == maker.index and seen.outputs:
            after.append(float(seen.outputs[0].detach().sum()))

    run_watched(step, twin, look)
    return float(tensor.detach().sum()), after[0] if after else float(tensor.detach().sum())
