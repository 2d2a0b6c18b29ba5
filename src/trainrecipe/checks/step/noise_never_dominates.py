from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

LITTLE = 0.3
"""Share of the variance, below which what is meant to be noise is mostly data. A linear schedule of 1000 steps ends at 0.99996,
one of 100 steps with the same rates at 0.6."""


class NoiseNeverDominates(Check):
    """At the end of a diffusion, inputs are noise.

    What it checks
    --------------
    Models that predict the noise in their input, and get a time for each example: the share of that noise in the variance
    of the inputs, for the fifth of the recorded examples with the latest times (or the earliest, whichever has more).

    Why it matters
    --------------
    Sampling starts from pure noise. A model that has only seen inputs with a little noise is asked for something that it
    never met, and what it makes of it has nothing to do with the data, however low its loss is.

    What healthy looks like
    -----------------------
    A share near 1 at the end of the schedule.

    What to do
    ----------
    Use the cumulative product of the alphas, `torch.cumprod(1 - betas, 0)[t]`, not the alpha of one step; with few steps,
    larger betas.

    When it is wrong
    ----------------
    Denoisers that are only meant for faint noise look the same, if they are told a time. Models that predict the data or a
    velocity are not looked at.

    Source
    ------
    J. Ho et al. 2020 (denoising diffusion), equation 4; S. Lin et al. 2024, on schedules that do not end in noise.
    """

    title = "The diffusion never reaches noise"
    rows = ("S10", "S18")
    faults = ()
    price = Price.FREE

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.noises import most_noise

        found = most_noise(step)
        if found is None:
            return Evidence(missing="no noise is predicted from inputs that come with a time for each example")
        share, count, op = found
        return Evidence({"share": share, "examples": count}, place=step.place_of(op) or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        share, count = evidence["share"], evidence["examples"]
        if share >= LITTLE:
            return Ruling.passed(f"at one end of the times noise is {share:.0%} of the inputs' variance")
        return Ruling.found(
            Severity.WARNING,
            f"The inputs hold {share:.1%} noise at most: they never become the noise that sampling starts from.",
            expected="nearly all noise at the end of the schedule",
            observed=f"noise is {share:.1%} of the variance of the {count} inputs with the latest times",
            fix="Mix data and noise by the cumulative product of the alphas: torch.cumprod(1 - betas, 0)[t].",
        )
