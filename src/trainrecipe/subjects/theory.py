"""What theory says about a step's loss: its value for a net that knows nothing, for the best constant, and its floor.

A `Theory` holds for a step whose loss is one call of one of PyTorch's loss functions, or equals one, up to a constant
factor. All values are in the units of that function with `reduction="mean"`, so that a sum, a factor or gradient accumulation
cancels."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from trainrecipe.capture.tensors import dense

if TYPE_CHECKING:
    from trainrecipe.subjects.step import LossCall, Step

SCALING = frozenset(
    {"mul", "div", "true_divide", "__mul__", "__truediv__", "__rmul__", "mean", "sum", "squeeze", "reshape", "view"}
)
"""Operations between a loss function and the value that backward is called on that change its scale only."""
_TINY = 1e-12
_TERMS = 6
"""Terms of one loss that are looked at."""
_KINDS = {
    "cross_entropy": "softmax",
    "nll_loss": "softmax",
    "binary_cross_entropy": "sigmoid",
    "binary_cross_entropy_with_logits": "sigmoid",
    "mse_loss": "squared",
    "l1_loss": "absolute",
    "smooth_l1_loss": "huber",
    "huber_loss": "huber",
    "kl_div": "divergence",
    "multi_margin_loss": "hinge",
    "soft_margin_loss": "hinge",
    "multilabel_soft_margin_loss": "hinge",
    "triplet_margin_loss": "hinge",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Theory:
    """The loss of a step against theory.

    `kind` is softmax, sigmoid, squared, absolute, huber, divergence or hinge; `measured` the loss of the observed
    predictions; `neutral` that of the neutral prediction (all classes alike, one half, zero); `prior` that of the best
    constant prediction (the label frequencies, the mean, the median), None where there is no formula; `floor` the
    lowest value that these targets allow, or None when that is not known, with the reason in `why`; `targets` how
    many target values are counted; `factor` what the step's own loss is per unit of this one."""

    kind: str
    measured: float
    neutral: float
    prior: float | None
    floor: float | None
    why: str
    targets: int
    classes: int
    spread: float
    factor: float

    @property
    def start(self) -> float:
        """The larger of the neutral value and that of the best constant: what an untrained net may be expected to
        reach."""
        return self.neutral if self.prior is None else max(self.neutral, self.prior)


def theory_of(step: Step) -> tuple[LossCall, Theory] | str:
    """The loss call that makes up the step's loss with its theory, or the reason why there is none."""
    call = only_call(step)
    if isinstance(call, str):
        return call
    found = of_call(call, groups_of(step, call))
    if isinstance(found, str):
        return found
    if not found.measured:
        return "the loss is zero from the start"
    return call, dataclasses.replace(found, factor=step.observed / found.measured)


def theories_of_terms(step: Step) -> list[tuple[LossCall, Theory]] | str:
    """The theory of each loss call that the step's loss depends on, one for each line; or why there is none.

    Their floors hold for each alone: whether all can be reached together is not known.
    """
    found = theory_of(step)
    if not isinstance(found, str):
        return [found]
    calls = {c.place: c for c in reversed(step.losses) if c.counts and c.value is not None}
    made = [(c, t) for c in reversed(calls.values()) if isinstance(t := of_call(c), Theory)]
    return made[:_TERMS] or found


def _by_hand(step: Step) -> LossCall | None:
    """A loss written by hand that equals one of PyTorch's on the outputs of the last layer, as if it had been called."""
    from trainrecipe.subjects.step import LossCall
    from trainrecipe.subjects.terms import parts

    whole = parts(step)
    known = whole.terms[0].known if len(whole.terms) == 1 else None
    op = step.producer(step.tape.roots[0])
    if known is None or op is None or known.number is None or known.factor <= 0 or known.name not in _KINDS:
        return None
    if known.axis != 1 or known.offset:
        return None
    target = known.target.to(known.prediction.dtype) if known.target.is_floating_point() else known.target
    value, number = whole.terms[0].value / known.factor, known.number
    return LossCall(known.name, known.prediction, target, {}, value, number, known.place, op, counts=True)


def only_call(step: Step) -> LossCall | str:
    """The one loss call that the step's loss consists of, up to a constant factor, or why there is none."""
    calls = {c.op.index: c for c in step.losses if c.counts}
    if not calls:
        by_hand = _by_hand(step) if len(step.tape.roots) == 1 else None
        return by_hand or "the loss is none of PyTorch's loss functions and equals none, so theory does not tell its value"
    if len(step.tape.roots) != 1:
        return "backward starts from several tensors"
    number = step.tape.roots[0]
    for _ in range(12):
        op = step.producer(number)
        if op is None:
            break
        if op.index in calls:
            return calls[op.index]
        if op.name not in SCALING or len(op.inputs) != 1:
            break
        number = op.inputs[0]
    return "the loss is a sum of several terms, so theory does not tell its value"


