"""Targets that a loss function is not defined for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import LossCall, Step

PROBABILITY = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits", "multilabel_soft_margin_loss"})
"""Losses whose targets are probabilities, one by one."""
SIGNED = frozenset({"soft_margin_loss", "hinge_embedding_loss", "cosine_embedding_loss", "margin_ranking_loss"})
"""Losses whose targets are +1 and -1."""
LOGARITHMS = frozenset({"log", "log2", "log1p", "logsigmoid", "log_sigmoid", "softplus", "clamp", "clip", "nan_to_num", "neg"})
TOLERANCE = 1e-3
ENOUGH = 8
"""Targets that must be seen before a set of values is judged."""


class TargetsOutsideValidSet(Check):
    """Targets are values that the loss function is defined for.

    What it checks
    --------------
    The targets of every loss call in the recorded steps, as far as the loss depends on them: probabilities between 0 and 1
    for binary cross-entropy (also written out by hand, as y log p + (1-y) log(1-p)), rows that sum to one for
    cross-entropy with class probabilities, +1 and -1 for margin losses, no negative counts for Poisson.

    Why it matters
    --------------
    Nothing complains, but the loss has no minimum any more: with a mask of 0 and 255 it falls without end, and the
    net is driven to extremes. With 0 instead of -1 the negative examples have no effect.

    What healthy looks like
    -----------------------
    Masks and labels of 0.0 and 1.0 (or soft ones between); class indices from 0 to C-1; +1 and -1 where the loss says so.

    What to do
    ----------
    Print `target.unique()` next to the loss. Divide masks by 255, subtract 1 from labels that start at 1, turn 0 into -1 by
    `2 * y - 1`.

    When it is wrong
    ----------------
    Elements that are masked out of the loss may hold anything and are not judged. Weights that are multiplied into
    one-hot targets on purpose make rows that do not sum to one; that is at most a note.

    Source
    ------
    Fault catalogue 22; PyTorch forum thread 123902. PyTorch accepts such targets silently (probed with 2.13).
    """

    title = "Targets lie outside what the loss function is defined for"
    rows = ("S18", "D4")
    faults = (22,)
    price = Price.BACKWARD
    explains = (
        "loss-at-init",
        "overfit-one-batch",
        "output-bias-at-init",
        "input-independent-baseline",
        "bounded-head",
        "saturation",
        "learning-rate-range",
        "target-scale",
    )

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        pieces = [*_calls(step), *_by_hand(step)]
        return pieces or Evidence(missing="no loss with a target of known kind was seen")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        seen = f"the targets of {e['loss']} lie between {e['low']:.4g} and {e['high']:.4g}"
        if not e["outside"]:
            return Ruling.passed(seen)
        severity = {"probability": Severity.ERROR, "count": Severity.WARNING, "sum": Severity.NOTE}.get(
            e["kind"], Severity.WARNING
        )
        wanted = {
            "probability": "targets between 0 and 1",
            "signed": "targets of +1 and -1",
            "sum": "class probabilities that sum to one in each row",
            "several": "class probabilities that sum to one in each row",
            "count": "counts, which are not negative",
        }[e["kind"]]
        return Ruling.found(
            severity,
            f"{e['loss']} is given {_what(e)}, and it needs {wanted}.",
            expected=wanted,
            observed=f"{e['outside']} of {e['total']} targets are not: values {_shown(e['values'])}",
            fix={
                "signed": "Turn the labels 0 and 1 into -1 and +1: 2 * y - 1.",
                "several": "Several classes at once are a multi-label task: use binary_cross_entropy_with_logits.",
                "sum": "Divide each row by its sum, if these are meant to be probabilities.",
            }.get(
                e["kind"], "Bring the targets into that range where they are made: divide masks by 255, count classes from 0."
            ),
            causes=("a mask of 0 and 255, labels that begin at 1, or another code for the classes: print target.unique()",),
        )


def _what(e: Any) -> str:
    if e["kind"] == "signed":
        return "labels of 0 and 1, so that the zeros have no effect"
    if e["kind"] == "several":
        return "rows with several ones"
    if e["kind"] == "sum":
        return f"rows that sum to {e['low']:.3g} … {e['high']:.3g}"
    return f"targets from {e['low']:.4g} to {e['high']:.4g}"


def _shown(values: list[float]) -> str:
    return ", ".join(f"{v:.4g}" for v in values[:6]) + (", …" if len(values) > 6 else "")


def _calls(step: Step) -> Iterator[Evidence]:
    done: set[int] = set()
    for call in step.losses:
        if not call.counts or call.target is None or id(call.op) in done or call.target.is_complex():
            continue
        done.add(id(call.op))
        found = _judged(call)
        if found is None:
            continue
        kind, measured, outside = found
        if bool(outside.any()) and outside.shape == call.prediction.shape:
            outside = outside & _counted(step, call)
        yield _evidence(call.name, kind, measured, outside, call.place or step.place)


def _evidence(loss: str, kind: str, measured: torch.Tensor, outside: torch.Tensor, place: Any) -> Evidence:
    import torch

    values = measured.double()
    wrong = values[outside] if outside.shape == values.shape and bool(outside.any()) else values
    return Evidence(
        {
            "loss": loss,
            "kind": kind,
            "low": float(values.min()),
            "high": float(values.max()),
            "outside": int(outside.sum()),
            "total": values.numel(),
            "values": [float(v) for v in torch.unique(torch, wrong)[:20]],
        },
        place=place,
    )


def _judged(call: LossCall) -> tuple[str, torch.Tensor, torch.Tensor] | None:
    """The kind of targets a loss wants, the numbers to look at, and which of them are wrong."""
    import torch

    target = call.target
    assert target is not None
    if not target.numel():
        return None
    if call.name in PROBABILITY:
        return "probability", target, (target < -TOLERANCE) | (target > 1 + TOLERANCE)
    if call.name == "kl_div" and not call.settings.get("log_target"):
        return "probability", target, target < -TOLERANCE
    if call.name == "poisson_nll_loss":
        return "count", target, target < 0
    if call.name in SIGNED:
        signs = call.op.kept[-1] if call.name in ("cosine_embedding_loss", "margin_ranking_loss") else target
        zero_one = bool(((signs == 0) | (signs == 1)).all()) and signs.numel() >= ENOUGH
        none = torch.zeros_like(signs, dtype=torch.bool)
        return "signed", signs, (signs == 0) if zero_one and bool((signs == 1).any()) else none
    if (
        call.name == "cross_entropy"
        and target.is_floating_point()
        and target.shape == call.prediction.shape
        and target.ndim > 1
    ):
        return _rows(target)
    return None


def _rows(target: torch.Tensor) -> tuple[str, torch.Tensor, torch.Tensor]:
    sums = target.double().sum(1)
    odd = (sums - 1).abs() > 0.01
    odd &= sums != 0
    several = bool(((target == 0) | (target == 1)).all()) and bool((sums > 1.5).any())
    return ("several" if several else "sum"), sums, odd


def _counted(step: Step, call: LossCall) -> torch.Tensor:
    """Which elements of the predictions the loss depends on; all where that cannot be tried."""
    import torch

    everything = torch.ones_like(call.prediction, dtype=torch.bool)
    if step.distrust:
        return everything
    if call.op.parent is None:
        try:
            pair = step.value_and_gradient(call.input)
        except Exception:
            return everything
        if pair is not None and pair[1].shape == everything.shape:
            return pair[1] != 0
    return everything


def _by_hand(step: Step) -> Iterator[Evidence]:
    """Binary cross-entropy written out: constants y and 1 - y are each multiplied with a logarithm."""
    import torch

    factors: list[tuple[torch.Tensor, Any]] = []
    for op in step.tape.ops:
        if op.name.strip("_") not in ("mul", "rmul", "imul") or len(op.inputs) != 2 or not step.reaches(op):
            continue
        for mine, other in (op.inputs, op.inputs[::-1]):
            value = step.tape.values.get(mine)
            if value is not None and value.constant is not None and mine not in step.derived and _is_logarithm(step, other):
                factors.append((value.constant, op))
    for i, (y, op) in enumerate(factors):
        for rest, _ in factors[:i] + factors[i + 1 :]:
            if (
                y.shape == rest.shape
                and y.numel() > 1
                and torch.allclose(y.double() + rest.double(), torch.ones_like(y.double()))
            ):
                from trainrecipe.capture.where import place

                outside = (y < -TOLERANCE) | (y > 1 + TOLERANCE)
                yield _evidence("binary cross-entropy (written out)", "probability", y, outside, place(op.at) or step.place)
                return


def _is_logarithm(step: Step, number: int) -> bool:
    if number not in step.derived:
        return False
    for op in step.back(number, through=LOGARITHMS - {"log", "logsigmoid", "log_sigmoid", "softplus"}):
        if op.name in ("log", "log2", "log1p", "logsigmoid", "log_sigmoid", "softplus"):
            return True
    return False
