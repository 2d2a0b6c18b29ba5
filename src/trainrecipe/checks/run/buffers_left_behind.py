from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.evaluation import Evaluation
    from trainrecipe.subjects.run import Run

ALIKE = 0.5
"""Cosine between two models' weights from which they have a common past: it is near 0 for separate initialisations."""


class BuffersLeftBehind(Check):
    """A model that takes over another's weights takes over its batch-norm statistics as well.

    What it checks
    --------------
    Models that are evaluated in eval mode although their batch-norm layers have seen no batch: whether their weights are
    equal to, or an average of, those of a trained model of the same shape whose layers have seen batches.

    Why it matters
    --------------
    `parameters()` holds no buffers. A copy or moving average made of parameters only normalises with mean 0 and variance 1 in
    eval mode, and its scores are far below those of the model it was made from.

    What healthy looks like
    -----------------------
    `load_state_dict(model.state_dict())`, an average that also copies `buffers()`, or `update_bn` before the evaluation.

    What to do
    ----------
    Copy the buffers too; for `AveragedModel` pass `use_buffers=True` or call `torch.optim.swa_utils.update_bn`.

    When it is wrong
    ----------------
    A fresh model that is evaluated as a baseline is not reported: its weights are its own and do not change. Statistics that
    were loaded, even if they are still at their defaults, look like missing ones.

    Source
    ------
    Fault catalogue 97 and 83; PyTorch forum thread 63815.
    """

    title = "Weights were copied without their batch-norm statistics"
    rows = ("S24",)
    faults = (97, 83)
    explains = ("imbalance-hidden", "batch-norm-never-updated")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        own = [e for e in run.evaluated if not e.training]
        if not own:
            return Evidence(missing="no evaluation in eval mode was seen")
        if not any(e.kinship for e in own):
            return Evidence({"left": False})
        numbers = dict.fromkeys(e.model for e in own if e.kinship)
        return [_look(run, [e for e in own if e.model == n]) for n in numbers]

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["left"]:
            return Ruling.passed("no evaluated model has the weights of another without its batch-norm statistics")
        how = "are equal to" if evidence["equal"] else f"follow (cosine {evidence['cosine']:.2f})"
        return Ruling.found(
            Severity.ERROR if evidence["equal"] else Severity.WARNING,
            f"{evidence['model']} is evaluated with batch-norm statistics at their defaults, though its weights come from a "
            "trained model.",
            expected="the statistics that belong to the weights",
            observed=f"no batch-norm layer of it has seen a batch; its weights {how} those of {evidence['donor']}, whose "
            "layers have",
            fix="Copy buffers as well as parameters (load_state_dict, or a loop over buffers()), or call update_bn first.",
        )


def _look(run: Run, seen: list[Evaluation]) -> Evidence:
    fresh = [e for e in seen if e.kinship is not None]
    marks = {e.kinship.mark for e in fresh if e.kinship is not None}
    last = fresh[-1]
    kin = last.kinship
    assert kin is not None
    moved = last.step > 0
    follows = (len(marks) > 1 or kin.later) and kin.cosine >= ALIKE and not _is_trained(run, last.model)
    return Evidence(
        {
            "left": moved and (kin.equal or follows),
            "equal": kin.equal,
            "cosine": kin.cosine,
            "model": run.models[last.model].name,
            "donor": run.models[kin.donor].name,
            "evaluations": len(fresh),
        },
        place=run.models[last.model].born if kin.equal is None else last.place,
    )


def _is_trained(run: Run, model: int) -> bool:
    return any(p.optimizers and p.model == model for p in run.parameters)
