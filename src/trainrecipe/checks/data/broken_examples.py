"""Examples with NaN or infinite numbers, examples without any content, and columns that are there twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.contents import Table
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Run

BLANK = 0.2
"""Share of examples that hold one number only, from which it is reported, if their labels differ."""
WIDE = 16
"""Numbers per example from which one without any variation is blank."""
VALUES = 10
"""Different values that a column must have before an equal one is a copy and no chance."""


class BrokenExamples(Check):
    """Every example holds finite numbers, and something at all.

    What it checks
    --------------
    The training examples as fed and, where the data set's items are what is fed, the rest of the data set within a few
    seconds: numbers that are NaN or infinite, in inputs or targets; examples all of whose numbers are equal, such as
    images that failed to load; columns of a table that are exact copies of one another.

    Why it matters
    --------------
    One NaN in one example turns every weight into NaN at the step that meets it, hours into a run. Blank examples with
    labels teach the label's frequency and nothing else.

    What healthy looks like
    -----------------------
    Finite numbers throughout, and next to no blank examples.

    What to do
    ----------
    Find the source of the missing values and impute or drop them; make a failing image loader raise instead of giving
    zeros.

    When it is wrong
    ----------------
    Models that replace NaN themselves are recognised by a loss that stays finite on such batches, if one was seen. Blank
    examples with one label (empty background) are not reported; copies of a column are a note.

    Source
    ------
    Fault catalogue 137; RECIPE D4.
    """

    title = "Examples hold NaN, infinity, or nothing at all"
    rows = ("D4",)
    faults = (137,)
    price = Price.FREE
    explains = ("non-finite", "inputs-and-labels-unrelated", "conflicting-labels", "overfit-one-batch")

    def measure(self, data: Data) -> Evidence:
        from trainrecipe.subjects.contents import training

        table = training(data)
        if table is None:
            return Evidence(missing="no training inputs were seen")
        return Evidence(
            {
                "rows": table.rows,
                "seen": table.seen,
                **_missing(table),
                "handled": _handled(data.run, table),
                **_blank(table),
                "copies": _copies(table.x),
            },
            place=table.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        broken = e["inputs"] + e["targets"]
        if broken and e["handled"] != "yes":
            where = "inputs" if e["inputs"] else "targets"
            met = "and the loss was not finite on such a batch" if e["handled"] == "no" else "none of which was fed yet"
            return Ruling.found(
                Severity.ERROR if e["handled"] == "no" else Severity.WARNING,
                f"{broken} of {e['rows']} training examples hold NaN or infinite numbers in their {where}, {met}.",
                expected="finite numbers in every example",
                observed=f"{e['inputs']} examples with such inputs{e['columns']}, {e['targets']} with such targets",
                fix="Impute or drop these examples before training, and find out where the values get lost.",
                causes=("missing values in the source, a division by zero or the logarithm of zero in preprocessing",),
            )
        if e["blank"] >= BLANK * e["rows"] and e["blank_labels"] > 1:
            return Ruling.found(
                Severity.WARNING,
                f"{e['blank']} of {e['rows']} training examples are blank: all their numbers are equal.",
                expected="examples with content",
                observed=f"they bear {e['blank_labels']} different labels",
                fix="Look at what the loader does when a file cannot be read, and at casts that round everything to zero.",
            )
        if e["copies"]:
            pairs = ", ".join(f"{a} and {b}" for a, b in e["copies"][:4])
            return Ruling.found(
                Severity.NOTE,
                f"Columns {pairs} of the inputs are exact copies.",
                expected="columns that tell something new",
                observed=f"{len(e['copies'])} pairs of equal columns in {e['rows']} examples",
                fix="Drop one of each pair, and check whether another column was meant.",
            )
        return Ruling.passed(f"{e['rows']} training examples are finite, {e['blank']} of them without variation")


def _missing(table: Table) -> dict[str, object]:
    flat = table.x.reshape(table.rows, -1)
    bad = ~flat.isfinite() if flat.is_floating_point() else flat != flat
    columns = bad.any(0).nonzero().flatten().tolist()
    named = f" (columns {', '.join(map(str, columns[:5]))})" if 0 < len(columns) <= 5 and table.x.ndim == 2 else ""
    targets = 0 if table.y is None else int((~table.y.isfinite()).sum())
    return {"inputs": int(bad.any(1).sum()), "targets": targets, "columns": named}


def _handled(run: Run, table: Table) -> str:
    """Whether the loss stayed finite on batches with such numbers: `yes`, `no`, or `unknown` where none was fed."""
    import math

    hit = {b.step for b in table.batches if _has(b.inputs) or (b.target is not None and _has([b.target]))}
    if not hit:
        return "unknown"
    losses = [v for step, v in run.losses if step in hit]
    return "yes" if losses and all(math.isfinite(v) for v in losses) else "no"


def _has(tensors: list[torch.Tensor]) -> bool:
    return any(t.is_floating_point() and not bool(t.isfinite().all()) for t in tensors)


def _blank(table: Table) -> dict[str, int]:
    import torch

    flat = table.x.reshape(table.rows, -1)
    if flat.shape[1] < WIDE or not flat.is_floating_point():
        return {"blank": 0, "blank_labels": 0}
    blank = (flat == flat[:, :1]).all(1)
    labels = 0 if table.y is None else len(torch.unique(table.y[blank]))
    return {"blank": int(blank.sum()), "blank_labels": labels}


def _copies(x: torch.Tensor) -> list[list[int]]:
    """Pairs of equal columns of a table."""
    import torch

    from trainrecipe.subjects.contents import hashes

    if x.ndim != 2 or not x.is_floating_point() or x.shape[1] > 4096 or len(x) < 3 * VALUES:
        return []
    first: dict[int, int] = {}
    pairs = []
    for c, h in enumerate(hashes(x.T.contiguous())):
        if h in first and len(torch.unique(x[:, c])) >= VALUES:
            pairs.append([first[h], c])
        first.setdefault(h, c)
    return pairs[:20]
