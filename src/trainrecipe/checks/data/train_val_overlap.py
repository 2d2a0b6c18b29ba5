from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Forward, Pass, Run

SHARE = 0.02
"""Share of the evaluation examples found in the training data from which it is reported."""
FEW = 3
"""Common examples below which nothing is said: iris holds one pair of equal rows, UCI's three."""
CHANCE = 3.0
"""Where equal examples occur by chance, the overlap must exceed this many times the repeats within the training data."""
SURE = 3.0
"""Standard deviations of a Poisson count that are added to it."""
WIDE = 64.0
"""Bits of information in an example, as its columns' entropies add up, from which equal examples are copies and no
chance: 18 for iris, 14 for the Titanic's passengers, above 190 for 8×8 digits or thirty measured numbers."""
REPEATS = 0.05
"""Share of equal rows inside the training batches from which rows are too poor, or drawn too often, to tell copies."""
WHOLE = 0.8
"""Share of all rows that were trained on, from which an evaluation of them alone is one of the training data."""
ALL = 0.99
"""Share of the evaluation examples from which an evaluation is one of the training data, and of no others."""
MEASURED = 32
"""Rows in a forward without a loader, from which it counts as a measurement and not as a look at a few samples."""

Look = tuple[int, frozenset[int], int]


class TrainValOverlap(Check):
    """No example that the model is evaluated on is among those it is trained on.

    What it checks
    --------------
    For each loader that is used to evaluate the trained model: which of its examples the training loader reads too, by
    position in the same data set, else by the content of the example. Without loaders: whether rows fed to the model
    without gradients are rows it was trained on before.

    Why it matters
    --------------
    Scores on examples that the model has seen measure memory, not what it will do on new data: the model looks better
    than it is, and tuning by such a score picks the wrong model.

    What healthy looks like
    -----------------------
    The splits share no example, apart from accidental duplicates in data with few distinct values.

    What to do
    ----------
    Split once, before augmenting or oversampling; build the validation loader from the held-out part; remove duplicates
    before the split.

    When it is wrong
    ----------------
    Evaluating on the training data besides a held-out set is common and not reported, nor is evaluating with the training
    loader itself. Graphs and other full-batch data where masks tell training and validation apart are left out.
    Near-duplicates are not seen, nor are copies hidden by random augmentation unless both loaders read the same data set.
    Where that is all that is evaluated in each epoch, and held-out data come once at the end, it is a note.
    A loader of its own over the training data, used for something other than a score, looks like a validation loader.

    Source
    ------
    Fault catalogue 92 and 140; Barz and Denzler, "Do we train on test data?", 2020, found 3 to 10 % of CIFAR's test images
    among its training images.
    """

    title = "Evaluation examples are in the training data"
    rows = ("D3", "S24")
    faults = (92, 140)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence:
        """Compare what the model is evaluated on with what it is trained on."""
        return _loaders(data) if data.run.passes else _forwards(data.run)

    def judge(self, evidence: Evidence) -> Ruling:
        """More in common than chance explains, and the evaluated part is not simply everything."""
        share, repeated, total = evidence["share"], evidence["repeated"], evidence["total"]
        says = f"{evidence['shared']} of {total} evaluation examples are in the training data"
        if share < SHARE or evidence["shared"] < FEW:
            return Ruling.passed(says)
        expected = CHANCE * repeated * total
        if evidence["chance"] and evidence["shared"] <= expected + SURE * math.sqrt(expected):
            return Ruling.passed(says + f", by chance: the training data repeat {repeated:.1%} of their own")
        if evidence.get("on_the_way"):
            return Ruling.found(
                Severity.NOTE,
                "What is evaluated in every epoch are the training examples; others are evaluated once, at the end.",
                expected="a validation set apart from the training data, to follow the training by",
                observed=f"{share:.1%} in common: {evidence['how']}",
                fix="If this is meant as a validation, build its loader from held-out examples.",
            )
        observed = f"{share:.1%} in common; within the training data {repeated:.1%} are duplicates"
        if evidence["whole"]:
            return Ruling.found(
                Severity.NOTE,
                f"The only evaluation that was seen is on the training data: {evidence['how']}.",
                expected="a score on examples that the model was not trained on",
                observed=observed,
                fix="Hold out a part of the examples and evaluate on that.",
            )
        return Ruling.found(
            Severity.WARNING,
            says + f": {evidence['how']}.",
            expected="no example in common",
            observed=observed,
            fix="Split the examples once into disjoint parts, before any oversampling, and evaluate on the held-out part.",
            causes=(
                "the validation set is built from the training set, or the parts of the split overlap",
                "examples were duplicated (oversampled, augmented) before the split",
            ),
        )


