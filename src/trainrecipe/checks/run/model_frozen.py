from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

FEWEST = 3
"""Steps after which an optimiser with nothing to train is no longer taken for one that waits."""


class ModelFrozen(Check):
    """Each optimiser that steps holds something that can be trained.

    What it checks
    --------------
    For each optimiser that takes steps: how many of the tensors it holds require a gradient or ever got one.

    Why it matters
    --------------
    PyTorch says nothing when every parameter of an optimiser is frozen: its steps run and do nothing. As long as
    something else in the program is trained, even a bias or a batch-norm statistic, the loss moves a little and the run
    looks slow rather than broken.

    What healthy looks like
    -----------------------
    A frozen backbone with a head that is trained: then the optimiser holds the head.

    What to do
    ----------
    Freeze only what is meant to be frozen, before new layers are added; print how many parameters require a gradient.

    When it is wrong
    ----------------
    An optimiser whose part is thawed later on waits for its turn: where the code sets `requires_grad` to True anywhere,
    the check is unsure in a rehearsal.

    Source
    ------
    Fault catalogue 58; TrainCheck case PyTorch-Forum 84911.
    """

    title = "The optimiser holds frozen parameters only"
    rows = ("S24", "S17")
    faults = (58,)
    explains = ("optimizer-without-gradients", "update-ratio", "overfit-one-batch")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps >= FEWEST and o.parameters]
        if not stepping:
            return Evidence(missing=f"no optimiser took {FEWEST} steps while the script was observed")
        return [self._look(run, o) for o in stepping]

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        held = [p for p in run.parameters if optimizer.number in p.optimizers]
        live = [p for p in held if p.trainable or p.gradient or p.updates]
        return Evidence(
            {
                "optimizer": optimizer.name,
                "held": len(held),
                "live": len(live),
                "elements": sum(p.elements for p in held),
                "names": [p.name for p in held[:4]],
                "steps": optimizer.steps,
                "thaws": [f"line {t.line}: {t.source}" for t in run.weights.thaws[:2]] if run.rehearsal else [],
                "others": sum(1 for p in run.parameters if p.gradient and optimizer.number not in p.optimizers),
            },
            place=optimizer.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        held, live = evidence["held"], evidence["live"]
        if live or not held:
            return Ruling.passed(f"{live} of the {held} tensors in {evidence['optimizer']} can be trained")
        names = ", ".join(evidence["names"])
        if evidence["thaws"]:
            return Ruling.unsure(f"{names} are frozen so far, but {evidence['thaws'][0]} may thaw them")
        return Ruling.found(
            Severity.WARNING,
            f"Every parameter that {evidence['optimizer']} holds is frozen ({names}), so its steps do nothing.",
            expected="an optimiser with parameters that require a gradient",
            observed=f"none of {held} tensors ({evidence['elements']:,} weights) requires a gradient or got one in "
            f"{evidence['steps']} steps",
            fix="Set requires_grad to True for the part that is to be trained, or leave this optimiser out.",
        )
