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
    examples of its own, always in eval mode. A note where the other is smaller, read in order, and takes its turn after each
    pass over the first, which is shuffled.

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
    Adaptation to test data after the training is not meant. Programs with several optimisers are not judged. Two tasks that
    take turns look the same as a validation pass that trains, if one of them is read in order.

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
        return self._in_turns(run, number, by_loader)

    def _in_turns(self, run: Run, number: int, by_loader: dict[int, list[Forward]]) -> Evidence | None:
        """A loader in order that is trained on after each pass over a shuffled one, as a validation pass would come."""
        if len(by_loader) != 2 or not all(f.training for fs in by_loader.values() for f in fs):
            return None
        shuffled, ordered = sorted(by_loader, key=lambda n: not run.loaders[n].shuffled)
        if not run.loaders[shuffled].shuffled or run.loaders[ordered].shuffled:
            return None
        turns = [p.loader for p in run.passes if p.trains and p.loader in by_loader]
        steps = {n: sum(f.stepped for f in fs) for n, fs in by_loader.items()}
        rows = {n: {r for f in fs for r in f.rows} for n, fs in by_loader.items()}
        in_turns = len(turns) >= 4 and turns[: len(turns) // 2 * 2] == [shuffled, ordered] * (len(turns) // 2)
        sizes = [run.loaders[n].examples or 0 for n in (ordered, shuffled)]
        if not in_turns or rows[ordered] & rows[shuffled] or min(steps.values()) < FEWEST or sizes[0] >= sizes[1]:
            return None
        counts = {"steps": steps[ordered], "trained": steps[shuffled], "passes": turns.count(ordered), "turns": True}
        return Evidence({"model": run.models[number].name, **counts}, place=by_loader[ordered][0].place)

    def judge(self, evidence: Evidence) -> Ruling:
        steps = evidence["steps"]
        if not steps:
            return Ruling.passed("no step was taken on a loader that is read in eval mode")
        if evidence.get("turns"):
            return Ruling.found(
                Severity.NOTE,
                f"{evidence['model']} is trained on a second loader after each pass over the first: a validation that trains?",
                expected="no optimiser step in a pass over evaluation data",
                observed=f"{steps} steps in {evidence['passes']} passes over a smaller set that is read in order, next to "
                f"{evidence['trained']} steps on a shuffled one",
                fix="If it is there to judge the model, call eval() and torch.no_grad() for it, and neither backward nor step.",
            )
        return Ruling.found(
            Severity.ERROR,
            f"{evidence['model']} is trained on batches that it sees in eval mode, as in an evaluation.",
            expected="no optimiser step in a pass over evaluation data",
            observed=f"{steps} steps in {evidence['passes']} passes in eval mode over a loader of its own, next to "
            f"{evidence['trained']} "
            "steps in training mode on another",
            fix="Remove backward and step from the evaluation loop and run it under torch.no_grad().",
        )
