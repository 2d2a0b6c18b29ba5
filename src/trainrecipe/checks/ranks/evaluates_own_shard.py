from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.ranks import RankFacts, Ranks, Reading


class EvaluatesOwnShard(Check):
    """A reported evaluation covers all examples, also where each rank evaluates a share of them.

    What it checks
    --------------
    Evaluations in which the ranks read different shares of one data set; whether ranks exchange anything (all_reduce,
    all_gather, …) between the end of such an evaluation and the next training; and whether rank 0 works out a number from
    its own share that it keeps or prints.

    Why it matters
    --------------
    Without an exchange, rank 0 reports the metric of its own share only: a smaller and different set than the script
    says, and one that changes with the number of processes. Early stopping and the choice of the best checkpoint then differ
    between ranks.

    What healthy looks like
    -----------------------
    Counts of right answers and of examples are summed over ranks before they are divided; or one rank evaluates all the
    data; or every rank does.

    What to do
    ----------
    Sum the counts: torch.distributed.all_reduce(torch.tensor([right, total])), then divide. Or evaluate all data in rank 0.

    When it is wrong
    ----------------
    Programs that write predictions to files and merge these later exchange nothing. Where no number could be traced to the
    evaluation, this is a note.

    Source
    ------
    Recipe S25; fault catalogue 91; PyTorch Lightning documentation, `sync_dist`.
    """

    title = "Only a share of the evaluation data is reported"
    rows = ("S25",)
    faults = (91,)
    explains = ("evaluation-padded",)

    def measure(self, ranks: Ranks) -> Evidence:
        """Find evaluations of shares that nothing is exchanged after."""
        missing = ranks.why_not()
        if missing:
            return Evidence(missing=missing)
        mine = ranks.facts[0]
        shares = [s for other in ranks.facts[1:] for s in _shares(mine, other)]
        if not shares:
            return Evidence(missing="no evaluation was seen in which ranks read different shares of one data set")
        alone = [(reading, part) for reading, part in shares if not _exchanges_after(mine, reading)]
        reading, part = alone[0] if alone else shares[0]
        return Evidence(
            {
                "evaluations": len(shares),
                "alone": len(alone),
                "reported": any(r.reported for r, _ in alone),
                "world": ranks.world,
                **part,
            },
            place=reading.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        """No exchange after any of them."""
        if evidence["alone"] < evidence["evaluations"]:
            return Ruling.passed(
                f"ranks exchange results after evaluating {evidence['own']} of {evidence['all']} examples each"
            )
        return Ruling.found(
            Severity.WARNING if evidence["reported"] else Severity.NOTE,
            f"Rank 0 evaluates {evidence['own']} of {evidence['all']} examples and reports that.",
            expected=f"results of all {evidence['world']} ranks summed before a metric is worked out",
            observed=f"rank 0 evaluates {evidence['own']} examples, another rank {evidence['others']} others of the same data "
            f"set; nothing is exchanged after any of {evidence['evaluations']} evaluations",
            fix="Sum the counts over ranks with torch.distributed.all_reduce before dividing, or evaluate all data in rank 0.",
            causes=("the evaluation's loader has a DistributedSampler, and the metric is not reduced over ranks",),
        )


def _shares(mine: RankFacts, other: RankFacts) -> list[tuple[Reading, dict[str, Any]]]:
    """Finished evaluations of which both ranks read a share, another one each."""
    found = []
    for a, b in zip(mine.evaluating(), other.evaluating(), strict=False):
        if a.dataset != b.dataset or not (a.closed and a.complete and b.complete) or not a.examples:
            continue
        own, theirs = set(a.indices), set(b.indices)
        if own and theirs and len(own & theirs) <= 0.1 * len(own) and len(own) < 0.9 * a.examples:
            found.append((a, {"own": len(own), "others": len(theirs - own), "all": a.examples}))
    return found


def _exchanges_after(mine: RankFacts, reading: Reading) -> bool:
    """Whether anything is exchanged from the evaluation's beginning until training goes on."""
    next_training = min((r.first_event for r in mine.training() if r.first_event > reading.first_event), default=1 << 62)
    return any(reading.first_event <= c.event <= next_training for c in mine.collectives if not c.gradients)
