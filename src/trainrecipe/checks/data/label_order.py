from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Place, Ruling, Severity
from trainrecipe.picture import Picture, points

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Pass

DRAWS = 200
"""Random orders that make up the null distribution."""
CLASS_EFFECT = 0.5
"""Share of the label's entropy that the batch already tells, beyond chance, from which classes count as ordered. Shuffled
data are near 0; data sorted by class near 1."""
COMPACT = 0.8
"""Sorted classes fill the batches between their first and their last (1.0); classes drawn per batch, as metric learning
does, come back after a pause: with 2 of 10 classes per batch they fill 0.2 of that span."""
PRESENT = 0.15
"""Share of a batch that a class must have to count as present there, so that a few wrong labels do not matter."""
RANK_EFFECT = 0.8
"""Absolute rank correlation from which numbers count as sorted, both over all batches and inside the typical batch:
targets that grow because the model does, such as returns, are in order between batches and not inside them."""
SMALL = 4
"""Batches smaller than this are joined to blocks of eight, since one example tells nothing about mixture."""

Batches = list[list[float]]


class LabelOrder(Check):
    """Training examples come in an order that says nothing about their labels.

    What it checks
    --------------
    The targets of the training batches, in the order in which they were consumed. For classes: how much of the label's
    entropy the batch number tells (mutual information), compared with random orders of the same labels, and whether each
    class keeps to batches that follow one another. For numbers: the rank correlation of the target with its position, over
    all batches and inside each.

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
    Loaders that shuffle, samplers of the user's own, models that carry state from batch to batch, and numbers predicted
    from overlapping windows (a time series read in order) are never reported, nor are batches of few classes drawn at
    random (`one-class-batches` looks at those). In a rehearsal only the first batches and the last of each pass are seen. A
    curriculum that is sorted on purpose looks the same: silence the check there.

    Source
    ------
    Fault catalogue 128; PyTorch forum thread 39487. Mutual information against a permutation null: Good,
    Permutation Tests, 2000.
    """

    title = "The training data come sorted by label"
    rows = ("S24", "D8")
    faults = (128,)
    price = Price.FREE
    explains = ("output-bias-at-init", "overfit-one-batch", "learning-rate-range")

    def measure(self, data: Data) -> Evidence:
        """Compare the order of the consumed labels with random orders."""
        batches, place, series, why = _from_loaders(data) if data.run.passes else _from_steps(data)
        if not batches:
            return Evidence(missing=why)
        flat = [v for batch in batches for v in batch]
        kinds = len(set(flat))
        if len(batches) < 3 or kinds < 2:
            return Evidence(missing="too few training batches, or one label only, to tell an order")
        discrete = all(float(v).is_integer() for v in flat) and (kinds == 2 or kinds <= len(flat) // 8)
        measured = _classes(batches) if discrete else _numbers(batches)
        shown = [(i, v) for i, batch in enumerate(batches) for v in batch]
        common = {
            "discrete": discrete,
            "batches": len(batches),
            "labels": kinds,
            "per_batch": sorted(len(set(b)) for b in batches)[len(batches) // 2],
            "series": series and not discrete,
            "shown": shown[:: max(1, len(shown) // 500)],
        }
        return Evidence({**common, **measured}, place=place)

    def judge(self, evidence: Evidence) -> Ruling:
        """Ordered beyond chance, and in the way that sorting orders."""
        limit = CLASS_EFFECT if evidence["discrete"] else RANK_EFFECT
        kind = "classes" if evidence["discrete"] else "targets"
        if evidence["p_value"] > 0.01 or evidence["effect"] < limit:
            return Ruling.passed(f"the order of {kind} in {evidence['batches']} batches tells {evidence['effect']:.0%}")
        if evidence["series"]:
            return Ruling.unsure("targets come in order, as they do in a time series whose windows are read one by one")
        if not evidence["sorted"]:
            return _unsorted(evidence)
        told = f"the batch alone tells {evidence['effect']:.0%} of the label, and each class stays in neighbouring batches; "
        observed = (
            told + f"a typical batch holds {evidence['per_batch']} of {evidence['labels']} labels seen"
            if evidence["discrete"]
            else f"the target's rank correlates {evidence['effect']:.2f} with its position"
        )
        return Ruling.found(
            Severity.WARNING,
            f"Training {kind} come in order, and nothing shuffles them.",
            expected="batches with a mixture of labels, as a random order gives",
            observed=observed + f" (p = {evidence['p_value']:.3f})",
            fix="Pass shuffle=True to the training DataLoader, or shuffle the examples before batching.",
        )

    def draw(self, evidence: Evidence) -> Picture:
        """Labels against the number of their batch."""
        x = [float(i) for i, _ in evidence["shown"]]
        y = [float(v) for _, v in evidence["shown"]]
        caption = "Each dot is a training example; in a shuffled stream every batch holds every label."
        return points("Labels in the order of training", caption, x, y, x_title="batch", y_title="label")


def _unsorted(evidence: Evidence) -> Ruling:
    if not evidence["discrete"]:
        return Ruling.passed("targets grow from batch to batch and not inside a batch, so the examples are not sorted by them")
    return Ruling.passed("batches hold few classes each, which come back: they are drawn by class, not sorted")


def _from_loaders(data: Data) -> tuple[Batches, Place | None, bool, str]:
    """The labels of the first long enough pass over a training loader that reads in order."""
    run = data.run
    why = "every training loader shuffles, or draws by a sampler of its own"
    for seen in run.train_passes():
        loader = run.loaders[seen.loader]
        if loader.shuffled:
            continue
        if run.carries_state:
            why = "the model carries state from batch to batch, so the order is meant"
        elif len(seen.labels) < 3:
            why = "too few training batches were seen to tell an order"
        elif batches := _labels(seen, loader.label):
            place = loader.born or loader.place
            return batches, place, data.is_series(loader.number), ""
        else:
            why = "the training batches hold no label with one number per example"
    return [], None, False, why


def _labels(seen: Pass, known: int | None) -> Batches:
    """The batches' target column: what the loss takes where that is known, else the last that is not a row number."""
    width = min(len(b) for b in seen.labels)
    full = [i for i in range(width) if all(b[i] for b in seen.labels)]
    chosen = [i for i in full if i == known] if known is not None else full
    for i in reversed(chosen):
        batches = [b[i] for b in seen.labels]
        if known is not None or not counts_up(batches[0]):
            return batches
    return []


def counts_up(values: list[float]) -> bool:
    """Whether values are row numbers: each one more than the last."""
    return len(values) > 1 and all(b - a == 1 for a, b in itertools.pairwise(values))


def _from_steps(data: Data) -> tuple[Batches, Place | None, bool, str]:
    """For scripts without loaders: the targets that successive recorded steps consumed."""
    run = data.run
    if run.carries_state:
        return [], None, False, "the model carries state from step to step, so the order is meant"
    if len(run.targets) < 3:
        return [], None, False, "no sequence of targets was seen: one number per example in successive steps"
    return run.targets, run.targets_place, run.series, ""


def _classes(batches: Batches) -> dict[str, object]:
    import numpy as np

    flat = [v for b in batches for v in b]
    blocks = batches
    if sorted(map(len, batches))[len(batches) // 2] < SMALL:
        blocks = [flat[i : i + 8] for i in range(0, len(flat), 8)]
    sizes = [len(b) for b in blocks]
    kinds = np.unique(np.asarray(flat, dtype=float), return_inverse=True)[1].reshape(-1)
    observed = _told(kinds, sizes)
    generator = np.random.default_rng(0)
    null = [_told(generator.permutation(kinds), sizes) for _ in range(DRAWS)]
    chance = sum(null) / DRAWS
    return {
        "effect": (observed - chance) / max(1e-9, 1 - chance),
        "p_value": (1 + sum(n >= observed for n in null)) / (1 + DRAWS),
        "sorted": keeps_together(blocks),
    }


def keeps_together(blocks: Batches) -> bool:
    """Whether each class fills the blocks between its first and its last; where each has one block only: monotone labels."""
    where: dict[float, list[int]] = {}
    for i, block in enumerate(blocks):
        for value, count in Counter(block).items():
            if count >= PRESENT * len(block):
                where.setdefault(value, []).append(i)
    long = [w for w in where.values() if len(w) > 1]
    filled, span = sum(map(len, long)), sum(w[-1] - w[0] + 1 for w in long)
    if long and sum(len(w) - 1 for w in long) >= 3:
        return filled >= COMPACT * span
    return abs(rank_correlation([sum(b) / len(b) for b in blocks])) >= 0.95 and len(blocks) >= 5


def _numbers(batches: Batches) -> dict[str, object]:
    import numpy as np

    flat = [v for b in batches for v in b]
    observed = abs(rank_correlation(flat))
    generator = np.random.default_rng(0)
    mixed = _ranks(flat)[None].repeat(DRAWS, axis=0)
    beyond = int((abs(_along(generator.permuted(mixed, axis=1))) >= observed).sum())
    sign = math.copysign(1, rank_correlation(flat))
    inside = sorted(sign * rank_correlation(b) for b in batches if len(b) >= SMALL)
    typical = inside[len(inside) // 2] if inside else 1.0
    return {"effect": observed, "p_value": (1 + beyond) / (1 + DRAWS), "sorted": typical >= RANK_EFFECT}


def _told(kinds: np.ndarray, sizes: list[int]) -> float:
    """The share of the label's entropy that the number of the block tells, between 0 and 1; labels as 0, 1, 2, …"""
    import numpy as np

    classes = int(kinds.max()) + 1
    where = np.repeat(np.arange(len(sizes)), sizes) * classes + kinds
    counts = np.bincount(where, minlength=len(sizes) * classes).reshape(len(sizes), classes)
    whole = float(_entropy(counts.sum(0)[None])[0])
    inside = float(np.dot(sizes, _entropy(counts)))
    return 1 - inside / (len(kinds) * whole) if whole else 0.0


def _entropy(counts: np.ndarray) -> np.ndarray:
    """The entropy of each row of counts, in nats."""
    import numpy as np

    share = counts / np.maximum(1, counts.sum(1, keepdims=True))
    return -(share * np.log(np.where(share > 0, share, 1))).sum(1)  # type: ignore[no-any-return]


def rank_correlation(values: Sequence[float]) -> float:
    """Spearman's rank correlation of values with their positions; equal values share their mean rank.

    >>> rank_correlation([1.0, 2.0, 5.0])
    1.0
    """
    return float(_along(_ranks(values)))


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks about their mean, of length 1 together; equal values share their mean rank; all zero where nothing varies."""
    import numpy as np

    _, which, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[which.reshape(-1)]
    ranks = ranks - ranks.mean()
    length = np.sqrt((ranks**2).sum())
    return ranks / length if length else ranks  # type: ignore[no-any-return]


def _along(ranks: np.ndarray) -> np.ndarray:
    """The correlation of standardised ranks with their positions along the last axis."""
    import numpy as np

    places = np.arange(ranks.shape[-1]) - (ranks.shape[-1] - 1) / 2
    length = np.sqrt((places**2).sum())
    return ranks @ (places / length if length else places)  # type: ignore[no-any-return]
