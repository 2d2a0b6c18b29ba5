from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step


class AdvantageAttached(Check):
    """The policy loss of an actor and critic trains the actor only.

    What it checks
    --------------
    The loss is taken apart on a copy. Where one term is a log-probability (or a ratio of probabilities) times an advantage,
    and another fits values to returns, the gradient of the first in the layer that predicts the values is measured.

    Why it matters
    --------------
    The policy loss is a product, so it can be lowered by moving the values instead of the policy: they are pushed up for
    likely actions and no longer estimate the return, and the advantages that steer the policy are wrong in turn. Nothing
    crashes; learning is slow, unstable, or stops.

    What healthy looks like
    -----------------------
    The gradient is zero: the advantage is a number, from `detach()`, `no_grad()` or `item()`.

    What to do
    ----------
    `advantage = (returns - values).detach()`, or compute it under `torch.no_grad()`.

    When it is wrong
    ----------------
    A trunk that policy and values share is reached by both on purpose and does not count, only the layer that predicts
    the values. Actors that climb a critic (DDPG, SAC) have no log-probability times advantage, and are not concerned.
    One layer that predicts both, and advantages that pass through an exponential, are not recognised.

    Source
    ------
    Mnih et al. 2016 (A3C), where the gradient of the policy treats the advantage as given; PyTorch's actor-critic example
    (`advantage = R - value.item()`).
    """

    title = "The policy loss trains the values"
    rows = ("S12",)
    price = Price.BACKWARD
    explains = ("overfit-one-batch", "loss-term-dwarfed")

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.advantages import attached

        if step.distrust:
            return Evidence(missing=step.distrust)
        found = attached(step)
        if not found:
            return Evidence(missing="no log-probability times an advantage passes a gradient to a layer of values")
        return [Evidence({"share": round(f["share"], 4)}, place=f["place"] or step.place) for f in found]

    def judge(self, evidence: Evidence) -> Ruling:
        return Ruling.found(
            Severity.WARNING,
            "The advantage is not detached: the policy loss also moves the layer that predicts the values.",
            expected="no gradient of the policy loss in the value layer",
            observed=f"{evidence['share']:.0%} of that layer's gradient comes from the policy loss, the rest from the returns",
            fix="Detach the advantage before it is multiplied: `(returns - values).detach()`.",
        )
