from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run

FEWEST = 2


class TrainInEvalMode(Check):
    """A model is trained in training mode.

    What it checks
    --------------
    Forwards that a backward and an optimiser step follow, of models whose own parameters are updated: whether the whole
    model was in eval mode, from the start or ever since an evaluation, so that its dropout and batch norm were off.

    Why it matters
    --------------
    Without `model.train()` dropout no longer regularises and batch norm stops learning its statistics; at the start of a
    training from scratch they are still 0 and 1, so that nothing is normalised at all.

    What healthy looks like
    -----------------------
    `model.train()` at the start of every epoch, after each evaluation.

    What to do
    ----------
    Call `model.train()` right before the loop over the training data, inside the loop over epochs.

    When it is wrong
    ----------------
    Parts in eval mode inside a model in training mode (frozen batch norm, frozen backbones) are not reported, nor are
    forwards that other code lines make in eval mode in between, such as attacks or the frozen side of an adversarial pair.
    Fine-tuning loaded weights with everything in eval mode from the start is a note.

    Source
    ------
    Fault catalogue 81, 82; fartashf/vsepp#4, wkentaro/pytorch-fcn#57.
    """

    title = "The model is trained in eval mode"
    rows = ("S24",)
    faults = (81, 82)
    explains = ("dead-units", "exploding-gradients", "update-ratio")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        updated = {p.model for p in run.parameters if p.gradient and p.updates and p.model is not None}
        moody = [n for n in sorted(run.trained_models() & updated) if run.models[n].moody]
        if not moody:
            return Evidence(missing="no trained model has dropout or batch norm, so the mode changes nothing")
        return [self._look(run, n) for n in moody]

    def _look(self, run: Run, number: int) -> Evidence:
        model = run.models[number]
        fed = [f for f in run.forwards if f.model == number and f.fed and not f.frozen]
        good = [f for f in fed if f.training]
        places = {f.place for f in good}
        last_good = max((f.last_event for f in good), default=-1)
        asleep = [f for f in fed if not f.training and not f.moody and f.stepped >= min(FEWEST, f.fed)]
        bad = [f for f in asleep if f.place in places or f.first_event > last_good]
        evaluated = [f.first_event for f in run.forwards if f.model == number and not f.fed and not f.training]
        since = bool(good) and bool(bad) and any(e < bad[0].first_event for e in evaluated)
        kinds = sorted({layer.kind for layer in model.moody})
        return Evidence(
            {
                "model": model.name,
                "trained": sum(f.fed for f in fed),
                "asleep": sum(f.fed for f in bad),
                "from_start": not good,
                "since_evaluation": since,
                "kinds": kinds,
                "layers": len(model.moody),
                "loaded": model.loaded,
                "fresh_norms": model.fresh_norms,
            },
            place=bad[0].place if bad else (fed[0].place if fed else model.born),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        asleep, trained = evidence["asleep"], evidence["trained"]
        if asleep < FEWEST:
            return Ruling.passed(f"{evidence['model']} is in training mode in all {trained} training forwards")
        names = {"dropout": "dropout", "batchnorm": "batch norm"}
        off = " and ".join(names[k] for k in evidence["kinds"])
        known = evidence["loaded"] or (evidence["kinds"] == ["batchnorm"] and not evidence["fresh_norms"])
        severity = Severity.NOTE if evidence["from_start"] and known else Severity.ERROR
        since = "since its first evaluation" if evidence["since_evaluation"] else "for a part of the time"
        when = "from the start" if evidence["from_start"] else since
        return Ruling.found(
            severity,
            f"{evidence['model']} is trained in eval mode {when}, with {off} switched off.",
            expected="model.train() before the training forwards",
            observed=f"{asleep} of {trained} training forwards with all {evidence['layers']} dropout and batch-norm layers in "
            "eval mode",
            fix="Call model.train() at the start of every epoch, before the loop over the training data.",
        )
