from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run
    from trainrecipe.subjects.weights import Teacher

FEWEST = 15
"""Steps of the student that must have been seen."""
MOVED = 1e-3
"""How far the student must have gone, relative to its size."""
INVERTED = 0.9
"""Part of the way to the student that an average goes at each step, from which its decay looks inverted."""
UPDATES = 8
WHOLE = 0.99
"""Part of the way from which the trained network holds the weights of the other; a small pull must be seen `UPDATES` times."""


class TargetNetworkNotSynced(Check):
    """A network that is meant to follow the trained one does follow it, slowly.

    What it checks
    --------------
    Pairs of networks with the same shape, of which one is trained and the other is not: whether the second, made as a copy
    of the untrained first and called at each step on other inputs, ever changes; which part of the way to the first it
    goes at each update; and whether, while it never changes, the trained one is set back to its weights.

    Why it matters
    --------------
    A target network that is never synced bootstraps from random values for ever. Synced the wrong way round, it throws the
    training away, time and again. An average whose decay is inverted
    (0.999 of the student, 0.001 of the teacher) is the student itself, so there is nothing to be learned from it.

    What healthy looks like
    -----------------------
    An average goes 0.1 % to 5 % of the way at each step; a target network is copied every few hundred steps.

    What to do
    ----------
    Write in place, under `no_grad`: `t.lerp_(s, 1 - decay)` or `t.mul_(decay).add_(s, alpha=1 - decay)` for each pair of
    parameters.

    When it is wrong
    ----------------
    Frozen teachers and reference models are copies of a trained network, or see the same inputs, and are not meant.
    Where the code may still write to a network later, the check is unsure in a rehearsal.

    Source
    ------
    Fault catalogue 53; PyTorch forum thread 126336.
    """

    title = "A target network does not follow the trained one as it should"
    rows = ("S24",)
    faults = (53,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        pairs = [t for t in run.weights.teachers if t.steps >= FEWEST and (t.moved >= MOVED or t.pulls)]
        if not pairs:
            return Evidence(missing=f"no network was seen for {FEWEST} steps next to a trained one of the same shape")
        return [self._look(run, t) for t in pairs]

    def _look(self, run: Run, teacher: Teacher) -> Evidence:
        other = teacher.plain and teacher.fed and not teacher.same_inputs
        pulled = teacher.pulls if other and not teacher.changes and not teacher.synced else []
        return Evidence(
            {
                "model": teacher.model,
                "student": teacher.student,
                "steps": teacher.steps,
                "changes": teacher.changes,
                "moved": teacher.moved,
                "share": statistics.median(teacher.shares) if teacher.shares else None,
                "lowest": min(teacher.shares, default=0.0),
                "updates": len(teacher.shares),
                "target": teacher.copied and other and not teacher.synced,
                "synced": teacher.synced,
                "pulls": len(pulled),
                "pull": max(pulled, default=0.0),
                "sites": teacher.sites[:2] if run.rehearsal and (run.hurried or run.ended != "finished") else [],
            },
            place=(teacher.pulled if pulled else None) or teacher.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        steps, share = evidence["steps"], evidence["share"]
        if evidence["pull"] >= WHOLE or evidence["pulls"] >= UPDATES:
            return self._backwards(evidence)
        if share is not None and evidence["updates"] >= UPDATES and evidence["lowest"] >= INVERTED:
            return self._inverted(evidence, share)
        if evidence["changes"] or not evidence["target"]:
            what = "was given its weights" if evidence["synced"] else "is fixed, as teachers are"
            what = f"changed in {evidence['changes']} of {steps} steps" if evidence["changes"] else what
            return Ruling.passed(f"a network of the shape of {evidence['student']} {what}")
        if evidence["sites"]:
            return Ruling.unsure(
                f"a copy of {evidence['student']} was not synced in {steps} steps; {evidence['sites'][0]} may do so"
            )
        return Ruling.found(
            Severity.WARNING,
            f"The copy of {evidence['student']} that each step consults is never updated.",
            expected="a target network that is copied from the trained one, or averaged with it, every so often",
            observed=f"not one bit changed in {steps} steps, while {evidence['student']} moved by {evidence['moved']:.1%} "
            "of its size; "
            "it still holds the first random weights",
            fix="Copy the weights every few hundred steps (target.load_state_dict(online.state_dict())), or average them in "
            "place after each step (t.lerp_(s, 0.005)).",
        )

    def _backwards(self, evidence: Evidence) -> Ruling:
        whole = evidence["pull"] >= WHOLE
        how = "gets the weights of" if whole else "is drawn towards"
        return Ruling.found(
            Severity.WARNING,
            f"The trained {evidence['student']} {how} the copy that each step consults, instead of the other way round.",
            expected="a copy that follows the trained network",
            observed=f"in {evidence['steps']} steps that were looked at the copy never changed; {evidence['pulls']} times the "
            f"trained network was set {'back to its weights' if whole else 'back towards it'}, which undoes its training",
            fix="Exchange the two: target.load_state_dict(online.state_dict()), or t.lerp_(s, 0.005) for each pair of "
            "parameters.",
        )

    def _inverted(self, evidence: Evidence, share: float) -> Ruling:
        exact = share >= 1 - 1e-3
        says = "is a plain copy of the student after every step" if exact else "goes almost all the way to the student"
        return Ruling.found(
            Severity.NOTE if exact else Severity.WARNING,
            f"The average of {evidence['student']} {says}: it averages nothing.",
            expected="0.1 % to 5 % of the way at each update",
            observed=f"{share:.1%} of the way to the student in each of {evidence['updates']} updates",
            fix="Swap the factors: teacher = decay * teacher + (1 - decay) * student with a decay such as 0.99.",
        )
