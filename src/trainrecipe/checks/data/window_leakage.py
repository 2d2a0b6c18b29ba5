"""Evaluation windows that lie inside the stretch of a series that training windows cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.data import Data

LENGTH = 6
"""Steps of a window from which it can overlap in a telling way; words and other whole numbers need `TOKENS`."""
TOKENS = 24
RICH = 16
BITS = 48.0
"""Bits that the last numbers of a window must hold, as their entropies add up, so that equal stretches are no chance."""
SHARE = 0.2
"""Share of the evaluation windows whose last half is in a training window, from which it is reported."""
SHARE_TOKENS = 0.6
ENOUGH = 10
REPETITIVE = 0.1
"""Share of training windows that end like another one, above which the series repeats itself, as a sine or a phrase does."""


class WindowLeakage(Check):
    """Evaluation windows come from another stretch of the series than training windows.

    What it checks
    --------------
    Inputs that are windows of a longer sequence: whether the last half of an evaluation window, value by value, is part
    of a training window. Windows that follow the training data begin with values that it knows, but do not end with them.

    Why it matters
    --------------
    Overlapping windows that are split at random put nearly the same window, and often the very target, into the training
    set. Scores then measure memory: on the days to come the model does much worse.

    What healthy looks like
    -----------------------
    The series is cut first (the past for training, the rest for evaluation), and windows are made inside each part.

    What to do
    ----------
    Split by time (or by document, patient, recording), then make windows. Leave a gap of one window between the parts.

    When it is wrong
    ----------------
    A task that fills gaps inside known stretches looks the same. Windows of few, or of few different, values are not
    judged. Where inputs are noised or scaled window by window, equal stretches are not recognised.

    Source
    ------
    Fault catalogue 141 and 142; CAREamics/careamics#981.
    """

    title = "Evaluation windows overlap with training windows"
    rows = ("D3", "D8")
    faults = (141, 142)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.contents import evaluations, training
        from trainrecipe.subjects.data import _bits

        train = training(data)
        if train is None or train.x.ndim not in (2, 3):
            return Evidence(missing="the inputs are no sequences")
        others = [
            t
            for t in evaluations(data)
            if t.x.shape[1:] == train.x.shape[1:] and t.x.dtype == train.x.dtype and t.rows >= ENOUGH
        ]
        if not others:
            return Evidence(missing="no evaluation on inputs of the same shape was seen")
        if train.x.is_floating_point() and _bits([row.reshape(-1)[-RICH:].double().numpy() for row in train.x[:512]]) < BITS:
            return Evidence(missing="the inputs hold too few different values, so equal stretches are chance")
        found = []
        for other in others:
            best = max((_shared(a, b) for a, b in _readings(train.x, other.x)), default=None)
            if best is not None:
                share, alike, half, again = best
                tokens = not train.x.is_floating_point()
                found.append(
                    Evidence(
                        {
                            "share": share,
                            "inside": alike,
                            "half": half,
                            "again": again,
                            "windows": other.rows,
                            "tokens": tokens,
                        },
                        place=other.place,
                    )
                )
        return found or Evidence(missing="the inputs are too short to overlap in a telling way")

    def judge(self, evidence: Evidence) -> Ruling:
        share, count = evidence["share"], round(evidence["share"] * evidence["windows"])
        says = f"{count} of {evidence['windows']} evaluation windows end with {evidence['half']} values of a training window"
        if share < (SHARE_TOKENS if evidence["tokens"] else SHARE) or count < ENOUGH:
            return Ruling.passed(says)
        if evidence["again"] > REPETITIVE:
            return Ruling.unsure(
                f"{says}, but {evidence['again']:.0%} of the training windows repeat as well: the series recurs"
            )
        return Ruling.found(
            Severity.WARNING,
            f"{says}: overlapping windows were split at random.",
            expected="evaluation windows that end with values unknown to training",
            observed=f"{share:.0%} end inside the training data; of the training windows {evidence['inside']:.0%} overlap",
            fix="Cut the series into a training and an evaluation part first, and make windows inside each.",
        )

    def draw(self, evidence: Evidence) -> Picture:
        values = {"evaluation windows": evidence["share"], "training windows": evidence["inside"]}
        return bars(
            "Windows whose last half is in another training window", "A split by time leaves the first bar near zero.", values
        )


def _readings(a: torch.Tensor, b: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Both inputs as (windows, steps, values per step), with either axis of a matrix as time."""
    pairs = [(a[..., None], b[..., None])] if a.ndim == 2 else [(a, b), (a.mT, b.mT)]
    least = LENGTH if a.is_floating_point() else TOKENS
    return [p for p in pairs if p[0].shape[1] >= least]


def _shared(train: torch.Tensor, other: torch.Tensor) -> tuple[float, float, int, float]:
    """What the windows of both splits have in common.

    Share of the evaluation windows whose last half is in a training window; the same among training windows; the length of
    that half; the share of training windows that end like another, at the same place.

    Windows that are in both as a whole are left out: those are duplicates, which another check counts.
    """
    import numpy as np

    half = max(3, train.shape[1] // 2)
    mine, theirs = _steps(train), _steps(other)
    chunks = _chunks(mine, half)
    known, counts = np.unique(chunks, return_counts=True)
    whole = set(_chunks(mine, mine.shape[1])[:, 0].tolist())
    ends = _chunks(theirs[:, -half:], half)[:, 0]
    varied = np.array([len(set(row[-half:].tolist())) >= max(3, half // 3) for row in theirs])
    fresh = np.array([h not in whole for h in _chunks(theirs, theirs.shape[1])[:, 0].tolist()])
    shifted = np.isin(ends, chunks[:, :-1])  # at another place of the window, unlike equal ends of rows in a table
    hit = shifted & varied & fresh
    own = np.isin(chunks[:, -1], known[counts > 1])
    _, which, times = np.unique(chunks[:, -1], return_inverse=True, return_counts=True)
    return float(hit.mean()), float(own.mean()), half, float((times[which] > 1).mean())


def _steps(x: torch.Tensor):  # type: ignore[no-untyped-def]
    """One 64-bit number per step of each window, equal for equal steps."""
    import numpy as np

    values = x.contiguous().double().numpy().view(np.uint64) if x.is_floating_point() else x.long().numpy().astype(np.uint64)
    total = np.zeros(values.shape[:2], dtype=np.uint64)
    for k in range(values.shape[2]):
        total = (total ^ (values[:, :, k] + np.uint64(k + 1))) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(29)
    return total


def _chunks(steps, length: int):  # type: ignore[no-untyped-def]
    """A hash for each stretch of `length` steps, in order."""
    import numpy as np

    count = steps.shape[1] - length + 1
    total = np.zeros((steps.shape[0], count), dtype=np.uint64)
    for k in range(length):
        total = total * np.uint64(0x100000001B3) + steps[:, k : k + count]
    return total
