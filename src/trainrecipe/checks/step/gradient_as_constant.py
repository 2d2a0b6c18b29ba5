from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import plain_name

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

SUMS = frozenset({"add", "radd", "sub", "rsub", "subtract"})
"""Where a gradient that should be trained joins the rest of the loss. One that multiplies may be a weight, and meant."""
DELIBERATE = frozenset({"detach", "detach_", "data.get", "tensor", "as_tensor", "sign"})
"""What says that a gradient is meant as a number, or that it only gives a direction."""


class GradientAsConstant(Check):
    """A derivative of the model that is part of the loss can be differentiated again.

    What it checks
    --------------
    Results of `torch.autograd.grad` without `create_graph=True`, of values that depend on the weights which this step trains:
    whether they are added to, or compared with, other terms of the loss, without anything that detaches them.

    Why it matters
    --------------
    Such a result is a number: it has its value in the loss, and no gradient. The residual of a differential equation is then
    trained as if the derivative did not depend on the weights, and a gradient penalty trains nothing at all. Nothing crashes,
    and the term is printed as ever.

    What healthy looks like
    -----------------------
    `torch.autograd.grad(u, t, torch.ones_like(u), create_graph=True)`.

    What to do
    ----------
    Pass `create_graph=True` wherever the derivative goes into the loss.

    When it is wrong
    ----------------
    Gradients that move an input (adversarial examples, Langevin steps) or weights (first-order MAML), that are factors
    (adaptive weights of terms), that are detached in so many words, or that are taken of another model, are meant as they are
    and not looked at.

    Source
    ------
    PyTorch documentation of torch.autograd.grad (create_graph); Raissi et al. 2019 (physics-informed networks); Gulrajani et
    al. 2017 (gradient penalty). An identity.
    """

    title = "A derivative in the loss is a constant"
    rows = ("S12", "S17")
    faults = (17,)

    def measure(self, step: Step) -> Evidence:
        taken = [op for op in step.tape.history if op.name == "grad" and op.kind == "function" and op.grad and op.outputs]
        if not taken:
            return Evidence(missing="the step takes no gradient by torch.autograd.grad")
        for one in step.each():
            again = [_joins(one, op) for op in one.tape.history if op.name == "grad" and op.kind == "function" and op.grad]
            if not any(again):
                return Evidence({"taken": len(taken), "constant": 0, "joins": ""}, place=step.place_of(taken[0]))
        found = [(op, join) for op in taken if (join := _joins(step, op)) is not None]
        first, join = found[0]
        value = step.tape.values[first.outputs[0]]
        return Evidence(
            {"taken": len(taken), "constant": len(found), "joins": plain_name(join), "shape": list(value.shape)},
            place=step.place_of(first) or step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["constant"]:
            return Ruling.passed(f"none of {evidence['taken']} gradients that the step takes is a constant in its loss")
        return Ruling.found(
            Severity.WARNING,
            "A derivative of the model is part of the loss as a constant: it has no gradient.",
            expected="a derivative that depends on the weights, by create_graph=True",
            observed=f"torch.autograd.grad gives a tensor of shape {tuple(evidence['shape'])} without a graph, though trained "
            f"weights made what it is taken of, and {evidence['joins']} puts it into the loss",
            fix="Call torch.autograd.grad(…, create_graph=True).",
        )


def _joins(step: Step, op: Op) -> Op | None:
    """The operation at which a gradient joins the loss as a constant; None where it does not, or where it may be meant."""
    from trainrecipe.capture.tape import ESCAPES, LOSSES

    values = step.tape.values
    if any(values[n].requires_grad for n in op.outputs) or not _depends(step, op):
        return None
    constant = set(op.outputs)
    for later in step.tape.history:
        mine = [n for n in later.inputs if n in constant]
        if later.index <= op.index or later.kind == "module" or not mine:
            continue
        if not later.grad or later.name in DELIBERATE | ESCAPES:
            continue
        if not any(values[n].requires_grad for n in later.outputs):
            constant.update(later.outputs)
        elif (plain_name(later) in SUMS or later.name in LOSSES) and _is_loss(step, later):
            return later
    return None


def _depends(step: Step, op: Op) -> bool:
    """Whether what a gradient was taken of depends on weights that this step trains."""
    from trainrecipe.subjects.origins import cone

    trained = {id(p) for p in step.tape.parameters}
    if step.optimizer is not None:
        trained &= {id(p) for group in step.optimizer.param_groups for p in group["params"]}
    leaves = {n for n, v in step.tape.values.items() if v.parameter is not None and id(v.parameter) in trained}
    roots = op.inputs[: _outputs_given(op)]
    return any(n in leaves for root in roots for made in cone(step, root) for n in made.inputs)


def _outputs_given(op: Op) -> int:
    """How many tensors `torch.autograd.grad` was given to differentiate; they come first."""
    given = op.argument(0, "outputs")
    return len(given) if isinstance(given, list | tuple) else 1


def _is_loss(step: Step, join: Op) -> bool:
    """Whether a sum is part of the loss, with its gradient: no weights are added to, and no layer comes after it."""
    from trainrecipe.subjects.origins import weighs

    values = step.tape.values
    if any(values[n].parameter is not None for n in join.inputs):
        return False
    made = {n for n in join.outputs if values[n].requires_grad}
    for later in step.tape.history:
        if later.index > join.index and any(n in made for n in later.inputs):
            if weighs(step, later) or later.kind == "module":
                return False
            made.update(n for n in (*later.outputs, *later.mutated) if values[n].requires_grad)
    return any(n in made for n in step.tape.roots)
