from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.checkpoints import Resume
    from trainrecipe.subjects.run import Optimizer, Run


class CheckpointIncomplete(Check):
    """A training that is resumed goes on with the optimiser's state, not with a fresh one.

    What it checks
    --------------
    Places of the source that read a checkpoint, load the model, and go on counting epochs or steps where it ended: whether
    they also restore the optimiser that keeps moments, the learning-rate schedule and the loss scaler that the script uses,
    and whether the checkpoints that the script saves hold them. Also optimisers whose state was loaded and which then were
    replaced by a fresh one over the same parameters.

    Why it matters
    --------------
    Without its moments Adam takes its first steps at full length in noisy directions, and a schedule that starts anew goes
    back to the highest rate: the loss jumps after each resume, and the result depends on how often the job was interrupted.

    What healthy looks like
    -----------------------
    Model, optimiser, scheduler, scaler and the counter are saved and loaded together.

    What to do
    ----------
    Save and load `optimizer.state_dict()`, `scheduler.state_dict()` (and the scaler's) next to the model's.

    When it is wrong
    ----------------
    Weights that are loaded for inference, for testing or as the start of a fine-tuning do not set a counter that training
    continues from, and are not reported. Plain SGD has no state. Loading functions in other modules are followed only where
    their source is among the files that the training ran through.

    Source
    ------
    Fault catalogue 74; PyTorch forum threads 36328 and 20208.
    """

    title = "Resuming restores the weights, but not the rest of the training state"
    rows = ("S24",)
    faults = (74,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        seen = run.checkpoints
        stepping = [o for o in run.optimizers if o.steps and o.standard]
        found = [_replaced(run, number, steps) for number, steps in seen.restored]
        kept = [e for e in found if e is not None]
        if not seen.resumes and not kept:
            return Evidence(missing="the script has no place that reads a checkpoint and goes on counting from it")
        if not stepping:
            return Evidence(missing="no optimiser of PyTorch's took a step while the script was observed")
        return kept + [_look(run, resume, stepping) for resume in seen.resumes]

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence["replaced"]:
            return Ruling.found(
                Severity.WARNING,
                f"The state of {evidence['replaced']} was loaded, but a fresh optimiser takes the steps.",
                expected="the optimiser whose state was restored takes the next step",
                observed=f"it takes no step after the load; another {evidence['replaced']} over the same parameters does",
                fix="Build the optimiser first, load its state, and do not build it again afterwards.",
            )
        missing = evidence["missing"]
        if evidence["unknown"]:
            return Ruling.unsure("no checkpoint was saved while the script was observed, so its entries are not known")
        if not missing:
            return Ruling.passed(f"resuming reads {', '.join(evidence['keys'])}")
        what = " and ".join(missing)
        unsaved = [m for m in missing if m not in evidence["saved_too"]]
        observed = f"the checkpoint's entries {', '.join(evidence['keys'])} are read and {evidence['counter']!r} is continued; "
        observed += f"{' and '.join(unsaved)} not even saved" if unsaved else f"saved, but never loaded: {what}"
        return Ruling.found(
            Severity.WARNING if "the optimiser" in missing or evidence["saved_too"] else Severity.NOTE,
            f"Training goes on from a checkpoint without {what}.",
            expected="everything that training changes is saved and restored together",
            observed=observed,
            fix="Save and load optimizer.state_dict() and scheduler.state_dict() next to the model's.",
            causes=evidence["why"],
        )


def _replaced(run: Run, number: int, steps: int) -> Evidence | None:
    """An optimiser whose state was loaded and which takes no step afterwards, while a later one does."""
    restored: Optimizer = run.optimizers[number]
    later = [
        o
        for o in run.optimizers[number + 1 :]
        if o.steps and o.name == restored.name and o.parameters == restored.parameters and o.born_step == restored.born_step
    ]
    if restored.steps > steps or not later or steps:
        return None
    return Evidence({"replaced": restored.name, "missing": []}, place=later[0].place)


def _look(run: Run, resume: Resume, stepping: list[Optimizer]) -> Evidence:
    saved = {key: kind for s in run.checkpoints.saved for key, kind in s.kinds.items() if key}
    alone = {s.kinds[""] for s in run.checkpoints.saved} & {"optimizer", "scheduler"}  # in files of their own
    read = {saved[k] for k in resume.keys if k in saved} | alone
    moments = [o for o in stepping if o.momentum or o.scale_free]
    schedules = [s for s in run.schedulers if s.calls]
    missing, why = [], []
    if moments and "optimizer" not in read:
        missing.append("the optimiser")
        why.append(f"{moments[0].name} keeps moments: fresh ones make the first steps long and noisy")
    if schedules and "scheduler" not in read and not _fast_forwarded(run):
        missing.append("the schedule")
        why.append(f"{schedules[0].name} starts anew at its first rate")
    names = {"the optimiser": "optimizer", "the schedule": "scheduler"}
    return Evidence(
        {
            "replaced": "",
            "unknown": not any(k in saved for k in resume.keys),
            "keys": resume.keys,
            "counter": resume.counter,
            "missing": missing,
            "saved_too": [m for m in missing if names[m] in saved.values()],
            "why": why[:3],
        },
        place=resume.place,
    )


def _fast_forwarded(run: Run) -> bool:
    """Whether the schedule is told where to go on, by its last_epoch."""
    return any(s.horizon.get("last_epoch", 0) > len(s.calls) + 1 for s in run.schedulers)
