from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Loader, Pass, Run

MATERIAL = 0.1
"""Share of the evaluation data that `drop_last` may leave out before it is more than a note."""


class EvaluatesOneBatch(Check):
    """An evaluation covers its whole data set.

    What it checks
    --------------
    How many batches each evaluation takes of its loader. Reported are loaders of which every evaluation took the first batch
    only although there are more, and evaluation loaders with `drop_last`, with the share of the examples that are never seen.

    Why it matters
    --------------
    A score over one batch of 64 has a standard error of several points, so that the best epoch and every comparison are
    mostly noise; and it is a score of the first examples only. A `return` that slipped into the loop is enough.

    What healthy looks like
    -----------------------
    `for batch in loader` runs to its end, and evaluation loaders keep their last, smaller batch.

    What to do
    ----------
    Let the loop run over all batches and return after it; build evaluation loaders without `drop_last`.

    When it is wrong
    ----------------
    Batches that are only looked at (pictures, samples, warm-up of lazy layers), whose outputs meet no labels, are not
    reported, nor are loaders that are read to the end elsewhere. Of shuffled loaders each evaluation sees another batch: a
    note. Iterators that are kept from one evaluation to the next are not reported.

    Source
    ------
    Recipe S3: evaluation covers the whole validation set; fault catalogue 44 and 148.
    """

    title = "The evaluation covers a part of its data only"
    rows = ("S3",)
    faults = (44, 148)
    explains = ("epoch-left-early",)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        trained = {p.loader for p in run.train_passes()}
        passes = [p for p in run.passes if not p.trains and p.loader not in trained]
        if not trained or not passes:
            return Evidence(missing="no evaluation over a loader of its own was seen next to a training")
        numbers = dict.fromkeys(p.loader for p in passes)
        found = [_look(run, run.loaders[n], [p for p in passes if p.loader == n]) for n in numbers]
        return [e for e in found if e is not None] or Evidence(missing="no evaluation was seen to its end")

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence["single"]:
            grave = evidence["passes"] > 1 and not evidence["shuffled"]
            return Ruling.found(
                Severity.WARNING if grave else Severity.NOTE,
                f"Each evaluation takes one batch of its loader and leaves {evidence['length'] - 1} out.",
                expected=f"all {evidence['length']} batches, {evidence['examples']} examples",
                observed=f"1 batch, up to {evidence['batch_size']} examples, in each of {evidence['passes']} evaluations",
                fix="Return after the loop over the loader, not inside it, and leave no `break` in it.",
            )
        dropped, examples = evidence["dropped"], evidence["examples"]
        if dropped:
            share = dropped / examples
            return Ruling.found(
                Severity.WARNING if share >= MATERIAL else Severity.NOTE,
                f"drop_last leaves {dropped} of {examples} evaluation examples out of every evaluation.",
                expected="every evaluation example counts",
                observed=f"{share:.0%} of the data set is dropped with the last batch of {evidence['batch_size']}"
                + (", others each time" if evidence["shuffled"] else ", always the same"),
                fix="Build the evaluation loader without drop_last=True.",
            )
        return Ruling.passed(f"evaluations take all {evidence['length'] or 'the'} batches of their loader")


def _look(run: Run, loader: Loader, passes: list[Pass]) -> Evidence | None:
    last = run.passes[-1]
    over = [p for p in passes if p.batches and not (run.ended == "rehearsed" and p is last and not p.finished)]
    if not over and loader.length != 0:
        return None
    scored = {e.in_pass for e in run.evaluated if e.scores or e.comparisons or e.predictions.task}
    partial = [p for p in over if p.batches == 1 and not p.finished and p.number in scored]
    single = bool(partial) and all(p.batches == 1 and not p.finished for p in over) and (loader.length or 0) > 1
    size, examples = loader.batch_size or 0, loader.examples or 0
    whole = any(p.finished for p in over) or loader.length == 0
    dropped = examples % size if loader.drop_last and size and examples and whole else 0
    return Evidence(
        {
            "single": single,
            "passes": len(over),
            "length": loader.length,
            "examples": examples,
            "batch_size": size,
            "shuffled": loader.shuffled,
            "dropped": dropped,
        },
        place=over[-1].place if single else loader.born or loader.place,
    )
