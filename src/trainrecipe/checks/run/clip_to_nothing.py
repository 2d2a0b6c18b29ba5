from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from trainrecipe import picture
from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.picture import Picture
    from trainrecipe.subjects.run import Clip, Optimizer, Run

FEWEST = 5
TINY = 0.01
"""A coefficient below this takes more than 99 % of every gradient away."""
ALWAYS = 0.95
STRONG = 0.1
"""Coefficient below which clipping is at work at every step, rather than on the largest gradients: fault catalogue 38."""
MEASURING = 1e6
"""A limit beyond this clips nothing: the call is there for the norm that it returns."""
NEGLIGIBLE = 1e-5
"""Update / weight ratio below which a step changes next to nothing; about 1e-3 is healthy (Karpathy, the recipe, S17)."""
SLOW = 2e-4
"""Ratio below which a coefficient of a thousandth or less is worth a note: a fifth of what is healthy."""
ENOUGH = 1e-4
"""Ratio that the steps would have without clipping: if even that is below, the learning rate is to blame, not the clip."""


class ClipToNothing(Check):
    """The clipping limit leaves enough of the gradient to learn from.

    What it checks
    --------------
    The coefficient limit / norm at each clipping that was looked at, whether the optimiser's steps depend on the scale of
    the gradient, and how large its updates are relative to the weights.

    Why it matters
    --------------
    With SGD a gradient that is cut to a thousandth is a learning rate that is cut to a thousandth. The training crawls,
    and turning up the learning rate is the wrong cure: the next quiet batch is not clipped at all.

    What healthy looks like
    -----------------------
    Most steps are not clipped, or by a factor of a few; the update / weight ratio is near 1e-3.

    What to do
    ----------
    Look at the norms without clipping and set the limit near their upper quantiles, commonly 0.5 to 5.

    When it is wrong
    ----------------
    Adam and its relatives divide by the gradient's own size: a limit that is always active hardly matters to them and is
    not reported. Normalised gradients with a learning rate to match give healthy updates and are not reported either.

    Source
    ------
    Fault catalogue 38; Pascanu et al. 2013, "On the difficulty of training recurrent neural networks".
    """

    title = "Clipping cuts the gradients down to almost nothing"
    rows = ("S24", "S17")
    faults = (38,)
    explains = ("update-ratio", "overfit-one-batch", "learning-rate-range")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        found = []
        for clip in (c for c in run.clips if c.limit < MEASURING):
            for optimizer in run.optimizers:
                if optimizer.number in clip.optimizers and optimizer.steps and clip.count > clip.stale:
                    found.append(self._look(clip, optimizer))
        return found or Evidence(missing="no optimiser's gradients were clipped while the script was observed")

    def _look(self, clip: Clip, optimizer: Optimizer) -> Evidence:
        ratios = [s.update_norm / s.weight_norm for s in optimizer.seen if s.update_norm and s.weight_norm]
        coefficients = [c for c in clip.coefficients if math.isfinite(c)]
        if len(coefficients) < FEWEST or len(ratios) < FEWEST:
            return Evidence(missing=f"fewer than {FEWEST} clipped steps were looked at in detail")
        return Evidence(
            {
                "kind": clip.kind,
                "limit": clip.limit,
                "optimizer": optimizer.name,
                "scale_free": optimizer.scale_free,
                "calls": len(coefficients),
                "tiny": sum(1 for c in coefficients if c < TINY),
                "coefficients": coefficients[:200],
                "coefficient": statistics.median(coefficients),
                "ratio": statistics.median(ratios),
            },
            place=clip.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        coefficient, ratio, calls = evidence["coefficient"], evidence["ratio"], evidence["calls"]
        strong = sum(1 for c in evidence["coefficients"] if c < STRONG)
        seen = len(evidence["coefficients"])
        crawls = evidence["tiny"] < ALWAYS * calls or NEGLIGIBLE <= ratio < SLOW
        if strong >= ALWAYS * seen and crawls and not evidence["scale_free"]:
            return Ruling.found(
                Severity.NOTE,
                f"The limit of {evidence['limit']:g} cuts every gradient to about {coefficient:.2g} of itself.",
                expected="clipping that acts on the largest gradients only",
                observed=f"a coefficient below {STRONG:g} at {strong} of {seen} steps: in effect {evidence['optimizer']} has "
                f"{coefficient:.2g} times its learning rate",
                fix=f"Raise the limit to about {evidence['limit'] / coefficient:.2g}, or choose the learning rate to match.",
            )
        if evidence["tiny"] < ALWAYS * calls:
            return Ruling.passed(f"the median coefficient of {calls} clippings is {min(coefficient, 1.0):.3g}")
        if evidence["scale_free"] or ratio >= NEGLIGIBLE:
            return Ruling.passed(
                f"every gradient is cut to {coefficient:.1e} of itself, but {evidence['optimizer']} still moves the weights "
                f"by {ratio:.1e} of their size per step"
            )
        if ratio / coefficient < ENOUGH:
            return Ruling.unsure("the steps would be negligible even without clipping; the learning rate is the first suspect")
        size = "norm" if evidence["kind"] == "norm" else "root mean square"
        return Ruling.found(
            Severity.WARNING,
            f"The limit of {evidence['limit']:g} is far below the size of the gradients at nearly every step.",
            expected=f"a limit near the gradients' usual {size}, {evidence['limit'] / coefficient:.3g}; "
            "update / weight about 1e-3",
            observed=f"a median coefficient of {coefficient:.1e} over {calls} steps, and an update / weight ratio of "
            f"{ratio:.1e}",
            fix=f"Raise the limit to about {evidence['limit'] / coefficient:.2g}, the median {size}, or remove the clipping.",
        )

    def draw(self, evidence: Evidence) -> Picture:
        return picture.lines(
            "What clipping leaves of each gradient",
            "The share of the gradient that remains, per step; 1 means that the step was not clipped.",
            {"coefficient": [min(1.0, c) for c in evidence["coefficients"]]},
            y_title="limit / size of gradient",
            rules={"not clipped": 1.0},
            log_y=True,
        )
