from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data


class WorkerRandomState(Check):
    """The workers of a loader draw different random numbers, and others in each epoch.

    What it checks
    --------------
    For training loaders with worker processes whose examples are random: two workers, made and seeded as the loader makes
    its own (its `worker_init_fn` included), read the same few examples, and so do two workers of another epoch. What they
    read is compared bit by bit, once as it is and once with the global generators of PyTorch, NumPy and Python set aside.

    Why it matters
    --------------
    PyTorch gives each worker another seed for these three generators. A generator that the data set holds is copied to
    every worker instead, and copied again from the same state in each epoch: all workers draw the same augmentation, and
    draw it again in the next epoch. So does a constant seed in `worker_init_fn`.

    What healthy looks like
    -----------------------
    No two workers, and no two epochs, read the same.

    What to do
    ----------
    Draw from the global generators, or make the data set's generator in each worker: in `worker_init_fn`,
    `info = torch.utils.data.get_worker_info(); info.dataset.rng = numpy.random.default_rng(info.seed)`.

    When it is wrong
    ----------------
    Where only the epochs agree (a constant seed per worker) and the examples are shuffled, the same numbers meet other
    examples, and it is a note. Streaming data sets are not examined. Only after a rehearsal; worker processes that are
    not forked are imitated by forks.

    Source
    ------
    Fault catalogue 145; pytorch/pytorch#5059, facebookresearch/fairseq#1383, Lightning-AI/pytorch-lightning#20412.
    """

    title = "Workers draw the same random numbers"
    rows = ("S24", "S1")
    faults = (145,)

    def measure(self, data: Data) -> list[Evidence]:
        """Let two workers of two epochs read the same examples."""
        from trainrecipe.subjects.examples import Unreadable, read_place
        from trainrecipe.subjects.loading import worker_draws
        from trainrecipe.subjects.rereading import reading

        found, why = [], "no training loader has worker processes"
        for number in dict.fromkeys(p.loader for p in data.run.train_passes()):
            record, loader = data.loaders[number]
            if not record.workers:
                continue
            told = reading(data, number)
            if isinstance(told, str):
                why = told
                continue
            if not any(told.random):
                why = "the examples are not random"
                continue
            try:
                drawn = worker_draws(data, number)
            except Unreadable as error:
                why = str(error)
                continue
            own_seed = loader.worker_init_fn is not None
            at = (record.born if own_seed else read_place(loader.dataset)) or record.born or record.place
            more = {"shuffled": record.shuffled, "count": record.workers, "own_seed": own_seed}
            persistent = bool(getattr(loader, "persistent_workers", False))
            found.append(Evidence({**drawn, **more, "persistent": persistent}, place=at))
        return found or [Evidence(missing=why)]

    def judge(self, evidence: Evidence) -> Ruling:
        """Equal between workers, or equal between epochs."""
        many = evidence["count"] > 1
        epochs = evidence["epochs"] and not evidence["persistent"]
        if not evidence["random"]:
            return Ruling.passed("the examples are the same each time a worker reads them")
        workers = many and (evidence["workers"] or evidence["held"])
        if not workers and not epochs:
            return Ruling.passed("workers and epochs draw different random numbers")
        who = (
            "All workers draw the same random numbers"
            if workers
            else "Each worker draws the same random numbers in every epoch"
        )
        both = ", and again in every epoch" if workers and epochs else ""
        grave = workers or not evidence["shuffled"]
        return Ruling.found(
            Severity.WARNING if grave else Severity.NOTE,
            who + both + ".",
            expected="other random numbers in each worker and each epoch",
            observed="two workers read the same examples bit for bit alike, although each reads them differently each time"
            if workers
            else "two epochs read the same examples bit for bit alike, although each reading within one differs",
            fix="Seed from the worker's own seed: in worker_init_fn, from torch.initial_seed() or get_worker_info().seed; and "
            "make generators that the data set holds there.",
            causes=(
                "the data set holds a generator, which is copied to every worker",
                "worker_init_fn sets a seed that does not depend on the worker and the epoch",
            ),
        )
