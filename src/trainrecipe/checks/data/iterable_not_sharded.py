from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Loader, Pass

ROUNDS = 2
"""Rounds over all workers, at least, each with other batches than the round before."""
TELLING = 8
"""Labels in a batch, at least, and three rounds, from which equal labels mean the same examples, augmented differently."""


class IterableNotSharded(Check):
    """The workers of a streaming data set give different examples.

    What it checks
    --------------
    For loaders over an `IterableDataset` with several workers: whether the batches that the workers give in one round,
    one batch each, are equal, by a hash of their content without regard to order; or have the same labels in the same
    order where inputs are augmented.

    Why it matters
    --------------
    Each worker has a copy of the data set and iterates over all of it. Unless `__iter__` takes the worker's share only,
    an epoch holds every example as many times as there are workers, in successive batches: steps are repeated, an epoch
    is that much longer, and totals over it are wrong.

    What healthy looks like
    -----------------------
    No two workers give the same batch.

    What to do
    ----------
    In `__iter__`, ask `torch.utils.data.get_worker_info()` and give every n-th example only:
    `itertools.islice(stream, info.id, None, info.num_workers)`; or split the list of files.

    When it is wrong
    ----------------
    Workers that shuffle what they read, each with its own seed, hide the fault. Streams that repeat one batch are left to
    `same-batch`.

    Source
    ------
    Fault catalogue 146; pytorch/pytorch#41329; PyTorch's documentation of `torch.utils.data.IterableDataset`.
    """

    title = "Every worker gives all of the data"
    rows = ("S24",)
    faults = (146,)
    explains = ("same-batch", "examples-repeat-within-epoch")

    def measure(self, data: Data) -> list[Evidence]:
        """Compare the batches of the workers, round by round."""
        from trainrecipe.subjects.examples import streams

        found = []
        for record, at in streams(data):
            passes = [
                p for p in data.run.passes if p.loader == record.number and len(p.batch_hashes) >= ROUNDS * record.workers
            ]
            if passes:
                found.append(_compare(record, passes[0], at))
        return found or [Evidence(missing="no pass over an IterableDataset with several workers was seen")]

    def judge(self, evidence: Evidence) -> Ruling:
        """All workers agree in every round, and rounds differ."""
        workers, rounds = evidence["workers"], evidence["rounds"]
        by_labels = evidence["same_labels"] and rounds >= 3
        if evidence["different"] < 2 or not (evidence["same"] or by_labels):
            return Ruling.passed(f"{workers} workers give different batches")
        return Ruling.found(
            Severity.ERROR if evidence["same"] else Severity.WARNING,
            f"Each of {workers} workers gives the whole stream, so every example comes {workers} times per epoch.",
            expected="different examples from each worker",
            observed=f"in {rounds} rounds over {workers} workers, the batches of one round are equal"
            + ("" if evidence["same"] else " in their labels; inputs differ by augmentation"),
            fix="In __iter__, use torch.utils.data.get_worker_info() to give each worker its own share.",
        )


def _compare(record: Loader, seen: Pass, at: object) -> Evidence:
    w = record.workers
    hashes = seen.batch_hashes
    rounds = [hashes[i : i + w] for i in range(0, len(hashes) - w + 1, w)]
    told = [[_labels(columns) for columns in seen.labels[i : i + w]] for i in range(0, len(seen.labels) - w + 1, w)]
    return Evidence(
        {
            "workers": w,
            "rounds": len(rounds),
            "different": max(len({r[0] for r in rounds}), len({tuple(t[0]) for t in told})),
            "same": all(r[0] and len(set(r)) == 1 for r in rounds),
            "same_labels": all(t[0] and all(x == t[0] for x in t) for t in told),
        },
        place=at,  # type: ignore[arg-type]
    )


def _labels(columns: list[list[float]]) -> list[float]:
    """The labels of a batch, where there are enough and they differ."""
    telling = [c for c in columns if len(c) >= TELLING and len(set(c)) > 1]
    return telling[-1] if telling else []
