from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.checkpoints import Loaded
    from trainrecipe.subjects.run import Pass, Run

MOST = 20
"""Batches without a loader after the training, beyond which some may not have been looked at."""


class ChosenAndJudgedAlike(Check):
    """The best model is judged on other data than it was chosen on.

    What it checks
    --------------
    Where the weights of the best score are kept and loaded after the training: whether the evaluation that follows reads the
    data that were read while the best was chosen, and there are no others.

    Why it matters
    --------------
    The best of many scores on one set of examples is partly luck, and the luck does not come back on new data. With few
    examples and many epochs the reported score is too good by several per cent.

    What healthy looks like
    -----------------------
    Three parts: train, validation to choose by, and a test set that is read once, at the end.

    What to do
    ----------
    Split off a test set, or report the score as what it is: that of the data it was chosen on.

    When it is wrong
    ----------------
    Scripts that name it a validation score claim nothing else, so this is a note. Data sets are told apart by object and
    length. A rehearsal that does not reach the end of the script sees nothing of it.

    Source
    ------
    Fault catalogue 93; G. C. Cawley and N. L. C. Talbot 2010, on selection bias in performance evaluation.
    """

    title = "The best model is judged on the data that it was chosen on"
    rows = ("S3", "D3")
    faults = (93,)

    def measure(self, run: Run) -> Evidence:
        seen = run.checkpoints
        if not (any(t.best for t in seen.taken) or any(s.best for s in seen.saved)):
            return Evidence(missing="no weights were kept under a comparison with the best score so far")
        if run.ended == "rehearsed":
            return Evidence(missing="the rehearsal ends before the final evaluation; `recipe run` sees it")
        trained = [p.number for p in run.train_passes()]
        restored = [loaded for loaded in seen.loaded if loaded.step == run.steps and loaded.trained]
        if not restored:
            return Evidence(missing="no weights were loaded after the training")
        if not trained:
            return _by_hand(run, restored[-1])
        last = max(trained)
        during = {_data(run, p) for p in run.evaluation_passes() if p.number < last}
        after = [p for p in run.evaluation_passes() if p.number > last]
        final = after[1:] if after and _data(run, after[0]) in during else after  # the first one still is of the last epoch
        if not final or len(during) != 1:
            return Evidence(missing="no evaluation of the chosen weights was told from those that they were chosen by")
        same = [p for p in final if _data(run, p) in during]
        return Evidence(
            {"final": len(final), "same": len(same), "examples": run.loaders[final[0].loader].examples},
            place=restored[-1].place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence["same"] < evidence["final"]:
            return Ruling.passed("the chosen weights are evaluated on data of their own")
        count = evidence["examples"]
        return Ruling.found(
            Severity.NOTE,
            "The final score is that of the very data by which the best weights were chosen.",
            expected="a test set that took no part in the choice",
            observed=f"all {evidence['final']} evaluations after the training read the same "
            f"{'' if count is None else f'{count:,} '}examples as those that chose the weights",
            fix="Keep a third part of the data for the last evaluation, or report the score as one of validation.",
        )


def _by_hand(run: Run, load: Loaded) -> Evidence:
    """The same where tensors are given to the model without a loader: batches are told apart by the contents of their rows."""
    models = {f.model for f in run.forwards if f.fed}
    fed = [look for f in run.forwards if f.fed for look in f.looks]
    calls = [look for f in run.forwards if f.model in models and not f.fed and not f.grad for look in f.looks]
    known = frozenset[int]().union(*(rows for _, rows, _ in fed))
    held_out = [(event, rows) for event, rows, _ in calls if len(rows & known) < 0.5 * len(rows)]
    during = {rows for event, rows in held_out if event < load.event}
    final = [rows for event, rows in held_out if event > load.event]
    if not during or not 0 < len(final) < MOST:
        return Evidence(missing="no evaluation of the chosen weights was told from those that they were chosen by")
    same = len(final) if set(final) == during else 0
    return Evidence({"final": len(final), "same": same, "examples": len(frozenset().union(*during))}, place=load.place)


def _data(run: Run, seen: Pass) -> tuple[int, int | None]:
    """What a pass reads: its data set and how many examples it has."""
    loader = run.loaders[seen.loader]
    return loader.dataset, loader.examples
