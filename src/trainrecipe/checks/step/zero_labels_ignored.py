from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import JOINING, RESHAPING, plain_name

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

ELEMENTWISE = (RESHAPING - JOINING) | {
    *("sigmoid", "logsigmoid", "tanh", "softplus", "relu", "log", "exp", "clamp", "add", "sub", "rsub", "mul", "div", "neg"),
    *("truediv", "rmul", "radd", "log1p", "expm1"),
}
"""What may lie between the last layer and the loss: the prediction of one example must not depend on another's output."""
SHIFTS = (-30.0, -3.0, -1.0, 1.0, 3.0, 30.0)
"""What is added to predictions: a hinge whose margin is kept by all of one label shows its slope at one of these."""
LONGEST = 12
"""Operations between the last layer and the labels that are followed."""
FEWEST = 4
STEPS = 3


class ZeroLabelsIgnored(Check):
    """Examples of both labels count in the loss.

    What it checks
    --------------
    Where a loss that is written by hand has one target of zeros and ones: the predictions of the examples with label 0 are
    replaced by others, far smaller and far larger ones too, and the loss is computed again. It is a finding when the loss
    stays the same to the last bit, while it depends on the predictions for label 1, in every step that was recorded.

    Why it matters
    --------------
    Examples with label 0 get no gradient: nothing tells the model about them, and it learns to say yes to everything. A hinge
    loss, max(0, 1 − y s), needs labels of 1 and −1: with y = 0 it is 1 whatever s is.

    What healthy looks like
    -----------------------
    Labels of 1 and −1 in a hinge loss; a term for y and one for 1 − y in a cross-entropy.

    What to do
    ----------
    Map the labels with `2 * y - 1`, or add the term for label 0.

    When it is wrong
    ----------------
    Masks, chosen actions and events are zeros and ones, too, and meant to leave out the rest: they stand beside another target
    or another value from outside, and such steps are not looked at. Nor are losses in which examples depend on each other.

    Source
    ------
    Cortes and Vapnik 1995 (hinge loss, labels of 1 and −1); fault catalogue 22. An identity: the derivative of 1 − 0 · s is 0.
    """

    title = "Examples with label 0 have no part in the loss"
    rows = ("S18",)
    faults = (22,)
    price = Price.FORWARD
    explains = ("overfit-one-batch", "loss-at-init", "output-bias-at-init", "learning-rate-range", "dumb-baselines")

    def measure(self, step: Step) -> Evidence:
        if step.distrust:
            return Evidence(missing=step.distrust)
        seen = [_look(one) for one in step.each()[:STEPS] if not one.distrust]
        found = [s for s in seen if s is not None]
        if not found:
            return Evidence(missing="the loss is not one that is written by hand for predictions and labels of 0 and 1")
        zeros, ones = sum(s[0] for s in found), sum(s[1] for s in found)
        if zeros < FEWEST or ones < FEWEST:
            return Evidence(missing="too few labels of each kind were seen")
        met = next((op for op in step.tape.ops if any(i.number in op.inputs for i in step.targets)), None)
        return Evidence(
            {
                "zeros": zeros,
                "ones": ones,
                "ignored": len(found) == len(seen) and all(s[2] for s in found),
                "steps": len(found),
            },
            place=(step.place_of(met) if met is not None else None) or step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["ignored"]:
            return Ruling.passed("the loss depends on the predictions for both labels, 0 and 1")
        return Ruling.found(
            Severity.WARNING,
            "The loss does not depend on what is predicted for examples with label 0.",
            expected="a loss that tells right from wrong predictions for either label",
            observed=f"with other predictions for {evidence['zeros']} labels of 0 the loss is the same to the last bit, in "
            f"{evidence['steps']} recorded steps; it depends on those for {evidence['ones']} labels of 1",
            fix="A hinge loss takes labels of 1 and -1: `2 * y - 1`. In a likelihood, add the term for label 0.",
        )


def _look(step: Step) -> tuple[int, int, bool] | None:
    """How many labels of a step are 0 and 1, and whether the predictions for label 0 do not matter while the others do."""
    import torch

    if any(c.counts for c in step.losses):
        return None
    number, label = _output(step), _label(step)
    if number is None or label is None:
        return None
    twin = step.twin()
    with torch.no_grad():
        prediction = twin.run(until=[number])[number]
        if prediction.numel() != label.numel() or not prediction.is_floating_point():
            return None
        zero = (label == 0).reshape(prediction.shape)
        now = twin.loss({number: prediction})
        low, high = float(prediction.min()), float(prediction.max())
        share = torch.linspace(0, 1, prediction.numel(), dtype=prediction.dtype, device=prediction.device)
        inside = (low + (high - low) * share).reshape(prediction.shape)
        others = [inside, *(prediction + shift for shift in SHIFTS)]
        values = [[twin.loss({number: torch.where(which, o, prediction)}) for o in others] for which in (zero, ~zero)]
    same = [torch.equal(v, now) for v in values[0] if bool(v.isfinite().all())]
    moved = [not torch.equal(v, now) for v in values[1] if bool(v.isfinite().all())]
    return int(zero.sum()), int((~zero).sum()), bool(same) and torch.equal(values[0][0], now) and all(same) and any(moved)


def _label(step: Step) -> torch.Tensor | None:
    """The one target of zeros and ones; None where anything else from outside meets the predictions."""
    import torch

    targets = [i for i in step.targets if i.tensor.numel() > 1]
    first = next((t.tensor for t in targets if _binary(t.tensor)), None)
    if first is None:
        return None
    kinds = first.flatten() == 0
    for target in targets:
        values = target.tensor.to_dense().flatten()
        if len(values) != len(kinds) or any(len(torch.unique(values[which])) > 1 for which in (kinds, ~kinds)):
            return None
    return None if _meets_inputs(step) else first.detach()


def _binary(tensor: torch.Tensor) -> bool:
    import torch

    if tensor.is_complex() or tensor.layout != torch.strided:
        return False
    return bool(((tensor == 0) | (tensor == 1)).all()) and bool((tensor != tensor.flatten()[0]).any())


def _meets_inputs(step: Step) -> bool:
    """Whether an input of the model is taken again where its results are."""
    inputs = {i.number for i in step.inputs if i.tensor.numel() > 1}
    made = {n for op in step.tape.ops if op.kind == "module" or any(i in inputs for i in op.inputs) for n in op.outputs}
    for op in step.tape.ops:
        if op.kind != "module" and any(n in made for n in op.inputs):
            if any(n in inputs for n in op.inputs):
                return True
            made.update(op.outputs)
    return False


def _output(step: Step) -> int | None:
    """The value that the last layer makes and the whole loss comes from, element by element; None where there is none."""
    from trainrecipe.subjects.origins import cone, weighs

    top = {n: op for op in step.tape.ops for n in (*op.outputs, *op.mutated)}
    numbers = [n for n in step.predictions if step.tape.values[n].requires_grad]
    if len(numbers) != 1:
        return None
    number = numbers[0]
    for _ in range(LONGEST):
        op = top.get(number)
        if op is None or op.kind == "module" or weighs(step, op):
            break
        given = [n for n in op.inputs if n in top and step.tape.values[n].requires_grad]
        if len(given) != 1:
            break
        number = given[0]
    op = top.get(number)
    if op is None or number in op.mutated:
        return None
    ops = list(cone(step, number, stop=lambda op: weighs(step, op)))
    plain = all(weighs(step, o) or o.kind == "module" or {o.name, plain_name(o)} & ELEMENTWISE for o in ops)
    return number if plain and any(weighs(step, o) for o in ops) and _alone(step, number, top) else None


def _alone(step: Step, number: int, top: dict[int, Op]) -> bool:
    """Whether the loss depends on what layers make through one value only."""
    from trainrecipe.subjects.origins import weighs

    work, seen = list(step.tape.roots), {number}
    while work:
        value = work.pop()
        op = top.get(value)
        if value in seen or op is None:
            continue
        seen.add(value)
        if op.kind == "module" or weighs(step, op):
            return False
        work += op.inputs
    return number not in step.tape.roots
