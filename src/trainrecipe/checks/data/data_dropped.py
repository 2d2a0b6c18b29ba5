from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Loader

SAME = 0.1
"""Share of the training data that drop_last leaves out, the same in each epoch, from which it is reported."""
BATCHES = 4
"""Full batches that the data have, from which an epoch of less than one batch is a mistake."""
UNREAD = 0.3
"""Share of the stored examples behind the end of the data set, or never drawn, from which it is reported."""


class DataDropped(Check):
    """A loader gives the examples that its data set holds.

    What it checks
    --------------
    How many examples each loader can give, compared with those it has: batches that `drop_last` leaves out, a sampler
    whose epoch is smaller than one batch, positions that no sampler draws in any epoch that was seen. And whether a data
    set of the user's own holds more examples than its `__len__` admits: a few examples are read from a copy that notes
    which rows of its lists and arrays are touched.

    Why it matters
    --------------
    Examples that are never given might as well not exist: the model trains on less data than its author thinks, or a
    score is measured on a part of the evaluation set. A loader without a single batch trains nothing, silently.

    What healthy looks like
    -----------------------
    A loader gives all of its examples in an epoch, except for a last partial batch of shuffled training data.

    What to do
    ----------
    `shuffle=True`, or `drop_last=False`; a batch size below the number of examples; `num_samples=len(weights)`; let
    `__len__` return the number of examples that `__getitem__` can give.

    When it is wrong
    ----------------
    Evaluation data that `drop_last` leaves out are `evaluates-one-batch`'s business. Shuffled training data lose other
    examples in each epoch, which does no harm, and are not reported. A sampler that draws from a chosen part on purpose (an
    experiment on a subset, a curriculum) gets a note, as does a data set whose length is a number kept in one of its
    attributes, or the difference of two, since that is how a limit is set on purpose.

    Source
    ------
    Fault catalogue 148; PyTorch forum thread 144659.
    """

    title = "Examples are left out"
    rows = ("S24", "S3")
    faults = (148,)
    explains = ("same-batch", "learning-rate-range")

    def measure(self, data: Data) -> list[Evidence]:
        """Count what each loader can give, and what its data set holds."""
        from trainrecipe.subjects.stored import unread

        read = {p.loader for p in data.run.passes}
        trained = {p.loader for p in data.run.train_passes()}
        found = []
        for record, _ in data.loaders:
            if record.number in read and record.examples:
                found += [e for e in (_loader(data, record, record.number in trained), _drawn(data, record)) if e is not None]
        found += [Evidence({**e, "kind": "length"}, place=at) for e, at in unread(data)]
        return found or [Evidence(missing="no loader over a data set of known length was read")]

    def judge(self, evidence: Evidence) -> Ruling:
        """No batch at all, less than a batch, the same examples left out each time, stored examples never read."""
        return {"batches": _judge_batches, "drawn": _judge_drawn, "length": _judge_length}[evidence["kind"]](evidence)


def _loader(data: Data, record: Loader, trains: bool) -> Evidence | None:
    loader = data.loader(record.number)
    size, length = record.batch_size, record.length
    if size is None or length is None or getattr(loader, "batch_sampler", None) is None:
        return None
    try:
        drawn = len(loader.sampler)
    except TypeError:
        return None
    given = min(drawn, length * size)
    born = record.born or record.place
    return Evidence(
        {
            "kind": "batches",
            "examples": record.examples,
            "drawn": drawn,
            "given": given,
            "size": size,
            "length": length,
            "trains": trains,
            "stateful": data.run.carries_state,
            "drop_last": record.drop_last,
            "same": not record.shuffled,
            "siblings": record.born is not None and any(o.born == record.born and o.length for o in data.run.loaders),
            "sampler": record.sampler,
        },
        place=(record.sampler_born or born) if drawn < size and length else born,
    )


