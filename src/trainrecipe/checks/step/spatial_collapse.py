from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

MOST = 0.5
"""Share of all the model's weights that never meet data, from which on the architecture does not fit the input."""
FEWEST = 2
"""Convolutions on a map of one pixel; a single one may be the last layer of a stack that ends there."""


class SpatialCollapse(Check):
    """The map of features is not down to a single pixel while convolutions are still to come.

    What it checks
    --------------
    For every convolution with a kernel larger than 1, the map that it gets, and which of its weights meet data for some
    position of the output. On a map of one pixel all but the middle of the kernel only ever sees padding.

    Why it matters
    --------------
    Those weights get a gradient of exactly zero. The layers cost parameters and time and can do no more than a
    linear layer; most of the resolution was thrown away before.

    What healthy looks like
    -----------------------
    A map of a few pixels at the last convolution, as with an input of the size that the architecture was made for.

    What to do
    ----------
    Use fewer strides and poolings (for small images drop the first pooling and the stride of the first layer), fewer stages,
    or larger inputs.

    When it is wrong
    ----------------
    A single such layer is a note, and so is an architecture that a library brings, since it may be meant for a
    comparison or for larger images later. The zeros are certain either way.

    Source
    ------
    Fault catalogue 116; NeuraLint.
    """

    title = "Convolutions work on a map of a single pixel"
    rows = ("S19", "S12")
    faults = (116,)
    explains = ("dumb-baselines",)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.kernels import kernels

        if step.distrust:
            return Evidence(missing=step.distrust)
        every, weights = kernels(step)
        wide = [k for k in every if max(k.kernel) > 1]
        if not wide:
            return Evidence(missing="the step has no convolution with a kernel larger than 1")
        collapsed = [k for k in wide if max(k.size) == 1]
        dead = sum(k.dead * k.weights for k in collapsed)
        smallest = min(wide, key=lambda k: max(k.size))
        return Evidence(
            {
                "collapsed": [{"name": k.name, "kernel": k.kernel, "dead": k.dead, "weights": k.weights} for k in collapsed],
                "convolutions": len(wide),
                "share": dead / weights if weights else 0.0,
                "smallest": smallest.size,
                "own": all(k.own for k in collapsed),
            },
            place=collapsed[0].place if collapsed else None,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        collapsed, share = evidence["collapsed"], evidence["share"]
        if not collapsed:
            size = "×".join(map(str, evidence["smallest"]))
            return Ruling.passed(f"the smallest map that a convolution gets is {size}")
        kernel = "×".join(map(str, collapsed[0]["kernel"]))
        strong = share >= MOST and len(collapsed) >= FEWEST and evidence["own"]
        return Ruling.found(
            Severity.WARNING if strong else Severity.NOTE,
            f"{len(collapsed)} of {evidence['convolutions']} convolutions get a map of a single pixel, the first of them "
            f"{collapsed[0]['name']}.",
            expected="a map at least as large as the kernel",
            observed=f"of a kernel of {kernel}, {collapsed[0]['dead']:.0%} only ever meets padding and gets no gradient; "
            f"in all that is {share:.0%} of the model's weights",
            fix="Reduce the strides or poolings before this layer, or leave out the layers from here on.",
        )
