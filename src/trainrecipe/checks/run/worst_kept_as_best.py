from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.better import better, direction

if TYPE_CHECKING:
    from trainrecipe.subjects.checkpoints import Chosen
    from trainrecipe.subjects.run import Run


class WorstKeptAsBest(Check):
    """The comparison with the best score so far goes the right way round.

    What it checks
    --------------
    Conditions such as `if score > best: best = score` that also keep weights or reset the count of an early stop: whether the
    quantity is better when it is higher or lower, by its name or by those of what it was computed from, and which of them
    the comparison chooses. Objects that stop early are followed: to the method that compares, by the mode that it has, and
    to what the training loop gives them.

    Why it matters
    --------------
    The other way round it is the worst weights that are kept, or those of the first epoch; an early stop ends the training
    while it still improves. Nothing crashes, and the training log looks as it should.

    What healthy looks like
    -----------------------
    `if loss < best_loss`, beginning with infinity; `if accuracy > best_accuracy`, beginning with 0.

    What to do
    ----------
    Turn the comparison round, and the value to begin with.

    When it is wrong
    ----------------
    It goes by the words of the field (loss, error, perplexity; accuracy, F1, reward …). Where the names say nothing, or
    the two sides contradict each other, nothing is said.

    Source
    ------
    Fault catalogue 95; the same rules as for the mode of ReduceLROnPlateau (72).
    """

    title = "The worst weights are kept as the best"
    rows = ("S24", "S3")
    faults = (95,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.checkpoints.choices:
            return Evidence(missing="no weights are kept, and no training ended, by a comparison with the best score so far")
        return [_look(choice) for choice in run.checkpoints.choices]

    def judge(self, evidence: Evidence) -> Ruling:
        side = "higher" if evidence["higher"] else "lower"
        if evidence["better"] * (1 if evidence["higher"] else -1) >= 0:
            return Ruling.passed(f"{side} values of `{evidence['value']}` are chosen")
        seen = ""
        if evidence["evaluations"]:
            seen = (
                f"; after {evidence['evaluations']} evaluations it was {evidence['last']:.4g}, "
                f"and {evidence['kept']:.4g} counted as the best"
            )
        if evidence["named"]:
            mode = "min" if evidence["higher"] else "max"
            expected = f"mode {mode!r}, or a metric of which {side} values are better"
            fix = f"Say mode={mode!r}; with transformers greater_is_better={not evidence['higher']}."
        else:
            expected = f"{evidence['value']} {'<' if evidence['higher'] else '>'} {evidence['best']}"
            fix = "Turn the comparison round, and begin with " + ("infinity." if evidence["higher"] else "minus infinity.")
        return Ruling.found(
            Severity.WARNING,
            f"`{evidence['value']}` is better when it is {'lower' if evidence['higher'] else 'higher'}, "
            f"but {side} values count as the best.",
            expected=expected,
            observed=f"the comparison chooses {side} values{seen}",
            fix=fix,
        )


def _look(choice: Chosen) -> Evidence:
    """One comparison. `better`: 1 for a quantity that is better when higher, -1 when lower, 0 where that is not known."""
    known = direction(choice.value) if choice.named else better(choice.value, choice.given or choice.place)
    named = direction(choice.best)
    pairs = choice.values
    return Evidence(
        {
            "value": choice.value,
            "best": choice.best,
            "named": choice.named,
            "higher": choice.higher,
            "better": 0 if known * named < 0 else known,
            "evaluations": len(pairs),
            "last": pairs[-1][0] if pairs else None,
            "kept": pairs[-1][1] if pairs else None,
        },
        place=choice.place,
    )
