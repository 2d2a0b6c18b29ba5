from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.ranks import Ranks


class EvaluationPadded(Check):
    """Over all ranks each evaluation example is counted once.

    What it checks
    --------------
    The indices that all ranks read in one evaluation: how many of them occur in more than one rank, or twice in one, where
    DistributedSampler shares a data set among them.

    Why it matters
    --------------
    DistributedSampler repeats the first examples so that each rank has as many. A metric over all ranks counts these twice,
    so it depends on the number of processes and cannot be compared with that of a single one.

    What healthy looks like
    -----------------------
    Each index once.

    What to do
    ----------
    Leave the repeated examples out of the sums, or shard the evaluation without padding: Subset(data, range(rank, len(data),
    world_size)). Or evaluate in one rank.

    When it is wrong
    ----------------
    A few examples of many change nothing that matters; this is a note. Ranks that each evaluate all the data are left out,
    as are samplers of other libraries, which may drop what they repeat (`gather_for_metrics` of Accelerate).

    Source
    ------
    Recipe S25; fault catalogue 91; PyTorch Lightning's warning about DistributedSampler in `test`.
    """

    title = "Evaluation examples are counted twice"
    rows = ("S25",)
    faults = (91,)

    def measure(self, ranks: Ranks) -> Evidence:
        """Count indices of the ranks' first common evaluation."""
        missing = ranks.why_not()
        if missing:
            return Evidence(missing=missing)
        if len(ranks.facts) < ranks.world:
            return Evidence(missing=ranks.missing or f"only {len(ranks.facts)} of {ranks.world} ranks were seen")
        for readings in zip(*(f.evaluating() for f in ranks.facts), strict=False):
            first = readings[0]
            drawn = [i for r in readings for i in r.indices]
            shares = all(r.complete and r.distributed and r.dataset == first.dataset and r.indices for r in readings)
            if shares and first.examples and max(len(r.indices) for r in readings) < 0.9 * first.examples:
                return Evidence(
                    {"drawn": len(drawn), "different": len(set(drawn)), "examples": first.examples, "world": ranks.world},
                    place=first.sampler_place or first.place,
                )
        return Evidence(missing="no evaluation was seen whose data a DistributedSampler shares among the ranks")

    def judge(self, evidence: Evidence) -> Ruling:
        """Any index twice."""
        twice = evidence["drawn"] - evidence["different"]
        if not twice:
            return Ruling.passed(f"{evidence['drawn']} evaluation examples are read once each by {evidence['world']} ranks")
        return Ruling.found(
            Severity.NOTE,
            f"{twice} evaluation example{'s are' if twice > 1 else ' is'} counted twice.",
            expected=f"{evidence['different']} different examples, each read by one of {evidence['world']} ranks",
            observed=f"{evidence['drawn']} were read",
            fix="Evaluate Subset(data, range(rank, len(data), world_size)) in each rank, without a DistributedSampler.",
            causes=("DistributedSampler repeats examples so that all ranks have as many",),
        )
