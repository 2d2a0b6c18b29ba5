from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Forward, Run


REPEATED = 1.5
"""Forwards per batch beyond which a model is taken to be sampled, where the inputs themselves were not looked at."""


class EvalInTrainMode(Check):
    """A model is evaluated in eval mode.

    What it checks
    --------------
    Forwards of trained models in evaluation (passes over data without a backward, or forwards without gradients outside
    any training step) with dropout or batch-norm layers in training mode.

    Why it matters
    --------------
    Dropout makes the scores worse and noisy; batch norm lets each prediction depend on the others in its batch, and the
    evaluation data leak into the running statistics. The best checkpoint is then chosen by a number that is not the
    model's.

    What healthy looks like
    -----------------------
    `model.eval()` before the evaluation, `model.train()` after it.

    What to do
    ----------
    Call `model.eval()` before the loop over the evaluation data. `torch.no_grad()` does not do that.

    When it is wrong
    ----------------
    Monte Carlo dropout, which calls the model several times on each batch or switches on the dropout layers alone, is not
    reported; nor is a pass over the training data in train mode that refreshes batch-norm statistics for a model which is
    also evaluated in eval mode. Samples that a generator draws between epochs of an adversarial training, and forwards of
    examples that are also trained on where there is no loader (rollouts), are a note.

    Source
    ------
    Fault catalogue 80; ipolharvard/ethos-ares#20, PyTorch forum thread 43349.
    """

    title = "The model is evaluated in training mode"
    rows = ("S24",)
    faults = (80,)
    explains = ("dropout-in-eval", "gradients-in-evaluation", "batch-mixing")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        trained = run.related_to_training()
        seen = [f for f in run.evaluations() if f.model in trained]
        if not seen:
            return Evidence(missing="no evaluation of a trained model was seen")
        with_moods = [f for f in seen if run.models[f.model].moody]
        if not with_moods:
            return Evidence(missing="the evaluated models have neither dropout nor batch norm, so the mode changes nothing")
        return [self._look(run, n, [f for f in with_moods if f.model == n]) for n in sorted({f.model for f in with_moods})]

    def _look(self, run: Run, number: int, seen: list[Forward]) -> Evidence:
        loud = [f for f in seen if f.moody and f.training and not _samples(run, f)]
        fed_rows = {row for f in run.forwards if f.fed for row in f.rows} if loud else set()
        trained_on = {p.loader for p in run.train_passes()}
        foreign = [f for f in loud if f.in_pass is None or run.passes[f.in_pass].loader not in trained_on]
        fresh = [f for f in foreign if f.rows and not f.rows & fed_rows]
        quiet = [f for f in seen if not f.moody]
        if quiet and not run.rehearsal:  # too few rows are looked at to tell the training data from others
            fresh = []
        chosen = fresh or loud
        kinds = {layer.name: layer.kind for layer in run.models[number].moody}
        return Evidence(
            {
                "model": run.models[number].name,
                "forwards": sum(f.count for f in seen),
                "loud": sum(f.count for f in loud),
                "quiet": sum(f.count for f in quiet),
                "fresh": sum(f.count for f in fresh),
                "in_pass": any(f.in_pass is not None for f in chosen),
                "adversarial": sum(1 for o in run.optimizers if o.steps) > 1 and len(run.trained_models()) > 1,
                "kinds": sorted({kinds.get(name, "dropout") for f in chosen for name in f.moody}),
                "layers": len({name for f in chosen for name in f.moody}),
            },
            place=chosen[0].place if chosen else seen[0].place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["loud"] or (evidence["quiet"] and not evidence["fresh"]):
            return Ruling.passed(f"{evidence['model']} is evaluated in eval mode ({evidence['forwards']} forwards)")
        names = {"dropout": "dropout", "batchnorm": "batch norm"}
        active = " and ".join(names[k] for k in evidence["kinds"])
        unsure = not evidence["in_pass"] and (evidence["adversarial"] or not evidence["fresh"])
        certain = evidence["in_pass"] and evidence["fresh"] and not evidence["quiet"]
        return Ruling.found(
            Severity.NOTE if unsure else Severity.ERROR if certain else Severity.WARNING,
            f"{evidence['model']} is still in training mode while it is evaluated, with {active} active.",
            expected="dropout and batch norm in eval mode during evaluation",
            observed=f"{evidence['loud']} of {evidence['forwards']} evaluation forwards with {evidence['layers']} such layers "
            "in training mode",
            fix="Call model.eval() before the evaluation and model.train() after it; torch.no_grad() does not switch modes.",
        )


def _samples(run: Run, forward: Forward) -> bool:
    """Whether the model is called several times on the same input, as in Monte Carlo dropout."""
    if forward.in_pass is None:
        return forward.repeats > 1
    if len(forward.batches) >= 2:
        return len(set(forward.batches)) < len(forward.batches)
    return forward.count > REPEATED * run.passes[forward.in_pass].batches
