"""Normalisation by statistics that evaluation examples took part in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.data import Data

EXACT = 1e-4
"""How near to 0 and 1 the mean and the spread of standardised examples are: rounding errors of float32 are below it, and a
sample of a hundred examples misses them by a tenth."""
FEATURES = 0.9
"""Share of the features that vary, for which it must hold."""
FEW = 10
RANGED = 4
"""Features with a single largest value, from which a common range is no chance."""
LAGS = 0.5
"""Share of the first feature's values that the second has, too, beyond which the features are lags of one series."""
LOOSE = 0.02
"""The same for single examples, whose deviation may be guarded by a small constant."""


class StatisticsFromEvaluation(Check):
    """Evaluation examples take no part in the statistics that the inputs are normalised with.

    What it checks
    --------------
    Where all examples of both splits are known: whether the evaluation examples alone have a mean of 0 and a standard
    deviation of 1 in each feature up to rounding, so that they were normalised by their own statistics; or the training and
    evaluation examples together have it while the training examples alone have not, so that statistics were computed over
    both. By chance neither happens. The same for scaling between a minimum and a maximum, told by features whose maximum
    belongs to one example: where the training set's extremes are used, other examples never reach them exactly.

    Why it matters
    --------------
    An example's input then depends on which others it is evaluated with, and is scaled differently from what the model
    learnt. Statistics over all data leak a little of the evaluation set into training; scores are slightly too good.

    What healthy looks like
    -----------------------
    The training examples have exactly mean 0 and deviation 1, the evaluation examples nearly.

    What to do
    ----------
    `scaler.fit(x_train)`, then `scaler.transform` for every split; the same with means written out by hand.

    When it is wrong
    ----------------
    Data that come normalised as a whole from elsewhere look as if the script had done it. Splits of which only a part was
    seen are not judged. With many examples the harm is small: statistics over
    everything are a note.

    Source
    ------
    Fault catalogue 143.
    """

    title = "Evaluation examples take part in the statistics of normalisation"
    rows = ("D13",)
    faults = (143,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.contents import evaluations, training

        train = training(data)
        if train is None or not train.x.is_floating_point() or train.x.ndim < 2 or train.x[0].numel() < 2:
            return Evidence(missing="the training inputs are not rows of real numbers")
        if any(b.outputs and b.outputs[0] < b.rows for b in train.batches):
            return Evidence(missing="the loss takes some of the rows only, as of the nodes of one graph: rows are no examples")
        if _row_by_row(train.x):
            return Evidence(missing="each example is normalised by itself")
        others = [t for t in evaluations(data) if t.x.shape[1:] == train.x.shape[1:] and t.rows >= FEW]
        if not others:
            return Evidence(missing="no evaluation on inputs of the same shape was seen")
        import torch

        whole = torch.cat([train.x, *(t.x for t in others)])
        trained = standardised(train.x)
        shared: dict[str, Any] = {"train": trained, "whole": standardised(whole), "train_off": _off(train.x)}
        shared |= {"rows": len(whole)}
        shared |= {"train_stretched": stretched(train.x), "whole_stretched": stretched(whole)}
        return [
            Evidence(
                {**shared, "own": standardised(t.x), "own_stretched": stretched(t.x), "examples": t.rows, "off": _off(t.x)},
                place=t.place,
            )
            for t in others
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["own"]:
            return Ruling.found(
                Severity.WARNING,
                f"The {e['examples']} evaluation examples are normalised by their own mean and standard deviation.",
                expected="evaluation inputs normalised by the training set's statistics, and so a mean that is only near 0",
                observed=f"mean 0 and deviation 1 in each feature up to {e['off']:.1g}",
                fix="Fit the scaler on the training examples only, and use transform (not fit_transform) for the others.",
            )
        if e["own_stretched"] and not e["whole_stretched"]:
            low, high = e["own_stretched"]
            return Ruling.found(
                Severity.WARNING,
                f"The {e['examples']} evaluation examples are scaled between their own smallest and largest values.",
                expected="evaluation inputs scaled by the training set's range, which other examples do not reach exactly",
                observed=f"from exactly {low:.3g} to exactly {high:.3g} in each feature, by a single example",
                fix="Fit the scaler on the training examples only, and use transform (not fit_transform) for the others.",
            )
        if e["whole_stretched"] and not e["train_stretched"]:
            return Ruling.found(
                Severity.NOTE,
                "The range that the inputs are scaled by was computed over training and evaluation examples together.",
                expected="the range of the training examples only",
                observed=f"all {e['rows']} examples together reach exactly from {e['whole_stretched'][0]:.3g} to "
                f"{e['whole_stretched'][1]:.3g} in each feature, the training examples alone do not",
                fix="Split first, then fit the scaler on the training examples.",
            )
        if e["whole"] and not e["train"]:
            return Ruling.found(
                Severity.NOTE,
                "The statistics of normalisation were computed over training and evaluation examples together.",
                expected="statistics of the training examples only",
                observed=f"all {e['rows']} examples together have mean 0 and deviation 1 up to rounding, the training examples "
                f"alone are off by up to {e['train_off']:.2g}",
                fix="Split first, then fit the scaler on the training examples.",
            )
        return Ruling.passed(
            f"the evaluation examples are off mean 0 and deviation 1 by up to {e['off']:.2g}, as those of another split are"
        )


def _moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from trainrecipe.subjects.features import axes_of

    values = x.double()
    axes = axes_of(values)
    return values.mean(axes).flatten(), values.std(axes, correction=0).flatten()


def _row_by_row(x: torch.Tensor) -> bool:
    """Whether most examples have mean 0 and deviation 1 on their own, over everything or per channel."""
    rows = x[:256].double().reshape(min(len(x), 256), -1)
    near = (rows.mean(1).abs() < LOOSE) & ((rows.std(1, correction=0) - 1).abs() < LOOSE)
    if x.ndim > 2:
        inner = x[:256].double().flatten(2)
        for axis in (1, 2):
            near |= ((inner.mean(axis).abs() < LOOSE) & ((inner.std(axis, correction=0) - 1).abs() < LOOSE)).all(1)
    return bool(near.double().mean() > 0.5)


def _off(x: torch.Tensor) -> float:
    mean, spread = _moments(x)
    alive = spread > 0
    return float(mean[alive].abs().maximum((spread[alive] - 1).abs()).max()) if bool(alive.any()) else 0.0


def standardised(x: torch.Tensor) -> bool:
    """Whether each feature has mean 0 and deviation 1 up to rounding, by either definition of the deviation."""
    mean, spread = _moments(x)
    alive = spread > 0
    if int(alive.sum()) < 1 or x.shape[0] < FEW:
        return False
    n = x.numel() / max(1, len(mean))
    one = ((spread - 1).abs() < EXACT) | ((spread * (n / (n - 1)) ** 0.5 - 1).abs() < EXACT)
    good = (mean.abs() < EXACT) & one
    return bool(good[alive].double().mean() >= FEATURES)


def stretched(x: torch.Tensor) -> tuple[float, float] | None:
    """The range, if all features have exactly the same smallest and the same largest value, up to rounding.

    Only features count whose largest value belongs to one example, in `RANGED` of them at least: pixels, counts and flags
    reach the same extremes in every sample.
    """
    import torch

    if x.ndim != 2 or x.shape[0] < FEW:
        return None
    values = x.double()
    if bool(torch.isin(values[:, 0], values[:, 1]).double().mean() > LAGS):
        return None
    high, low = values.amax(0), values.amin(0)
    alone = ((values == high).sum(0) == 1) & (high > low)
    if int(alone.sum()) < RANGED:
        return None
    top, bottom = float(high[alone].median()), float(low[alone].median())
    near = EXACT * 0.1 * max(abs(top), abs(bottom))
    same = ((high[alone] - top).abs() <= near) & ((low[alone] - bottom).abs() <= near)
    return (bottom, top) if bool(same.double().mean() >= FEATURES) else None
