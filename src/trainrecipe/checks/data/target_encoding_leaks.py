"""A column of the inputs that was computed from the targets of the very rows that it stands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.data import Data

ENOUGH = 100
"""Examples of training, and of evaluation, from which slopes are compared."""
MOST = 2000
"""Columns that are looked at."""
TELLS = 0.3
"""Correlation with the target in training below which a column is of little use in any case."""
KEPT = 0.7
"""Share of its slope that a column must keep in evaluation."""
Z = 6.0
"""Standard errors between the slopes: below one in a million for 2,000 columns."""
TOO_GOOD = 0.25
"""Spread of the groups' mean targets about the line, relative to what their sizes make it: 1 by chance; with 40 groups it is
below a quarter once in a hundred million."""
GROUPS = 40
EXACT = 1e-4
FEW_GROUPS = 10
"""Groups that are enough where their means lie on the line exactly, as without smoothing."""
NOISE = 0.05
"""Share of the target's variance that must be left inside the groups; else the column simply tells the target."""


class TargetEncodingLeaks(Check):
    """A column that encodes the target's mean was not fitted on the rows that it is trained with.

    What it checks
    --------------
    Columns of a table whose relation to the target (the slope of a line) is strong in training and much weaker in evaluation.
    Of these, rows with one and the same value are taken together: the mean targets of such groups scatter about the line,
    by their spread inside and their sizes. Where they scatter far less than that, the column was made of these very targets.

    Why it matters
    --------------
    The mean target of a city with two rows holds half of each row's own answer. The network relies on the column more than
    it deserves, and on new rows the answer is not in it. The training loss looks excellent.

    What healthy looks like
    -----------------------
    The line has the same slope in training and in evaluation.

    What to do
    ----------
    Encode each fold with the mean of the other folds (`sklearn.preprocessing.TargetEncoder.fit_transform` does so).

    When it is wrong
    ----------------
    A column with a value of its own in each row cannot be told from one that shifts between the splits, so nothing is said;
    nor with many rows in each group, where the leak does no harm; nor where most training rows were not seen. Targets that
    are classes are only recognised without smoothing.

    Source
    ------
    Micci-Barreca, A preprocessing scheme for high-cardinality categorical attributes, 2001; fault catalogue 144.
    """

    title = "A column of the inputs was computed from the targets beside it"
    rows = ("D8",)
    faults = (144,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.contents import evaluations, training

        train = training(data)
        if train is None or train.y is None or train.x.ndim != 2 or not train.x.is_floating_point():
            return Evidence(missing="no table of real numbers with one target per example was fed")
        others = [t for t in evaluations(data) if t.y is not None and t.x.shape[1:] == train.x.shape[1:] and t.rows >= ENOUGH]
        if not others or train.rows < ENOUGH or train.x.shape[1] > MOST:
            return Evidence(missing=f"fewer than {ENOUGH} examples of training and evaluation, or more than {MOST} columns")
        kinds: list[int | None] = [*train.classes] if 2 < len(train.classes) <= 10 else [None]
        x, found = train.x.double(), []
        for other in others:
            assert other.y is not None
            for kind in kinds:
                y, z = ((v == kind).double() if kind is not None else v for v in (train.y, other.y))
                own, theirs = _lines(x, y), _lines(other.x.double(), z)
                steep = (own[2].abs() > TELLS) & (theirs[0] * own[0].sign() < KEPT * own[0].abs())
                apart = (own[0] - theirs[0]).abs() > Z * (own[1].square() + theirs[1].square()).sqrt()
                for c in (steep & apart).nonzero().flatten().tolist():
                    near = _scatter(x[:, c].float(), y)
                    values = {"column": c, "train": float(own[2][c]), "evaluation": float(theirs[2][c])}
                    share = float(theirs[0][c] / own[0][c])
                    found.append(Evidence({**values, "kept": share, "rows": train.rows, **near}, place=train.place))
        leaks = [e for e in found if _is_leak(e)]
        return leaks[:3] or found[:3] or Evidence({"column": None, "columns": x.shape[1]})

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["column"] is None:
            return Ruling.passed(f"{e['columns']} columns are related to the target in evaluation as in training")
        seen = f"its correlation with the target is {e['train']:.2f} in training and {e['evaluation']:.2f} in evaluation"
        if not _is_leak(e):
            return Ruling.unsure(
                f"column {e['column']} tells more in training than in evaluation: {seen}; the splits may differ"
            )
        return Ruling.found(
            Severity.WARNING,
            f"Column {e['column']} was made of the targets of the training rows: {seen}.",
            expected="a column that tells as much about new rows as about those it is trained with",
            observed=f"{e['groups']} groups of rows share a value; their mean targets lie {1 / max(e['scatter'], 1e-4):.0f} "
            "times closer to a line than means of so many rows can by chance (in squares)",
            fix="Compute the column for each fold of the training rows from the targets of the other folds.",
            causes=("a category is encoded by its mean target, fitted on the rows that it encodes",),
        )


def _is_leak(evidence: Evidence) -> bool:
    scatter, groups = evidence["scatter"], evidence["groups"]
    return scatter is not None and ((scatter < TOO_GOOD and groups >= GROUPS) or (scatter < EXACT and groups >= FEW_GROUPS))


def _lines(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Slope of the target over each column, its standard error, and the correlation; zero where a column is constant."""
    a, b = x - x.mean(0), y - y.mean()
    square = a.square().sum(0)
    alive = (square > 1e-12 * x.square().sum(0).clamp_min(1e-300)) & bool(b.any())
    slope = (a * b[:, None]).sum(0) / square.clamp_min(1e-300)
    left = (b[:, None] - a * slope).square().sum(0) / max(1, len(y) - 2)
    error = (left / square.clamp_min(1e-300)).sqrt()
    correlation = slope * (square / b.square().sum().clamp_min(1e-300)).sqrt()
    return slope * alive, error * alive, correlation * alive


def _scatter(column: torch.Tensor, y: torch.Tensor) -> dict[str, float | int | None]:
    """How far the mean targets of rows with equal values lie from a line, relative to what chance makes of so many rows."""
    import torch

    values, index, counts = torch.unique(column, return_inverse=True, return_counts=True)
    groups, sizes = len(values), counts.double()
    if groups < FEW_GROUPS or int((counts > 1).sum()) < FEW_GROUPS / 2:
        return {"groups": groups, "scatter": None}
    means = torch.zeros(groups, dtype=torch.double).index_add_(0, index, y.double()) / sizes
    inside = float((y - means[index]).square().sum() / (sizes - 1).sum().clamp_min(1))
    if inside < NOISE * float(y.var()):
        return {"groups": groups, "scatter": None}
    weight, v = sizes / sizes.sum(), values.double()
    a, b = v - (weight * v).sum(), means - (weight * means).sum()
    slope = (weight * a * b).sum() / (weight * a * a).sum().clamp_min(1e-300)
    spread = float((sizes * (b - slope * a).square()).sum()) / (groups - 2)
    return {"groups": groups, "scatter": spread / inside}