def _result(
    shared: int, total: int, how: str, *, repeated: float = 0.0, chance: bool = False, whole: bool = False
) -> dict[str, object]:
    counts = {"shared": shared, "total": total, "share": shared / max(1, total), "repeated": repeated}
    return {**counts, "how": how, "chance": chance, "whole": whole}


# ---- with loaders


def _loaders(data: Data) -> Evidence:
    run = data.run
    training = {p.loader for p in run.train_passes()}
    if not training:
        return Evidence(missing="no training pass over a DataLoader was seen")
    evaluated = {p.loader: p for p in reversed(evaluations(run)) if p.loader not in training}
    direct = _direct(data, next(iter(training))) if len(training) == 1 else None
    if not evaluated:
        return direct or Evidence(missing="no evaluation of the trained model on data of its own was seen")
    if direct is not None and (direct.missing or direct["share"] < SHARE):
        return Evidence(missing="the model is also evaluated on tensors that no loader gave, which may be held out")
    pairs = {n: _compare(data, _trained_before(run, p), n) for n, p in evaluated.items()}
    missing = next((e for e in pairs.values() if e.missing), None)
    return missing or _along_the_way(run, pairs) or min(pairs.values(), key=lambda e: e["share"])


def _along_the_way(run: Run, pairs: dict[int, Evidence]) -> Evidence | None:
    """The evaluation that comes again and again, where only that is on the training data and held-out data come once."""
    times = Counter(p.loader for p in evaluations(run))
    often = [n for n in pairs if times[n] >= 2]
    once = [n for n in pairs if times[n] == 1]
    if not often or not once or min(pairs[n]["share"] for n in often) < ALL or max(pairs[n]["share"] for n in once) >= SHARE:
        return None
    return dataclasses.replace(pairs[often[0]], data={**pairs[often[0]].data, "on_the_way": True})


def _direct(data: Data, training: int) -> Evidence | None:
    """Evaluations on tensors outside any pass, against the examples of the training loader; None where there are none."""
    others = [(f, rows) for f in _outside(data.run) for _, rows, _ in f.looks if len(rows) >= MEASURED]
    if not others:
        return None
    known = data.rows(training)
    if known is None or not known.inputs:
        return Evidence(missing="the training examples could not be read for comparison")
    mine = set(known.inputs)
    forward, rows = min(others, key=lambda o: len(o[1] & mine) / len(o[1]))
    repeated = 1 - len(mine) / len(known.inputs)
    how = "rows fed to the model are equal"
    result = _result(len(rows & mine), len(rows), how, repeated=repeated, chance=known.bits < WIDE, whole=mine <= rows)
    return Evidence(result, place=forward.place)


def evaluations(run: Run) -> list[Pass]:
    """Passes without backward in which the trained model was called, and not only to renew batch-norm statistics."""
    models = run.trained_models()
    calls: dict[int | None, list[Forward]] = {}
    for f in run.forwards:
        if f.model in models and not f.fed:
            calls.setdefault(f.in_pass, []).append(f)
    kept = []
    for seen in run.evaluation_passes():
        given = calls.get(seen.number, [])
        if any(not (f.training and f.moody) for f in given) or (given and all(f.grad for f in given)):
            kept.append(seen)
    return kept


def _trained_before(run: Run, evaluation: Pass) -> int:
    """The loader of the last training pass that began before an evaluation."""
    before = [p for p in run.train_passes() if p.first_event < evaluation.first_event]
    return (before[-1] if before else run.train_passes()[0]).loader


