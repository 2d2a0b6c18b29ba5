from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Parameter, Run

EARLIER = 20
"""Steps of an earlier optimiser from which its parameters are taken to be trained."""
FASTER = 5.0
"""Times by which the rate of trained parameters must be the higher one. Fine-tuning takes one that is 10 to 100 times lower
(J. Howard and S. Ruder 2018)."""


class TrainedFasterThanNew(Check):
    """In fine-tuning, layers that are trained already do not have a higher learning rate than new ones.

    What it checks
    --------------
    Optimisers that hold parameters which an earlier one has trained, and new ones: the learning rates of both.

    Why it matters
    --------------
    A high rate destroys what was learnt before while the new head, at a low one, hardly begins. The result is worse than
    with one rate for all, and looks like a transfer that does not help.

    What healthy looks like
    -----------------------
    `[{"params": backbone, "lr": 1e-5}, {"params": head, "lr": 1e-3}]`.

    What to do
    ----------
    Exchange the two rates.

    When it is wrong
    ----------------
    A new part that must start slowly, such as a gate or an adapter that is to stay near zero. Only what was trained in the
    same script counts as trained; weights that were loaded do not. It is always a note.

    Source
    ------
    Fault catalogue 78; PyTorch forum thread 83042; J. Howard and S. Ruder 2018, section 3.2 (discriminative fine-tuning).
    """

    title = "Trained layers learn faster than new ones"
    rows = ("S24",)
    faults = (78,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        found = []
        for optimizer in run.optimizers:
            old, new = _parts(run, optimizer)
            if old and new:
                found.append(_look(optimizer, old, new))
        return found or Evidence(missing="no optimiser holds parameters that an earlier one has trained beside new ones")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["old"] < FASTER * e["new"] or not e["new"]:
            return Ruling.passed(f"{e['optimizer']} trains new layers at {e['new']:g} and trained ones at {e['old']:g}")
        return Ruling.found(
            Severity.NOTE,
            f"Layers that were trained before have a learning rate {e['old'] / e['new']:.0f} times that of the new ones.",
            expected="a lower rate for what is trained already",
            observed=f"{e['old']:g} for {e['trained']}, {e['new']:g} for {e['fresh']}",
            fix="Exchange the learning rates of the two groups.",
        )


def _parts(run: Run, optimizer: Optimizer) -> tuple[list[Parameter], list[Parameter]]:
    """What an optimiser moves: parameters that an earlier one has moved, and those that none has."""
    earlier = {o.number for o in run.optimizers if o.number < optimizer.number and o.steps >= EARLIER}
    own = [p for p in run.parameters if p.rates.get(optimizer.number) and p.trainable and p.gradient]
    last = [p for p in own if max(p.rates) == optimizer.number]
    return [p for p in last if earlier & p.rates.keys()], [p for p in last if len(p.rates) == 1]


def _look(optimizer: Optimizer, old: list[Parameter], new: list[Parameter]) -> Evidence:
    slowest, fastest = (pick(p.rates[optimizer.number] for p in part) for pick, part in ((min, old), (max, new)))
    data = {"optimizer": optimizer.name, "old": slowest, "new": fastest, "trained": old[0].name, "fresh": new[0].name}
    return Evidence(data, place=optimizer.place)
