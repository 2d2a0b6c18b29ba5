from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

SURE = 5.0
"""Standard errors of a correlation up to which it is none: chance exceeds them once in two million times."""
FEWEST = 1000
"""Numbers that must be compared, over the recorded steps."""


class TargetsAreNoise(Check):
    """Noise that is to be predicted is the noise that was added.

    What it checks
    --------------
    Targets that the step itself draws at random, and that predictions of the same shape as an input are compared with, as in
    diffusion models: whether they correlate with that input at all, over the recorded steps.

    Why it matters
    --------------
    A network can only predict the noise that is in its input. Noise that is drawn a second time for the target is in nothing
    that the network sees: the loss stays at the variance of the noise, and sampling gives blurs.

    What healthy looks like
    -----------------------
    One tensor: drawn once, added to the input, and compared with the prediction. The correlation is that of signal and
    noise, 0.5 and more on average over the steps of a diffusion.

    What to do
    ----------
    Return the noise from the function that adds it, and use that as target.

    When it is wrong
    ----------------
    Noise that is added so faintly that it cannot be told from none would look the same; such targets cannot be learnt either.
    Random vectors that multiply results (projections, estimates of traces) are compared with nothing, and not meant.

    Source
    ------
    J. Ho et al. 2020 (denoising diffusion), algorithm 1; fault catalogue 129. Standard error of a correlation: 1/sqrt(n).
    """

    title = "The targets are noise that is not in the inputs"
    rows = ("S10", "S18")
    faults = (129,)
    price = Price.FREE
    explains = ("overfit-one-batch", "learning-rate-range", "two-examples", "dumb-baselines", "noise-never-dominates")

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.noises import noise_pair

        found = [pair for one in step.each() if (pair := noise_pair(one)) is not None]
        if len(found) < 2:
            return Evidence(missing="no target that is drawn at random is compared with predictions")
        count, product = 0, 0.0
        for given, target in found:
            x, y = given.tensor.double().flatten(), target.tensor.double().flatten()
            x, y = x - x.mean(), y - y.mean()
            size = float(x.norm() * y.norm())
            product += float(x @ y) / size * len(x) if size else 0.0
            count += len(x)
        if count < FEWEST:
            return Evidence(missing="too few numbers are compared to tell a correlation from none")
        return Evidence(
            {"correlation": product / count, "numbers": count, "steps": len(found), "shape": list(found[0][1].tensor.shape)},
            place=step.place_of(found[0][1].op) or step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        r, n = evidence["correlation"], evidence["numbers"]
        if abs(r) > SURE / math.sqrt(n):
            return Ruling.passed(f"the random targets are in the inputs: a correlation of {r:.2f}")
        return Ruling.found(
            Severity.WARNING,
            "The targets are drawn at random, and have nothing to do with the inputs.",
            expected="the noise that was added to the input, which correlates with it",
            observed=f"a correlation of {r:.2g} between input and target over {n:,} numbers of {evidence['steps']} steps, "
            f"which is none (standard error {1 / math.sqrt(n):.2g})",
            fix="Draw the noise once: add it to the input, and compare the prediction with the same tensor.",
        )