def _judge_batches(evidence: Evidence) -> Ruling:
    drawn, given, size, length = (evidence[k] for k in ("drawn", "given", "size", "length"))
    lost = drawn - given
    share = lost / max(1, drawn)
    if not length:
        return Ruling.found(
            Severity.WARNING if evidence["siblings"] else Severity.ERROR,
            f"The loader gives no batch at all: {drawn} examples, batches of {size}, and drop_last.",
            expected="at least one batch per pass",
            observed=f"a length of 0; all {drawn} examples are dropped",
            fix="Use a batch size below the number of examples, or drop_last=False.",
        )
    counted = evidence["sampler"] in ("RandomSampler", "WeightedRandomSampler") and evidence["trains"]
    if counted and drawn < size and evidence["examples"] >= BATCHES * size:
        return Ruling.found(
            Severity.WARNING,
            f"An epoch has {drawn} examples, less than one batch of {size}, of {evidence['examples']} in the data set.",
            expected=f"about {evidence['examples']} examples in an epoch",
            observed=f"{evidence['sampler']} draws {drawn} examples per pass; the batch is never full",
            fix="Pass the number of examples per epoch as the sampler's num_samples, such as len(dataset).",
        )
    if not evidence["drop_last"] or not evidence["trains"] or not evidence["same"] or share < SAME:
        return Ruling.passed(f"the loader gives {given} of {drawn} examples")
    return Ruling.found(
        Severity.NOTE if evidence["stateful"] else Severity.WARNING,
        f"The loader trains on {given} of {drawn} examples: drop_last leaves out the same others in each epoch.",
        expected="all examples, except for those that another epoch gives",
        observed=f"{lost} of {drawn} ({share:.0%}) are never given: {length} batches of {size}",
        fix="Set drop_last=False, or shuffle, or choose a smaller batch.",
    )


def _drawn(data: Data, record: Loader) -> Evidence | None:
    """How much of a data set is drawn by all loaders over it, where this one has a sampler of its own kind."""
    run = data.run
    draws = [d for d in run.draws if d.loader == record.number]
    if record.sampler in ("SequentialSampler", "RandomSampler", "WeightedRandomSampler", "DistributedSampler"):
        return None
    if not draws or not all(d.readable for d in draws) or not any(d.complete for d in draws):
        return None
    number, _ = data.positions(record.number)
    mine = [other for other, _ in data.loaders if other.dataset == number]
    known = [d for d in run.draws if run.loaders[d.loader].dataset == number]
    whole = len(mine) == 1 and run.loaders_built <= len(run.loaders)
    part = {i for d in known for i in d.indices}
    return Evidence(
        {
            "kind": "drawn",
            "examples": record.examples,
            "covered": len(part),
            "sampler": record.sampler,
            "whole": whole,
            "passes": len(draws),
        },
        place=record.sampler_born or record.born or record.place,
    )


def _judge_drawn(evidence: Evidence) -> Ruling:
    covered, examples = evidence["covered"], evidence["examples"]
    says = f"{covered} of {examples} positions were drawn in {evidence['passes']} passes"
    if not evidence["whole"] or covered >= (1 - UNREAD) * examples:
        return Ruling.passed(says)
    return Ruling.found(
        Severity.NOTE,
        f"The sampler never draws {examples - covered} of {examples} examples.",
        expected="all examples of the data set, here or in another loader",
        observed=f"{says} by {evidence['sampler']}, and no other loader reads this data set",
        fix="Give the sampler the indices of all examples that are meant, or take a Subset of the data set.",
        causes=("indices of batches were taken for indices of examples", "the part was chosen on purpose"),
    )


def _judge_length(evidence: Evidence) -> Ruling:
    stored, length = evidence["stored"], evidence["length"]
    if stored <= length or (stored - length) < UNREAD * stored:
        return Ruling.passed(f"the data set's length, {length}, covers what it holds")
    return Ruling.found(
        Severity.NOTE if evidence["chosen"] else Severity.WARNING,
        f"The data set holds {stored} examples and says that it has {length}.",
        expected=f"a length of {stored}, as example {stored - 1} can be read and {stored} cannot",
        observed=f"{stored - length} examples ({(stored - length) / stored:.0%}) are never read: example i "
        f"{'begins at' if evidence['windows'] else 'is'} row i of {evidence['name']}, and __len__ returns {length}",
        fix="Return the number of examples from __len__.",
    )
