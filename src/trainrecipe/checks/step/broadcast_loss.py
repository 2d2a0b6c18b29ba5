from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import CREATION, plain_name
from trainrecipe.subjects.origins import cone, weighs

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

STRUCTURED = frozenset(
    {
        "softmax",
        "log_softmax",
        "logsumexp",
        "argmin",
        "argmax",
        "amin",
        "amax",
        "topk",
        "sort",
        "matmul",
        "__matmul__",
        "mm",
        "bmm",
        "diag",
        "diagonal",
        "triu",
        "tril",
        "masked_fill",
        "masked_select",
        "where",
        "__getitem__",
        "gather",
        "einsum",
        "linear",
        "cumsum",
        "fill_diagonal_",
        "trace",
        "nonzero",
    }
)
"""What programs do to a table of pairs that they want: pick, mask, normalise or multiply it. A broadcast loss is only
averaged."""
EXPLICIT = frozenset(
    {"unsqueeze", "__getitem__", "view", "reshape", "view_as", "reshape_as", "expand", "unflatten", "T.get", "t"}
)
GRIDS = frozenset({"arange", "linspace", "logspace", "zeros", "ones", "full", "eye", "empty", "range"})
"""Functions that make the same tensor for every batch: bins, centres, constant labels."""
JOINS = frozenset(
    {"cat", "concat", "stack", "hstack", "vstack", "linear", "matmul", "__matmul__", "mm", "bmm", "outer", "einsum"}
)
"""Operations of several tensors that do not broadcast them against each other."""


@dataclasses.dataclass(frozen=True)
class Meeting:
    """Two tensors of different rank whose batch axes are set against each other."""

    op: Op
    left: int
    right: int
    explicit: bool


