"""More outputs than there are classes in the training data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data

WIDE = 2.0
"""Times as many outputs as classes, from which it is said."""
EACH = 5
"""Training examples per class that occurs, so that those of others would have been seen."""


class UnusedClasses(Check):
    """Every output of a classifier stands for a class that occurs in the training data.

    What it checks
    --------------
    The labels of the whole training set against the number of outputs given to cross-entropy: labels that begin at 1 with
    one output too many, and far more outputs than classes.

    Why it matters
    --------------
    Outputs without a class start with a share of the probability and have to be unlearnt; labels that begin at 1 often mean
    that the first and the last class are mixed up somewhere else.

    What healthy looks like
    -----------------------
    Labels 0 to C-1, and C outputs.

    What to do
    ----------
    Subtract 1 from labels that begin at 1; give the last layer as many outputs as there are classes.

    When it is wrong
    ----------------
    A head that is kept for classes to come, a vocabulary, a background class that this set lacks, or a small part of the
    data for a try look the same; hence never more than a note.

    Source
    ------
    Fault catalogue 117.
    """

    title = "Outputs stand for classes that never occur"
    rows = ("S18", "D2")
    faults = (117,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence:
        from trainrecipe.subjects.contents import training

        table = training(data)
        if table is None or table.y is None or not table.classes:
            return Evidence(missing="no class labels were seen with the training inputs")
        if not table.complete and not (table.loader is None and table.rows >= 200):
            return Evidence(missing="not all training labels are known")
        widths = {b.outputs[1] for b in table.batches if b.loss in ("cross_entropy", "nll_loss") and len(b.outputs) == 2}
        if len(widths) != 1:
            return Evidence(missing="the labels do not go into a cross-entropy over one set of classes")
        if not table.x.is_floating_point():
            return Evidence(missing="the inputs are tokens, so the outputs may be a vocabulary")
        kinds = [k for k in table.classes if k >= 0]
        return Evidence(
            {"outputs": widths.pop(), "classes": len(kinds), "least": min(kinds), "most": max(kinds), "rows": table.rows},
            place=table.batches[0].place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = f"{e['classes']} classes occur in {e['rows']} training examples, {e['outputs']} outputs"
        shifted = e["least"] == 1 and e["most"] == e["outputs"] - 1 and e["classes"] == e["outputs"] - 1 and e["classes"] > 1
        wide = e["outputs"] >= WIDE * e["classes"] and e["outputs"] - e["classes"] >= 3 and e["classes"] > 1
        if e["rows"] < EACH * e["outputs"] and not shifted:
            return Ruling.passed(says + "; too few examples to expect all")
        if not (shifted or wide):
            return Ruling.passed(says)
        return Ruling.found(
            Severity.NOTE,
            f"The labels begin at 1, and output 0 stands for no class ({e['outputs']} outputs)."
            if shifted
            else f"The net has {e['outputs']} outputs for {e['classes']} classes.",
            expected="one output per class, and labels from 0 to C-1",
            observed=f"labels from {e['least']} to {e['most']}: {says}",
            fix="Subtract 1 from the labels and drop one output." if shifted else "Give the last layer one output per class.",
        )
