from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe import picture
from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.picture import Picture
    from trainrecipe.subjects.step import Step

SMALLEST = 64
"""Smaller tensors are not judged."""
LOST = 0.5
"""Share of a tensor's gradient elements that float16 rounds to zero, and relative error of the whole, both at least."""
MANY = 0.1
"""Share of all elements that must lie in such tensors."""
SOME = 0.001
"""Share of a weight's gradient elements that is worth a note where nothing scales the loss: losses shrink from here on, and
what is lost at the beginning is the least that will be lost."""
APART = 0.002
"""Relative error of that gradient, at least: rounding alone gives 0.001."""


class GradientUnderflow(Check):
    """Gradients in float16 are those of float32, but for rounding.

    What it checks
    --------------
    For a step under float16 autocast: the gradients of the recorded step, replayed as the script runs it and once more in
    float32. How many elements are exactly zero in float16 only, and how far each tensor's gradient is off. From
    half of a tensor on it is a warning; where no `GradScaler` is at work, a note from a thousandth of a weight on.

    Why it matters
    --------------
    The smallest number of float16 is 0.00000006. Gradients below it become zero on their way back through the network: the
    layers behind them stop learning, with no error and no infinity. Scaling the loss moves them into the range of float16.

    What healthy looks like
    -----------------------
    With a `GradScaler`, next to no element is lost, and the gradients agree to about 1 %.

    What to do
    ----------
    Scale the loss with `torch.amp.GradScaler`, or use bfloat16, which has the range of float32.

    When it is wrong
    ----------------
    It looks at one step at the beginning; gradients shrink as the training goes on. Models whose weights are float16
    themselves are not replayed in float32 and not judged.

    Source
    ------
    Fault catalogue 49; Micikevicius et al. 2018, "Mixed precision training"; PyTorch forum thread 101080.
    """

    title = "Gradients are lost in float16"
    rows = ("S17", "S24")
    faults = (49,)
    price = Price.BACKWARD
    explains = ("vanishing-gradients", "parameters-never-updated", "update-ratio")

    def measure(self, step: Step) -> Evidence:
        import torch

        if all(op.autocast is None or op.autocast[2] is not torch.float16 for op in step.tape.ops):
            return Evidence(missing="the step does not run under float16 autocast")
        if step.distrust:
            return Evidence(missing=step.distrust)
        half, full = _gradients(step, autocast=True), _gradients(step, autocast=False)
        if half is None or full is None:
            return Evidence(missing="the step cannot be executed in float32")
        tensors = []
        for key, exact in full.items():
            rounded = half.get(key)
            size, nonzero = exact.norm(), int(exact.ne(0).sum())
            if rounded is None or exact.numel() < SMALLEST or not nonzero or not bool(size.isfinite()):
                continue
            rounded = rounded.to(exact.dtype)
            lost = int((rounded.eq(0) & exact.ne(0)).sum()) / nonzero
            off = float((rounded - exact).norm() / size)
            name = step.names.get(key, "?")
            tensors.append({"name": name, "elements": exact.numel(), "axes": exact.ndim, "lost": lost, "off": off})
        if not tensors:
            return Evidence(missing=f"no tensor of {SMALLEST} elements or more gets a gradient")
        bare = step.window is not None and step.window.scale == 1.0
        return Evidence({"tensors": tensors, "bare": bare}, place=step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        tensors = evidence["tensors"]
        hit = [t for t in tensors if t["lost"] >= LOST and _number(t["off"]) >= LOST]
        share = sum(t["elements"] for t in hit) / sum(t["elements"] for t in tensors)
        worst = max(tensors, key=lambda t: t["lost"])
        some = [t for t in tensors if t.get("axes", 0) > 1 and t["lost"] >= SOME and _number(t["off"]) >= APART]
        if share < MANY and evidence.get("bare") and some:
            return self._some(some, len(tensors))
        if share < MANY:
            return Ruling.passed(
                f"at most {worst['lost']:.0%} of a tensor's gradient is zero in float16 only ({worst['name']})"
            )
        worst = max(hit, key=lambda t: t["lost"])
        return Ruling.found(
            Severity.WARNING,
            f"In float16 {worst['lost']:.0%} of the gradient of {worst['name']} is rounded to zero.",
            expected="the gradients of float32, but for rounding",
            observed=f"in {len(hit)} of {len(tensors)} tensors, with {share:.0%} of the elements, at least half of the "
            f"gradient's elements are zero in float16 and not in float32; that of {worst['name']} is off by "
            f"{_number(worst['off']):.0%}",
            fix="Scale the loss with torch.amp.GradScaler, or use autocast with bfloat16.",
        )

    def _some(self, some: list[dict[str, Any]], count: int) -> Ruling:
        worst = max(some, key=lambda t: t["lost"])
        return Ruling.found(
            Severity.NOTE,
            f"In float16, without a GradScaler, {worst['lost']:.0%} of the gradient of {worst['name']} is rounded to zero.",
            expected="the gradients of float32, but for rounding",
            observed=f"in {len(some)} of {count} tensors at least {SOME:.0%} of the gradient's elements are zero in float16 "
            f"and not in float32, at this early step; that of {worst['name']} is off by {_number(worst['off']):.0%}",
            fix="Scale the loss with torch.amp.GradScaler, or use autocast with bfloat16.",
        )

    def draw(self, evidence: Evidence) -> Picture:
        worst = sorted(evidence["tensors"], key=lambda t: -t["lost"])[:16]
        return picture.bars(
            "Gradients that float16 rounds to zero",
            "Share of the elements of each tensor's gradient that are zero in float16, but not in float32.",
            {t["name"]: t["lost"] for t in worst},
            x_title="share lost",
        )


def _number(value: Any) -> float:
    return float(value)


def _gradients(step: Step, *, autocast: bool) -> dict[int, torch.Tensor] | None:
    """The step's gradients by identity of the script's own leaf, as recorded or in float32; None where that fails."""
    import dataclasses

    import torch

    from trainrecipe.capture.replay import Twin

    ops = step.tape.ops if autocast else [dataclasses.replace(op, autocast=None) for op in step.tape.ops]
    twin = Twin(dataclasses.replace(step.tape, ops=ops))
    try:
        env = twin.run()
        roots = [env[n] for n in step.tape.roots]
        weights = [None if w is None else w.to(r.dtype) for w, r in zip(step.tape.weights, roots, strict=True)]
        leaves = [w for _, w in twin.leaves]
        grads = torch.autograd.grad(roots, leaves, weights, allow_unused=True)
    except (RuntimeError, TypeError):  # an operation that was written for float16 only
        return None
    return {id(o): g.float() for (o, _), g in zip(twin.leaves, grads, strict=True) if g is not None and not g.is_sparse}
