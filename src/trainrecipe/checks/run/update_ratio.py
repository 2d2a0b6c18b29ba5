from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, ranges

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Parameter, Run

STEPS = 6
"""Recorded steps with a gradient that a parameter needs: Adam's first steps on weights that start at 0 are all update."""
ELEMENTS = 64
"""Smaller tensors, as in a regression on two features, may well be replaced in a few steps."""
EARLY = 8
"""Recorded steps at the beginning whose median must be high; the listener keeps the first eight and the last sixteen."""
HIGH = 0.3
"""Median of update over weight in the first steps. Usual is 1e-3, and up to 0.05 with large rates and batch norm."""
WIPED = 2.0
"""The same in a single step: nothing of the weights is left. Adam's first step at 1e-3 gives 0.02 for a default layer."""
SMALL = 0.015
"""Root mean square of weights that start near 0 on purpose (heads, hash grids): they must grow. Default layers of fewer than
1500 inputs lie above, and so does the usual 0.02 of language models."""
STILL = 0.05
"""Median in the last steps: weights that started small have grown by then (1/k after k steps of Adam from 0)."""
LOW = 1e-7
"""Below it float32 rounds most updates away."""
ELSEWHERE = frozenset({"LBFGS", "Rprop"})
"""Optimisers that choose the length of their steps themselves."""
UNCORRECTED = frozenset({"RMSprop", "Adagrad"})
"""PyTorch's optimisers that divide by an average or a sum of squares which starts at 0: their first update is ten times as
long as the hundredth, on the same gradients. An optimiser of the script's own may do so too."""
SETTLED = 100
"""Their k-th update is judged as if it were this one: the average (with the usual alpha of 0.99) and the sum make the
updates shorter by the square root of the number of steps until then."""
NAMED = 3


class UpdateRatio(Check):
    """A step changes weights by about a thousandth of their size.

    What it checks
    --------------
    For each weight matrix in an optimiser the norm of the update over the norm of the weight, at each recorded step.

    Why it matters
    --------------
    A layer whose weights are rewritten at every step forgets what it learned; one whose updates are rounded away learns
    nothing. Both hide behind the other layers, which go on learning.

    What healthy looks like
    -----------------------
    A ratio near 1e-3, between 1e-5 and 1e-1 for most layers.

    What to do
    ----------
    Change the learning rate of the parameter group named, by the factor that brings the ratio to 1e-3.

    When it is wrong
    ----------------
    Biases, small tensors, tensors that start at or near 0, and optimisers that choose their own step length are left out.
    Only absurd values are reported. The first updates of RMSprop, of Adagrad and of optimisers written by hand, such as Adam
    without bias correction, are longer than the learning rate says; they are judged by the length that they settle to.

    Source
    ------
    Karpathy, CS231n ("ratio of weights to updates", about 1e-3); fault catalogue 67, 68, 78.
    """

    title = "Updates are out of proportion to the weights"
    rows = ("S17",)
    faults = (67, 68, 78)
    explains = ("learning-rate-range",)

    def measure(self, run: Run) -> Evidence:
        skip = {o.number for o in run.optimizers if o.name in ELSEWHERE}
        long = {o.number for o in run.optimizers if o.name in UNCORRECTED or not o.standard}
        counted = [p for p in run.parameters if _counts(p) and not skip & set(p.optimizers)]
        rows = [_row(p, uncorrected=bool(long & set(p.optimizers))) for p in counted]
        if not rows:
            return Evidence(missing=f"no weight matrix was seen to be updated in {STEPS} steps")
        fast = [r for r in rows if (r["start"] > HIGH or r["peak"] > WIPED) and r["end"] > STILL]
        slow = [r for r in rows if 0 < r["high"] < LOW]
        place = next((o.place for r in (*fast, *slow) for o in run.optimizers if o.number in r["optimizers"]), None)
        return Evidence({"rows": rows, "fast": fast, "slow": slow}, place=place)

    def judge(self, evidence: Evidence) -> Ruling:
        rows = evidence["rows"]
        if not evidence["fast"] and not evidence["slow"]:
            middle = median(r["middle"] for r in rows)
            return Ruling.passed(f"the median ratio of update to weight is {middle:.1g}; no layer's is out of proportion")
        chosen = evidence["fast"] or evidence["slow"]
        fast = bool(evidence["fast"])
        worst = max(chosen, key=lambda r: r["start"]) if fast else min(chosen, key=lambda r: r["middle"])
        wiped = fast and worst["start"] <= HIGH
        settled = " (as it will be after the first hundred steps)" if worst["settled"] and fast else ""
        seen = worst["peak"] if wiped else worst["start"] if fast else worst["middle"]
        named = ", ".join(r["name"] for r in chosen[:NAMED]) + (", …" if len(chosen) > NAMED else "")
        factor = seen / 1e-3
        rate = worst["rate"]
        new = f", for example {rate / factor:.1g} instead of {rate:g}" if rate else ""
        return Ruling.found(
            Severity.WARNING if fast else Severity.NOTE,
            f"{'One step rewrites' if wiped else 'Each step rewrites' if fast else 'Each step hardly changes'} {named}: "
            f"the update is {seen:.2g} of the weight.",
            expected="an update of about 1e-3 of the weight's norm",
            observed=f"{seen:.2g} {'in one of' if wiped else 'in'} the first steps{settled} and {worst['end']:.2g} in the last "
            f"for {worst['name']}",
            fix=f"{'Lower' if fast else 'Raise'} the learning rate of this parameter group{new}.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        return ranges(
            "Update over weight, by parameter",
            "From the smallest to the largest of the recorded steps, the dot is the median. Usual is about 1e-3.",
            evidence["rows"],
            x_title="norm of update / norm of weight",
            log=True,
        )


def _counts(p: Parameter) -> bool:
    large = p.dimensions >= 2 and p.elements >= ELEMENTS
    spread = p.norm is not None and p.norm / p.elements**0.5 > SMALL
    return large and spread and len(p.ratios) >= STEPS and bool(p.optimizers)


def _row(p: Parameter, uncorrected: bool) -> dict[str, Any]:
    early = p.ratios[:EARLY]
    if uncorrected:
        early = [ratio * (step / SETTLED) ** 0.5 for step, ratio in enumerate(early, 1)]
    return {
        "name": p.name,
        "low": min(p.ratios),
        "middle": median(p.ratios),
        "high": max(p.ratios),
        "start": median(early),
        "peak": max(early),
        "end": median(p.ratios[len(p.ratios) // 2 :]),
        "settled": uncorrected,
        "steps": len(p.ratios),
        "rate": p.rate,
        "optimizers": p.optimizers,
    }
