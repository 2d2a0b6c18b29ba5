from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.finding import Place
    from trainrecipe.subjects.ranks import RankFacts, Ranks, Snapshot, Weight

TOLERANCE = 1e-5
"""Relative difference below which replicas differ by rounding only."""
FEW = 64
"""Elements below which an exchanged tensor is a metric."""


class ReplicasDiffer(Check):
    """All ranks hold the same parameters after every optimiser step.

    What it checks
    --------------
    The parameters that each rank's optimisers hold are hashed before the first step and after the first eight, and later
    at powers of two, together with the gradients that the step used; ranks are compared tensor by tensor.

    Why it matters
    --------------
    Data-parallel training averages gradients so that all replicas take the same step. Where they do not, each rank trains a
    model of its own on its own share of the data; rank 0 reports and saves one of them, and the others are wasted.

    What healthy looks like
    -----------------------
    Every hash is equal in all ranks at every step.

    What to do
    ----------
    Wrap every trained module in DistributedDataParallel and call the wrapper, not `wrapper.module`, in the training step.
    Keep everything that decides about an update (clipping, skipped steps, schedules, loaded weights) equal in all ranks.

    When it is wrong
    ----------------
    Programs that average parameters only every so many steps (local SGD) differ in between: where such an exchange is
    seen or is in the source, the answer is unsure. Members of an ensemble, models that are split over ranks
    and optimisers that only some ranks have are left out: nothing is said where shapes differ or no process group exists.

    Source
    ------
    Recipe S25; fault catalogue 157–160; PyTorch documentation, "Distributed Data Parallel", internal design.
    """

    title = "The ranks train different models"
    rows = ("S25",)
    faults = (157, 158, 159, 160)
    explains = ("evaluation-padded", "same-draws-on-ranks")

    def measure(self, ranks: Ranks) -> Evidence:
        """Find the first step after which parameters differ between ranks, and what differed before."""
        missing = ranks.why_not()
        if missing:
            return Evidence(missing=missing)
        compared = [c for mine, other in ranks.pairs() for c in _compare(mine, other)]
        if not compared:
            return Evidence(missing="no two ranks took steps with optimisers of the same shapes")
        equal = all(c["equal"] for c in compared)
        first = next((c for c in compared if not c["equal"]), compared[-1])
        facts = ranks.facts
        bare = sum(w.bare for f in facts for w in f.wrappers)
        called = sum(w.calls for f in facts for w in f.wrappers)
        averaging = [c for f in facts for c in f.collectives if c.weights and c.step > 0]
        later = [c for c in compared if c["optimizer"] == first["optimizer"] and c["count"] > first["count"]]
        again = any(c["equal"] for c in later) and not equal
        return Evidence(
            {
                "compared": len(compared),
                "differing": sum(not c["equal"] for c in compared),
                "world": ranks.world,
                "first": first,
                "last": next((c for c in reversed(compared) if not c["equal"]), first),
                "wrapped": len(facts[0].wrappers),
                "bare": bare,
                "called": called,
                "exchanges": sum(len(f.collectives) for f in facts),
                "averages": bool(averaging) or again,
                "activations": any(
                    c.elements >= FEW and not c.gradients and not c.weights for f in facts for c in f.collectives
                ),
                "unseen": len([u for f in facts for u in f.unseen]),
                "gradients_sent": any(c.gradients for f in facts for c in f.collectives),
                "sharded_data": any(r.distributed for f in facts for r in f.training()),
                "same_start": all(c["equal"] for c in compared if c["count"] == 0),
            },
            place=_place(facts, bare),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        """Parameters that differ by more than rounding, where ranks are meant to train one model."""
        if not evidence["differing"]:
            return Ruling.passed(
                f"the parameters of {evidence['world']} ranks are equal bit for bit at {evidence['compared']} moments"
            )
        first, last = evidence["first"], evidence["last"]
        if evidence["averages"]:
            return Ruling.unsure("the parameters of the ranks differ for a while, and the program averages them itself")
        if last["gap"] <= TOLERANCE:
            return Ruling.unsure(f"the parameters differ between ranks by {last['gap']:.0e} of their size, as rounding may do")
        together = evidence["wrapped"] or evidence["gradients_sent"]
        if not together and evidence["activations"]:
            return Ruling.unsure("the ranks exchange tensors that are neither gradients nor parameters: the model may be split")
        if not together and evidence["unseen"]:
            return Ruling.unsure("the ranks train apart so far, and an exchange that the source holds was not reached")
        if not together and not evidence["sharded_data"] and not evidence["same_start"]:
            return Ruling.unsure(
                "the ranks start from different weights and exchange nothing: they may be meant to train apart"
            )
        severity = Severity.ERROR if together or evidence["sharded_data"] else Severity.WARNING
        when = "before the first step" if first["count"] == 0 else f"after step {first['count']}"
        share = f"{first['tensors']} of {first['all']} tensors ({', '.join(first['names'][:3])})"
        return Ruling.found(
            severity,
            f"The ranks no longer hold the same parameters {when}."
            if first["count"]
            else "The ranks start from different parameters.",
            expected=f"equal parameters in all {evidence['world']} ranks, bit for bit, after every step",
            observed=f"{when} {share} differ; after step {last['count']} by {last['gap']:.1%} of their size",
            fix=_fix(evidence),
            causes=_causes(evidence),
        )


def _compare(mine: RankFacts, other: RankFacts) -> list[dict[str, Any]]:
    """For each moment that both ranks saw: whether their tensors are equal, and which are not."""
    theirs = {(s.optimizer, s.count): s for s in other.snapshots}
    found = []
    for own in mine.snapshots:
        match = theirs.get((own.optimizer, own.count))
        if match is not None and [w.shape for w in own.weights] == [w.shape for w in match.weights] and own.weights:
            found.append(_moment(own, match, other.rank))
    return sorted(found, key=lambda c: (c["count"], c["optimizer"]))


def _moment(own: Snapshot, match: Snapshot, rank: int) -> dict[str, Any]:
    pairs = list(zip(own.weights, match.weights, strict=True))
    differ = [(a, b) for a, b in pairs if a.value != b.value]
    graded = [(a, b) for a, b in pairs if a.gradient and b.gradient]
    return {
        "count": own.count,
        "optimizer": own.optimizer,
        "rank": rank,
        "equal": not differ,
        "tensors": len(differ),
        "all": len(pairs),
        "names": [a.name for a, _ in differ][:5],
        "gap": max((_gap(a.values, b.values) for a, b in differ), default=0.0),
        "gradients": sum(a.gradient != b.gradient for a, b in graded),
        "graded": len(graded),
        "one_sided": sum(bool(a.gradient) != bool(b.gradient) for a, b in pairs),
        "scaled": _scaled(graded),
    }


def _gap(a: list[float], b: list[float]) -> float:
    """The largest difference of elements, relative to the largest element."""
    size = max((abs(v) for v in (*a, *b)), default=0.0)
    return max((abs(x - y) for x, y in zip(a, b, strict=False)), default=0.0) / size if size else 0.0


def _scaled(pairs: list[tuple[Weight, Weight]]) -> bool:
    """Whether one rank's gradients are the other's times one number that is not 1, as after clipping in one rank only."""
    ratios = [
        x / y for a, b in pairs for x, y in zip(a.gradients, b.gradients, strict=False) if abs(y) > 1e-12 and abs(x) > 1e-12
    ]
    if len(ratios) < 4:
        return False
    low, high = min(ratios), max(ratios)
    return low > 0 and high - low < 1e-3 * high and abs(high - 1) > 1e-3


def _place(facts: list[RankFacts], bare: int) -> Place | None:
    if bare:
        return next((w.bare_place for f in facts for w in f.wrappers if w.bare_place is not None), None)
    return next((f.trained_place for f in facts if f.trained_place is not None), None)


def _causes(evidence: Evidence) -> tuple[str, ...]:
    first = evidence["first"]
    if first["count"] == 0:
        return (
            "each rank draws its own initial weights, and nothing sends rank 0's to the others (a wrapper would)",
            "weights are loaded in one rank only, after the model was wrapped",
        )
    if evidence["bare"]:
        return (f"the module inside the wrapper is called in training ({evidence['bare']} times), so gradients stay local",)
    if first["gradients"] == 0 and first["graded"] and not first["one_sided"]:
        return (
            "the gradients were equal: the update differs (learning rate, optimiser state, a step that one rank skips or adds)",
        )
    if first["scaled"]:
        return ("the gradients differ by one factor: they are clipped or scaled with a number that each rank works out itself",)
    if evidence["wrapped"]:
        return (
            "these tensors belong to a module that is not wrapped",
            "one rank changes gradients, or makes an extra backward, after they were averaged",
        )
    return ("the model is not wrapped in DistributedDataParallel, and gradients are not averaged by hand",)


def _fix(evidence: Evidence) -> str:
    first = evidence["first"]
    if evidence["bare"]:
        return "Call the wrapper in the training step, so that its hooks average the gradients."
    if evidence["wrapped"] and first["count"] and first["gradients"] == 0 and first["graded"] and not first["one_sided"]:
        return "Take the same optimiser steps with the same settings in every rank."
    if evidence["wrapped"]:
        return "Let DistributedDataParallel wrap every module that is trained, and change gradients in all ranks alike."
    return "Wrap the model: model = DistributedDataParallel(model), before the optimiser is built."
