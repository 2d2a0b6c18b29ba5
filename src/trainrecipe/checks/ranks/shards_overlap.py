from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.finding import Place
    from trainrecipe.subjects.ranks import RankFacts, Ranks, Reading

FEWEST = 3
"""Batches in common from which equality is judged."""


class ShardsOverlap(Check):
    """Each rank trains on examples of its own.

    What it checks
    --------------
    The indices that the ranks' training loaders drew in the first pass, and content hashes of the batches that the models
    were fed, step by step.

    Why it matters
    --------------
    Ranks that train on the same batches compute the same gradient; their mean is what one process would have computed
    alone, for several times the price. Ranks that share part of an epoch's examples leave others out of it.

    What healthy looks like
    -----------------------
    In one epoch no example is drawn by two ranks, but for the few that DistributedSampler repeats so that all ranks have
    as many. At each step the batches differ.

    What to do
    ----------
    Give the loader a DistributedSampler (with the same seed in every rank, and the rank that torch.distributed reports), or
    take every world-size-th example of a stream, beginning with the rank's number.

    When it is wrong
    ----------------
    Ranks that each shuffle all data with a seed of their own train on different batches: that is a note. Full-batch
    training, and data that only some ranks load, are left out, as are models that are split over ranks.

    Source
    ------
    Recipe S25; fault catalogue 159; PyTorch documentation of `torch.utils.data.distributed.DistributedSampler`.
    """

    title = "The ranks train on the same examples"
    rows = ("S25",)
    faults = (159,)
    explains = ("same-draws-on-ranks",)

    def measure(self, ranks: Ranks) -> Evidence:
        """Compare what two ranks drew and were fed."""
        missing = ranks.why_not()
        if missing:
            return Evidence(missing=missing)
        found = [e for mine, other in ranks.pairs() if (e := _compare(mine, other)) is not None]
        if not found:
            return Evidence(missing="no two ranks trained on batches that could be compared")
        worst = max(found, key=lambda e: (e["equal"], e["shared"]))
        place: Place | None = worst.pop("place")
        return Evidence({"world": ranks.world, **worst}, place=place)

    def judge(self, evidence: Evidence) -> Ruling:
        """Equal batches at every step; shards of one sampler that overlap; whole epochs in every rank as a note."""
        world, shared, drawn = evidence["world"], evidence["shared"], evidence["drawn"]
        if evidence["equal"]:
            if evidence["full"]:
                return Ruling.unsure("every rank trains on one batch that holds all examples, so there is nothing to share out")
            return Ruling.found(
                Severity.WARNING,
                "All ranks train on the same batches.",
                expected=f"different batches in each of {world} ranks at every step",
                observed=f"{evidence['batches']} of {evidence['batches']} batches are equal in ranks 0 and {evidence['rank']}",
                fix="Give the training loader sampler=DistributedSampler(dataset), or shard the stream by rank.",
                causes=(
                    "the loader has no DistributedSampler, and every rank shuffles with the same seed",
                    "the sampler is built with the same rank in every process",
                ),
            )
        if evidence["distributed"] and shared > world:
            return Ruling.found(
                Severity.WARNING,
                "The shards of two ranks overlap.",
                expected=f"at most {world} examples in two ranks (padding)",
                observed=f"{shared} of {drawn} examples of rank 0 were drawn by rank {evidence['rank']} in the same epoch",
                fix="Build DistributedSampler with the same seed in every rank, and call set_epoch with the same number.",
                causes=("the samplers have different seeds or epochs", "num_replicas or rank is not that of the process group"),
            )
        if evidence["whole"]:
            return Ruling.found(
                Severity.NOTE,
                "Every rank goes through all the data in each epoch.",
                expected=f"each example once per epoch, in one of {world} ranks",
                observed=f"{shared} of {drawn} examples were drawn by rank {evidence['rank']} as well, in another order",
                fix="Use DistributedSampler, unless an epoch is meant to be so long.",
            )
        return Ruling.passed(
            f"{shared} of {drawn} examples were drawn by two ranks in one epoch"
            if drawn
            else f"{evidence['batches']} batches differ between ranks"
        )


def _compare(mine: RankFacts, other: RankFacts) -> dict[str, Any] | None:
    pair = next(((a, b) for a, b in zip(mine.training(), other.training(), strict=False) if a.dataset == b.dataset), None)
    if not mine.batches or not other.batches:
        return None
    count = min(len(mine.batches), len(other.batches))
    equal = count >= FEWEST and mine.batches[:count] == other.batches[:count] and any(mine.batches[:count])
    result = {
        "rank": other.rank,
        "batches": count,
        "equal": equal,
        "full": len(set(mine.batches[:count])) == 1,
        "shared": 0,
        "drawn": 0,
        "distributed": False,
        "whole": False,
        "place": mine.trained_place,
    }
    if pair is not None:
        result |= _of_loaders(*pair)
    return result


def _of_loaders(a: Reading, b: Reading) -> dict[str, Any]:
    distributed = a.distributed and b.distributed
    place = (a.sampler_place if distributed else None) or a.place
    if not (a.complete and b.complete) or not a.indices:
        return {"place": place}
    mine, others = set(a.indices), set(b.indices)
    examples = a.examples or 0
    whole = min(len(mine), len(others)) >= 0.99 * examples > 0
    return {
        "shared": len(mine & others),
        "drawn": len(a.indices),
        "distributed": distributed,
        "whole": whole,
        "place": place,
    }
