"""Class numbers that are fitted as if they were measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.contents import Table
    from trainrecipe.subjects.data import Data

LEAST, MOST = 4, 50
"""Number of different targets that can be judged."""
EACH = 5
ORDERED = 0.35
"""Rank correlation between the distance of two classes' inputs and the difference of their numbers, above which the numbers
mean something, if numbers that are dealt out at random reach it less often than `CHANCE`."""
CLEAR = 0.6
"""Such a correlation that needs no test; four classes have too few orders for one."""
CHANCE = 0.05
DEALS = 500
REGRESSION = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})


class RegressionOnClasses(Check):
    """A regression loss is given measurements, not the numbers of classes.

    What it checks
    --------------
    Targets of a regression loss that are a few consecutive whole numbers with one output: whether inputs of targets that
    lie closer together are more alike, as grades and counts are. If not, the numbers look like names.

    Why it matters
    --------------
    Between class 2 and class 4 a regression predicts class 3, and a mistake of seven counts as much worse than a mistake
    of one. The net spends itself on an order that does not exist.

    What healthy looks like
    -----------------------
    Cross-entropy over one output per class.

    What to do
    ----------
    Give the last layer one output per class and use `F.cross_entropy` with the class numbers as they are.

    When it is wrong
    ----------------
    Grades whose inputs do not show their order look like names; so this is a note.

    Source
    ------
    Fault catalogue 11.
    """

    title = "A regression loss is fitted to class numbers"
    rows = ("S18",)
    faults = (11,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence:
        import torch

        from trainrecipe.subjects.contents import training

        table = training(data)
        if table is None or table.y is None or not all(b.loss in REGRESSION for b in table.batches):
            return Evidence(missing="no regression loss on one target per example was seen")
        kinds, counts = torch.unique(table.y, return_counts=True)
        whole = bool((kinds == kinds.round()).all()) and LEAST <= len(kinds) <= MOST and bool((kinds.diff() == 1).all())
        if not whole or float(kinds[0]) not in (0.0, 1.0) or int(counts.min()) < EACH:
            return Evidence(missing="the targets are no few consecutive whole numbers from 0 or 1 on")
        order, chance = _order(table)
        return Evidence(
            {"kinds": len(kinds), "order": order, "chance": chance, "rows": table.rows}, place=table.batches[0].place
        )

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = f"{e['kinds']} targets, whose inputs differ in step with their numbers at a rank correlation of {e['order']:.2f}"
        if e["order"] >= CLEAR or (e["order"] >= ORDERED and e["chance"] <= CHANCE):
            return Ruling.passed(says)
        return Ruling.found(
            Severity.NOTE,
            f"The {e['kinds']} targets look like numbers of classes, and the loss treats them as measurements.",
            expected="a classification loss for classes without an order",
            observed=says,
            fix="Use one output per class with F.cross_entropy, unless the numbers are grades or counts.",
        )


def _order(table: Table) -> tuple[float, float]:
    """Rank correlation between the distance of class means and the difference of class numbers, and the share of random
    numberings that reach it."""
    import torch

    from trainrecipe.subjects.features import features

    assert table.y is not None
    x = features(table.x)
    x = (x - x.mean(0)) / x.std(0, correction=0).clamp_min(1e-6)
    kinds = torch.unique(table.y)
    means = torch.stack([x[table.y == k].mean(0) for k in kinds])
    apart = torch.cdist(means, means).double()
    rows, columns = torch.triu_indices(len(kinds), len(kinds), 1)
    steps = _standard(_ranks((kinds[rows] - kinds[columns]).abs()))
    dealt = torch.Generator().manual_seed(0)
    deals = [torch.arange(len(kinds)), *(torch.randperm(len(kinds), generator=dealt) for _ in range(DEALS))]
    ranks = _ranks(apart[rows, columns])
    place = torch.zeros(len(kinds), len(kinds), dtype=torch.double)
    place[rows, columns] = place[columns, rows] = _standard(ranks)
    reached = torch.stack([(place[deal[rows], deal[columns]] * steps).sum() for deal in deals])
    return float(reached[0]), float((reached[1:] >= reached[0] - 1e-9).double().mean())


def _standard(values: torch.Tensor) -> torch.Tensor:
    """Of mean 0 and length 1."""
    import torch

    centred = values - values.mean()
    return torch.nn.functional.normalize(centred, dim=0)


def _ranks(values: torch.Tensor) -> torch.Tensor:
    import torch

    _, index, counts = torch.unique(values, return_inverse=True, return_counts=True)
    middles: torch.Tensor = counts.cumsum(0).double() - (counts.double() - 1) / 2
    return middles[index]
