"""Training inputs that say nothing about their labels, although the data do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.contents import Table
    from trainrecipe.subjects.data import Data

MOVED = 0.5
"""Share of a batch's rows in another place than the loader gave them, from which input and label are apart."""
FAULTY = 0.01
"""Share of the examples beside another's label."""
ENOUGH = 60
"""Examples from which neighbours are asked."""
CHANCE = 3.0
"""Standard deviations above chance up to which neighbours tell nothing."""
TELLING = 8.0
"""Standard deviations above chance from which they do, and by at least this much:"""
GAIN = 0.2
ROWS = 2000
ALIKE = 0.95
"""Straightness of the quantiles of an array against those of what is fed, from which it may be its source."""
COLUMN = 0.999
"""Correlation from which an array is a column of another."""
MANY = 300
"""Rows of a table from which it is a note that neither neighbours nor a linear model tell its labels."""
LEAST_COLUMNS, ROWS_PER_COLUMN = 4, 8
"""Its columns, at least, and the rows for each of them."""
NUMBERED = 0.8
"""Share of examples with a whole number of their own from which these are no labels, but the examples' places in the data."""


class InputsAndLabelsUnrelated(Check):
    """Inputs belong to the labels that they are trained with.

    What it checks
    --------------
    Five things. Whether the rows of a batch are in another order than the loader gave them, while the labels are not; whether
    they are so in the loader's own batches, next to the examples of the data set.
    Whether the nearest neighbours of an example tell its label in one split, and in the other not at all; or in the first
    batches that were seen, and not in later ones. And whether
    arrays that the script holds (the raw data) relate inputs and labels while the training examples, as fed, do not.

    Why it matters
    --------------
    When inputs and labels are shuffled or joined apart, there is nothing to learn: the loss stays at the entropy of the
    labels, or the net learns the training set by heart. It looks like a hard problem.

    What healthy looks like
    -----------------------
    Neighbouring examples share their label more often than chance.

    What to do
    ----------
    Shuffle inputs and labels by the same indices, in one statement; join tables by key, not by position. Draw a few
    examples with their labels just before the net.

    When it is wrong
    ----------------
    Labels that are random on purpose (a test of memorising, a baseline with shuffled labels) look the same. Tasks that
    neighbours cannot tell in any split are left undecided: a hard task and a broken one look alike then. A large table whose
    labels a linear model cannot tell either is a note; parities look so as well, and made-up data without any relation.

    Source
    ------
    Fault catalogue 129; PyTorch and TensorFlow questions 41864333 and 46136553 on Stack Overflow.
    """

    title = "Training inputs and labels do not belong together"
    rows = ("S10", "D5")
    faults = (129,)
    price = Price.FREE
    explains = ("conflicting-labels", "unused-inputs", "overfit-one-batch", "input-independent-baseline")

    def measure(self, data: Data) -> Evidence:
        import torch

        from trainrecipe.subjects.contents import evaluations, training
        from trainrecipe.subjects.pairing import misplaced

        moved = [b for b in data.fed if b.trains and b.moved > MOVED]
        seen = [b for b in data.fed if b.trains]
        if len(moved) >= 2 and 2 * len(moved) >= len(seen):
            return Evidence({"moved": len(moved), "batches": len(seen)}, place=moved[0].place)
        lost = misplaced(data)
        if lost is not None and lost.rows >= FAULTY * lost.of:
            counts = {"collated": lost.batches, "batches": lost.known, "lost": lost.rows, "of": lost.of}
            return Evidence(counts, place=lost.place)
        train = training(data)
        if train is None or train.y is None or train.rows < ENOUGH:
            return Evidence(missing="fewer training examples with one label each were seen than it takes")
        if bool((train.y == train.y.round()).all()) and len(torch.unique(train.y)) > NUMBERED * train.rows:
            return Evidence(missing="the targets number the examples")
        steady = train.complete or train.repeats > 0
        own = _told(train)
        if own is None:
            return Evidence(missing="all training examples seen have one label")
        result: dict[str, Any] = {"own": own, "steady": steady, "rows": train.rows}
        if _at_chance(own):
            pairs = sum(f.fed for f in data.run.forwards) > sum(f.stepped for f in data.run.forwards)
            result["nothing"] = steady and not pairs and _says_nothing(train)
            result |= _elsewhere(data, train, evaluations(data))
        else:
            broken = next((t for t in evaluations(data) if _is_broken(train, t)), None)
            if broken is not None:
                return Evidence({**result, "evaluation": _told(broken)}, place=broken.place)
            drift = _drift(train)
            if drift is not None:
                return Evidence({**result, "early": drift[0], "late": drift[1]}, place=train.place)
        return Evidence(result, place=train.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        fix = "Shuffle or select inputs and labels by the same indices, in one statement."
        if "moved" in e.data:
            return Ruling.found(
                Severity.ERROR,
                "The rows of the inputs are in another order than the loader gave them, the labels are not.",
                expected="each input beside its own label",
                observed=f"in {e['moved']} of {e['batches']} batches most rows lie in another place",
                fix=fix,
            )
        if "collated" in e.data:
            return Ruling.found(
                Severity.ERROR,
                "The batches hold their examples in one order and the labels of these in another.",
                expected="each example beside the label that the data set gives with it",
                observed=f"in {e['collated']} of {e['batches']} batches the labels are those of their examples, but "
                f"{e['lost']} of {e['of']} stand beside another one",
                fix="In the function that makes batches, sort the pairs themselves, or labels = labels[order] as well.",
            )
        own = _text(e["own"])
        if "evaluation" in e.data:
            return _found("evaluation", "training", _text(e["evaluation"]), own, Severity.WARNING, fix)
        if "late" in e.data:
            return _found("later epochs", "the first one", _text(e["late"]), _text(e["early"]), Severity.WARNING, fix)
        if not _at_chance(e["own"]):
            return Ruling.passed(f"neighbours tell the label of training examples: {own}")
        if "other" not in e.data and e["nothing"]:
            return Ruling.found(
                Severity.NOTE,
                "The inputs of the training say nothing about its labels.",
                expected="neighbouring examples that share their label more often than chance, or a linear relation",
                observed=f"of {e['rows']} rows: {own}; nor does a linear model tell the labels of other examples",
                fix=f"If the data are not random on purpose: {fix[0].lower()}{fix[1:]} Compare a few rows with their source.",
            )
        if "other" not in e.data:
            return Ruling.unsure(f"neighbours do not tell the label of training examples ({own}); the task may be hard")
        if not e["steady"]:
            return Ruling.unsure(f"neighbours do not tell the label ({own}), but training inputs are drawn anew in each epoch")
        return _found("training", e["source"], own, _text(e["other"]), Severity.WARNING, fix)

    def draw(self, evidence: Evidence) -> Picture | None:
        if "own" not in evidence.data:
            return None
        values = {"training, as fed": evidence["own"][0], "chance": evidence["own"][1]}
        if "other" in evidence.data:
            values[evidence["source"]] = evidence["other"][0]
        return bars(
            "What neighbours tell about the label", "Agreement of an example's label with that of its neighbours.", values
        )


def _says_nothing(train: Table) -> bool:
    """Whether a table has many examples for its columns, and a linear model does not tell their labels either."""
    from trainrecipe.subjects.features import line_told

    x, y = train.x[:ROWS], train.y
    assert y is not None
    alone = all(len(b.inputs) == 1 for b in train.batches)  # pairs may tell together what none tells alone
    if not alone or x.ndim != 2 or not x.is_floating_point() or not LEAST_COLUMNS <= x.shape[1] <= len(x) / ROWS_PER_COLUMN:
        return False
    return len(x) >= MANY and bool(x.isfinite().all()) and line_told(x, y[:ROWS], bool(train.classes)) < 1 / len(x)


def _found(where: str, source: str, low: str, high: str, severity: Severity, fix: str) -> Ruling:
    return Ruling.found(
        severity,
        f"In {where} the inputs say nothing about the labels, and in {source} they do.",
        expected="neighbouring examples that share their label more often than chance, in both",
        observed=f"{where}: {low}; {source}: {high}",
        fix=fix,
        causes=(
            "inputs and labels are shuffled by two different permutations: look for two calls of shuffle or randperm",
            "a table was filtered, sorted or joined without its labels: compare a few rows with their source",
        ),
    )


def _text(told: list[float]) -> str:
    return f"{told[0]:.0%} told by neighbours, {told[1]:.0%} by chance"


def _at_chance(told: list[float]) -> bool:
    return told[0] <= told[1] + CHANCE * told[2] and told[0] <= told[1] + GAIN / 2


def _tells(told: list[float]) -> bool:
    return told[0] >= told[1] + max(TELLING * told[2], GAIN)


def _told(table: Table) -> list[float] | None:
    import torch

    from trainrecipe.subjects.features import told

    assert table.y is not None
    x, y = _unlike(table.x[:ROWS], table.y[:ROWS])
    if len(torch.unique(y)) < 2:
        return None
    return list(told(x, y, bool(table.classes)))


def _unlike(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One of each group of equal examples: copies, as of a rare class, tell each other's labels in any data."""
    import torch

    from trainrecipe.capture.hashing import row_hashes

    seen: dict[int, int] = {}
    for place, row in enumerate(row_hashes(x, len(x))):
        seen.setdefault(row, place)
    if not 0 < len(seen) < len(x):
        return x, y
    first = torch.tensor(list(seen.values()))
    return x[first.to(x.device)], y[first.to(y.device)]


def _drift(train: Table) -> tuple[list[float], list[float]] | None:
    """What neighbours tell in the first half of the batches and in the second, if they tell the labels in the first only."""
    import torch

    from trainrecipe.subjects.features import told

    halves = []
    seen = [b for b in train.batches if b.labels() and b.inputs]
    for part in (seen[: len(seen) // 2], seen[len(seen) // 2 :]):
        found = [(x, b.labels()) for b in part for x in b.inputs if x.shape[1:] == train.x.shape[1:]]
        if sum(len(y) for _, y in found) < ENOUGH:
            return None
        x = torch.cat([x for x, _ in found]).to(train.x.dtype)[:ROWS]
        y = torch.tensor([v for _, labels in found for v in labels], dtype=torch.float64)[:ROWS]
        if len(x) != len(y) or len(torch.unique(y)) < 2:
            return None
        halves.append(list(told(x, y, bool(train.classes))))
    early, late = halves
    return (early, late) if _tells(early) and _at_chance(late) else None


def _is_broken(train: Table, other: Table) -> bool:
    """Whether neither an evaluation split itself nor training neighbours tell its labels, while as many training examples
    tell theirs."""
    from trainrecipe.subjects.features import told

    if other.y is None or other.rows < ENOUGH or bool(other.classes) != bool(train.classes):
        return False
    own = _told(other)
    assert train.y is not None
    n = min(len(train.y), other.rows, ROWS)
    few = _unlike(train.x[:n], train.y[:n])
    if own is None or not _at_chance(own) or not _tells(list(told(*few, bool(train.classes)))):
        return False
    asked = other.x[:ROWS], other.y[:ROWS]
    return _at_chance(list(told(train.x[:ROWS], train.y[:ROWS], bool(train.classes), asked)))


def _elsewhere(data: Data, train: Table, others: list[Table]) -> dict[str, Any]:
    """Where inputs and labels of the same kind are related: an evaluation split, or arrays that the script holds."""
    for table in others:
        if table.y is not None and table.rows >= ENOUGH and bool(table.classes) == bool(train.classes):
            found = _told(table)
            if found is not None and _tells(found):
                return {"other": found, "source": "evaluation"}
    return _in_arrays(data, train)


def _in_arrays(data: Data, train: Table) -> dict[str, Any]:
    """Two arrays of equal length, distributed like the inputs and the labels that are fed, which are related."""
    from trainrecipe.subjects.contents import held_arrays
    from trainrecipe.subjects.features import told

    arrays = held_arrays(data)
    width = train.x[0].numel()
    inputs = [(n, a) for n, a in arrays if a.ndim > 1 and a[0].numel() == width and len(a) >= ENOUGH][:6]
    labels = [(n, a.reshape(-1).double()) for n, a in arrays if a.numel() == len(a) and len(a) >= ENOUGH][:10]
    for name, x in inputs:
        for label, y in labels:
            if len(x) == len(y) and _is_source(train, x, y) and not _is_column(x, y):
                found = list(told(*_unlike(x[:ROWS].to(train.x.dtype), y[:ROWS]), bool(train.classes)))
                if _tells(found):
                    return {"other": found, "source": f"the arrays {name} and {label}"}
    return {}


def _is_column(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether what is distributed like the labels is a column of the inputs, up to an offset and a factor."""
    a, b = x.reshape(len(x), -1).double(), y.double()
    a, b = a - a.mean(0), b - b.mean()
    norms = a.norm(dim=0) * b.norm()
    return bool(((a.T @ b).abs() > COLUMN * norms).logical_and(norms > 0).any())


def _is_source(train: Table, x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether arrays are distributed like what is fed, up to an offset and a factor of each column."""
    import torch

    from trainrecipe.subjects.features import straightness

    assert train.y is not None
    if train.classes:
        kinds, counts = torch.unique(y, return_counts=True)
        mine, own = torch.unique(train.y, return_counts=True)
        shares = own.double() / own.sum()
        if not torch.equal(kinds, mine) or float((counts.double() / counts.sum() - shares).abs().max()) > 0.1:
            return False
    elif float(straightness(y[:, None], train.y[:, None])) < ALIKE:
        return False
    a, b = x.reshape(len(x), -1).double(), train.x.reshape(train.rows, -1).double()
    a, b = (v[:, :: max(1, v.shape[1] // 256)] for v in (a, b))
    alive = (a.std(0) > 0) & (b.std(0) > 0)
    return bool(alive.any()) and float(straightness(a[:, alive], b[:, alive]).median()) > ALIKE
