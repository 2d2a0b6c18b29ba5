from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, points

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Pass

DRAWS = 400
"""Random orders that make up the null distribution."""
CLASS_EFFECT = 0.5
"""Share of the label's entropy that the batch already tells, beyond chance, from which classes count as ordered. Shuffled
data are near 0; data sorted by class near 1."""
RANK_EFFECT = 0.8
"""Absolute rank correlation of a continuous target with its position from which data count as sorted."""


class LabelOrder(Check):
    """Training examples come in an order that says nothing about their labels.

    What it checks
    --------------
    The labels of the batches that were consumed, in order. For classes: how much of the label's entropy the batch number
    tells (mutual information), compared with random orders of the same labels. For numbers: the rank correlation of the
    target with its position.

    Why it matters
    --------------
    When a batch holds one class only, each step pulls the model towards that class and it forgets the others: the loss
    saws, batch norm sees one class, and accuracy stays below what the model can do.

    What healthy looks like
    -----------------------
    Each batch holds a mixture of labels like that of the whole set.

    What to do
    ----------
    `DataLoader(..., shuffle=True)` for training, or shuffle the arrays once with a seeded permutation.

    When it is wrong
    ----------------
    Samplers that draw few classes per batch on purpose (metric learning) and time series read in order look alike; a
    sampler of the user's own and a loader that shuffles are never reported, nor are models that carry state from batch to
    batch. In a rehearsal only the first batches and the last of each pass are seen.

    Source
    ------
    Fault catalogue 128; PyTorch forum thread 39487. Mutual information against a permutation null: Good, Permutation
    Tests, 2000.
    """

    title = "The training data come sorted by label"
    rows = ("S24", "D8")
    faults = (128, 155)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence:
        sequences = self._from_loaders(data) or self._from_steps(data)
        if not sequences:
            return Evidence(missing="no sequence of labels was seen: one number per example in the training batches")
        batches, place, column = sequences
        flat = [v for batch in batches for v in batch]
        if len(batches) < 3 or len(set(flat)) < 2:
            return Evidence(missing="too few training batches, or one label only, to tell an order")
        discrete = len(set(flat)) <= max(2, len(flat) // 8) and all(float(v).is_integer() for v in flat)
        effect, p_value = self._classes(batches) if discrete else self._ranks(flat)
        shown = [(i, v) for i, batch in enumerate(batches) for v in batch][:600]
        return Evidence(
            {
                "discrete": discrete,
                "effect": effect,
                "p_value": p_value,
                "batches": len(batches),
                "labels": len(set(flat)),
                "per_batch": sorted(len(set(b)) for b in batches)[len(batches) // 2],
                "column": column,
                "shown": shown,
            },
            place=place,
        )

    def _from_loaders(self, data: Data) -> Any:
        """The label batches of the first pass over a loader that reads in order."""
        for seen in data.run.train_passes():
            loader = data.run.loaders[seen.loader]
            if loader.shuffled or data.run.carries_state or len(seen.labels) < 3:
                continue
            column = self._label_column(seen)
            if column is not None:
                return [b[column] for b in seen.labels], loader.place, column
        return None

    def _label_column(self, seen: Pass) -> int | None:
        """The last tensor of the batch that has one number per example: by convention the label."""
        columns = [i for i in range(len(seen.labels[0])) if all(len(b) > i and b[i] for b in seen.labels)]
        return columns[-1] if columns else None

    def _from_steps(self, data: Data) -> Any:
        """For scripts without loaders: the targets that successive recorded steps consumed."""
        run = data.run
        if run.passes or len(run.targets) < 3 or run.carries_state:
            return None
        return run.targets, run.targets_place, None

    def _classes(self, batches: list[list[float]]) -> tuple[float, float]:
        sizes = [len(b) for b in batches]
        flat = [v for b in batches for v in b]
        observed = _told(flat, sizes)
        generator = random.Random(0)
        null = []
        for _ in range(DRAWS):
            generator.shuffle(flat)
            null.append(_told(flat, sizes))
        chance = sum(null) / DRAWS
        effect = (observed - chance) / max(1e-9, 1 - chance)
        return effect, (1 + sum(n >= observed for n in null)) / (1 + DRAWS)

    def _ranks(self, flat: list[float]) -> tuple[float, float]:
        observed = abs(_rank_correlation(flat))
        generator = random.Random(0)
        null = []
        mixed = list(flat)
        for _ in range(DRAWS // 2):
            generator.shuffle(mixed)
            null.append(abs(_rank_correlation(mixed)))
        return observed, (1 + sum(n >= observed for n in null)) / (1 + len(null))

    def judge(self, evidence: Evidence) -> Ruling:
        limit = CLASS_EFFECT if evidence["discrete"] else RANK_EFFECT
        kind = "classes" if evidence["discrete"] else "targets"
        if evidence["p_value"] > 0.01 or evidence["effect"] < limit:
            return Ruling.passed(f"the order of {kind} in {evidence['batches']} batches tells {evidence['effect']:.0%}")
        observed = (
            f"the batch alone tells {evidence['effect']:.0%} of the label; a typical batch holds "
            f"{evidence['per_batch']} of {evidence['labels']} labels seen"
            if evidence["discrete"]
            else f"the target's rank correlates {evidence['effect']:.2f} with its position"
        )
        return Ruling.found(
            Severity.WARNING,
            f"Training {kind} come in order, and the loader never shuffles.",
            expected="batches with a mixture of labels, as a random order gives",
            observed=observed + f" (p = {evidence['p_value']:.3f})",
            fix="Pass shuffle=True to the training DataLoader, or shuffle the examples before batching.",
        )

    def draw(self, evidence: Evidence) -> Picture:
        x = [float(i) for i, _ in evidence["shown"]]
        y = [float(v) for _, v in evidence["shown"]]
        caption = "Each dot is a training example; in a shuffled stream every batch holds every label."
        return points("Labels in the order of training", caption, x, y, x_title="batch", y_title="label")


def _told(flat: list[float], sizes: list[int]) -> float:
    """The share of the label's entropy that the batch number tells, between 0 and 1."""
    whole = _entropy(flat)
    inside, start = 0.0, 0
    for size in sizes:
        inside += size * _entropy(flat[start : start + size])
        start += size
    return 1 - inside / (len(flat) * whole) if whole else 0.0


def _entropy(values: list[float]) -> float:
    total = len(values)
    return -sum(n / total * math.log(n / total) for n in Counter(values).values()) if total else 0.0


def _rank_correlation(values: list[float]) -> float:
    """Spearman's rank correlation of values with their positions, ties by order."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0] * len(values)
    for rank, i in enumerate(order):
        ranks[i] = rank
    n = len(values)
    gap = sum((rank - i) ** 2 for i, rank in enumerate(ranks))
    return 1 - 6 * gap / (n * (n * n - 1)) if n > 2 else 0.0
