from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

CLEAR = 0.2
"""Share of the critic's preference, below which the maker's is too weak to be told (a squared loss about its own label)."""


class AdversariesAgree(Check):
    """Generator and critic want opposite things of the critic's score.

    What it checks
    --------------
    Where one network makes examples and another, trained by an optimiser of its own, scores them beside real ones: the
    scores are moved up and down in the loss of each. The critic's loss tells whether it wants made examples below or above real
    ones; the maker has to want the reverse.

    Why it matters
    --------------
    If both agree, the maker learns to make what the critic recognises most easily. Both losses fall, nothing balances
    them, and the samples get worse the longer it trains.

    What healthy looks like
    -----------------------
    The critic lowers the scores of made examples, the generator raises them.

    What to do
    ----------
    Give the generator the label of real examples; for Wasserstein losses, `-critic(made).mean()`.

    When it is wrong
    ----------------
    Networks that work together share no such critic: it is one only if it is called on other examples, too, which it is to
    score the other way. Where the maker's wish is weak next to the critic's, nothing is said.

    Source
    ------
    I. Goodfellow et al. 2014, equation 1; M. Arjovsky et al. 2017, algorithm 1; fault catalogue 16.
    """

    title = "Generator and critic want the same"
    rows = ("S18",)
    faults = (16,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.capture.replay import CannotReplay
        from trainrecipe.subjects.adversaries import games

        if not step.agreement.exact or any(not other.agreement.exact for other in step.others):
            return Evidence(missing="not every step of the program can be executed again")
        try:
            played = list(games(step))
        except (CannotReplay, RuntimeError) as error:
            return Evidence(missing=f"the critic's scores cannot be replaced: {error}")
        found = [
            Evidence({"made": g.made, "real": g.real, "maker": g.maker}, place=step.place_of(g.op) or step.place)
            for g in played
        ]
        return found or Evidence(missing="no network is trained through the scores of another that has an optimiser of its own")

    def judge(self, evidence: Evidence) -> Ruling:
        critic, maker = evidence["made"] - evidence["real"], evidence["maker"]
        says = (
            f"higher scores of made examples change the critic's loss by {evidence['made']:.3g} (of real ones by "
            f"{evidence['real']:.3g}), the generator's by {maker:.3g}"
        )
        if critic * maker <= 0 or evidence["made"] * evidence["real"] > 0 or abs(maker) < CLEAR * abs(critic):
            return Ruling.passed(says)
        return Ruling.found(
            Severity.WARNING,
            "The generator is trained to get the score that the critic wants to give to what it made.",
            expected="opposite signs",
            observed=says,
            fix="Turn the sign of the generator's loss, or give it the label of real examples.",
        )
