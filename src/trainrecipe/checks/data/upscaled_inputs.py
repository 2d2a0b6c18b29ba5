"""Images that were blown up: large to compute on, with the content of small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.data import Data

LEAST = 4
"""Factor of enlargement from which it is said."""
MOST = 32
SIDE = 24
FLAT = 0.001
"""Share of the differences between neighbours that may lie elsewhere than at the borders of the enlarged pixels."""


class UpscaledInputs(Check):
    """Images are not much larger than their content.

    What it checks
    --------------
    Batches of images as fed: whether neighbouring pixels differ only at every fourth (or eighth …) column and row, so
    that each pixel was repeated; or whether the slope between them changes only there, as after linear interpolation.

    Why it matters
    --------------
    An image enlarged four times costs sixteen times as much in every layer, and holds nothing more. Filters of three by
    three pixels see flat patches.

    What healthy looks like
    -----------------------
    Neighbouring pixels differ everywhere.

    What to do
    ----------
    Feed the images at their own size and use a net made for it, or one that strides less at the beginning.

    When it is wrong
    ----------------
    A pretrained net may need a certain input size, so this is a note. Cubic interpolation, noise added afterwards and odd
    factors of linear interpolation are not recognised.

    Source
    ------
    Fault catalogue 153; TrainCheck's case 84911 (32 pixels resized to 1024).
    """

    title = "Inputs are images blown up from much smaller ones"
    rows = ("D9", "S23")
    faults = (153,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence:
        from trainrecipe.subjects.contents import training

        table = training(data)
        if table is None or table.x.ndim != 4 or not table.x.is_floating_point() or min(table.x.shape[2:]) < SIDE:
            return Evidence(missing=f"no images of at least {SIDE} pixels a side were fed")
        x = table.x[:16].double()
        return Evidence({"factor": _factor(x), "shape": list(table.x.shape[1:])}, place=table.place or table.batches[0].place)

    def judge(self, evidence: Evidence) -> Ruling:
        factor = evidence["factor"]
        _, h, w = evidence["shape"]
        if factor < LEAST:
            return Ruling.passed(f"images of {h}×{w} pixels differ from pixel to pixel")
        return Ruling.found(
            Severity.NOTE,
            f"Images of {h}×{w} pixels hold no more than {h // factor}×{w // factor}: they were enlarged {factor} times.",
            expected="images at the size of their content",
            observed=f"neighbouring pixels change at every {factor}th row and column only",
            fix=f"Feed {h // factor}×{w // factor} pixels; that costs about {factor * factor} times less per layer.",
        )


def _factor(x: torch.Tensor) -> int:
    """The largest factor by which rows and columns were repeated or linearly interpolated; 1 where there is none."""
    found = 1
    for factor in range(LEAST, MOST + 1):
        for order, kinks in ((1, 1), (2, 2)):
            if all(_concentrated(x.movedim(axis, -1), order, factor, kinks) for axis in (2, 3)):
                found = factor
    return found


def _concentrated(x: torch.Tensor, order: int, factor: int, kinks: int) -> bool:
    """Whether differences along the last axis lie at one place (or two neighbouring ones) in every `factor`."""
    import torch

    if x.shape[-1] < 3 * factor:
        return False
    steps = torch.diff(x, n=order).square().sum(tuple(range(x.ndim - 1)))
    if float(steps.sum()) <= 0:
        return False
    places = torch.stack([steps[k::factor].sum() for k in range(factor)])
    edges = steps[: factor // 2].sum() + steps[-(factor // 2) :].sum() if order == 2 else 0.0
    pairs = places if kinks == 1 else places + places.roll(-1)
    del edges
    return bool(pairs.max() >= (1 - FLAT) * places.sum()) and factor > 2 * kinks
