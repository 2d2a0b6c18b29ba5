from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from trainrecipe import picture
from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.picture import Picture
    from trainrecipe.subjects.gradients import NormShare
    from trainrecipe.subjects.run import Clip, Run

FEWEST = 5
LAST = 3
"""Clippings at the end that are looked at: the first ones cannot tell gradients of others from those of a step to come."""
MOST = 0.5
"""Share of the squared norm beyond which others decide how far the trained gradients are cut."""
PILED = 0.1
"""The same where these gradients pile up: what is a tenth after a few steps is most of the norm after a few thousand."""
MEASURING = 1e6
"""A limit beyond this clips nothing: the call is there for the norm that it returns."""


class ClipByForeignGradients(Check):
    """The norm by which gradients are clipped is that of the parameters that are trained.

    What it checks
    --------------
    At each clipping, how much of the squared norm comes from parameters that no optimiser holds, and how many backward
    calls their gradients have piled up, since nobody clears them.

    Why it matters
    --------------
    Parameters outside every optimiser collect gradients as long as `requires_grad` is on. The optimiser's `zero_grad` does
    not reach them, so that they grow with each batch; they take up more and more of the norm, and the gradients that
    count are cut down to less and less.

    What healthy looks like
    -----------------------
    Clipping and optimiser are given the same parameters, or frozen ones have `requires_grad` off.

    What to do
    ----------
    Call `requires_grad_(False)` on what is not trained, or clip the optimiser's own parameters.

    When it is wrong
    ----------------
    Where a script takes its steps without an optimiser of PyTorch's, nothing is held by one, and nothing is reported. A norm
    that stays below the limit clips nothing; that is a note.

    Source
    ------
    Fault catalogue 32; PyTorch forum thread 27563.
    """

    title = "Gradients that nobody uses decide how far the others are clipped"
    rows = ("S24",)
    faults = (32,)
    explains = ("clip-to-nothing", "update-ratio", "parameters-missing-from-optimizer")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        calls: dict[int, list[NormShare]] = {}
        for share in run.norm_shares:
            if share.limit < MEASURING and share.foreign < 1 and run.clips[share.clip].kind == "norm":
                calls.setdefault(share.clip, []).append(share)
        found = [self._look(run.clips[number], shares) for number, shares in calls.items() if len(shares) >= FEWEST]
        return found or Evidence(missing=f"gradients of an optimiser were not clipped {FEWEST} times in the steps looked at")

    def _look(self, clip: Clip, shares: list[NormShare]) -> Evidence:
        last = shares[-LAST:]
        return Evidence(
            {
                "calls": len(shares),
                "foreign": median([s.foreign for s in last]),
                "stale": median([s.stale for s in last]),
                "first_calls": shares[0].oldest,
                "last_calls": shares[-1].oldest,
                "names": last[-1].names,
                "limit": last[-1].limit,
                "norm": last[-1].norm,
                "alone": last[-1].norm * (1 - last[-1].foreign) ** 0.5,
                "shares": [s.foreign for s in shares],
            },
            place=clip.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        foreign, stale, limit, norm = (evidence[k] for k in ("foreign", "stale", "limit", "norm"))
        growing = stale >= PILED and evidence["last_calls"] - evidence["first_calls"] >= evidence["calls"] - 1
        if foreign < MOST and not growing:
            return Ruling.passed(f"{1 - foreign:.0%} of the squared norm comes from parameters that an optimiser trains")
        names = ", ".join(evidence["names"])
        said = {
            "expected": "a norm over the parameters that the optimiser holds",
            "observed": f"a norm of {norm:.3g}, of which the optimiser's own gradients make {evidence['alone']:.2g}, against a "
            f"limit of {limit:g}",
            "fix": "Call requires_grad_(False) on what is not trained, or clip only the parameters in the optimiser.",
        }
        if norm <= limit or not growing:
            return Ruling.found(
                Severity.NOTE,
                f"{foreign:.0%} of the squared norm that is clipped comes from parameters in no optimiser ({names}).",
                **said,
            )
        return Ruling.found(
            Severity.WARNING,
            f"{foreign:.0%} of the squared norm that is clipped comes from gradients that nobody uses or clears ({names}).",
            expected=said["expected"],
            observed=said["observed"] + f"; those of {evidence['last_calls']} backward calls have piled up",
            fix=said["fix"],
        )

    def draw(self, evidence: Evidence) -> Picture:
        return picture.lines(
            "Who makes the norm",
            "Share of the squared norm at each clipping that comes from parameters in no optimiser.",
            {"share": evidence["shares"]},
            y_title="share of the squared norm",
        )
