"""How the predictions of a step are read: which value they are, which examples are followed, what their targets are."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch

from trainrecipe.subjects.dynamics import Dynamics, Look
from trainrecipe.subjects.lessons import KINDS

if TYPE_CHECKING:
    from trainrecipe.subjects.step import LossCall, Step

EXAMPLES = 16
"""Examples that are followed."""
OUTPUTS = 10
"""Outputs that are kept of each; the class with the largest is known among all of them."""
_WIDEST = 64
"""Numbers per example beyond which predictions that meet no classes are not followed: they are pictures or sequences."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """How to read the predictions of one step: `number` of the value, the `shape` in which the loss of `call` gets it,
    and the `rows` that are followed."""

    number: int
    kind: str
    shape: tuple[int, ...]
    rows: list[int]
    targets: torch.Tensor | None
    call: LossCall | None

    def read(self, prediction: torch.Tensor, step: int) -> Look:
        """The predictions of the followed rows."""
        outputs = _rows(prediction.reshape(self.shape), self.kind)[self.rows].detach().double().cpu()
        picked = outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > self.middle).long()
        values = outputs[:, 0]
        if self.kind == "classes" and self.targets is not None:
            shares = outputs.softmax(1) if self.call is None or self.call.name == "cross_entropy" else outputs.exp()
            values = shares.gather(1, self.targets.long()[:, None])[:, 0]
        elif self.kind == "binary" and self.targets is not None:
            logits = self.call is not None and self.call.name.endswith("logits")
            shares = outputs[:, 0].sigmoid() if logits else outputs[:, 0]
            values = torch.where(self.targets > 0.5, shares, 1 - shares)
        kept = [[_short(v) for v in row] for row in outputs[:, :OUTPUTS].tolist()]
        return Look(step, kept, picked.tolist(), [_short(v) for v in values.tolist()])

    @property
    def middle(self) -> float:
        """The output that lies between two classes."""
        return 0.5 if self.call is not None and self.call.name == "binary_cross_entropy" else 0.0


def _short(value: float) -> float:
    return float(f"{value:.7g}")


def reader_of(step: Step) -> tuple[Reader, Dynamics] | str:
    """How to follow the predictions of a step, with empty dynamics; or the reason why they cannot be followed."""
    numbers = step.predictions
    call = next((c for c in step.losses if c.counts and c.input in numbers and c.op.parent is None), None)
    if call is not None:
        number = call.input
    else:
        shaped = [n for n in numbers if step.tape.values[n].shape]
        if len(shaped) != 1:
            return "the step has no single prediction"
        number = shaped[0]
        call = _inner_call(step, number)
    value = step.tape.values[number]
    if not value.dtype.is_floating_point or not value.shape:
        return "the predictions are no numbers"
    shape = tuple(call.prediction.shape) if call is not None else value.shape
    kind, targets = _kind(call, shape)
    if kind != "classes" and math.prod(shape[1:]) > _WIDEST:
        return "the predictions are pictures or sequences"
    count = targets.numel() if targets is not None and kind != "numbers" else shape[0]
    if kind == "classes" and targets is not None:
        ignored = call.settings.get("ignore_index", -100) if call is not None else -100
        usable = ((targets >= 0) & (targets != ignored)).nonzero()[:, 0].tolist()
    else:
        usable = list(range(count))
    if not usable:
        return "no target of the batch counts"
    rows = [usable[i * len(usable) // min(EXAMPLES, len(usable))] for i in range(min(EXAMPLES, len(usable)))]
    truths = targets[rows].double().cpu() if targets is not None else None
    names = [f"example {i}" for i in rows]
    made = Dynamics(kind, [] if truths is None else truths.tolist(), names, _differ(step))
    return Reader(number, kind, shape, rows, truths, call), made


def _inner_call(step: Step, number: int) -> LossCall | None:
    """The call of a loss function inside the model on the very values that the model returns as its predictions."""
    size = math.prod(step.tape.values[number].shape)
    calls = [c for c in step.losses if c.counts and c.prediction.numel() == size]
    if not calls:
        return None
    with torch.no_grad():
        value = step.twin().run(until=[number])[number]
    return next((c for c in calls if torch.equal(c.prediction.flatten(), value.flatten().to(c.prediction.dtype))), None)


def _kind(call: LossCall | None, shape: tuple[int, ...]) -> tuple[str, torch.Tensor | None]:
    """What the predictions mean, with one target per row where it is known."""
    target = call.target if call is not None else None
    if call is None or target is None:
        return "outputs", None
    target = target.detach()
    kind = KINDS.get(call.name)
    if kind == "classes" and call.name != "multi_margin_loss" and len(shape) >= 2 and shape[1] > 1:
        if target.is_floating_point():
            target = target.argmax(1)
        return "classes", target.reshape(-1)
    if kind == "binary" and tuple(target.shape) == shape:
        return "binary", target.reshape(-1)
    if kind == "numbers" and tuple(target.shape) == shape:
        return "numbers", target.reshape(target.shape[0], -1)[:, 0]
    return "outputs", None


def _rows(prediction: torch.Tensor, kind: str) -> torch.Tensor:
    """One row of outputs per example: classes side by side, every binary decision by itself, the others as they are."""
    if kind == "classes":
        return prediction.movedim(1, -1).reshape(-1, prediction.shape[1])
    return prediction.reshape(-1, 1) if kind == "binary" else prediction.reshape(prediction.shape[0], -1)


def _differ(step: Step) -> bool:
    """Whether the rows of some input differ."""
    size = step.batch_size
    if size is None:
        return False
    given = [i.tensor for i in step.inputs if i.tensor.ndim and len(i.tensor) == size and i.dense]
    return any(not bool((t == t[:1]).all()) for t in given)
