from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

STRAIGHT = 1e-3
"""Second difference over first below which a map is linear: rounding gives 1e-6, the flattest activations 0.05."""
COARSE = 0.03
"""The same in half precision."""


class MissingNonlinearity(Check):
    """Between two layers of weights there is a nonlinearity.

    What it checks
    --------------
    Pairs of trained weights where the second takes what the first gives and nothing else. On a copy in evaluation mode the
    result of the first is moved up and down: where that of the second moves along exactly like a linear function, both
    layers together are one linear layer.

    Why it matters
    --------------
    A product of two matrices is a matrix. The second layer costs parameters and time and the model can do no more than
    without it; a whole stack without activations is a linear regression, however deep.

    What healthy looks like
    -----------------------
    An activation after every hidden layer; what follows the last weight belongs to the loss.

    What to do
    ----------
    Put an activation such as ReLU or GELU between the layers, behind the normalisation if there is one.

    When it is wrong
    ----------------
    Low-rank factors (LoRA, bottlenecks, embedding projections), depthwise or separable convolutions, attention's
    projections, residual branches and changes of resolution are not counted: the layer in between has to be as wide as
    the narrower of its neighbours. A single pair at the border of two modules, such as an encoder and its head, is a
    note, and so is one whose first layer has no bias, and layers inside a library's model. Products with bare matrices
    (keys, prototypes, a basis) are not counted. Someone who studies deep linear networks on purpose can waive it.

    Source
    ------
    I. Goodfellow et al., Deep Learning, 6.1; fault catalogue 104.
    """

    title = "Two layers without a nonlinearity between them are a single linear layer"
    rows = ("S12", "S19")
    faults = (104,)
    price = Price.FORWARD
    explains = ("overfit-one-batch",)

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.capture.replay import CannotReplay
        from trainrecipe.capture.where import is_user_file
        from trainrecipe.subjects.linear import linear_pairs

        if step.distrust:
            return Evidence(missing=step.distrust)
        try:
            pairs, weights = linear_pairs(step)
        except CannotReplay as error:
            return Evidence(missing=f"the step cannot be executed in evaluation mode: {error}")
        if weights < 2:
            return Evidence(missing="fewer than two weights are applied one after the other")
        straight = STRAIGHT if all(t.dtype.itemsize >= 4 for t in step.tape.parameters) and not _lowered(step) else COARSE
        linear = [p for p in pairs if p.bend < straight]
        linear.sort(key=lambda p: not p.near)
        return Evidence(
            {
                "pairs": [
                    {
                        "first": p.first,
                        "second": p.second,
                        "between": p.between,
                        "sizes": p.sizes,
                        "bend": p.bend,
                        "near": p.near,
                    }
                    for p in linear
                ],
                "weights": weights,
                "own": bool(linear) and linear[0].place is not None and is_user_file(linear[0].place.file),
            },
            place=linear[0].place if linear else None,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        pairs = evidence["pairs"]
        if not pairs:
            return Ruling.passed(f"no two of the {evidence['weights']} weights could be one")
        first = pairs[0]
        before, middle, after = first["sizes"]
        through = [n for n in first["between"] if n not in ("view", "reshape", "flatten")]
        between = f"only {', '.join(f'`{n}`' for n in dict.fromkeys(through))}" if through else "nothing"
        more = f" ({len(pairs)} such pairs among {evidence['weights']} weights)" if len(pairs) > 1 else ""
        strong = (first["near"] or len(pairs) > 1) and evidence["own"]  # a library's architecture is its authors' choice
        return Ruling.found(
            Severity.WARNING if strong else Severity.NOTE,
            f"{first['first']} and {first['second']} have {between} between them: together they are one linear layer{more}.",
            expected="a nonlinearity between two layers of weights",
            observed=f"from {before} to {middle} to {after} features, the result follows the first layer's like a linear "
            f"function (second difference {first['bend']:.1g} of the first)",
            fix="Apply an activation (ReLU, GELU, tanh) to what the first layer gives.",
            causes=(
                "the activation was left out of forward, or of the nn.Sequential: print the model and read forward",
                "the activation's result is not used, as in `self.relu(x)` without an assignment",
            ),
        )


def _lowered(step: Step) -> bool:
    """Whether the step runs in a lower precision than that of its weights."""
    return any(op.autocast is not None for op in step.tape.ops)