def of_call(call: LossCall, groups: torch.Tensor | None = None) -> Theory | str:
    """The theory of one loss call, or the reason why there is none.

    `groups` numbers the rows of the targets such that rows with identical inputs share a number; None when that is not
    known, and then the floor is not known either.
    """
    kind = _KINDS.get(call.name)
    if kind is None or (call.target is None and kind != "hinge"):
        return f"there is no simple formula for {call.name}"
    prediction = call.prediction.detach().double()
    loss = evaluator(call)
    try:
        measured = loss(prediction)
        neutral = _neutral(call, kind, prediction, loss)
        whole = torch.zeros(max(1, prediction.shape[0] if prediction.ndim else 1), dtype=torch.long, device=prediction.device)
        best = best_prediction(call, kind, prediction, whole, pooled=True)
        prior = None if best is None else loss(best)
        floor, why = _floor(call, kind, prediction, loss, None if groups is None else groups.to(prediction.device))
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        return f"theory could not be computed for this call of {call.name}: {error}"
    if not all(math.isfinite(v) for v in (measured, neutral, prior or 0.0)):
        return "the loss is not finite"
    classes = prediction.shape[_axis(prediction)] if kind in ("softmax", "divergence") and prediction.ndim else 1
    return Theory(kind, measured, neutral, prior, floor, why, counted(call), classes, _spread(kind, prediction), math.nan)


def evaluator(call: LossCall) -> Callable[[torch.Tensor], float]:
    """The loss call as a function of the prediction alone, in float64 and with `reduction="mean"`."""
    settings = {k: v for k, v in call.settings.items() if k not in ("reduction", "size_average", "reduce")}
    settings = {k: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in settings.items()}
    target = call.target
    if target is not None and target.is_floating_point():
        target = target.double()
    function: Any = getattr(F, call.name)
    reduction = "batchmean" if call.name == "kl_div" else "mean"
    rest = [t.double() for t in call.op.kept[2:3]] if call.name == "triplet_margin_loss" else []

    def loss(prediction: torch.Tensor) -> float:
        with torch.no_grad():
            return float(function(prediction, target, *rest, **settings, reduction=reduction))

    return loss


def groups_of(step: Step, call: LossCall) -> torch.Tensor | None:
    """Numbers of the batch's rows, the same for rows whose inputs are all identical; None when rows cannot be told."""
    size = step.batch_size
    prediction = call.prediction
    given = [i.tensor for i in step.inputs if size and i.tensor.ndim and i.tensor.shape[0] == size]
    rows = [dense(t).flatten(1) if t.ndim > 1 else t[:, None] for t in given]
    if not size or not rows or not prediction.ndim or prediction.shape[0] != size:
        return None
    if call.name in ("cross_entropy", "nll_loss") and prediction.ndim != 2:
        return None
    numbers = [torch.unique(r.detach(), dim=0, return_inverse=True)[1] for r in rows]
    joint: torch.Tensor = torch.unique(torch.stack(numbers, 1), dim=0, return_inverse=True)[1]
    return joint


def counted(call: LossCall) -> int:
    """How many target values the loss counts."""
    target = call.target
    if target is None or not target.ndim:
        return 1
    if call.name in ("cross_entropy", "nll_loss"):
        if target.is_floating_point():
            return target.numel() // target.shape[_axis(target)]
        return int((target != call.settings.get("ignore_index", -100)).sum())
    return target.numel()


# ---- the best predictions


def best_prediction(
    call: LossCall, kind: str, prediction: torch.Tensor, groups: torch.Tensor, *, pooled: bool
) -> torch.Tensor | None:
    """The prediction with the lowest loss among those that are constant on each group of rows; None without a formula.

    With `pooled`, a softmax prediction is also the same at all positions.
    """
    if kind in ("softmax", "divergence"):
        q = _class_weights(call, prediction)
        return None if q is None else _log_shares(q, groups, pooled)
    target = call.target
    if kind in ("hinge", "other") or target is None or target.shape != prediction.shape:
        return None
    target = target.double()
    if kind == "sigmoid":
        return _best_sigmoid(call, target, groups)
    return _per_group(target, groups, "median" if kind == "absolute" else "mean")


