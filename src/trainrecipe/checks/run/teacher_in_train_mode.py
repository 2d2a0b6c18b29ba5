from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Forward, Run

FEWEST = 8
"""Steps of another model at which the finished one must have been called."""


class TeacherInTrainMode(Check):
    """A finished model that another one learns from is in eval mode.

    What it checks
    --------------
    Models with dropout or batch norm whose own training is over, and that are called without gradients, or frozen, at the
    steps of another training, as teachers, feature extractors and reference models are: whether they are in training mode
    there.

    Why it matters
    --------------
    The teacher's dropout makes its answers worse and different each time, and its batch norm answers by the batch and
    goes on changing its statistics. The student learns noise; nothing fails.

    What healthy looks like
    -----------------------
    `teacher.eval()` once its training is over. An evaluation in between often ends with `model.train()`.

    What to do
    ----------
    Call `teacher.eval()` before the loop that uses it.

    When it is wrong
    ----------------
    Averages of the trained model (mean teachers, momentum encoders) are in training mode in some methods and are not
    reported, nor are models that are called several times on one input, to sample.

    Source
    ------
    Fault catalogue 80 and 85; the recipe's "net in the right mode".
    """

    title = "A finished model is used in training mode while another one is trained"
    rows = ("S24",)
    faults = (85,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if len(run.models) < 2:
            return Evidence(missing="fewer than two models were called")
        used = [f for f in run.forwards if (not f.grad or f.frozen) and f.at_steps >= FEWEST and _finished(run, f)]
        if not used:
            return Evidence(missing="no model whose training is over was used in another training")
        loud = [f for f in used if f.training and f.moody and f.repeats == 1]
        first = (loud or used)[0]
        kinds = {layer.name: layer.kind for layer in run.models[first.model].moody}
        return Evidence(
            {
                "model": run.models[first.model].name,
                "loud": sum(f.count for f in loud),
                "forwards": sum(f.count for f in used),
                "kinds": sorted({kinds.get(name, "dropout") for name in first.moody}) if loud else [],
                "layers": len(first.moody),
            },
            place=first.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["loud"]:
            return Ruling.passed(f"{evidence['model']}, whose training is over, is used in eval mode")
        names = {"dropout": "dropout", "batchnorm": "batch norm"}
        active = " and ".join(names[k] for k in evidence["kinds"])
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['model']} is trained no more, and is called in training mode while another model is trained: {active} "
            "stays active.",
            expected="eval mode for a model that is only asked",
            observed=f"{evidence['loud']} of {evidence['forwards']} such forwards with {evidence['layers']} layers in training "
            "mode",
            fix="Call eval() on it before the loop that uses it.",
        )


def _finished(run: Run, forward: Forward) -> bool:
    """Whether a model was trained by steps of its own, all of them before this use, and steps of others followed."""
    own = [f for f in run.forwards if f.model == forward.model and f.fed and not f.frozen and f.stepped]
    return bool(own) and max(f.last_event for f in own) < forward.first_event
