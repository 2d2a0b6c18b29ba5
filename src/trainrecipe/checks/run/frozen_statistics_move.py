from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Forward, Run


class FrozenStatisticsMove(Check):
    """The statistics of frozen batch-norm layers keep still, too.

    What it checks
    --------------
    Batch-norm layers whose weight is frozen (`requires_grad` False), with running statistics of an earlier training, in a
    model of which other parts are trained: whether they are in training mode while these are trained. Then each forward
    normalises by its own batch and goes on averaging into the running statistics.

    Why it matters
    --------------
    `requires_grad = False` stops the optimiser, not batch norm: its statistics are buffers, which every forward in training
    mode changes. The "frozen" features drift with the new data, depend on the batch, and are other ones in eval mode; whoever
    shares the backbone, or has stored its features, gets another network.

    What healthy looks like
    -----------------------
    `backbone.eval()` after each `model.train()`, best in a `train` method of the model's own.

    What to do
    ----------
    Override `train(mode)` so that frozen parts stay in eval mode.

    When it is wrong
    ----------------
    Adapting the statistics to new data is meant at times, and PyTorch's own tutorial on transfer learning does it: a note.
    Networks that are frozen as a whole (teachers, discriminators in the generator's step) are not reported.

    Source
    ------
    Fault catalogue 60; PyTorch forum threads 111449, 80103.
    """

    title = "Frozen batch-norm layers go on changing their statistics"
    rows = ("S24", "S17")
    faults = (60,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        trained = [f for f in run.forwards if f.training and f.grad and f.fed]
        if not trained:
            return Evidence(missing="no model was trained in training mode")
        drifting: dict[int, Forward] = {}
        for forward in trained:
            if forward.adapting:
                drifting.setdefault(forward.model, forward)
        return [self._look(run, f) for f in drifting.values()] or Evidence({"layers": 0})

    def _look(self, run: Run, forward: Forward) -> Evidence:
        model = run.models[forward.model]
        count = sum(f.count for f in run.forwards if f.model == forward.model and f.adapting)
        return Evidence(
            {
                "model": model.name,
                "layers": len(forward.adapting),
                "names": list(forward.adapting[:4]),
                "forwards": count,
            },
            place=forward.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["layers"]:
            return Ruling.passed("no frozen batch-norm layer with statistics was used in training mode")
        names = ", ".join(evidence["names"])
        return Ruling.found(
            Severity.NOTE,
            f"{evidence['layers']} frozen batch-norm layers of {evidence['model']} ({names}) are in training mode: their "
            "running statistics move while the rest is trained.",
            expected="frozen parts in eval mode, unless their statistics are to adapt to the new data",
            observed=f"{evidence['forwards']} forwards in training mode through them",
            fix="Call eval() on the frozen part after model.train(), or override train() in the model so that it stays there.",
        )
