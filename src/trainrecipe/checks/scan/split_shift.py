"""Splits whose examples can be told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

SURE = 0.01
WARNED = 0.95
"""AUC from which it is a warning: nearly every example can be told (Cohen's d of 2.3). Less is common and often meant: the
first 1400 of scikit-learn's digits and the rest, which other people wrote, reach 0.77, two parts of one photograph 0.92."""
NOTED = 0.556
"""AUC below which a difference is too small to matter, however certain: a small effect (d of 0.2)."""


class SplitShift(Check):
    """No classifier can tell which split an example is from.

    What it checks
    --------------
    The classifier two-sample test: a linear model and nearest neighbours, cross-validated, predict whether an example is from
    training or from evaluation, out of everything that was measured of it. The p-value is of permuted splits. Then each
    measurement on its own, corrected for their number, to name what differs.

    Why it matters
    --------------
    A score measures performance on data like the evaluation set. Where that differs from the training data, by accident or
    by preprocessing, it answers another question than was meant.

    What healthy looks like
    -----------------------
    An AUC around 0.5, as of a random split.

    What to do
    ----------
    Look at the measurements named. If the split was meant to be random, draw it again from the shuffled whole; if sources
    differ, decide which of them the model is for; if preprocessing differs, mend that.

    When it is wrong
    ----------------
    Splits by time, place or person are meant to differ: where a split is one stretch of a data set, where the examples are a
    series, or where a key names groups that are on one side only, it is a note. Splits read with random transforms are not
    compared. Differences that no measurement shows are not seen.

    Source
    ------
    Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", 2017; RECIPE D10.
    """

    title = "Training and evaluation examples come from different distributions"
    rows = ("D10", "D13")
    faults = (94,)
    price = Price.TRAIN

    def measure(self, scan: Scan) -> Evidence | list[Evidence]:
        from trainrecipe.dataset.comparing import compared

        train = scan.training()
        if train is None or not scan.evaluations():
            return Evidence(missing="there is no split to train on and one to evaluate on")
        if train.random:
            return Evidence(missing="training examples are changed at random as they are read, so that they differ by intent")
        return [compared(scan, split) for split in scan.evaluations()]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["auc"] is None:
            return Ruling.skipped(f"{e['split']}: {e['reason']}")
        interval = f"{e['auc']:.2f} ({e['low']:.2f} to {e['high']:.2f})"
        says = f"examples of {e['split']} can be told from training examples with an AUC of {interval}"
        if e["p"] > SURE or e["low"] < NOTED:
            return Ruling.passed(f"{says}: no more than chance, or too little to matter")
        told = "; ".join(f"{f['name']}: {f['first']} in training, {f['second']} in {e['split']}" for f in e["features"][:4])
        severity = Severity.WARNING if e["low"] >= WARNED and not e["apart"] else Severity.NOTE
        return Ruling.found(
            severity,
            f"{says}; a random split gives 0.5" + (f"; {e['apart']}." if e["apart"] else "."),
            expected="splits that cannot be told apart",
            observed=told or "no single measurement differs, only several together",
            fix="If the split was meant to be random, draw it from the shuffled whole; else mend what differs, or know why.",
            causes=(
                "the split follows the order of the files, and that follows time, source or class",
                "one split was preprocessed, scaled or saved in another way",
            ),
        )
