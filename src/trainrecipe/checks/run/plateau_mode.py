from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run, Scheduler

HIGHER = re.compile(
    r"(?:^|[^a-z])(?:acc|accuracy|f1|auc|auroc|iou|miou|dice|bleu|rouge|r2|precision|recall|mrr|ndcg|psnr|ssim)(?:[^a-z]|$)"
)
LOWER = re.compile(r"(?:^|[^a-z])(?:loss|losses|err|error|mse|rmse|mae|nll|ppl|perplexity|bpc|wer|cer)(?:[^a-z]|$)")
"""Names that the field gives to quantities that are better when they are higher, or lower."""
PLAIN = re.compile(r"^[\w.\[\]'\"() ]*$")
"""Sources without arithmetic: `-acc`, `1 - acc` and `100 * err` are decided for by who wrote them."""


class PlateauMode(Check):
    """A schedule that waits for a plateau looks for it in the right direction.

    What it checks
    --------------
    What `ReduceLROnPlateau` is given at each call, by the name and the values of the argument: a quantity that is better
    when it is higher (accuracy, F1, AUC, IoU …) with mode `min`, which is the default, or a loss with mode `max`.

    Why it matters
    --------------
    With the wrong mode every improvement counts as none. After `patience` epochs the rate is divided, again and again,
    while the model is still learning well; the training ends early without a word.

    What healthy looks like
    -----------------------
    `mode="max"` for accuracy and the like, `mode="min"` for losses and errors.

    What to do
    ----------
    Give the scheduler the mode that fits what it is stepped with.

    When it is wrong
    ----------------
    It goes by the words of the field; where the argument is an expression, has another name, or its values do not fit the
    word, nothing is said.

    Source
    ------
    Fault catalogue 72; documentation of torch.optim.lr_scheduler.ReduceLROnPlateau.
    """

    title = "The plateau is looked for in the wrong direction"
    rows = ("S24", "O4")
    faults = (72,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        waiting = [s for s in run.schedulers if s.metrics]
        if not waiting:
            return Evidence(missing="no ReduceLROnPlateau was stepped while the script was observed")
        return [self._look(s) for s in waiting]

    def _look(self, scheduler: Scheduler) -> Evidence:
        values = scheduler.metrics
        return Evidence(
            {
                "metric": scheduler.metric,
                "mode": scheduler.mode,
                "first": values[0],
                "last": values[-1],
                "lowest": min(values),
                "highest": max(values),
                "calls": len(values),
            },
            place=scheduler.place or scheduler.step_place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        metric, mode = evidence["metric"], evidence["mode"]
        higher, lower = _direction(metric)
        share = isinstance(evidence["lowest"], float) and evidence["lowest"] >= 0 and evidence["highest"] <= 100
        wrong = (higher and mode == "min" and share) or (lower and mode == "max")
        if not wrong:
            return Ruling.passed(f"a plateau of `{metric or 'its metric'}` is looked for with mode {mode!r}")
        better = "higher" if higher else "lower"
        return Ruling.found(
            Severity.WARNING,
            f"The scheduler waits for `{metric}` with mode {mode!r}, but it is better when it is {better}.",
            expected=f"mode={'max' if higher else 'min'!r}",
            observed=f"mode {mode!r}; the values went from {evidence['first']:.4g} to {evidence['last']:.4g} in "
            f"{evidence['calls']} calls",
            fix=f"Build it with ReduceLROnPlateau(optimizer, mode={'max' if higher else 'min'!r}).",
        )


def _direction(source: str) -> tuple[bool, bool]:
    """Whether the words of a source say that higher, or that lower values are better; both False where they do not."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", source).lower().replace("_", " ")
    if not PLAIN.match(source):
        return False, False
    higher, lower = bool(HIGHER.search(words)), bool(LOWER.search(words))
    return higher and not lower, lower and not higher
