from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe import picture
from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.picture import Picture
    from trainrecipe.subjects.gradients import Scaler
    from trainrecipe.subjects.run import Run

FEWEST = 12
"""Attempts that must have been seen: from a factor of 65536 some first steps are left out in every healthy training."""
MANY = 0.5
LATE = 0.25
"""The last part of the attempts, in which steps must still be left out."""
START = 8
"""Steps that a healthy scaler may leave out at the start, until it has halved its factor often enough."""


class ScalerSkipsSteps(Check):
    """The gradient scaler lets the optimiser step.

    What it checks
    --------------
    How often `scaler.step` left out the optimiser's step because a gradient was infinite or not a number, and whether this
    goes on after the scaler had time to find a factor that fits.

    Why it matters
    --------------
    A scaler skips such steps silently and halves its factor. If the infinity does not come from the factor (an overflow in
    the forward pass, a division by zero), halving never helps: the loop runs on and the weights hardly ever change.

    What healthy looks like
    -----------------------
    A few skipped steps at the start, then one in thousands.

    What to do
    ----------
    Find where the infinity comes from: run the step without autocast, and look at the first operation whose result is not
    finite. Keep losses, normalisations and exponentials in float32.

    When it is wrong
    ----------------
    A fused optimiser makes the decision on the device, where it is not seen: no step seems to be left out then.

    Source
    ------
    Fault catalogue 48; PyTorch documentation of torch.amp.GradScaler; forum thread 101080.
    """

    title = "The gradient scaler leaves out most of the steps"
    rows = ("S24", "S17")
    faults = (48,)
    explains = ("non-finite", "parameters-never-updated", "update-ratio", "step-missing", "overfit-one-batch")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.scalers:
            return Evidence(missing="no gradient scaler is in use")
        return [self._look(s) for s in run.scalers]

    def _look(self, scaler: Scaler) -> Evidence:
        attempts = len(scaler.skipped)
        if attempts < FEWEST:
            return Evidence(missing=f"only {attempts} steps were asked of the scaler")
        late = scaler.skipped[-max(4, int(LATE * attempts)) :]
        return Evidence(
            {
                "attempts": attempts,
                "skipped": sum(scaler.skipped),
                "late": sum(late),
                "late_of": len(late),
                "scales": scaler.scales[:: max(1, len(scaler.scales) // 200)],
                "first": scaler.scales[0] if scaler.scales else None,
                "last": scaler.scales[-1] if scaler.scales else None,
            },
            place=scaler.step_place or scaler.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        attempts, skipped, late, of = (evidence[k] for k in ("attempts", "skipped", "late", "late_of"))
        if late < MANY * of or skipped <= START:
            return Ruling.passed(f"{attempts - skipped} of {attempts} steps were taken")
        return Ruling.found(
            Severity.ERROR if skipped >= MANY * attempts and late == of else Severity.WARNING,
            f"The scaler left out {skipped} of {attempts} steps.",
            expected="a few skipped steps at the start, and next to none later",
            observed=f"{late} of the last {of} steps left out as well, while the factor went from {evidence['first']:g} to "
            f"{evidence['last']:g}",
            fix="Look for the operation whose result is infinite or not a number, and compute it in float32.",
            causes=(
                "an operation in the forward pass overflows in float16, whose largest number is 65504: run one step "
                "without autocast",
                "a gradient that is not finite in any precision, such as that of sqrt or norm at 0: "
                "torch.autograd.set_detect_anomaly(True)",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence["scales"]:
            return None
        return picture.lines(
            "The scaler's factor",
            "Before each step that was asked of it. It is halved whenever a gradient is not finite.",
            {"factor": evidence["scales"]},
            y_title="factor",
            log_y=True,
        )
