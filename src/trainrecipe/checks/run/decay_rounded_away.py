from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

LOST = {"torch.bfloat16": 2.0**-9, "torch.float16": 2.0**-12}
"""Relative changes below which every number of a type is rounded back to what it was: half the distance of a number just
below a power of two to the next one (8 and 11 binary digits)."""
USUAL = 0.01
"""PyTorch's own default, which nobody may have asked for."""
DECOUPLED = ("AdamW",)
"""Optimisers that multiply the weights by 1 - lr * weight_decay, in an operation of its own."""


class DecayRoundedAway(Check):
    """A weight decay changes the weights.

    What it checks
    --------------
    AdamW over weights in bfloat16 or float16: whether the learning rate, at its highest, times the weight decay is smaller than
    what a number of that type can express. Then multiplying by 1 - lr * weight_decay gives every weight back as it was.

    Why it matters
    --------------
    The decay that was asked for is not there: norms of weights grow, and tuning it changes nothing.

    What healthy looks like
    -----------------------
    Weights in float32 (autocast computes in bfloat16 all the same), or an optimiser that keeps a float32 copy of them.

    What to do
    ----------
    Keep the weights in float32 and use torch.autocast.

    When it is wrong
    ----------------
    A decay of 0.01 is AdamW's default, and may be wanted by nobody: this is a note. Fused optimisers compute decay and step
    together in float32, and are not judged; nor are schedules of which only the beginning is seen, beyond their planned peak.

    Source
    ------
    Fault catalogue 51; IEEE 754, rounding to nearest; Zamirai et al. 2020, "Revisiting BFloat16 Training".
    """

    title = "Weight decay is rounded away"
    rows = ("S24",)
    faults = (51,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        found = [e for o in run.optimizers if o.steps and (e := _look(run, o)) is not None]
        return found or Evidence(missing="no AdamW with a weight decay stepped over weights in half precision")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        product = e["rate"] * e["decay"]
        if product >= e["lost"]:
            return Ruling.passed(f"lr * weight_decay is {product:.2g} at most, and {e['lost']:.2g} is lost in {e['dtype']}")
        return Ruling.found(
            Severity.NOTE if e["decay"] == USUAL else Severity.WARNING,
            f"A weight decay of {e['decay']:g} changes no weight in {e['dtype']}: lr * weight_decay is {product:.2g}.",
            expected=f"at least {e['lost']:.2g}: below it {e['dtype']} rounds a weight times 1 - lr * weight_decay back to it",
            observed=f"lr={e['rate']:g} at most, weight_decay={e['decay']:g}, {e['tensors']} tensors in {e['dtype']}",
            fix="Keep the weights in float32 and compute under torch.autocast.",
        )


def _look(run: Run, optimizer: Optimizer) -> Evidence | None:
    """The decayed weights in half precision and the highest rate that they have; None where there are none."""
    decay = max((float(g.get("weight_decay") or 0.0) for g in optimizer.groups), default=0.0)
    settings: list[dict[str, Any]] = [g.get("settings") or {} for g in optimizer.groups]
    if optimizer.name not in DECOUPLED or not decay or any(s.get("fused") for s in settings):
        return None
    own = [p for p in run.parameters if optimizer.number in p.optimizers and p.trainable and p.dimensions > 1]
    low = [p for p in own if p.dtype in LOST]
    if not low or len(low) < len(own):
        return None
    rate = max((p.peak or p.rate or 0.0) for p in low)
    data = {"decay": decay, "rate": rate, "dtype": low[0].dtype.removeprefix("torch."), "tensors": len(low)}
    return Evidence({**data, "lost": LOST[low[0].dtype]}, place=optimizer.place)
