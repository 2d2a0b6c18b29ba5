from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Loader, Pass

EXAMPLES, READS = 12, 4
"""Examples that are read again, and how often: a random flip is missed in one of 8 examples, in all of them never."""
ENOUGH = 3
"""Examples whose inputs must differ before anything is said."""


class AugmentationInEvaluation(Check):
    """The evaluation data are the same each time they are read.

    What it checks
    --------------
    After a rehearsal, some examples of each evaluation data set are read several times: the inputs must not change while the
    labels stay. Where a data set cannot be read, the batches that two passes over the unshuffled loader gave are compared.

    Why it matters
    --------------
    Random crops, flips, noise and erased patches make evaluation pessimistic, and noisy: the best epoch is then partly chosen
    by luck, and two evaluations of one model differ. The usual way in is `random_split` of a data set that augments.

    What healthy looks like
    -----------------------
    The same index gives the same example; only the training data are augmented.

    What to do
    ----------
    Give the evaluation set a transform of its own without random parts: build the data set twice, with and without
    augmentation, and split the indices.

    When it is wrong
    ----------------
    Where randomness is the task, nothing is reported: labels that change along with the inputs (random windows, pairs,
    negatives, masked tokens, generated data), targets that are the clean version of a noisy input, several views of one
    example. Averaging over several passes (test-time augmentation) is recognised when the passes follow each other without
    training in between.

    Source
    ------
    Fault catalogue 90; Stack Overflow 59007484.
    """

    title = "The evaluation data are augmented at random"
    rows = ("S24", "S3", "D13")
    faults = (90,)
    explains = ("irreproducible",)

    def measure(self, data: Data) -> Evidence | list[Evidence]:
        """Read examples of each evaluation loader again."""
        run = data.run
        trained = {p.loader for p in run.train_passes()}
        numbers = [n for n in dict.fromkeys(p.loader for p in run.evaluation_passes()) if n not in trained]
        if not trained or not numbers:
            return Evidence(missing="no evaluation over a loader of its own was seen next to a training")
        return [_look(data, run.loaders[n]) for n in numbers]

    def judge(self, evidence: Evidence) -> Ruling:
        """Inputs that change while labels stay."""
        n, changed = evidence["examples"], evidence["changed"]
        if evidence["unknown"]:
            return Ruling.unsure(f"whether the evaluation data are always the same cannot be told: {evidence['unknown']}")
        if changed < ENOUGH:
            return Ruling.passed(f"{n} {evidence['what']} of the evaluation data were the same each time")
        if evidence["excuse"]:
            return Ruling.passed(f"the evaluation data are random by design: {evidence['excuse']}")
        return Ruling.found(
            Severity.WARNING,
            f"The evaluation data change from one reading to the next ({evidence['dataset']}).",
            expected="the same index gives the same example in evaluation",
            observed=f"{changed} of {n} {evidence['what']} changed when they were read again, with the same labels"
            + (f"; a number changes by {evidence['size']:.2g} standard deviations on average" if evidence["size"] else ""),
            fix="Give the evaluation set its own transform without random parts (build the data set twice and split indices).",
            causes=("random_split or Subset of a data set whose transform augments", "one transform used for all splits"),
        )


def _look(data: Data, loader: Loader) -> Evidence:
    passes = [p for p in data.run.evaluation_passes() if p.loader == loader.number]
    found = _read(data, loader) or {}
    if not found.get("changed"):  # a collate function may augment as well
        between = _compare_passes(loader, passes)
        found = found if found and not between.get("changed") else between
    excuse = found.pop("excuse", "")
    if not excuse and _averages(data, passes):
        excuse = "several passes follow each other, as in test-time augmentation"
    base = {"dataset": loader.dataset_name, "excuse": excuse, "size": 0.0, "unknown": "", "examples": 0, "changed": 0}
    return Evidence({**base, "what": "examples", **found}, place=loader.born or loader.place)


def _read(data: Data, loader: Loader) -> dict[str, Any] | None:
    """What changes in some examples when they are read again."""
    if not loader.examples:
        return None
    step = max(1, loader.examples // EXAMPLES)
    indices = list(range(0, loader.examples, step))[:EXAMPLES]
    read = data.reread(loader.number, indices, READS)
    if not read or not read[0][0]:
        return None
    changed, size, fixed = 0, 0.0, True
    for times in read:
        if len({len(tensors) for tensors in times}) != 1:
            return {"unknown": "its examples do not always have the same parts"}
        wide = _inputs(times[0])
        differing = {k for k in range(len(times[0])) if any(not _equal(t[k], times[0][k]) for t in times[1:])}
        fixed = fixed and differing <= set(wide)
        changed += bool(differing & set(wide))
        size = max(size, *(_size(times, k) for k in differing & set(wide)), 0.0)
    excuse = "" if fixed else "labels change along with the inputs"
    first = read[0][0]
    wide = _inputs(first)
    if not excuse and len(wide) > 1 and len({tuple(first[k].shape) for k in wide}) < len(wide):
        excuse = "examples hold several tensors of one shape: pairs, views, or a noisy input with its clean target"
    if not excuse and len(first) == 1:
        excuse = "its examples have no labels"
    return {"examples": len(read), "changed": changed, "size": size, "excuse": excuse if changed else ""}


def _inputs(tensors: list[Any]) -> list[int]:
    """Which tensors of an example are inputs, most likely: those of more than one number, else all but the last."""
    wide = [k for k, t in enumerate(tensors) if t.numel() > 1]
    return wide or list(range(max(1, len(tensors) - 1)))


def _equal(a: Any, b: Any) -> bool:
    return a.shape == b.shape and bool((a == b).logical_or((a != a) & (b != b)).all())


def _size(times: list[list[Any]], k: int) -> float:
    first = times[0][k].double()
    gaps = [
        (t[k].double() - first).abs().mean() / first.std() for t in times[1:] if t[k].shape == first.shape and first.numel() > 1
    ]
    return max((float(g) for g in gaps if bool(g.isfinite())), default=0.0)


def _compare_passes(loader: Loader, passes: list[Pass]) -> dict[str, Any]:
    """Whether two passes over a loader that reads in order gave the same batches."""
    whole = [p for p in passes if len(p.batch_hashes) >= 2 and all(p.batch_hashes)]
    if loader.shuffled or len(whole) < 2:
        return {"unknown": "its data set cannot be read, and no two passes in the same order were seen"}
    first, second = whole[0], whole[-1]
    pairs = list(zip(first.batch_hashes, second.batch_hashes, first.labels, second.labels, strict=False))
    changed = sum(a != b for a, b, _, _ in pairs)
    labelled = all(one == two for _, _, one, two in pairs) and any(len(set(c)) >= 2 for _, _, one, _ in pairs for c in one)
    if changed and not labelled:
        return {"unknown": "batches differ from pass to pass, and so may their labels"}
    return {"examples": len(pairs), "changed": changed * ENOUGH if changed else 0, "what": "batches"}


def _averages(data: Data, passes: list[Pass]) -> bool:
    """Whether passes over a loader follow each other without training in between."""
    return len(passes) >= 2 and any(a.step == b.step for a, b in itertools.pairwise(passes))