def _class_weights(call: LossCall, prediction: torch.Tensor) -> torch.Tensor | None:
    """How much each row and position wants each class, with label smoothing and class weights, shaped as the
    prediction."""
    target, settings = call.target, call.settings
    assert target is not None
    axis = _axis(prediction)
    classes = prediction.shape[axis]
    if call.name == "kl_div":
        return target.double().exp() if settings.get("log_target") else target.double()
    if target.is_floating_point():
        q = target.double()
    else:
        valid = target != settings.get("ignore_index", -100)
        q = F.one_hot(target.clamp(0, classes - 1), classes).double() * valid.unsqueeze(-1)
        q = q.movedim(-1, axis)
    smoothing = float(settings.get("label_smoothing") or 0.0)
    weight = settings.get("weight")
    if smoothing:
        q = q * (1 - smoothing) + smoothing / classes * q.sum(axis, keepdim=True)
    if isinstance(weight, torch.Tensor):
        shape = [1] * q.ndim
        shape[axis] = classes
        q = q * weight.double().reshape(shape)
    return q


def _log_shares(q: torch.Tensor, groups: torch.Tensor, pooled: bool) -> torch.Tensor:
    if q.ndim == 1:
        return (q / q.sum().clamp_min(_TINY)).clamp_min(_TINY).log()
    summed = _sum_by(q, groups)
    if pooled and q.ndim > 2:
        summed = summed.sum(tuple(range(2, q.ndim)), keepdim=True).expand_as(summed)
    share = summed / summed.sum(1, keepdim=True).clamp_min(_TINY)
    return share.clamp_min(_TINY).log()[groups]


def _best_sigmoid(call: LossCall, target: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    rate = _per_group(target, groups, "mean").clamp(_TINY, 1 - _TINY)
    weight = call.settings.get("pos_weight")
    if call.name == "binary_cross_entropy":
        return rate
    odds = rate / (1 - rate)
    return (odds * (weight.double() if isinstance(weight, torch.Tensor) else 1.0)).log()


def _per_group(target: torch.Tensor, groups: torch.Tensor, statistic: str) -> torch.Tensor:
    if target.ndim == 0:
        return target.clone()
    if statistic == "mean":
        count = torch.bincount(groups, minlength=int(groups.max()) + 1).double()
        return (_sum_by(target, groups) / count.reshape(-1, *[1] * (target.ndim - 1)))[groups]
    medians = [target[groups == g].quantile(0.5, dim=0) for g in range(int(groups.max()) + 1)]
    return torch.stack(medians)[groups]


def _sum_by(values: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    out = values.new_zeros((int(groups.max()) + 1, *values.shape[1:]))
    return out.index_add_(0, groups, values)


def _neutral(call: LossCall, kind: str, prediction: torch.Tensor, loss: Callable[[torch.Tensor], float]) -> float:
    """The loss of a prediction that prefers nothing."""
    if call.name == "triplet_margin_loss":
        return float(call.settings.get("margin", 1.0))
    if kind == "softmax" or kind == "divergence":
        return loss(torch.zeros_like(prediction).log_softmax(_axis(prediction)))
    if call.name == "binary_cross_entropy":
        return loss(torch.full_like(prediction, 0.5))
    return loss(torch.zeros_like(prediction))


def _floor(
    call: LossCall,
    kind: str,
    prediction: torch.Tensor,
    loss: Callable[[torch.Tensor], float],
    groups: torch.Tensor | None,
) -> tuple[float | None, str]:
    if groups is None:
        return None, "which rows have the same input cannot be told, so contradictory targets may set a floor"
    if kind == "hinge":
        return None, "a hinge loss has no single lowest prediction"
    if call.settings.get("label_smoothing") and call.settings.get("weight") is not None:
        return None, "label smoothing together with class weights has no simple floor"
    best = best_prediction(call, kind, prediction, groups, pooled=False)
    if best is None:
        return None, f"there is no formula for the floor of {call.name} on targets of this shape"
    with contextlib.suppress(RuntimeError):
        return max(0.0, loss(best)), ""
    return None, "the floor could not be computed"


def _axis(prediction: torch.Tensor) -> int:
    return 1 if prediction.ndim > 1 else 0


def _spread(kind: str, prediction: torch.Tensor) -> float:
    """The standard deviation of the logits around their row's mean, or of the predictions."""
    p = prediction
    if kind in ("softmax", "divergence") and p.ndim > 1:
        p = p - p.mean(1, keepdim=True)
    return float(p.std(correction=0))
