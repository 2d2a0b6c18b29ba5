from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.gradients import Contribution, GradientUse, lines, uses_of

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

FEWEST = 3
"""Steps that must have been seen."""
SHARE = 0.8
"""Share of these steps that must be affected."""
MOST_STALE = 0.5
"""Where more of the gradients than this were used by the same optimiser before, they are never cleared: another fault."""

AGAINST = -0.5
"""Cosine between its own gradient and the leftovers, up to which an optimiser and the other one are adversaries; tasks in
conflict over shared weights stay near zero."""


class GradientsFromAnotherOptimizer(Check):
    """An optimiser steps with gradients of its own losses only.

    What it checks
    --------------
    Which backward calls contributed to the gradients that each step used. A contribution is foreign when another optimiser,
    with other parameters, has already stepped with it, and the optimiser's own backward came only after that: the leftovers
    of one loss are then mixed with the gradient of another.

    Why it matters
    --------------
    `backward` fills the gradients of everything on the way to its loss. A generator's loss flows through the discriminator
    and leaves gradients there that call for being fooled; if they are not cleared before the discriminator's own backward,
    each of its steps is partly taken in the wrong direction. Nothing is raised, and the losses look plausible.

    What healthy looks like
    -----------------------
    Each optimiser's gradients are cleared right before the backward that is meant for it. One backward for several
    optimisers that all step after it is fine.

    What to do
    ----------
    Call `zero_grad()` of the optimiser named right before its own backward, not only after its step.

    When it is wrong
    ----------------
    Parameters that are meant to follow several losses, such as a shared encoder, look similar: they are not reported unless
    the leftover belongs to an earlier iteration, or the other optimiser's parameters come before these on the way to the
    loss, so that these only judge what those made, and have a backward of their own, or the two gradients point against
    each other, as those of adversaries do.

    Source
    ------
    Fault catalogue 31; PyTorch forum thread 60855; PyTorch DCGAN tutorial, which clears each network before its backward.
    """

    title = "An optimiser steps with gradients that were meant for another one"
    rows = ("S24",)
    faults = (31,)
    explains = ("exploding-gradients", "update-ratio", "clip-to-nothing", "missing-zero-grad")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps]
        if len(stepping) < 2:
            return Evidence(missing="fewer than two optimisers took steps while the script was observed")
        return [self._look(run, o) for o in stepping]

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        uses = [u for u in uses_of(run, optimizer.number) if u.inside is None and not u.modified]
        if len(uses) < FEWEST:
            return Evidence(missing=f"only {len(uses)} steps of {optimizer.name} were seen with all that led to them")
        strangers = _strangers(run, optimizer.number)
        steps = {(u.optimizer, c.serial): u.event for u in reversed(run.gradients) for c in u.contributions}
        foreign = [(u, _foreign(u, strangers, steps)) for u in uses if u.partial <= MOST_STALE]
        foreign = [(u, cs) for u, cs in foreign if cs]
        contributions = [c for _, cs in foreign for c in cs]
        own = [_own(u, cs) for u, cs in foreign]
        first = uses[0] if uses[0].step == 0 else None
        new = {c.backward for c in contributions} - {c.backward for c in first.contributions if first} if first else set()
        crossing = [c for u, cs in foreign for c in cs if c.batch < u.contributions[-1].batch or c.backward in new]
        place = run.backwards[own[0].backward].place if own else optimizer.place
        others = sorted({o for c in contributions for o in c.others if o in strangers})
        sizes = [c.norm / o.norm for (_, cs), o in zip(foreign, own, strict=True) for c in cs if c.norm and o.norm]
        cosines = [c.cosine for c in own if c.cosine is not None]
        return Evidence(
            {
                "optimizer": optimizer.name,
                "built": optimizer.place.line if optimizer.place else None,
                "steps": len(uses),
                "foreign": len(foreign),
                "crossing": len(crossing),
                "contributions": len(contributions),
                "dedicated": any(o.reached == [optimizer.number] for o in own),
                "others": [run.optimizers[o].name for o in others],
                "lines": lines(run, contributions)[:3],
                "size": median(sizes) if sizes else None,
                "cosine": median(cosines) if cosines else None,
                "passed_through": all(_passed_through(run, optimizer.number, c, strangers) for c in contributions),
            },
            place=place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        steps, foreign, name = evidence["steps"], evidence["foreign"], evidence["optimizer"]
        if foreign < SHARE * (steps - 1) or foreign < FEWEST - 1:
            return Ruling.passed(f"{steps - foreign} of {steps} steps of {name} used gradients of its own backward calls only")
        crossing = evidence["crossing"] >= SHARE * evidence["contributions"]
        against = evidence["cosine"] is not None and evidence["cosine"] <= AGAINST
        if not (crossing or against or (evidence["dedicated"] and evidence["passed_through"])):
            return Ruling.unsure(
                f"{name} steps with gradients of several losses, one of which another optimiser has used before "
                f"({'; '.join(evidence['lines'])}): right if these parameters are meant to follow all of them"
            )
        size = "" if evidence["size"] is None else f", {evidence['size']:.2g} times as large as its own gradient"
        return Ruling.found(
            Severity.ERROR if crossing and evidence["dedicated"] else Severity.WARNING,
            f"The {name} built in line {evidence['built']} steps with leftovers of a backward that another optimiser has used.",
            expected="gradients of its own backward calls only",
            observed=f"at {foreign} of {steps} steps its gradients also held {' and '.join(evidence['lines'])}, which "
            f"{' and '.join(evidence['others'])} had already stepped with{size}"
            + (", left over from an earlier batch" if crossing else "")
            + (f"; the two point against each other (cosine {evidence['cosine']:.2g})" if against else ""),
            fix="Call zero_grad() of this optimiser (or of its network) right before its own backward.",
            causes=(
                "zero_grad() comes after the step, so that gradients of the other loss come in between: move it before the "
                "backward, and the leftovers are gone",
            ),
        )


def _strangers(run: Run, number: int) -> set[int]:
    """The optimisers that hold no parameter of this one."""
    kin = {o for p in run.parameters if number in p.optimizers for o in p.optimizers}
    return {o.number for o in run.optimizers} - kin - {number}


def _passed_through(run: Run, number: int, contribution: Contribution, strangers: set[int]) -> bool:
    """Whether the others' parameters feed these on the way to the loss, and not the other way round."""
    flows = run.backwards[contribution.backward].flows
    others = [o for o in contribution.others if o in strangers]
    return any((o, number) in flows for o in others) and not any((number, o) in flows for o in others)


def _foreign(use: GradientUse, strangers: set[int], steps: dict[tuple[int, int], int]) -> list[Contribution]:
    """Contributions that a stranger stepped with before the last contribution came."""
    last = use.contributions[-1]
    return [
        c
        for c in use.contributions[:-1]
        if c.backward != last.backward
        and use.optimizer not in c.used
        and any(o in strangers and o in c.reached and steps.get((o, c.serial), last.event) < last.event for o in c.others)
    ]


def _own(use: GradientUse, foreign: list[Contribution]) -> Contribution:
    """The first contribution after the foreign ones."""
    serials = {c.serial for c in foreign}
    return next(c for c in use.contributions if c.serial > max(serials))
