from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, ranges

if TYPE_CHECKING:
    from trainrecipe.capture.replay import Twin
    from trainrecipe.subjects.layers import Depth
    from trainrecipe.subjects.step import Step

LAYERS = 5
"""Weighted layers in a row that a profile needs."""
FALL = 5e3
"""Gradient at the last layer over that at the first. Measured at the start: He 1, Xavier with tanh 7, eight ReLU layers with
PyTorch's default 1e3 and twelve 5e4, eight sigmoid layers 3e4 to 7e6. Deep default ReLU falls, too, but learns; so practice
decides."""
STEADY = 0.9
"""Rank correlation of gradient and depth: a gradient that vanishes falls layer by layer."""
PRACTICE = 60
"""Optimiser steps on one batch, with the script's own optimiser."""
FLAT = 0.05
"""Variation of the predictions over the batch after practice, relative to their size. Measured with Adam at 5e-4 and 1e-3:
0.001 to 0.035 for six to eight sigmoid layers, 0.3 to 0.9 for eight to sixteen default ReLU layers."""


HUGE = 1e5
"""The same, from which it is noted also where the network learns: optimisers that scale each gradient hide much of it."""


class VanishingGradients(Check):
    """The gradient reaches the first layers in a size that trains them.

    What it checks
    --------------
    The norm of the loss's gradient in the result of each weighted layer, from last to first. Where it falls steadily by
    more than a factor of 5000, a copy practises on one batch with the script's optimiser; if its predictions still hardly
    differ between examples afterwards, the first layers do not learn.

    Why it matters
    --------------
    The first layers stay random and pass on nothing of the input; the loss stays at what a constant prediction gives,
    which looks like a perfect loss at initialisation.

    What healthy looks like
    -----------------------
    A profile within one or two orders of magnitude, or a steeper one that flattens while the network learns.

    What to do
    ----------
    Use ReLU with He initialisation, normalisation layers, or residual connections; sigmoids only at the end.

    When it is wrong
    ----------------
    Through time, in recurrent layers, gradients fade by design and are not judged. Residual branches that start at zero
    have no steady profile. Where practice is impossible the check is unsure.

    Source
    ------
    Fault catalogue 112; Glorot and Bengio 2010. The measure is relative; absolute gradients depend on the loss's scale.
    """

    title = "The gradient vanishes on its way to the first layers"
    rows = ("S17",)
    faults = (112,)
    price = Price.TRAIN
    explains = ("overfit-one-batch", "learning-rate-range", "update-ratio", "learning-rate-starved")

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.layers import depths, rising

        if step.distrust:
            return Evidence(missing=step.distrust)
        late = step.latest
        profile = _once(depths(late))
        if len(profile) < LAYERS:
            return Evidence(missing=f"only {len(profile)} weighted layers in a row; a profile needs {LAYERS}")
        deltas = [d.delta for d in profile]
        fall = deltas[-1] / deltas[0] if deltas[0] > 0 else float("inf")
        steady = rising(deltas)
        suspect = fall >= FALL and steady >= STEADY
        return Evidence(
            {
                "fall": fall,
                "steady": steady,
                "layers": [_row(d) for d in profile],
                "variation": _practise(late) if suspect else None,
                "suspect": suspect,
                "step": late.tape.step,
            },
            place=profile[0].place or step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        fall = float(evidence["fall"])
        if not evidence["suspect"]:
            return Ruling.passed(f"the gradient at the first layer is {1 / fall if fall else 0:.2g} of that at the last")
        variation = evidence["variation"]
        if variation is None:
            return Ruling.unsure(f"the gradient falls by {fall:.1g} from last to first layer, and practice was not possible")
        count = len(evidence["layers"])
        if float(variation) > FLAT and fall >= HUGE:
            return Ruling.found(
                Severity.NOTE,
                f"The gradient shrinks by a factor of {fall:.1g} over {count} layers, though the network learns.",
                expected=f"a gradient at the first layer that is more than 1/{FALL:.0f} of that at the last",
                observed=f"1/{fall:.0f}, about {fall ** (-1 / (count - 1)):.2f} per layer",
                fix="Add residual connections or normalisation, or use ReLU with He initialisation in the hidden layers.",
            )
        if float(variation) > FLAT:
            return Ruling.passed(f"the gradient falls by {fall:.1g} over the layers, but the network learns nevertheless")
        return Ruling.found(
            Severity.WARNING,
            f"The gradient shrinks by a factor of {fall:.1g} over {count} layers, and the network does not learn.",
            expected=f"a gradient at the first layer that is more than 1/{FALL:.0f} of that at the last",
            observed=f"1/{fall:.0f}, about {fall ** (-1 / (count - 1)):.2f} per layer; after {PRACTICE} steps of practice "
            f"predictions differ between examples by {float(variation):.1%} of their size only",
            fix="Use ReLU with He initialisation in the hidden layers, or add normalisation or residual connections.",
            causes=(
                "Saturating activations in a row: replace the sigmoids by ReLU.",
                "Weights that start too small: print each layer's standard deviation next to sqrt(2/inputs).",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        return ranges(
            "Gradient of each layer's weights",
            "From the 5th to the 95th percentile of |gradient|, first layer on top. Healthy: about the same size in each.",
            evidence["layers"],
            x_title="|gradient|",
            log=True,
        )


def _once(profile: list[Depth]) -> list[Depth]:
    """Layers that are used once in the step: the others are unrolled in time or shared."""
    uses: dict[int, int] = {}
    for d in profile:
        uses[d.key] = uses.get(d.key, 0) + 1
    return [d for d in profile if uses[d.key] == 1]


def _row(d: Depth) -> dict[str, object]:
    return {"name": d.name, **dataclasses.asdict(d.gradients), "delta": d.delta}


def _practise(step: Step) -> float | None:
    """The relative variation of the predictions over the batch after practice; None where it is impossible."""
    from trainrecipe.subjects.practice import adam, own_optimizer, practise

    if step.seconds_left() < 1:
        return None
    twin = step.twin()
    before = _variation(step, twin)
    optimizer = own_optimizer(step, twin) or adam(step, twin, 1e-3)
    curve = practise(step, twin, optimizer, PRACTICE)
    if curve.broken or curve.cut or before is None:
        return None
    return _variation(step, twin)


def _variation(step: Step, twin: Twin) -> float | None:
    env = twin.run(until=step.predictions)
    values = [env[n].float() for n in step.predictions if n in env and env[n].ndim and env[n].shape[0] > 3]
    if not values:
        return None
    value = values[0].flatten(1) if values[0].ndim > 1 else values[0][:, None]
    size = float(value.pow(2).mean().sqrt())
    return float(value.std(0).pow(2).mean().sqrt()) / size if size else 0.0
