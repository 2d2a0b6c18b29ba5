from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.checks.data.train_val_overlap import evaluations
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.rereading import Reading
    from trainrecipe.subjects.run import Run

SHARE = 0.5
"""Share of the examples that must differ between readings."""


class AugmentationInEvaluation(Check):
    """Evaluation examples are the same each time they are read.

    What it checks
    --------------
    A few examples of each loader that is used for evaluation are read several times, in a process of their own. It is
    reported when what goes into the model differs between readings of the same example while its label stays, as it does
    for the training loader.

    Why it matters
    --------------
    The score is measured on randomly changed inputs: it is lower than it should be, differs from evaluation to
    evaluation, and picks a checkpoint by luck.

    What healthy looks like
    -----------------------
    Random flips, crops and noise for training; the plain example for evaluation.

    What to do
    ----------
    Give the evaluation set a transform of its own. `random_split` of one data set shares its transform: build two data
    sets over the same files and take a `Subset` of each.

    When it is wrong
    ----------------
    Examples that are generated at random and stored nowhere, inputs with targets that change with them (masked tokens,
    denoising), and several passes over the evaluation data per epoch (test-time augmentation) get a note or nothing.

    Source
    ------
    Fault catalogue 90; Humbatova et al., "Taxonomy of Real Faults in Deep Learning Systems", 2020.
    """

    title = "Evaluation examples are augmented at random"
    rows = ("S24", "D13")
    faults = (90,)
    explains = ("irreproducible",)

    def measure(self, data: Data) -> list[Evidence]:
        """Read evaluation examples several times and compare."""
        from trainrecipe.subjects.rereading import reading

        run = data.run
        training = list(dict.fromkeys(p.loader for p in run.train_passes()))
        found, why = [], "no evaluation of the trained model on a loader of its own was seen"
        for number in dict.fromkeys(p.loader for p in evaluations(run)):
            if number in training:
                continue
            told = reading(data, number)
            if isinstance(told, str):
                why = told
                continue
            others = [r for r in (reading(data, n) for n in training) if not isinstance(r, str)]
            record = data.loaders[number][0]
            changed, stays = _changed(told)
            found.append(
                Evidence(
                    {
                        "read": len(told.indices),
                        "changed": changed,
                        "label_stays": stays,
                        "training_too": any(_changed(r)[0] >= SHARE * len(r.indices) for r in others),
                        "stored": told.kept,
                        "rounds": _rounds(run, number),
                    },
                    place=record.born or record.place,
                )
            )
        return found or [Evidence(missing=why)]

    def judge(self, evidence: Evidence) -> Ruling:
        """Inputs differ, labels do not, and so it is in training."""
        read, changed = evidence["read"], evidence["changed"]
        if changed < SHARE * read:
            return Ruling.passed(f"{read - changed} of {read} evaluation examples are the same when they are read again")
        if not evidence["label_stays"] or not evidence["stored"]:
            return Ruling.passed(
                "evaluation examples are drawn anew each time, together with their targets or from no stored data"
            )
        repeated = evidence["rounds"] > 1
        return Ruling.found(
            Severity.WARNING if evidence["training_too"] and not repeated else Severity.NOTE,
            "The evaluation examples are augmented at random, as the training examples are."
            if evidence["training_too"]
            else "The evaluation examples differ each time they are read.",
            expected="the same input each time an evaluation example is read",
            observed=f"{changed} of {read} differ between readings, with the same label"
            + (f"; they are read {evidence['rounds']} times per evaluation, as for test-time augmentation" if repeated else ""),
            fix="Give the evaluation data set a transform without random parts.",
            causes=(
                "training and evaluation are parts of one data set, whose transform augments",
                "the augmenting transform was passed to the evaluation set",
            ),
        )


def _changed(told: Reading) -> tuple[int, bool]:
    """At how many indices an input differs, and whether there is a label and it never does."""
    wide = [n for n, one in zip(told.random, told.single, strict=True) if not one]
    single = [n for n, one in zip(told.random, told.single, strict=True) if one]
    return max(wide, default=0), bool(single) and not any(single)


def _rounds(run: Run, number: int) -> int:
    """The most passes over a loader without a training pass in between."""
    most, current = 0, 0
    for seen in run.passes:
        if seen.trains:
            current = 0
        elif seen.loader == number and seen.batches:
            current += 1
            most = max(most, current)
    return most
