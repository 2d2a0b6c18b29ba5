from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.tape import Tape
    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.step import Step

PRACTICE = 100
"""Optimiser steps on the copy, on one batch, so that predictions get as confident as they soon will in training."""
FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, 40.0, 100.0)
NEAR = 4.0
"""Growth of the logits, from where practice left them, that counts as near. In float32 1 - sigmoid(x) is 0 from x = 17 and
softmax gives 0 at a distance of 104: with logits of 5 after practice the first is near, the second is not."""
LOGS = frozenset({"log", "log2", "log10", "log_", "log1p"})
SQUASHES = frozenset({"sigmoid", "softmax", "special_expit", "special_softmax", "sigmoid_", "expit"})
EDGES = LOGS | {
    *("sqrt", "rsqrt", "div", "__truediv__", "__rtruediv__", "true_divide", "pow", "__pow__", "acos", "asin", "atanh"),
    *("norm", "cdist"),
}
"""Operations with an edge: at 0 or at ±1 their value or their derivative is infinite."""

ARITHMETIC = frozenset(
    {
        *("mul", "__mul__", "__rmul__", "mul_", "square", "pow", "__pow__", "exp", "add", "__add__", "prod", "logsumexp"),
        *("sum", "mean", "cumsum", "std", "var", "norm", "linalg_norm", "linalg_vector_norm"),
        *("matmul", "__matmul__", "mm", "bmm", "baddbmm", "einsum", "linear", "conv1d", "conv2d", "conv3d"),
    }
)
"""Operations whose results are infinite by overflow only; masks are infinite on purpose."""


class NonFinite(Check):
    """Losses, gradients and weights stay finite.

    What it checks
    --------------
    The losses and gradients that were seen; where one is NaN or infinite, the step is executed again to find the first
    operation, forward or backward, that made it. Where all is well so far, a copy is trained on one batch for a while and
    then the logits in front of every logarithm of a sigmoid or softmax are made larger, as confident predictions are. In
    float16 the step is also searched for arithmetic that overflows to infinity although the loss stays finite.

    Why it matters
    --------------
    One NaN spreads into every weight and ends the training silently: the script goes on, and metrics stay at chance.

    What healthy looks like
    -----------------------
    Losses written with `log_softmax`, `logsigmoid`, `logsumexp` or PyTorch's loss functions stay finite for any logits.

    What to do
    ----------
    Replace the operation named by its stable form, or keep its argument away from the edge (`clamp(min=eps)`, `+ eps`
    inside the root or the logarithm).

    When it is wrong
    ----------------
    Infinite gradients under a gradient scaler in half precision are part of its method and not reported. A logarithm
    that only far larger logits would bring to 0 is a note.

    Source
    ------
    Fault catalogue 15, 20; floating-point limits: sigmoid rounds to 1 at 17 in float32.
    """

    title = "The training runs into NaN or infinity"
    rows = ("S17",)
    faults = (15, 20, 48, 137)
    price = Price.TRAIN
    explains = ("overfit-one-batch", "learning-rate-range", "exploding-gradients")

    def measure(self, step: Step) -> Evidence:
        if step.broken is not None and _sound_weights(step.broken):
            return _observed(step)
        bad = next(((s, v) for s, v in step.values_seen if not math.isfinite(v)), None)
        if step.distrust:
            if bad is not None:
                return Evidence({"seen": True, "step": bad[0], "what": "loss", "operation": ""}, place=step.place)
            return Evidence(missing=step.distrust)
        overflow = _overflow(step) if bad is None else None
        if overflow is not None:
            return Evidence({"seen": False, "overflow": overflow[0]}, place=overflow[1] or step.place)
        found = _stress(step)
        if bad is not None:
            return Evidence({**found[0], "seen": True, "step": bad[0], "what": "loss"}, place=found[1] or step.place)
        return Evidence({**found[0], "seen": False}, place=found[1])

    def judge(self, evidence: Evidence) -> Ruling:
        name = evidence.get("operation") or ""
        fix = _fix(name, evidence.get("squash") or "")
        if evidence["seen"]:
            if evidence.get("scaled"):
                return Ruling.unsure("infinite gradients in half precision: a gradient scaler skips such steps")
            if evidence.get("input"):
                fix = "Clean the data: look for NaN and infinity with `torch.isfinite` where the batch is built."
            began = f"; it began at `{name}`" if name else ""
            how = evidence.get("how") or ""
            return Ruling.found(
                Severity.ERROR,
                f"The {evidence['what']} is not finite from step {evidence['step']} on{began}.",
                expected="finite losses and gradients",
                observed=("the batch itself holds NaN or infinity" if evidence.get("input") else how)
                or f"a {evidence['what']} that is NaN or infinite",
                fix=fix,
                causes=()
                if name in EDGES or evidence.get("input")
                else ("The learning rate is too high: run again with a tenth of it.", "The data holds NaN or infinity."),
            )
        if evidence.get("overflow"):
            return Ruling.found(
                Severity.WARNING,
                f"`{evidence['overflow']}` overflows to infinity in float16, and what follows hides it.",
                expected="finite values, below 65504, in float16",
                observed="infinite results of finite arguments in the recorded step, with a finite loss",
                fix="Do this part in float32: `with torch.autocast(device, enabled=False)` and `.float()` on its arguments.",
            )
        factor = evidence.get("factor")
        if factor is None:
            return Ruling.passed(evidence.get("passed") or "losses and gradients are finite")
        if evidence.get("practice") and name not in EDGES:
            return Ruling.unsure(f"training on one batch for {PRACTICE} steps overflows at `{name}`")
        where = "training on one batch brings it there" if factor == 1 else f"logits {factor:g} times as large bring it there"
        return Ruling.found(
            Severity.WARNING if factor <= NEAR else Severity.NOTE,
            f"`{name}` will give NaN or infinity as soon as predictions are confident.",
            expected="a loss that stays finite for any logits",
            observed=f"after {PRACTICE} steps of practice the largest logit is {evidence['largest']:.3g}; {where}",
            fix=fix,
        )


