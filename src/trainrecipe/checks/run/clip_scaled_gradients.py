from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.gradients import NormShare
    from trainrecipe.subjects.run import Clip, Run

FEWEST = 3
SHARE = 0.8
TOO_SMALL = 0.01
"""Limit over the scaler's factor. Someone who clips scaled gradients on purpose multiplies the limit by the factor."""
MEASURING = 1e6
"""A limit beyond this clips nothing: the call is there for the norm that it returns."""


class ClipScaledGradients(Check):
    """Gradients are unscaled before they are clipped.

    What it checks
    --------------
    At each clipping whether the gradients come from a loss that a `GradScaler` has multiplied, and whether `unscale_` has
    taken the factor out again.

    Why it matters
    --------------
    The factor is in the thousands. Clipping scaled gradients at 1 and dividing them by 65536 afterwards leaves a gradient of
    at most 0.000015: with SGD nearly nothing moves, with Adam the clipping is always active, and how far it cuts depends
    on a factor that changes during the training.

    What healthy looks like
    -----------------------
    `scaler.scale(loss).backward()`, `scaler.unscale_(optimizer)`, `clip_grad_norm_(...)`, `scaler.step(optimizer)`,
    `scaler.update()`.

    What to do
    ----------
    Call `scaler.unscale_(optimizer)` right before the clipping.

    When it is wrong
    ----------------
    A limit that is multiplied by `scaler.get_scale()` is right without unscaling; such a limit is large and not reported.
    Factors that a script multiplies in by hand are not seen.

    Source
    ------
    Fault catalogue 37; PyTorch documentation, automatic mixed precision examples, "Gradient clipping"; forum thread 88359.
    """

    title = "Gradients are clipped while they still carry the scaler's factor"
    rows = ("S24",)
    faults = (37,)
    explains = ("clip-to-nothing", "update-ratio", "overfit-one-batch")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.scalers:
            return Evidence(missing="no gradient scaler is in use")
        calls: dict[int, list[NormShare]] = {}
        for share in run.norm_shares:
            if share.limit < MEASURING:
                calls.setdefault(share.clip, []).append(share)
        clips = [self._look(run.clips[number], shares) for number, shares in calls.items() if len(shares) >= FEWEST]
        return clips or Evidence(missing=f"gradients were not clipped at least {FEWEST} times in the steps that were looked at")

    def _look(self, clip: Clip, shares: list[NormShare]) -> Evidence:
        scaled = [s for s in shares if s.scale > 1]
        return Evidence(
            {
                "calls": len(shares),
                "scaled": len(scaled),
                "small": sum(1 for s in scaled if s.limit / s.scale < TOO_SMALL),
                "limit": shares[-1].limit,
                "scale": scaled[-1].scale if scaled else 1.0,
                "norm": scaled[-1].norm if scaled else shares[-1].norm,
            },
            place=clip.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        calls, limit, scale = evidence["calls"], evidence["limit"], evidence["scale"]
        if evidence["scaled"] < SHARE * calls:
            return Ruling.passed(f"{calls - evidence['scaled']} of {calls} clippings came after unscaling")
        if evidence["small"] < SHARE * calls:
            return Ruling.unsure(
                f"gradients are clipped with the scaler's factor of {scale:g} in them, but the limit of {limit:g} may be meant "
                "for that"
            )
        return Ruling.found(
            Severity.ERROR,
            f"The limit of {limit:g} is applied to gradients that are multiplied by {scale:g}.",
            expected="scaler.unscale_(optimizer) before the clipping",
            observed=f"at {evidence['scaled']} of {calls} clippings the gradients still carried the factor: a norm of "
            f"{evidence['norm']:.3g}, which is {evidence['norm'] / scale:.2g} unscaled, so that the true limit is "
            f"{limit / scale:.1e}",
            fix="Call scaler.unscale_(optimizer) between scaler.scale(loss).backward() and the clipping.",
        )
