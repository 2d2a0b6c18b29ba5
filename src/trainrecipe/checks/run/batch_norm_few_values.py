from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run
    from trainrecipe.subjects.weights import Norm

SIGN = 2
"""Of two values batch norm leaves only which is larger: the result is -1 and 1, whatever they were."""
FEW = 4
OFTEN = 0.5
FEW_EXAMPLES = 3
"""Examples in a batch. The values of one map are not independent: with 2 examples batch norm costs a ResNet-50 eleven points on
ImageNet, with 4 four, whatever the size of the maps (Wu and He, figure 1)."""
MEANT = 8
"""Examples per optimiser step from which on the author means to work with a larger batch."""


class BatchNormFewValues(Check):
    """Batch norm has enough values per channel to normalise over.

    What it checks
    --------------
    How many values each batch-norm layer in training mode normalises per channel: examples times positions.
    In convolutions, where gradients of several small batches are accumulated into one step, also how many examples each
    of these batches holds: at most three, while the step uses eight or more, is a note.

    Why it matters
    --------------
    With two values the result is minus one and one, whatever they were; with four, most of what a layer computes is
    the noise of who else is in the batch. In eval mode the running statistics take over and the model computes another
    function: training looks fine and evaluation fails. Convolutions have many values, but those of one map are alike: they
    are the statistics of two examples all the same. Accumulation makes the batch larger for the optimiser only.

    What healthy looks like
    -----------------------
    Sixteen values or more; thousands in convolutions, from eight examples or more.

    What to do
    ----------
    Use a larger batch, or a norm that does not look at the batch: `GroupNorm`, `LayerNorm`, `InstanceNorm`.

    When it is wrong
    ----------------
    Only numbers of values and of examples are looked at. Batches of one large map that are meant, as in style transfer,
    are not reported without accumulation. A single small batch at the end of an epoch does not count.

    Source
    ------
    Fault catalogue 87; Wu and He, Group Normalization (2018); PyTorch forum threads 43764, 102477.
    """

    title = "Batch norm normalises over a handful of values"
    rows = ("S24", "S17")
    faults = (87,)
    explains = ("batch-mixing",)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        norms = [n for n in run.weights.norms if len(n.values) >= 3]
        if not norms:
            return Evidence(missing="no batch-norm layer took part in three recorded training steps")
        short = [n for n in norms if sum(e <= FEW_EXAMPLES for e in n.examples) >= max(3, OFTEN * len(n.values))]
        small = [n for n in short if statistics.median(n.examples) * _passes(run, n) >= MEANT]
        few = [n for n in norms if sum(v <= FEW for v in n.values) >= OFTEN * len(n.values)]
        worst = min(few, key=lambda n: statistics.median(n.values), default=small[0] if small else None)
        return Evidence(
            {
                "layers": len(norms),
                "few": len(few),
                "small": len(small),
                "examples": statistics.median(small[0].examples) if small else 0,
                "passes": _passes(run, small[0]) if small else 0,
                "names": [n.name for n in (few or small)[:4]],
                "values": statistics.median(worst.values) if worst is not None else 0,
                "steps": len(worst.values) if worst is not None else 0,
                "evaluated": any(n.evaluated for n in few),
            },
            place=worst.place if worst is not None else None,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["few"] and evidence.get("small"):
            return self._small(evidence)
        if not evidence["few"]:
            return Ruling.passed(f"the {evidence['layers']} batch-norm layers have more than {FEW} values per channel")
        names, values = ", ".join(evidence["names"]), evidence["values"]
        return Ruling.found(
            Severity.WARNING if values <= SIGN and evidence["evaluated"] else Severity.NOTE,
            f"{evidence['few']} batch-norm layers ({names}) normalise over {values:.0f} values per channel.",
            expected="16 values or more per channel",
            observed=f"{values:.0f} values per channel in {evidence['steps']} recorded forwards"
            + (": only their order is left of them" if values <= SIGN else ""),
            fix="Use a larger batch, or GroupNorm or LayerNorm, which do not depend on the batch.",
        )

    def _small(self, evidence: Evidence) -> Ruling:
        layers, examples, passes = evidence["small"], evidence["examples"], evidence["passes"]
        return Ruling.found(
            Severity.NOTE,
            f"{layers} batch-norm layers ({', '.join(evidence['names'])}) normalise over {examples:.0f} examples at a time.",
            expected="eight examples or more in each batch that goes through batch norm",
            observed=f"{examples:.0f} examples in each of {passes} batches whose gradients are accumulated into one step: the "
            f"optimiser works with {examples * passes:.0f} examples, batch norm with {examples:.0f}",
            fix="Use GroupNorm or LayerNorm, which do not depend on the batch, or larger batches and fewer of them.",
        )


def _passes(run: Run, norm: Norm) -> int:
    """How many batches of a model are accumulated into one optimiser step; 1 where that cannot be told."""
    from trainrecipe.subjects.gradients import window_of

    fed = sum(f.fed for f in run.forwards if f.model == norm.model and f.training)
    found = 1
    for number in {o for p in run.parameters if p.model == norm.model for o in p.optimizers}:
        windows = [window_of(run, number, line) for line in range(len(run.backwards))]
        size = max((w.size for w in windows if w is not None), default=1)
        if fed >= OFTEN * size * run.optimizers[number].steps:  # not several backwards from one forward
            found = max(found, size)
    return found
