from __future__ import annotations

import random
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.checks.data.label_order import Batches, counts_up, keeps_together
from trainrecipe.finding import Evidence, Place, Ruling, Severity
from trainrecipe.picture import Picture, points

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Loader, Pass

SMALLEST = 4
"""Examples in a batch, from which one class alone means something."""
FEWEST = 6
"""Batches that must have been seen."""
NEARLY_ALL = 0.9
"""Share of the batches that hold one class only, from which it is reported."""
BY_CHANCE = 0.3
"""Share of such batches in random orders of the same labels, above which a rare class explains them."""
DRAWS = 50


class OneClassBatches(Check):
    """A training batch holds examples of several classes.

    What it checks
    --------------
    The labels of the training batches of each loader: the share of batches in which all labels are equal, although the
    loader gives several classes, compared with random orders of the same labels.

    Why it matters
    --------------
    A batch of one class pulls the model towards that class whatever the input is, and the next batch pulls it to another:
    the loss saws, and batch norm computes the statistics of one class, which are not those at evaluation.

    What healthy looks like
    -----------------------
    Batches in which the classes are mixed about as in the whole data.

    What to do
    ----------
    Shuffle single examples, not groups of them: let the sampler draw over all indices, or interleave the classes within
    each batch.

    When it is wrong
    ----------------
    Data that are sorted and read in order are `label-order`'s business. Batches with two or more classes each, as metric
    and few-shot learning draw them, are not reported, nor is a class so common that batches are constant by chance. Where
    the loss's target is not known, or another label varies inside the batches (batches by domain or task), it is a note.

    Source
    ------
    Fault catalogue 155; PyTorch forum thread 18934.
    """

    title = "Each training batch holds one class only"
    rows = ("S24", "D8")
    faults = (155,)
    explains = ("label-order", "output-bias-at-init", "overfit-one-batch", "learning-rate-range", "input-independent-baseline")

    def measure(self, data: Data) -> list[Evidence]:
        """Count the batches with one label, loader by loader; without loaders step by step."""
        run = data.run
        if not run.passes:
            found = [_count(run.targets, run.targets_place, known=False, ordered=False)] if run.targets else []
            return found or [Evidence(missing="no sequence of targets was seen: one number per example in successive steps")]
        found = []
        for number in dict.fromkeys(p.loader for p in run.train_passes()):
            record = run.loaders[number]
            batches, several = _of_loader(record, [p for p in run.train_passes() if p.loader == number])
            if batches:
                at = record.sampler_born or record.born or record.place
                found.append(_count(batches, at, record.label is not None and not several, not record.shuffled))
        return found or [Evidence(missing="the training batches hold no label with one number per example")]

    def judge(self, evidence: Evidence) -> Ruling:
        """Nearly all batches hold one class, and chance does not explain it."""
        share, batches = evidence["share"], evidence["batches"]
        says = f"{share:.0%} of {batches} batches hold one class only"
        if share < NEARLY_ALL or evidence["chance"] > BY_CHANCE:
            by_chance = f", as in random orders ({evidence['chance']:.0%})" if share >= NEARLY_ALL else ""
            return Ruling.passed(says + by_chance)
        if evidence["sorted"]:
            return Ruling.passed("batches hold one class since the data are sorted and read in order")
        return Ruling.found(
            Severity.WARNING if evidence["known"] else Severity.NOTE,
            f"Each training batch holds one class only, of {evidence['classes']} that were seen.",
            expected=f"several classes in each batch; in random orders {evidence['chance']:.0%} of the batches hold one",
            observed=f"{says}; batches of {evidence['size']} examples, {evidence['classes']} classes in all",
            fix="Shuffle single examples and not groups of one class, unless the method asks for such batches.",
            causes=("the sampler draws a class, then a batch of it", "a file or group of one class makes up a batch"),
        )

    def draw(self, evidence: Evidence) -> Picture:
        """Labels against the number of their batch."""
        x, y = [float(i) for i, _ in evidence["shown"]], [float(v) for _, v in evidence["shown"]]
        caption = "Each dot is a training example; a healthy batch holds several labels."
        return points("Labels in the batches", caption, x, y, x_title="batch", y_title="label")


def _of_loader(record: Loader, passes: list[Pass]) -> tuple[Batches, bool]:
    """The target's values batch by batch, and whether another label column varies inside the batches."""
    looks = [columns for p in passes for columns in p.labels]
    width = min((len(c) for c in looks), default=0)
    columns = {i: [c[i] for c in looks] for i in range(width) if all(c[i] for c in looks)}
    chosen = record.label if record.label is not None else max(columns, default=None)
    if chosen not in columns or counts_up(columns[chosen][0]):
        return [], False
    others = [bs for i, bs in columns.items() if i != chosen and _discrete([v for b in bs for v in b])]
    return columns[chosen], any(any(len(set(b)) > 1 for b in bs) for bs in others)


def _count(batches: Batches, place: Place | None, known: bool, ordered: bool) -> Evidence:
    flat = [v for b in batches for v in b]
    sizes = sorted(map(len, batches))
    if len(batches) < FEWEST or sizes[len(sizes) // 2] < SMALLEST or not _discrete(flat):
        return Evidence(missing="too few batches, too few examples in them, or no classes, to tell whether they are mixed")
    generator, mixed, chance = random.Random(0), list(flat), 0.0
    for _ in range(DRAWS if _constant(batches) >= NEARLY_ALL else 0):  # else nothing is to be explained by chance
        generator.shuffle(mixed)
        rest = iter(mixed)
        chance += _constant([[next(rest) for _ in b] for b in batches]) / DRAWS
    shown = [(i, v) for i, b in enumerate(batches) for v in b]
    return Evidence(
        {
            "share": _constant(batches),
            "chance": chance,
            "batches": len(batches),
            "classes": len(set(flat)),
            "size": sizes[len(sizes) // 2],
            "known": known,
            "sorted": ordered and keeps_together(batches),
            "shown": shown[:: max(1, len(shown) // 500)],
        },
        place=place,
    )


def _constant(batches: Batches) -> float:
    return sum(len(set(b)) == 1 for b in batches) / len(batches)


def _discrete(flat: list[float]) -> bool:
    kinds = len(set(flat))
    return all(float(v).is_integer() for v in flat) and 2 <= kinds <= max(2, len(flat) // 4)