def _outside(run: Run) -> Iterator[Forward]:
    """Calls of the trained model without gradients after a pass had ended."""
    models = run.trained_models()
    passes = {p.number: p for p in run.passes}
    for f in run.forwards:
        ended = f.in_pass is None or (passes[f.in_pass].finished and f.first_event >= passes[f.in_pass].last_event)
        if f.model in models and not f.grad and not f.fed and ended:
            yield f


def _compare(data: Data, training: int, evaluated: int) -> Evidence:
    loader = data.run.loaders[evaluated]
    place = loader.born or loader.place
    first, mine = data.positions(training)
    second, theirs = data.positions(evaluated)
    if first == second:
        if mine is None or theirs is None:
            return Evidence(missing="both loaders read the same data set by samplers of the script's own", place=place)
        how = "both loaders read the same positions of the same data set"
        return Evidence(_result(len(mine & theirs), len(theirs), how, whole=_only_look(data, mine, theirs)), place=place)
    rows, other = data.rows(training, 0.6), data.rows(evaluated)
    if rows is None or other is None or not rows.inputs or not other.inputs:
        return Evidence(missing="the examples of these data sets could not be read for comparison", place=place)
    known, fresh = set(rows.inputs), set(other.inputs)
    shared = sum(h in known for h in other.inputs)
    repeated = 1 - len(known) / len(rows.inputs)
    chance = min(rows.bits, other.bits) < WIDE
    whole = _only_look(data, known, fresh) if rows.complete and other.complete else False
    how = "their contents are equal"
    return Evidence(_result(shared, len(other.inputs), how, repeated=repeated, chance=chance, whole=whole), place=place)


def _only_look(data: Data, training: set[int], evaluated: set[int]) -> bool:
    """Whether the evaluation covers the training data as a whole, and is not what a validation loader would do.

    That is: it covers more than the training data; or a rehearsal ended before another loader, which the script has built
    already, was read.
    """
    if not training <= evaluated:
        return False
    if len(evaluated) > len(training):
        return True
    return data.run.rehearsal and data.run.loaders_built > len(data.run.loaders)


# ---- without loaders


def _forwards(run: Run) -> Evidence:
    trained = [f for f in run.forwards if f.fed and f.looks]
    models = {f.model for f in trained}
    others = [f for f in run.evaluations() if f.model in models and not f.grad]
    if {b for f in trained for b in f.batches} & {b for f in others for b in f.batches}:
        return Evidence(missing="training and evaluation feed the very same tensor: masks or labels may tell them apart")
    fed = sorted((look for f in trained for look in f.looks), key=lambda look: look[0])
    seen = [found for f in others for found in _against([look for t in trained if t.model == f.model for look in t.looks], f)]
    if not seen:
        return Evidence(missing="no evaluation of the trained model on many rows, after training on others, was seen")
    repeated = sum(count - len(rows) for _, rows, count in fed) / max(1, sum(count for _, _, count in fed))
    if repeated > REPEATS:
        return Evidence(missing="training batches hold equal rows, so equal rows elsewhere may be chance")
    shared, rows, known, forward = min(seen, key=lambda s: s[0] / len(s[1]))
    pairs = sum(count * (count - 1) / 2 for _, _, count in fed)  # in a batch, what chance makes equal in any two rows
    alike = sum(count - len(rows) for _, rows, count in fed) / max(1.0, pairs)
    repeated = max(repeated, min(1.0, alike * len(known)))
    how = "rows fed to the model are equal"
    whole = known <= rows or (shared == len(rows) and shared >= WHOLE * len(known))
    result = _result(shared, len(rows), how, repeated=repeated, chance=repeated > 0, whole=whole)
    return Evidence(result, place=forward.place)


def _against(fed: Sequence[Look], forward: Forward) -> Iterator[tuple[int, frozenset[int], set[int], Forward]]:
    """For each evaluated batch: how many of its rows its model was trained on before, its rows, and all rows trained on."""
    for event, rows, _ in forward.looks:
        known: set[int] = set().union(*(r for e, r, _ in fed if e < event))
        if len(rows) >= MEASURED and known:
            yield len(rows & known), rows, known, forward
