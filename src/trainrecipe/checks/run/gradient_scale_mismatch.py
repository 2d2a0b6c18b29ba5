from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.gradients import GradientUse, lines, uses_of

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

FEWEST = 3
SHARE = 0.8


class GradientScaleMismatch(Check):
    """Every loss that a scaler multiplies is divided again before the step, and no other.

    What it checks
    --------------
    At each step of an optimiser that a `GradScaler` serves: whether each backward that contributed to its gradients started
    from a scaled loss, and whether the factor is taken out (by `scaler.step` or `unscale_`).

    Why it matters
    --------------
    The factor is in the thousands. A step that bypasses the scaler uses gradients that are 65536 times too large; a second
    loss that was not scaled is divided by 65536 all the same, and never counts. Neither raises an error, and Adam hides the
    first one.

    What healthy looks like
    -----------------------
    `scaler.scale(loss).backward()` for every loss, then `scaler.step(optimizer)`.

    What to do
    ----------
    Scale every loss of an optimiser, and step through the scaler.

    When it is wrong
    ----------------
    Scripts that divide gradients by the factor themselves change them before the step and are not judged.

    Source
    ------
    Fault catalogue 37, 48; PyTorch documentation, automatic mixed precision examples, "Working with multiple losses".
    """

    title = "The scaler's factor does not cancel out"
    rows = ("S24",)
    faults = (37, 48)
    explains = ("update-ratio", "exploding-gradients", "clip-to-nothing", "overfit-one-batch", "non-finite")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.scalers:
            return Evidence(missing="no gradient scaler is in use")
        return [self._look(run, o) for o in run.optimizers if o.steps] or Evidence(missing="no optimiser took a step")

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        uses = [u for u in uses_of(run, optimizer.number) if u.inside is None and not u.modified]
        if len(uses) < FEWEST:
            return Evidence(missing=f"only {len(uses)} steps of {optimizer.name} were seen with all that led to them")
        raw = [u for u in uses if not _taken_out(u) and all(c.scale > 1 for c in u.contributions)]
        above = all(s > 1 for scaler in run.scalers for s in scaler.scales)
        lost = [u for u in uses if above and _taken_out(u) and any(c.scale == 1 for c in u.contributions)]
        unscaled = [c for u in lost for c in u.contributions if c.scale == 1]
        kind = "raw" if len(raw) >= len(lost) else "lost"
        place = optimizer.step_place or optimizer.place
        if kind == "lost" and unscaled:
            place = run.backwards[unscaled[0].backward].place
        return Evidence(
            {
                "optimizer": optimizer.name,
                "kind": kind,
                "steps": len(uses),
                "wrong": max(len(raw), len(lost)),
                "scale": max((s for scaler in run.scalers for s in scaler.scales), default=0.0)
                or max(c.scale for u in uses for c in u.contributions),
                "lines": lines(run, unscaled)[:3],
            },
            place=place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        steps, wrong, name, scale = evidence["steps"], evidence["wrong"], evidence["optimizer"], evidence["scale"]
        if wrong < SHARE * steps:
            return Ruling.passed(f"the factor of the scaler cancelled out at {steps - wrong} of {steps} steps of {name}")
        if evidence["kind"] == "raw":
            return Ruling.found(
                Severity.ERROR,
                f"{name} steps with gradients that still carry the scaler's factor of {scale:g}.",
                expected="scaler.step(optimizer), or scaler.unscale_(optimizer) before optimizer.step()",
                observed=f"{wrong} of {steps} steps with scaled gradients, taken without the scaler",
                fix="Replace optimizer.step() by scaler.step(optimizer), followed by scaler.update().",
            )
        return Ruling.found(
            Severity.ERROR,
            f"A loss that was not scaled is divided by the scaler's factor of {scale:g} all the same.",
            expected="scaler.scale(loss).backward() for every loss of this optimiser",
            observed=f"at {wrong} of {steps} steps the gradients held {' and '.join(evidence['lines'])}, which started from an "
            "unscaled loss, and the scaler divided them: what they contribute is lost",
            fix="Write scaler.scale(loss).backward() there, too.",
        )


def _taken_out(use: GradientUse) -> bool:
    return use.by_scaler or use.unscaled
