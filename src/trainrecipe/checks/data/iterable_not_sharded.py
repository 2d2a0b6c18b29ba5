from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Loader, Pass

ROUNDS = 2
"""Rounds over all workers, at least, each with other batches than the round before."""
TELLING = 8
"""Labels in a batch, at least, and three rounds, from which equal labels mean the same examples, augmented differently."""
HINT = 3
"""Examples that several workers gave, at least, while none gave one twice, for which the stream is read again."""
CHANCE = 15
"""Examples that would come twice from one worker if those that several workers gave were chance, at least. By a Poisson law
fewer than a fifth of them come with a probability below 0.001."""


class IterableNotSharded(Check):
    """The workers of a streaming data set give different examples.

    What it checks
    --------------
    For loaders over an `IterableDataset` with several workers: whether the batches that the workers give in one round,
    one batch each, are equal, by a hash of their content without regard to order; or have the same labels in the same
    order where inputs are augmented.

    Where the batches differ, single examples are compared: several workers give the same ones, though no worker gives one
    twice. After a rehearsal the stream is then read once more in processes apart, by one worker and by two: each of the
    two gives exactly what the one gives.

    Why it matters
    --------------
    Each worker has a copy of the data set and iterates over all of it. Unless `__iter__` takes the worker's share only,
    an epoch holds every example as many times as there are workers, in successive batches: steps are repeated, an epoch
    is that much longer, and totals over it are wrong.

    What healthy looks like
    -----------------------
    No two workers give the same batch, or the same examples in another order.

    What to do
    ----------
    In `__iter__`, ask `torch.utils.data.get_worker_info()` and give every n-th example only:
    `itertools.islice(stream, info.id, None, info.num_workers)`; or split the list of files.

    When it is wrong
    ----------------
    Workers that shuffle a long stream as a whole, or shuffle and augment, hide the fault. In a stream without end each worker
    may go through the data in its own order on purpose: unless a whole pass was seen or read, it is a note. Examples that
    are few or discrete coincide by chance, but within a worker as well. Streams that repeat one batch are left to
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
                found.append(Evidence(_compare(record, passes[0]) | _mixed(data, record, passes[0]), place=at))
        return found or [Evidence(missing="no pass over an IterableDataset with several workers was seen")]

    def judge(self, evidence: Evidence) -> Ruling:
        """All workers agree in every round, and rounds differ; or give the same examples in another order."""
        workers, rounds = evidence["workers"], evidence["rounds"]
        by_labels = evidence["same_labels"] and rounds >= 3
        if evidence["different"] < 2 or not (evidence["same"] or by_labels):
            if evidence["different"] >= 2 and (evidence.get("whole") or _above_chance(evidence)):
                return _reordered(evidence)
            return Ruling.passed(f"{workers} workers give different batches")
        return Ruling.found(
            Severity.ERROR if evidence["same"] else Severity.WARNING,
            f"Each of {workers} workers gives the whole stream, so every example comes {workers} times per epoch.",
            expected="different examples from each worker",
            observed=f"in {rounds} rounds over {workers} workers, the batches of one round are equal"
            + ("" if evidence["same"] else " in their labels; inputs differ by augmentation"),
            fix="In __iter__, use torch.utils.data.get_worker_info() to give each worker its own share.",
        )


def _reordered(evidence: Evidence) -> Ruling:
    """What is said of workers that give the same examples, each in its own order."""
    workers, whole = evidence["workers"], evidence["whole"]
    seen = f"{evidence['shared']} times an example came from one of {workers} workers that another one gave as well"
    return Ruling.found(
        Severity.WARNING if whole else Severity.NOTE,
        f"Each of {workers} workers gives the whole stream in its own order, so every example comes {workers} times per epoch."
        if whole
        else f"Different ones of {workers} workers give the same examples, in another order.",
        expected="different examples from each worker",
        observed=f"{seen}; within one worker {evidence['within']} came again"
        + ("; in a whole pass each worker gives every example" if whole else ""),
        fix="In __iter__, use torch.utils.data.get_worker_info() to give each worker its own share, before shuffling"
        + ("." if whole else "; unless each worker is to go through all of the data."),
    )


def _compare(record: Loader, seen: Pass) -> dict[str, Any]:
    w = record.workers
    hashes = seen.batch_hashes
    rounds = [hashes[i : i + w] for i in range(0, len(hashes) - w + 1, w)]
    told = [[_labels(columns) for columns in seen.labels[i : i + w]] for i in range(0, len(seen.labels) - w + 1, w)]
    return {
        "workers": w,
        "rounds": len(rounds),
        "different": max(len({r[0] for r in rounds}), len({tuple(t[0]) for t in told})),
        "same": all(r[0] and len(set(r)) == 1 for r in rounds),
        "same_labels": all(t[0] and all(x == t[0] for x in t) for t in told),
    }


def _mixed(data: Data, record: Loader, seen: Pass) -> dict[str, Any]:
    """Single examples: `shared` by workers, given again `within` one, and whether in a `whole` pass each gives them all."""
    w = record.workers
    given = [[row for batch in seen.rows[worker::w] for row in batch] for worker in range(w)]
    holders = Counter(row for rows in given for row in set(rows))
    found = {
        "shared": sum(n - 1 for n in holders.values()),
        "within": sum(len(rows) - len(set(rows)) for rows in given),
    }
    whole = False
    if seen.finished and found["shared"] >= HINT and not found["within"]:
        if not seen.cut and len(seen.rows) == seen.batches:
            whole = all(sorted(rows) == sorted(given[0]) for rows in given)
        else:
            whole = _give_all(data, record)
    return {**found, "whole": whole}


def _give_all(data: Data, record: Loader) -> bool:
    """Whether each of two workers gives, in a whole pass, exactly the examples that a single worker gives."""
    from trainrecipe.subjects.examples import Unreadable
    from trainrecipe.subjects.loading import given_by_workers

    try:
        alone = given_by_workers(data, record.number, 1)
        return bool(alone and alone[0] and given_by_workers(data, record.number, 2) == alone * 2)
    except Unreadable:
        return False


def _above_chance(evidence: Evidence) -> bool:
    """Whether workers share examples far more often than one gives them again: by chance it gives 1 in w - 1 of those again."""
    expected = evidence.get("shared", 0) / (evidence["workers"] - 1)
    return bool(expected >= CHANCE and evidence["within"] <= 0.2 * expected)


def _labels(columns: list[list[float]]) -> list[float]:
    """The labels of a batch, where there are enough and they differ."""
    telling = [c for c in columns if len(c) >= TELLING and len(set(c)) > 1]
    return telling[-1] if telling else []