class BroadcastLoss(Check):
    """Each prediction meets its own target, and no other.

    What it checks
    --------------
    Every operation of two tensors that the loss depends on, in PyTorch's loss functions and in hand-written ones.
    It is a finding when one tensor has shape (N, 1, …) and the other (N, …), one rank less: broadcasting then lines
    up the batch of the one with an axis of length 1 of the other, and the result has shape (N, N, …). At least one
    of them must come from the model and the other from the batch, and the result must only be averaged or summed.

    Why it matters
    --------------
    All N² pairs are compared, so the loss is smallest when every prediction is the mean of the targets. Training
    looks calm and converges to a model that has learned nothing. PyTorch warns in `mse_loss` and `l1_loss` only,
    and only once.

    What healthy looks like
    -----------------------
    Prediction and target have the same shape.

    What to do
    ----------
    `prediction.squeeze(1)`, or `target.unsqueeze(1)`, before the loss.

    When it is wrong
    ----------------
    Tables of pairs that are meant, as in contrastive, ranking, quantile or kernel losses and in distances by hand,
    add their axes by `unsqueeze` or `[:, None]` on tensors of the model, or are masked, normalised or multiplied
    afterwards; they are not reported. With a batch of one the fault cannot be seen.

    Source
    ------
    pytorch/pytorch#16045; fault catalogue 12. Shapes prove it: an identity.
    """

    title = "Prediction and target broadcast to a table of all pairs"
    rows = ("S18",)
    faults = (12,)
    explains = (
        "overfit-one-batch",
        "metric-broadcast",
        "learning-rate-range",
        "input-independent-baseline",
        "batch-mixing",
        "loss-at-init",
        "output-bias-at-init",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Look for batches that are set against each other."""
        found = [m for op in step.tape.history if (m := _meeting(step, op)) is not None and not _wanted(step, m)]
        if not found:
            return Evidence({"shapes": [], "operation": ""}, place=step.place)
        return [_evidence(step, m) for m in found[:3]]

    def judge(self, evidence: Evidence) -> Ruling:
        """Any such meeting is a fault; with an axis added in the step it may have been meant."""
        if not evidence["operation"]:
            return Ruling.passed("no two tensors of the batch broadcast against each other on the way to the loss")
        left, right, out = (tuple(s) for s in evidence["shapes"])
        return Ruling.found(
            Severity.WARNING if evidence["explicit"] else Severity.ERROR,
            f"{evidence['operation']} of shapes {left} and {right} gives {out}: every example meets every other.",
            expected="prediction and target of the same shape",
            observed=f"{left} against {right} broadcasts to {out}, which is then averaged or summed",
            fix="Make the shapes equal before the loss: prediction.squeeze(1), or target.unsqueeze(1).",
        )


def _evidence(step: Step, found: Meeting) -> Evidence:
    from trainrecipe.capture.where import place

    values = step.tape.values
    left, right = (tuple(values[n].shape) for n in (found.left, found.right))
    out = (max(len(left), len(right)), left, right)
    longer, shorter = (left, right) if len(left) > len(right) else (right, left)
    table = tuple(max(a, b) for a, b in zip(longer, (1,) * (out[0] - len(shorter)) + shorter, strict=True))
    return Evidence(
        {"operation": plain_name(found.op), "shapes": [left, right, table], "explicit": found.explicit},
        place=place(found.op.at),
    )


def _meeting(step: Step, op: Op) -> Meeting | None:
    values = step.tape.values
    if op.kind != "function" or len(op.inputs) < 2 or op.name in JOINS or not step.reaches(op):
        return None
    given = [n for n in dict.fromkeys(op.inputs[:3]) if n in values]
    for i, left in enumerate(given):
        for right in given[i + 1 :]:
            longer, shorter = (left, right) if len(values[left].shape) > len(values[right].shape) else (right, left)
            if _crosses(tuple(values[longer].shape), tuple(values[shorter].shape)) and _broadcasts(step, op, longer, shorter):
                explicit = _meant(step, op, longer, shorter)
                if explicit is not None:
                    return Meeting(op, left, right, explicit)
    return None


def _crosses(longer: tuple[int, ...], shorter: tuple[int, ...]) -> bool:
    """Whether the one batch axis lines up with an axis of length 1 that is not the other's batch axis."""
    skipped = len(longer) - len(shorter)
    if skipped < 1 or not shorter or longer[0] != shorter[0] or longer[0] < 2:
        return False
    rest = zip(longer[skipped + 1 :], shorter[1:], strict=True)
    return longer[skipped] == 1 and all(a == b or 1 in (a, b) for a, b in rest)


def _broadcasts(step: Step, op: Op, longer: int, shorter: int) -> bool:
    """Whether the operation really does so: its result, unless it is reduced at once, has the batch where the 1 was."""
    values = step.tape.values
    out = values.get(op.outputs[0]) if op.outputs else None
    if out is None:
        return False
    if not out.shape:
        return True
    long, short = tuple(values[longer].shape), tuple(values[shorter].shape)
    return len(out.shape) >= len(long) and out.shape[len(out.shape) - len(short)] == long[0]


def _meant(step: Step, op: Op, longer: int, shorter: int) -> bool | None:
    """None when the pairs are meant or the two are not a batch's; else whether the axis was added within the step."""
    ours = [n in step.derived for n in (longer, shorter)]
    if not any(ours) or not all(_of_batch(step, n) for n in (longer, shorter)):
        return None
    added = _added(step, longer, op.index)
    if not all(ours):
        return added
    return None if added else False


def _of_batch(step: Step, number: int) -> bool:
    """Whether any data went into a value.

    A tensor from outside that is no parameter, or one made of numbers or at random.
    """
    values = step.tape.values
    made = list(cone(step, number))
    outside = [n for n in {number, *(n for op in made for n in op.inputs)} if n in values and step.producer(n) is None]
    if any(values[n].parameter is None and values[n].shape for n in outside):
        return True
    return any(not op.inputs and op.name not in GRIDS for op in made)


def _added(step: Step, number: int, before: int) -> bool:
    """Whether an operation of the step put in the axis of length 1, not a layer of one output or the data."""
    values = step.tape.values
    for _ in range(40):
        op = step.producer(number, before)
        if op is None or weighs(step, op) or op.name in CREATION:
            return False
        several = op.name == "stack" and len(op.inputs) > 1  # such as the steps of an episode: that axis is no 1
        if not several and (op.name in EXPLICIT or op.argument(2, "keepdim") is True):
            taken = values.get(op.inputs[0]) if op.inputs else None
            if taken is None or len(taken.shape) < len(values[number].shape) or op.name not in EXPLICIT:
                return True
        rank = len(values[number].shape) - several
        same = [n for n in op.inputs if n in values and len(values[n].shape) >= rank]
        if not same:
            return bool(op.inputs)
        number, before = same[0], op.index
    return False


def _wanted(step: Step, found: Meeting) -> bool:
    """Whether the table of pairs is used as one: picked from, masked or normalised.

    Or, if the axis was added, others are made too.
    """
    values = step.tape.values
    work, seen = list(found.op.outputs), set()
    size = values[found.left].shape[0]
    while work:
        number = work.pop()
        if number in seen or number not in values or tuple(values[number].shape).count(size) < 2:
            continue
        seen.add(number)
        for op in step.consumers.get(number, ()):
            reduced = op.name in ("max", "min") and len(op.inputs) == 1
            if op.name in STRUCTURED or reduced or _masked(step, op, number, size):
                return True
            work += [n for n in (*op.outputs, *op.mutated) if n != number]
    return found.explicit and _other_tables(step, found, size)


def _masked(step: Step, op: Op, number: int, size: int) -> bool:
    """Whether a table of pairs is weighted by another one that does not come from it."""
    values = step.tape.values
    if plain_name(op) not in ("mul", "div", "true_divide", "truediv"):
        return False
    others = [n for n in op.inputs if n != number and n in values and tuple(values[n].shape).count(size) >= 2]
    return any(n not in step.derived for n in others)


def _other_tables(step: Step, found: Meeting, size: int) -> bool:
    """Whether the step makes another table of pairs, as energy distances and ranking losses do."""
    values = step.tape.values
    for op in step.tape.history:
        out = values.get(op.outputs[0]) if op.outputs and op.index != found.op.index else None
        if out is None or op.kind != "function" or tuple(out.shape).count(size) < 2 or len(op.inputs) < 2:
            continue
        if all(n in values and tuple(values[n].shape).count(size) < 2 for n in op.inputs):
            return True
    return False
