"""Evaluation inputs that went through another scaling than the training inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.contents import Table
    from trainrecipe.subjects.data import Data

WIDTH = 4
"""Numbers per example below which nothing is compared: curves and grids are evaluated beyond the training range on purpose."""
STRETCH = 1.5
"""Ratio of the spreads (or its inverse) beyond which the same grid of values is a different scaling."""
FAR = 3.0
"""The same where values lie on no grid and only their distributions can be compared."""
MOVED = 0.7
"""Shift of the mean, in units of the larger spread, beyond which the same grid of values is a different scaling."""
UNEVEN = 5.0
"""Ratio between the largest and the smallest stretch of a feature, from which shifts of the mean count without a grid, too."""
EVEN = 8.0
"""Stretch that counts without a grid where all features are stretched alike, and are no lags of one series:"""
LAGS = 0.95
AWAY = 1.5
"""That shift of the mean, in units of the larger spread."""
MOST_FEATURES = 0.6
"""Share of the features that must differ."""
STRAIGHT = 0.9
"""Share of the quantiles' variance that one straight line explains, where one scaling is the only difference."""


class PreprocessingDiffers(Check):
    """Evaluation inputs are scaled as the training inputs are.

    What it checks
    --------------
    The inputs as the net is fed them, feature by feature (per channel for images). Numbers that come from integers or
    from a fixed number of decimals lie on a grid of equal steps, and scaling keeps the grid: where both splits have a
    grid with the same number of steps between smallest and largest, but steps of another size or another origin, one was
    scaled differently. Where there is no grid, most features must have spreads (or, where these are uneven, means)
    far apart, with quantiles on a straight line.

    Of images with three channels it is also compared whether evaluation images have the colours of training images only
    when first and third channel are exchanged: the mean colour of each class (or quarter of the target), in standard errors
    and less what all classes share, else the distribution of each channel.

    Why it matters
    --------------
    The model is evaluated on numbers that it has never met. Scores are far too bad, and nobody can tell by them which
    model is better.

    What healthy looks like
    -----------------------
    Means and spreads agree, up to what sampling and augmentation change.

    What to do
    ----------
    Apply the same normalisation, with the training set's statistics, to every split; only augmentation may differ.

    When it is wrong
    ----------------
    Inputs that are noised, cut or jittered in training lie on no grid and are compared only where rows repeat from epoch to
    epoch. A shift of the mean alone, as between an earlier and a later part of a series, is never reported without a grid.
    Inputs of one to three numbers are left out. Colours whose order cannot be told are not reported: grey images, classes
    of one colour, channels shuffled in training, and splits in which classes have swapped colours, as where a background
    that goes with the class is exchanged in the test set. Nor are images that are evaluated in both orders.

    Source
    ------
    Fault catalogue 89; PyTorch forum threads 81585 and 47668.
    """

    title = "Evaluation inputs are preprocessed differently from training inputs"
    rows = ("D13", "D10", "S10")
    faults = (89,)
    price = Price.FREE
    explains = ("statistics-from-evaluation", "class-map-differs", "inputs-and-labels-unrelated", "eval-in-train-mode")

    def measure(self, data: Data) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.contents import evaluations, training

        train = training(data)
        if train is None:
            return Evidence(missing="no training inputs were seen")
        if not train.x.is_floating_point() or train.x[0].numel() < WIDTH:
            return Evidence(missing="the inputs are not several real numbers per example")
        told = [t for t in evaluations(data) if t.loader is not None or t.y is not None]  # not what an agent ran into
        others = [t for t in told if t.x.ndim == train.x.ndim and t.x.dtype == train.x.dtype and t.rows >= WIDTH]
        pairs = [found for t in others if (found := _compare(train, t, others)) is not None]
        return pairs or Evidence(missing="no evaluation on inputs of the same kind was seen")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = (
            f"training inputs have a mean of {e['train_mean']:.3g} and a spread of {e['train_spread']:.3g}, evaluation inputs "
            f"{e['mean']:.3g} and {e['spread']:.3g}"
        )
        if e["exchanged"]:
            return self._exchanged(*e["exchanged"])
        if not e["differ"]:
            return Ruling.passed(says)
        if not (e["grid"] or e["repeats"]):
            return Ruling.unsure(f"{says}; training inputs are drawn anew in every epoch, so that may be augmentation or noise")
        proof = (
            f"both have values on a grid of {e['levels']} equal steps, of {e['train_step']:.3g} in training and "
            f"{e['step']:.3g} in evaluation, from {e['train_least']:.3g} and from {e['least']:.3g}"
            if e["grid"]
            else f"in {e['differ']} of {e['features']} features, one straight line maps the one to the other"
        )
        return Ruling.found(
            Severity.WARNING,
            f"Evaluation inputs are scaled differently: {says}.",
            expected="the same scaling of the inputs in training and in evaluation",
            observed=f"evaluation = {e['factor']:.3g} × training {e['offset']:+.3g}; {proof}",
            fix="Give both splits the same normalisation, with the statistics of the training set.",
            causes=(
                "one of the two data sets lacks a transform, or has another: print both next to each other",
                "scaling happens in the training loop or in collate_fn, which evaluation does not share",
            ),
        )

    def _exchanged(self, straight: float, reverse: float, chance: float, groups: int) -> Ruling:
        whose = f"mean colours of {groups} classes, in standard errors," if groups else "channels' statistics"
        return Ruling.found(
            Severity.WARNING,
            "Evaluation images have their colours in the reverse order of the training images.",
            expected="RGB, or BGR, in training and in evaluation",
            observed=f"the {whose} are {straight:.2g} apart as they are, and {reverse:.2g} with the first and the third "
            f"channel exchanged; two samples of the same images are {chance:.2g} apart",
            fix="Convert the images of both splits alike; OpenCV reads BGR, Pillow and torchvision read RGB.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence["differ"]:
            return None
        values: dict[str, float] = {}
        for i, (a, b) in enumerate(evidence["spreads"]):
            values |= {f"feature {i}, training": a, f"feature {i}, evaluation": b}
        caption = "Standard deviation of each feature or channel, as the net is fed it: both bars of a pair should be alike."
        return bars("Spread of the inputs", caption, values, x_title="standard deviation", log=True)


def _compare(train: Table, other: Table, others: list[Table]) -> Evidence | None:
    from trainrecipe.subjects.colours import exchanged
    from trainrecipe.subjects.features import columns, straightness

    a, b = columns(train.x), columns(other.x)
    if a.shape[1] != b.shape[1] or not bool(a.isfinite().all() and b.isfinite().all()):
        return None
    spread, spread_b = a.std(0, correction=0), b.std(0, correction=0)
    alive = (spread > 0) & (spread_b > 0)
    if not bool(alive.any()):
        return None
    a, b, spread, spread_b = a[:, alive], b[:, alive], spread[alive], spread_b[alive]
    ratio = (spread_b / spread).log()
    shift = (b.mean(0) - a.mean(0)).abs() / spread.maximum(spread_b)
    near = (ratio.abs() > _log(STRETCH)) | (shift > MOVED)
    grid = _grids(a, b) if bool(near.any()) else {}
    differs = near if grid else _far(a, ratio, shift) & (straightness(a, b) > STRAIGHT)
    count = int(differs.sum())
    colours = exchanged(train, other, others)
    factor = float((spread_b / spread).median())
    return Evidence(
        {
            "differ": count if count >= MOST_FEATURES * len(differs) else 0,
            "exchanged": [colours.straight, colours.reverse, colours.chance, colours.groups] if colours else [],
            "features": len(differs),
            "repeats": train.repeats > 0 or train.complete,
            "train_mean": float(a.mean()),
            "train_spread": float(a.std()),
            "mean": float(b.mean()),
            "spread": float(b.std()),
            "factor": factor,
            "offset": float(b.mean() - factor * a.mean()),
            "spreads": [[float(p), float(q)] for p, q in zip(spread[:12], spread_b[:12], strict=True)],
            "grid": bool(grid),
            **grid,
        },
        place=other.place,
    )


def _log(value: float) -> float:
    import math

    return math.log(value)


def _far(a: torch.Tensor, ratio: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Features that differ far beyond sampling, unless all drift alike, as the lags of a growing series do."""
    if float(ratio.max() - ratio.min()) > _log(UNEVEN):
        return (ratio.abs() > _log(FAR)) | (shift > AWAY)
    return (ratio.abs() > _log(EVEN)) & (_alike(a) < LAGS)


def _alike(a: torch.Tensor) -> float:
    """The median correlation of neighbouring features."""
    if a.shape[1] < 2:
        return 1.0
    z = (a - a.mean(0)) / a.std(0, correction=0)
    return float((z[:, 1:] * z[:, :-1]).mean(0).abs().median())


def _grids(a: torch.Tensor, b: torch.Tensor) -> dict[str, Any]:
    """The grids of both splits, where both have one with as many steps but of another size or origin; else empty.

    Looked for over all features together (pixels), and over most of the single ones (columns of a table).
    """
    whole = _same_levels(a.reshape(-1), b.reshape(-1))
    if whole:
        return whole
    single = [_same_levels(a[:, i], b[:, i]) for i in range(min(64, a.shape[1]))]
    found = [g for g in single if g]
    return found[0] if len(found) >= MOST_FEATURES * len(single) else {}


def _same_levels(a: torch.Tensor, b: torch.Tensor) -> dict[str, Any]:
    from trainrecipe.subjects.features import grid_of

    first, second = grid_of(a), grid_of(b)
    if first is None or second is None or abs(first[2] - second[2]) > 0.05 * first[2]:
        return {}
    scaled = abs(_log(second[1] / first[1])) > _log(STRETCH)
    moved = abs(second[0] - first[0]) > MOVED * max(float(a.std()), float(b.std()))
    if not (scaled or moved):
        return {}
    return {
        "levels": first[2],
        "train_step": first[1],
        "step": second[1],
        "train_least": first[0],
        "least": second[0],
    }
