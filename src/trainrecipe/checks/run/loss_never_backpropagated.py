from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.finding import Place
    from trainrecipe.subjects.gradients import Scalar
    from trainrecipe.subjects.run import Run

FEWEST = 3
ALWAYS = 0.95


class LossNeverBackpropagated(Check):
    """Every loss that is computed in each step is part of a backward.

    What it checks
    --------------
    Scalars with a graph to the parameters that a line makes in every step: whether any backward ever started from something
    that depends on them. And among those that none did, whether they are a sum of which only a part was back-propagated.

    Why it matters
    --------------
    `loss = reconstruction + kl; reconstruction.backward()` trains one half of what was written down. The other term is
    computed, printed, even falls a little for other reasons, and never has any influence.

    What healthy looks like
    -----------------------
    Each loss goes into a backward. What is only looked at is computed under `torch.no_grad()`.

    What to do
    ----------
    Call backward on the sum; or compute what is only monitored under `torch.no_grad()`.

    When it is wrong
    ----------------
    A loss that is only monitored, without `no_grad`, is a note at most. So is one that a later phase of the training uses.
    Sums whose terms are each back-propagated on their own are not reported.

    Source
    ------
    Fault catalogue 30; PyTorch forum threads 162145, 73925.
    """

    title = "A loss is computed in every step but never back-propagated"
    rows = ("S24",)
    faults = (30,)
    explains = ("unused-parameters", "optimizer-without-gradients")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        evaluating = _functions(run, fed=False) - _functions(run, fed=True)  # `gradients-in-evaluation` looks at these
        lines = [s for s in run.scalars if s.made >= FEWEST and _function(s.place) not in evaluating]
        if not lines:
            return Evidence(missing=f"fewer than {FEWEST} steps were recorded")
        idle = [o.name for o in run.optimizers if _never_fed(run, o.number)]
        lost = [s for s in lines if s.lost >= ALWAYS * s.made and (s.part or s.loss)]
        if not lost:
            return Evidence({"lines": len(lines), "lost": 0})
        return [self._look(s, idle) for s in lost]

    def _look(self, scalar: Scalar, idle: list[str]) -> Evidence:
        return Evidence(
            {
                "lost": scalar.lost,
                "made": scalar.made,
                "part": scalar.part,
                "read": scalar.read,
                "name": scalar.name,
                "idle": idle,
                "missing": [p.rpartition(":")[2] for p in scalar.missing],
            },
            place=scalar.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        lost = evidence["lost"]
        if not lost:
            return Ruling.passed(f"the scalars that {evidence['lines']} lines make are all part of a backward")
        if evidence["part"] >= ALWAYS * lost:
            return Ruling.found(
                Severity.WARNING,
                "A sum of losses is computed in every step, but backward is called on a part of it only.",
                expected="backward on the sum",
                observed=f"{lost} sums that no backward depended on, with a term that was back-propagated on its own, and one "
                f"that never was (made in line {', '.join(evidence['missing'])})",
                fix="Call backward on the sum; if the other term is only monitored, compute it under torch.no_grad().",
                causes=("backward is called on the wrong variable",),
            )
        idle = evidence["idle"]
        return Ruling.found(
            Severity.WARNING if idle else Severity.NOTE,
            f"The loss of this line ({evidence['name']}) is computed with a graph in every step, and no backward depends on it."
            + (f" {', '.join(idle)} steps without any gradient." if idle else ""),
            expected="a backward that the loss is part of, or torch.no_grad() where it is only monitored",
            observed=f"{lost} of {evidence['made']} values that no backward depended on"
            + (", read as numbers only" if evidence["read"] >= ALWAYS * lost else ""),
            fix="Add it to the loss that backward is called on; or compute it under torch.no_grad().",
        )


def _functions(run: Run, fed: bool) -> set[tuple[str, str]]:
    """The functions in which models are called for training (`fed`), or for anything else."""
    return {where for f in run.forwards if bool(f.fed) == fed and (where := _function(f.place)) is not None}


def _function(place: Place | None) -> tuple[str, str] | None:
    return None if place is None else (place.file, place.function)


def _never_fed(run: Run, optimizer: int) -> bool:
    """Whether an optimiser's steps were all taken without any gradient."""
    uses = [u for u in run.gradients if u.optimizer == optimizer and u.inside is None]
    return len(uses) >= FEWEST and all(u.known and not u.contributions for u in uses)
