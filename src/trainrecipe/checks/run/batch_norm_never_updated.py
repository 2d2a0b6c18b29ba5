from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run
    from trainrecipe.subjects.weights import Untouched

FEWEST = 2
"""Forwards in eval mode that must have gone through such layers."""


class BatchNormNeverUpdated(Check):
    """Batch-norm statistics that evaluation relies on were collected in training.

    What it checks
    --------------
    Forwards in eval mode, after training began, through batch-norm layers whose running mean is still 0 and variance still
    1, while these layers were trained with the statistics of each batch: in the trained model itself, or in another one
    with the same weights.

    Why it matters
    --------------
    In eval mode batch norm uses its running statistics. A copy that was given the parameters only (`parameters()` leaves
    out buffers), an average of weights, or a momentum of 0 has none, so it computes another function than the one that was
    trained: the evaluation is far too bad, without an error.

    What healthy looks like
    -----------------------
    Copies are made with `state_dict()`, averages with `use_buffers=True` or followed by `update_bn`.

    What to do
    ----------
    Copy the buffers as well: `copy.load_state_dict(model.state_dict())`.

    When it is wrong
    ----------------
    An evaluation before the first step, and random networks that are never trained, are not meant.

    Source
    ------
    Fault catalogue 83, 97; PyTorch forum thread 63815; TrainCheck case PyTorch 51800.
    """

    title = "Evaluation uses batch-norm statistics that were never collected"
    rows = ("S24", "S3")
    faults = (83, 97)
    explains = ("eval-in-train-mode",)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.weights.norms:
            return Evidence(missing="no batch-norm layer took part in a recorded training step")
        found = [u for u in run.weights.untouched if u.forwards >= FEWEST or not run.rehearsal or run.ended == "finished"]
        groups: dict[tuple[str, object], list[Untouched]] = {}
        for one in found:
            groups.setdefault((one.model, one.place), []).append(one)
        return [self._look(group) for group in groups.values()] or Evidence({"layers": 0})

    def _look(self, group: list[Untouched]) -> Evidence:
        return Evidence(
            {
                "model": group[0].model,
                "layers": len(group[0].names),
                "of": group[0].layers,
                "names": group[0].names[:4],
                "forwards": sum(u.forwards for u in group),
                "own": group[0].own,
                "source": group[0].source,
            },
            place=group[0].place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["layers"]:
            return Ruling.passed("every batch-norm layer that is used in eval mode has seen training batches")
        who = "the trained model" if evidence["own"] else f"a copy or average of the weights of {evidence['source']}"
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['model']} is evaluated with batch-norm statistics that nothing ever updated.",
            expected="running means and variances collected from training batches",
            observed=f"{evidence['layers']} of {evidence['of']} batch-norm layers ({', '.join(evidence['names'])}) with "
            "mean 0 and "
            f"variance 1 in {evidence['forwards']} forwards in eval mode, in {who}",
            fix="Copy buffers as well as parameters (load_state_dict(model.state_dict())), or collect the statistics with "
            "torch.optim.swa_utils.update_bn.",
        )
