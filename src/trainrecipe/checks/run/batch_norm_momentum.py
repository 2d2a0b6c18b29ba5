from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run
    from trainrecipe.subjects.weights import Norm

KERAS = 0.9
"""PyTorch's momentum is the weight of the new batch (0.1 by default), that of Keras and TensorFlow the weight of the old."""
MANY = 4096
"""Values per channel from which the statistics of one batch are as good as any average."""


class BatchNormMomentum(Check):
    """Batch norm averages its statistics over many batches.

    What it checks
    --------------
    The momentum of batch-norm layers that are trained on mini-batches and used in eval mode: 0.9 and more means that the
    running statistics are those of the last batch or two.

    Why it matters
    --------------
    In PyTorch `momentum` is the weight of the new batch; in Keras and TensorFlow it is that of the old average, 0.99 by
    default. Carried over unchanged, a model is evaluated with the noise of its last training batch: the validation loss
    jumps from epoch to epoch while the training loss is smooth.

    What healthy looks like
    -----------------------
    momentum 0.1 (the default) down to 0.01, or None for the plain average.

    What to do
    ----------
    Use 1 - momentum when a layer is taken over from Keras: 0.99 becomes 0.01.

    When it is wrong
    ----------------
    Where each batch is all of the data, or has thousands of values per channel, the last batch is as good as an average,
    and it is a note. Models that are never evaluated in eval mode are not reported.

    Source
    ------
    Fault catalogue 76; documentation of torch.nn.BatchNorm2d.
    """

    title = "Batch norm keeps the statistics of the last batch only"
    rows = ("S24", "S17")
    faults = (76,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        every = [n for n in run.weights.norms if n.momentum is not None]
        if not every:
            return Evidence(missing="no batch-norm layer with running statistics was trained")
        odd = [n for n in every if n.momentum is not None and n.momentum >= KERAS and n.evaluated]
        return self._look(run, every, odd)

    def _look(self, run: Run, every: list[Norm], odd: list[Norm]) -> Evidence:
        return Evidence(
            {
                "layers": len(every),
                "odd": len(odd),
                "names": [n.name for n in odd[:4]],
                "momentum": max((n.momentum or 0.0 for n in odd), default=0.0),
                "values": statistics.median([v for n in odd for v in n.values]) if odd else 0,
                "whole": bool(odd) and all(n.whole for n in odd),
            },
            place=next((n.place for n in odd if n.place is not None), None),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["odd"]:
            return Ruling.passed(f"the {evidence['layers']} batch-norm layers average over many batches, or are not used so")
        momentum, names = evidence["momentum"], ", ".join(evidence["names"])
        mild = evidence["whole"] or evidence["values"] >= MANY
        return Ruling.found(
            Severity.NOTE if mild else Severity.WARNING,
            f"{evidence['odd']} batch-norm layers ({names}) have a momentum of {momentum:g}: they remember the last batch "
            "only.",
            expected="a momentum of 0.1 or less: in PyTorch it is the weight of the new batch",
            observed=f"the last batch, with {evidence['values']:.0f} values per channel, has a weight of {momentum:.0%} in the "
            "statistics that evaluation uses",
            fix=f"Set momentum={max(1 - momentum, 0.01):.2g}, which is what {momentum:g} means in Keras and TensorFlow.",
        )
