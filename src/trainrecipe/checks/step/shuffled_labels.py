"""Whether a net learns more from its labels than from the same labels in random order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, lines

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

FITTED = 0.5
"""Share of the way from the best constant to the floor that must have been learnt by heart before anything is concluded."""
ALIKE = 1.5
"""Training losses left over after labels as they are and after shuffled ones, whose ratio is below this, are alike."""


class ShuffledLabels(Check):
    """True labels teach the net more about unseen examples than shuffled ones.

    What it checks
    --------------
    A twin is trained for a few steps on some of the captured batches, and a second one on the same batches with their labels
    in random order. Both are then judged on captured examples that neither saw, next to a linear model and the nearest
    neighbour that learnt from the same examples.

    Why it matters
    --------------
    A net that only learns its batches by heart shows a falling loss, whatever the labels are. If what it sees of its input
    has nothing to do with the labels, true labels are as random to it as shuffled ones.

    What healthy looks like
    -----------------------
    With true labels many unseen examples are right, with shuffled ones as many as by chance, and true labels are learnt faster.

    What to do
    ----------
    Follow a few examples through the model to the loss: look for features that make every example unlike all others, for
    noise, and for rows that change places.

    When it is wrong
    ----------------
    It speaks only where the net has learnt its training examples, does no better than chance on others, learns shuffled labels
    as fast, and a linear model or the nearest neighbour does far better. Even so it is a note: a sound net, such as a
    transformer over words, may need more than the captured examples. Too few steps, hard tasks and labels that no simple
    model can predict are unsure; several losses, labels per position and soft labels are skipped.

    Source
    ------
    A. Karpathy's recipe (dumb baselines); C. Zhang et al. 2017 (random labels are learnt by heart, too); fault catalogue 129.
    """

    title = "The net learns nothing from true labels that shuffled ones would not teach"
    rows = ("S7",)
    faults = (129,)
    price = Price.TRAIN
    explains = ()

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.baselines import baselines
        from trainrecipe.subjects.lessons import class_of, lesson_of

        found = class_of(step)
        if isinstance(found, str):
            return Evidence(missing=found)
        lesson = lesson_of(found)
        if isinstance(lesson, str):
            return Evidence(missing=lesson)
        return Evidence(
            {
                "kind": found.kind,
                "steps": lesson.steps,
                "examples": sum(len(f[found.target]) for f in found.train),
                "unseen": lesson.right.rows,
                "right": lesson.right.plain(),
                "wrong": lesson.wrong.plain(),
                "left": lesson.fit,
                "left_shuffled": lesson.wrong_fit,
                "curves": lesson.curves,
                "constant": lesson.constant,
                "baselines": {name: score.plain() for name, score in baselines(found).items()},
                "whole": len(step.trained(step.twin())) >= len(step.tape.parameters),
            },
            place=found.call.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        by_chance, *models = e["baselines"].values()
        right, wrong = e["right"], e["wrong"]
        text = f"after {e['steps']} steps on {e['examples']} examples, {_told(e, right[0])} on {e['unseen']} others"
        text = f"{text}; with shuffled labels {_told(e, wrong[0])}"
        if _beats(e, right, wrong):
            return Ruling.passed(text)
        if 1 - e["left"] < FITTED:
            return Ruling.unsure(f"{text}; the net has not learnt even its training examples in so few steps")
        best = min(models, key=lambda m: m[0]) if e["kind"] == "numbers" else max(models, key=lambda m: m[0])
        if not _beats(e, best, by_chance):
            why = "a linear model and the nearest neighbour do no better"
            return Ruling.unsure(f"{text}; {why}: a hard task, or labels that do not belong to these inputs")
        alike = e["left_shuffled"] < ALIKE * max(e["left"], 0.1)
        if not _beats(e, best, right) or _beats(e, right, by_chance) or not alike or not e["whole"]:
            return Ruling.unsure(f"{text}; the difference is within the noise")
        return Ruling.found(
            Severity.NOTE,  # a sound net may need more than these few examples to do better than by heart
            "The net learns its training examples by heart, shuffled labels as fast as true ones, and does no better than "
            f"chance on others, where a simple model reaches {_told(e, best[0])}.",
            expected="true labels are learnt faster than shuffled ones, and help on other examples",
            observed=f"{text}; a constant {_told(e, by_chance[0])}",
            fix="Follow a few examples through the model: what distinguishes them must be what the labels depend on, and "
            "row i of the predictions must belong to row i of the labels.",
            causes=(
                "features are so fine that no two examples are alike, such as Fourier features of far too high a frequency "
                "(make their scale ten times smaller)",
                "rows change places inside the model (replace one input row and see which prediction changes)",
                "noise outweighs the input (switch it off)",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        caption = "Training loss. True labels should be learnt faster; a net large enough learns shuffled ones by heart, too."
        curves = dict(evidence["curves"])
        length = max(map(len, curves.values()))
        series = {k: [*v, *[None] * (length - len(v))] for k, v in curves.items()}
        return lines("True against shuffled labels", caption, series, y_title="loss", rules={"constant": evidence["constant"]})


def _beats(e: Evidence, a: list[float], b: list[float]) -> bool:
    """Whether one score (value, low, high) is better than another by more than both intervals."""
    return a[2] < b[1] if e["kind"] == "numbers" else a[1] > b[2]


def _told(e: Evidence, value: float) -> str:
    return f"a relative squared error of {value:.2f}" if e["kind"] == "numbers" else f"{value:.0%} right"
