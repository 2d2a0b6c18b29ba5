"""A column of the inputs that is the target itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, points

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.contents import Table
    from trainrecipe.subjects.data import Data

ENOUGH = 60
"""Examples from which an exact relation is no chance."""
OTHERS = 3
"""Other columns that must vary: with fewer the task may be to learn that very relation."""
EXACT = 1e-9
"""What is left of the variance when a column is a copy of the target up to scale and rounding in float32."""
KINDS = 20
"""Different targets that must be seen of a number."""
EACH = 5
"""Examples of each class that must be seen."""
TOLD = 0.8
"""Share of the examples, of all and of each class, that columns set for one class only must tell."""
MANY, GAP, NEARLY = 50, 0.1, 0.9
"""Examples of either class, the part of a column's span that must be empty between them, and the area under the ROC curve
that no other column may reach."""
WIDEST = 512
"""Columns of inputs in which one is looked for that rises with the target."""
MOST = 0.25
"""Share of the columns that may be copies; more, and it is how this task is made."""


class TargetInFeatures(Check):
    """No column of the inputs is the target.

    What it checks
    --------------
    Each column of the inputs as fed (of a sequence, each feature of each step) against the target: numbers that are the
    target up to an offset and a factor, to the last digit; in tables also columns with one value per class, and a group of
    columns that is the class in one-hot code. A single column whose values of two classes lie apart, while no other column
    nearly tells the class, is a note; so is one that rises, or falls, with the target without an exception, as a price does
    with its logarithm.

    Why it matters
    --------------
    The model needs nothing but that column. Scores are perfect, and on data where the answer is not known yet the column
    is empty: a column that was not dropped, an encoded copy of the label, a sum that contains it.

    What healthy looks like
    -----------------------
    Every column tells something, none tells everything.

    What to do
    ----------
    Drop the column, and ask of each of the others whether its value is known at the moment of the prediction.

    When it is wrong
    ----------------
    Toy tasks in which the target is one of the inputs by construction look the same. Tasks with fewer than three other
    columns, and those in which many columns are copies (ramps, autoencoders), are left out, as is a strong but inexact
    feature. A measurement may part two classes by nature.

    Source
    ------
    Fault catalogue 144; RECIPE D8.
    """

    title = "The target is among the inputs"
    rows = ("D8",)
    faults = (144,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence:
        import torch

        from trainrecipe.subjects.contents import training

        table = training(data)
        if table is None or table.y is None or table.x.ndim < 2 or not table.x.is_floating_point():
            return Evidence(missing="no real numbers with one target per example were fed")
        if table.x.ndim > 2 and table.classes:
            return Evidence(missing="the inputs are no table, and the targets are classes")
        if table.rows < ENOUGH or table.x[0].numel() > 4096:
            return Evidence(missing="too few examples or too many columns")
        x, y = table.x.double().flatten(1), table.y
        varying = x.std(0, correction=0) > 0
        copies, kind = _classes(x, table) if table.classes else (_copies(x, y), "a copy")
        if not table.classes and not copies:
            copies, kind = _ordered(x, y), "ordered"
        if table.classes and not copies:
            copies, kind = _telltales(x, table), "telltale"
        if table.classes and not copies:
            copies, kind = _parted(x, table), "parted"
        copies = [c for c in copies if bool(varying[c])]
        others = int(varying.sum()) - len(copies)
        shown = copies[:1]
        return Evidence(
            {
                "copies": copies[:50],
                "kind": kind,
                "columns": int(varying.sum()),
                "others": others,
                "rows": table.rows,
                "kinds": len(torch.unique(y)),
                "x": [float(v) for v in x[:300, shown[0]]] if shown else [],
                "y": [float(v) for v in y[:300]] if shown else [],
            },
            place=table.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["copies"]:
            return Ruling.passed(f"none of {e['columns']} columns is the target ({e['rows']} examples)")
        if e["others"] < OTHERS or (
            e["kind"] not in ("one-hot", "telltale", "parted") and len(e["copies"]) > max(1, MOST * e["columns"])
        ):
            return Ruling.unsure(
                f"{len(e['copies'])} of {e['columns']} columns are the target; that may be what this task is made of"
            )
        named = ", ".join(str(c) for c in e["copies"][:6])
        what = {
            "one-hot": f"columns {named} are the class in one-hot code",
            "telltale": f"columns {named} are set for one class only, one for each, and tell it for nearly all examples",
            "parted": f"column {named} is low for one class and high for the other, with nothing between them, and no other "
            "column comes near it",
            "ordered": f"column {named} puts the examples in the very order of the target",
            "a code": f"column {named} has one value for each class",
            "a copy": f"column {named} is the target itself, up to an offset and a factor",
        }[e["kind"]]
        return Ruling.found(
            Severity.NOTE if e["kind"] in ("parted", "ordered") else Severity.WARNING,
            f"The answer is among the inputs: {what}.",
            expected="columns that are known without the target",
            observed=f"this holds exactly in all {e['rows']} examples, with {e['kinds']} different targets",
            fix="Drop that column before the inputs are made; check how it was computed.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence["copies"]:
            return None
        name = f"column {evidence['copies'][0]}"
        return points(
            "Target against one column",
            "All dots on one line: the column tells the target.",
            evidence["x"],
            evidence["y"],
            x_title=name,
            y_title="target",
        )


def _copies(x: torch.Tensor, y: torch.Tensor) -> list[int]:
    """Columns that are the target up to an offset and a factor."""
    import torch

    if len(torch.unique(y)) < KINDS:
        return []
    a, b = x - x.mean(0), (y - y.mean())[:, None]
    left = 1 - (a * b).sum(0).square() / (a.square().sum(0) * b.square().sum()).clamp_min(1e-300)
    return [int(c) for c in (left.abs() < EXACT).nonzero().flatten()]


def _ordered(x: torch.Tensor, y: torch.Tensor) -> list[int]:
    """Columns that rise, or fall, with the target throughout: its logarithm, its square, the price it was the logarithm of."""
    import torch

    if len(torch.unique(y)) < MANY or y.ndim != 1 or x.shape[1] > WIDEST:
        return []
    rows = y.argsort()
    steps = x[rows].diff(dim=0)
    kinds = [len(torch.unique(x[:, c])) for c in range(x.shape[1])]
    one_way = (steps >= 0).all(0) | (steps <= 0).all(0)
    return [int(c) for c in one_way.nonzero().flatten() if kinds[c] >= MANY]


def _telltales(x: torch.Tensor, table: Table) -> list[int]:
    """A column of zeros and ones for each class that is set for examples of this class only, all but a few examples among
    them: what is known only after the answer, such as an account that is closed."""
    import torch

    y = table.y
    assert y is not None
    binary = ((x == 0) | (x == 1)).all(0).nonzero().flatten()
    found, known = [], torch.zeros(len(y), dtype=torch.bool)
    for kind in table.classes:
        own = y == kind
        pure = [(int((x[:, c] == 1).sum()), int(c)) for c in binary if not bool((x[~own, c] == 1).any())]
        most, column = max(pure, default=(0, -1))
        if most < max(EACH, TOLD * int(own.sum())):
            return []
        found.append(column)
        known |= x[:, column] == 1
    return found if float(known.double().mean()) >= TOLD else []


def _parted(x: torch.Tensor, table: Table) -> list[int]:
    """The one column whose values of two classes lie apart, with a gap between them, where no other nearly tells the class:
    what was counted or charged after the answer."""
    import torch

    y = table.y
    assert y is not None
    if len(table.classes) != 2 or x.shape[1] < OTHERS + 1:
        return []
    first, second = (x[y == kind] for kind in table.classes)
    if min(len(first), len(second)) < MANY:
        return []
    gaps = torch.maximum(second.min(0).values - first.max(0).values, first.min(0).values - second.max(0).values)
    span = (x.max(0).values - x.min(0).values).clamp_min(1e-300)
    apart = (gaps > GAP * span).nonzero().flatten().tolist()
    if len(apart) != 1:
        return []
    rest = [_told(x[:, c], y == table.classes[0]) for c in range(x.shape[1]) if c != apart[0]]
    return apart if max(rest, default=1.0) < NEARLY else []


def _told(column: torch.Tensor, first: torch.Tensor) -> float:
    """The area under the ROC curve of one column, whichever way round (Mann and Whitney 1947; ties at half)."""
    import torch

    _, place, counts = torch.unique(column, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[place].double()
    n, m = int(first.sum()), int((~first).sum())
    area = (float(ranks[first].sum()) - n * (n + 1) / 2) / (n * m)
    return max(area, 1 - area)


def _classes(x: torch.Tensor, table: Table) -> tuple[list[int], str]:
    """Columns with one value per class, or with one value for one class and one for all others, for every class."""
    import torch

    y = table.y
    assert y is not None
    kinds, index, counts = torch.unique(y, return_inverse=True, return_counts=True)
    if len(kinds) < 2 or int(counts.min()) < EACH:
        return [], ""
    high = torch.stack([x[index == k].max(0).values for k in range(len(kinds))])
    low = torch.stack([x[index == k].min(0).values for k in range(len(kinds))])
    constant = (high == low).all(0)  # within each class
    codes = [int(c) for c in constant.nonzero().flatten() if len(torch.unique(high[:, c])) == len(kinds)]
    if codes and len(kinds) > 1 and not (len(kinds) == 2 and len(codes) == 2):
        return codes, "a code"
    one_hot: dict[int, int] = {}
    for c in constant.nonzero().flatten().tolist():
        levels, places = torch.unique(high[:, c], return_inverse=True)
        if len(levels) == 2:
            alone = [k for k in range(len(kinds)) if int((places == places[k]).sum()) == 1]
            one_hot.update(dict.fromkeys(alone, c))
    return (sorted(set(one_hot.values())), "one-hot") if len(one_hot) == len(kinds) else ([], "")