def _fix(name: str, squash: str) -> str:
    if name in LOGS and squash:
        stable = "F.logsigmoid" if "sig" in squash or "expit" in squash else "F.log_softmax"
        return f"Use `{stable}` on the logits instead of the logarithm of `{squash}`, or a loss function that takes logits."
    if name in LOGS:
        return "Keep the argument of the logarithm above 0, for example with `clamp(min=1e-8)`."
    if name in ("sqrt", "norm", "cdist", "pow", "__pow__"):
        return "Add a small constant inside the root (`torch.sqrt(x + 1e-8)`), so that its derivative stays finite at 0."
    if "div" in name:
        return "Keep the divisor away from 0: skip empty groups, or use `clamp(min=...)`."
    return "Find why its input is extreme: lower the learning rate, clip gradients, normalise the inputs."


def _overflow(step: Step) -> tuple[str, Any] | None:
    """The first arithmetic in float16 that makes infinite results of finite arguments, and its line."""
    import torch

    from trainrecipe.capture.watch import run_watched

    found: list[Seen] = []

    def see(op: Seen) -> None:
        made = [t for t in op.outputs if t.dtype == torch.float16]
        if not found and op.name in ARITHMETIC and any(bool(t.isinf().any()) for t in made) and _finite(op.inputs):
            found.append(op)

    if any(op.autocast is not None and op.autocast[2] == torch.float16 for op in step.tape.ops):
        run_watched(step, step.twin(), see)
    return (found[0].name, found[0].place) if found else None


def _sound_weights(tape: Tape) -> bool:
    """Whether a broken step still began with finite weights, so that it is the step where it broke."""
    from torch import nn

    values = (v for v in tape.values.values() if v.parameter is not None and v.constant is not None)
    frozen = (c for op in tape.ops for o, c in (op.memo.pairs() if op.memo is not None else ()) if isinstance(o, nn.Parameter))
    return _finite([*(v.constant for v in values if v.constant is not None), *frozen])


def _observed(step: Step) -> Evidence:
    """Where the first broken step that was recorded went wrong."""
    import torch

    from trainrecipe.subjects.step import Step as Made

    tape = step.broken
    assert tape is not None
    loss = all(bool(t.isfinite().all()) for t in tape.observed)
    half = any(op.autocast is not None and op.autocast[2] == torch.float16 for op in tape.ops)
    data: dict[str, Any] = {"seen": True, "step": tape.step, "what": "gradient" if loss else "loss"}
    data["scaled"] = loss and half
    again = Made.from_tapes([tape], step.optimizer, step.names, births=step.births)
    bad = next((i for i in again.consumed if i.tensor.is_floating_point() and not i.tensor.isfinite().all()), None)
    if bad is not None and bad.role == "input":
        return Evidence({**data, "input": True}, place=again.place)
    try:
        seen, how = _origin(again)
    except Exception as error:
        seen, how = None, f"the step could not be executed again ({type(error).__name__})"
    return Evidence(
        {**data, "operation": seen.name if seen else "", "how": how, "squash": "", "inside": bool(seen and seen.inside)},
        place=_place(seen) or again.place,
    )


