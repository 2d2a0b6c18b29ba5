from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.leaving import leaving

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Loader, Pass, Run

ENOUGH = 4
"""Successive steps on one batch before anything is said: two can be chance in a tiny data set."""
TELLING = 8
"""Labels in a batch, at least, from which equal labels in equal order mean the same examples: 2 classes agree by chance
in 1 of 256 pairs of batches, and four in a row are asked for."""


class SameBatch(Check):
    """Successive training steps see different batches, as long as there is more than one batch of data.

    What it checks
    --------------
    The content of every batch that a training loader gives is hashed, without regard to the order of its rows, and the
    longest row of equal batches is counted, loader by loader. Where each step begins a new pass over a loader that reads
    in order, batches with the same labels in the same order count as equal too: their examples differ by augmentation
    only.

    Why it matters
    --------------
    The model memorises one batch while the loss falls beautifully; everything else in the data set is never used. The
    usual cause is `next(iter(loader))` inside the loop: it starts a new pass each time and takes its first batch.

    What healthy looks like
    -----------------------
    Equal batches do not occur, except where one batch is all the data there is.

    What to do
    ----------
    Iterate over the loader with `for batch in loader`, or keep one iterator and call `next` on it.

    When it is wrong
    ----------------
    A script that overfits a single batch on purpose by taking the first batch of every pass does exactly this. It is a note
    where an option asks for it (`if args.fast_dev_run: break`), and where the same data are trained on batch by batch
    elsewhere in the script, so that it was a sanity check. Taking a batch once and training on it, several steps on each
    batch, full-batch training, and data sets that repeat a handful of examples are not reported. Batches that are cut out
    by hand, without a loader, are not seen.

    Source
    ------
    Fault catalogue 45; PyTorch forum threads 95790 and 46208.
    """

    title = "Every training step uses the same batch"
    rows = ("S24",)
    faults = (45,)
    explains = ("label-order", "learning-rate-range", "output-bias-at-init")

    def measure(self, data: Data) -> Evidence:
        """Count, loader by loader, the longest row of equal batches."""
        passes = [p for p in data.run.train_passes() if any(p.batch_hashes)]
        if not passes:
            return Evidence(missing="no training batches from a DataLoader were seen")
        groups: dict[object, list[Pass]] = {}
        for p in passes:  # a loader that is built again for each step is one loader
            loader = data.run.loaders[p.loader]
            groups.setdefault((loader.born, loader.dataset) if loader.born else loader.number, []).append(p)
        found = [_look(data, data.run.loaders[group[-1].loader], group) for group in groups.values()]
        return max(found, key=lambda e: e["longest"])

    def judge(self, evidence: Evidence) -> Ruling:
        """Equal batches, although there is more than one batch."""
        longest, length, restarted = evidence["longest"], evidence["length"], evidence["restarted"]
        if longest < ENOUGH or length == 1:
            return Ruling.passed(f"{evidence['different']} different batches in {evidence['batches']} training steps")
        if not restarted and not evidence["more"]:
            return Ruling.passed("the data set repeats the examples of one batch, so all batches are equal")
        if length is None and not evidence["more"]:
            return Ruling.unsure("every step took the same first batch of a stream whose length is not known")
        purpose = evidence["purpose"]
        again = "; each step began a new pass over the loader and took its first batch" if restarted else ""
        observed = f"{evidence['different']} different in {evidence['batches']} steps{again}"
        return Ruling.found(
            Severity.NOTE if purpose else Severity.WARNING,
            f"The same {'examples were' if evidence['augmented'] else 'batch was'} used in {longest} successive steps.",
            expected="different batches from step to step" + (f": the loader has {length}" if length else ""),
            observed=observed + ("; inputs differ, labels do not" if evidence["augmented"] else "") + purpose,
            fix="Loop with `for batch in loader:`, or create the iterator once, before the loop, and call next on that."
            if restarted
            else "Look at the sampler and at __getitem__: they give the same examples for every batch.",
        )


def _look(data: Data, loader: Loader, passes: list[Pass]) -> Evidence:
    restarted = len(passes) >= ENOUGH and all(p.batches == 1 and not p.finished for p in passes)
    longest, at = _longest([(p, h) for p in passes for h in p.batch_hashes])
    augmented = False
    if restarted and not loader.shuffled and loader.examples is not None and longest < ENOUGH:
        labels = [(p, hash(tuple(_labels(p)))) for p in passes if _labels(p)]
        longer, where = _longest(labels)
        if longer > longest and longer == len(passes):
            longest, at, augmented = longer, where, True
    more = (loader.length or 0) > 1
    if more and not restarted and longest >= ENOUGH:
        rows = data.rows(loader.number)
        more = rows is not None and len(set(rows.inputs)) not in range(2, (loader.batch_size or 1) + 1)
    return Evidence(
        {
            "batches": sum(len(p.batch_hashes) for p in passes),
            "different": 1 if augmented else len({h for p in passes for h in p.batch_hashes}),
            "longest": longest,
            "length": loader.length,
            "restarted": restarted,
            "augmented": augmented,
            "more": more,
            "purpose": _purpose(data.run, loader, at) if longest >= ENOUGH else "",
        },
        place=at.place,
    )


def _purpose(run: Run, loader: Loader, at: Pass) -> str:
    """A sign that the steps on one batch are meant: an option asks for them, or others train on all of these data."""
    switch = leaving(at.place).switch
    if switch:
        return f"; `{switch}` asks for it"
    alike = {n.number for n in run.loaders if n.dataset == loader.dataset or (n.examples, n.dataset_name) == _kind(loader)}
    others = [p for p in run.train_passes() if p.place != at.place and p.loader in alike]
    elsewhere = next((p for p in others if p.batches >= ENOUGH and len(set(p.batch_hashes)) != 1), None)
    return f"; the loop at line {elsewhere.place.line} trains on all batches" if elsewhere and elsewhere.place else ""


def _kind(loader: Loader) -> tuple[int | None, str]:
    return loader.examples, loader.dataset_name


def _longest(keys: list[tuple[Pass, int]]) -> tuple[int, Pass]:
    """The longest row of equal keys and the pass in which it begins; the key 0 equals nothing."""
    longest, length = 1, 1
    at = start = keys[0][0]
    for (_, before), (current, now) in itertools.pairwise(keys):
        same = now == before and now != 0
        length, start = (length + 1, start) if same else (1, current)
        if length > longest:
            longest, at = length, start
    return longest, at


def _labels(seen: Pass) -> list[float]:
    """The labels of a pass's first batch, where there are enough and they differ."""
    columns = [c for c in seen.labels[0] if len(c) >= TELLING and len(set(c)) > 1] if seen.labels else []
    return columns[-1] if columns else []
