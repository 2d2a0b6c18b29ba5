from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Forward, Run

FEWEST = 2
"""Steps on each of the two loaders."""


class TrainsOnEvaluationData(Check):
    """The optimiser steps on training data only.

    What it checks
    --------------
    Whether the one optimiser of a program steps on the batches of two loaders: of one in training mode, and of another, with
    examples of its own, always in eval mode.

    Why it matters
    --------------
    A `backward` and `step` left in the evaluation loop fit the model to the data that it is judged by. The validation loss
    falls as the training loss does, and says nothing any more.

    What healthy looks like
    -----------------------
    Evaluation runs under `torch.no_grad()` and calls neither backward nor step.

    What to do
    ----------
    Remove the step from the evaluation loop, and wrap it in `torch.no_grad()`.

    When it is wrong
    ----------------
    Adaptation to test data after the training is not meant.
    Programs with several optimisers, or that never call `eval()`, are not
    judged.

    Source
    ------
    Fault catalogue 47; PyTorch forum thread 70881.
    """

    title = "The model is trained on the data it is judged by"
    rows = ("S24", "S3")
    faults = (47,)
    explains = ("train-in-eval-mode", "gradients-in-evaluation")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps]
        if len(stepping) != 1:
            return Evidence(missing="there is not exactly one optimiser that steps")
        if len({p.loader for p in run.passes if p.batches}) < 2:
            return Evidence(missing="fewer than two loaders were read")
        found = [e for n in sorted(run.trained_models()) if (e := self._look(run, n)) is not None]
        return found or Evidence({"steps": 0})

    def _look(self, run: Run, number: int) -> Evidence | None:
        fed = [f for f in run.forwards if f.model == number and f.in_pass is not None and f.stepped]
        by_loader: dict[int, list[Forward]] = {}
        for f in fed:
            by_loader.setdefault(run.passes[f.in_pass or 0].loader, []).append(f)
        awake = [fs for fs in by_loader.values() if all(f.training for f in fs)]
        asleep = [fs for fs in by_loader.values() if not any(f.training for f in fs)]
        for judged in asleep:
            for trained in awake:
                rows = {r for f in judged for r in f.rows}
                if rows & {r for f in trained for r in f.rows}:
                    continue
                if min(f.first_event for f in judged) > max(f.last_event for f in trained):
                    continue  # adapted to after the training
                if min(sum(f.stepped for f in judged), sum(f.stepped for f in trained)) >= FEWEST:
                    return Evidence(
                        {
                            "model": run.models[number].name,
                            "steps": sum(f.stepped for f in judged),
                            "trained": sum(f.stepped for f in trained),
                            "passes": len({f.in_pass for f in judged}),
                        },
                        place=judged[0].place,
                    )
        return None

    def judge(self, evidence: Evidence) -> Ruling:
        steps = evidence["steps"]
        if not steps:
            return Ruling.passed("no step was taken on a loader that is read in eval mode")
        return Ruling.found(
            Severity.ERROR,
            f"{evidence['model']} is trained on batches that it sees in eval mode, as in an evaluation.",
            expected="no optimiser step in a pass over evaluation data",
            observed=f"{steps} steps in {evidence['passes']} passes in eval mode over a loader of its own, next to "
            f"{evidence['trained']} "
            "steps in training mode on another",
            fix="Remove backward and step from the evaluation loop and run it under torch.no_grad().",
        )
