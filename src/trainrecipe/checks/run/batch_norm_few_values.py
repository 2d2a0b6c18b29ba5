from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run

SIGN = 2
"""Of two values batch norm leaves only which is larger: the result is -1 and 1, whatever they were."""
FEW = 4
OFTEN = 0.5


class BatchNormFewValues(Check):
    """Batch norm has enough values per channel to normalise over.

    What it checks
    --------------
    How many values each batch-norm layer in training mode normalises per channel: examples times positions.

    Why it matters
    --------------
    With two values the result is minus one and one, whatever they were; with four, most of what a layer computes is
    the noise of who else is in the batch. In eval mode the running statistics take over and the model computes another
    function: training looks fine and evaluation fails.

    What healthy looks like
    -----------------------
    Sixteen values or more; thousands in convolutions.

    What to do
    ----------
    Use a larger batch, or a norm that does not look at the batch: `GroupNorm`, `LayerNorm`, `InstanceNorm`.

    When it is wrong
    ----------------
    Only the number of values is looked at. A single small batch at the end of an epoch does not count.

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
        few = [n for n in norms if sum(v <= FEW for v in n.values) >= OFTEN * len(n.values)]
        worst = min(few, key=lambda n: statistics.median(n.values), default=None)
        return Evidence(
            {
                "layers": len(norms),
                "few": len(few),
                "names": [n.name for n in few[:4]],
                "values": statistics.median(worst.values) if worst is not None else 0,
                "steps": len(worst.values) if worst is not None else 0,
                "evaluated": any(n.evaluated for n in few),
            },
            place=worst.place if worst is not None else None,
        )

    def judge(self, evidence: Evidence) -> Ruling:
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