def _origin(step: Step, scale: Any = None, twin: Any = None) -> tuple[Seen | None, str]:
    """The first operation with a result that is not finite from inputs that are, forward or else backward."""
    import torch

    from trainrecipe.capture.watch import run_watched

    twin = twin or step.twin()
    ops: list[Seen] = []
    first: list[Seen] = []
    broken: set[int] = set()

    def look(seen: Seen) -> Any:
        made = scale(seen) if scale is not None else None
        outputs = seen.outputs = seen.outputs if made is None else [made]
        for out in outputs:
            if out.requires_grad and not out.is_leaf and out.is_floating_point():
                out.register_hook(functools.partial(_note, broken, id(out)))  # type: ignore[no-untyped-call]
        ops.append(seen)
        if not first and not _finite(outputs) and _finite(seen.inputs) and not _masks(seen):
            first.append(seen)
        return made

    env = run_watched(step, twin, look)
    loss = twin.total(env) if hasattr(twin, "total") else twin.loss()
    if not _finite([loss]):
        return (first[0] if first else None), _how(first[0] if first else None)
    weights = [w for _, w in twin.leaves]
    grads = torch.autograd.grad(loss, weights, allow_unused=True)
    lost = {id(w) for w, g in zip(weights, grads, strict=True) if g is not None and not _finite([g])}
    broken |= lost
    made = {id(o): op.index for op in ops for o in op.outputs}
    culprits = [op for op in ops if any(id(t) in broken for t in op.inputs) and not any(id(o) in broken for o in op.outputs)]
    if not culprits:
        return None, ""
    # backward met first what forward made last; of several users of that tensor the one with an edge is to blame
    last = max(made.get(id(t), -1) for op in culprits for t in op.inputs if id(t) in broken)
    users = [op for op in culprits if any(id(t) in broken and made.get(id(t), -1) == last for t in op.inputs)]
    return min(users, key=lambda op: op.name not in EDGES), "its result is finite and its derivative is not"


def _note(broken: set[int], key: int, gradient: torch.Tensor) -> None:
    if not gradient.isfinite().all():
        broken.add(key)


def _finite(tensors: list[torch.Tensor]) -> bool:
    return all(bool(t.isfinite().all()) for t in tensors if t.is_floating_point() and not t.is_sparse)


def _masks(seen: Seen) -> bool:
    """Infinity on purpose: masks of attention, and tensors filled with it."""
    return seen.name in ("masked_fill", "masked_fill_", "full", "full_like", "fill_", "where", "__setitem__", "zeros", "triu")


def _how(seen: Seen | None) -> str:
    if seen is None:
        return ""
    values = [t for t in seen.inputs if t.is_floating_point() and t.numel()]
    ends = [f"{float(t.min()):.3g} to {float(t.max()):.3g}" for t in values[:2]]
    return f"its input ranges over {', '.join(ends)}, its result holds NaN or infinity"


def _place(seen: Seen | None) -> Any:
    return seen.place if seen is not None else None


# ---- what confident predictions would do


def _stress(step: Step) -> tuple[dict[str, Any], Any]:
    """Train a copy for a while, then enlarge the logits in front of logarithms until loss or gradient is not finite."""
    from trainrecipe.capture.replay import Twin
    from trainrecipe.subjects.practice import own_optimizer, practise

    late = step.latest
    twin: Twin = late.twin()
    squashed, largest = _squashed(late, twin)
    if not squashed:
        return {"passed": "losses and gradients are finite, and no logarithm is taken of a sigmoid or softmax"}, None
    optimizer = own_optimizer(late, twin)
    broken = False
    if optimizer is not None:
        broken = practise(late, twin, optimizer, PRACTICE, clip=True).broken
    if not broken:
        largest = max(largest, _squashed(late, twin)[1])
    for factor in FACTORS:
        seen, how = _origin(late, _Enlarge(squashed, factor), twin)
        if seen is not None:
            data = {"operation": seen.name, "squash": squashed[min(squashed)], "factor": factor, "how": how}
            return {**data, "largest": largest, "practice": broken}, _place(seen)
    return {"passed": f"losses stay finite when logits are {FACTORS[-1]:g} times as large"}, None


class _Enlarge:
    """Gives some sigmoids and softmaxes a larger input."""

    def __init__(self, squashed: dict[int, str], factor: float) -> None:
        self.squashed, self.factor = squashed, factor

    def __call__(self, seen: Seen) -> Any:
        import torch

        if seen.index not in self.squashed or self.factor == 1.0:
            return None
        given = seen.inputs[0] * self.factor
        if "softmax" not in seen.name:
            return torch.sigmoid(given)
        dim = seen.kwargs.get("dim", seen.args[1] if len(seen.args) > 1 else -1)
        return torch.softmax(given, dim if isinstance(dim, int) else -1)


def _squashed(step: Step, twin: Any) -> tuple[dict[int, str], float]:
    """The sigmoids and softmaxes whose result reaches a logarithm, by index, and their largest input."""

    from trainrecipe.capture.watch import run_watched

    source: dict[int, set[int]] = {}
    names: dict[int, str] = {}
    sizes: dict[int, float] = {}
    found: set[int] = set()
    kept: list[Any] = []

    def look(seen: Seen) -> None:
        kept.append(seen)
        if seen.name in SQUASHES and seen.outputs and seen.inputs:
            names[seen.index] = seen.name
            sizes[seen.index] = float(seen.inputs[0].abs().max())
            source[id(seen.outputs[0])] = {seen.index}
            return
        reaching = set().union(*(source.get(id(t), set()) for t in seen.inputs))
        if seen.name in LOGS:
            found.update(reaching)
        elif reaching and seen.name not in ("linear", "matmul", "__matmul__", "bmm", "conv2d", "conv1d"):
            for out in seen.outputs:
                source[id(out)] = source.get(id(out), set()) | reaching

    run_watched(step, twin, look)
    return {i: names[i] for i in found}, max((sizes[i] for i in found), default=0.0)
