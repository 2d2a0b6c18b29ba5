from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Forward, Run

FEW = 3
"""Evaluation examples of a fold below which it is not judged."""
SWAPPED = 0.5
"""Share of each fold's evaluation examples that the other fold trains on, from which they are folds of one data set."""
COMMON = 0.3
"""Share of the smaller training part that both folds train on: two tasks learnt one after the other have none."""
OWN = 0.02
"""Share of a fold's evaluation examples in its own training part, up to which the fold itself is held to be clean."""
WIDE = 64.0
"""Bits of information in an example from which equal contents are copies and no chance, as in `train-val-overlap`."""


@dataclasses.dataclass
class _Fold:
    """What a model was trained on, and the last evaluation before it went on to other examples."""

    training: int
    first: Forward
    evaluated: int | None = None
    last: Forward | None = None


class FoldsShareWeights(Check):
    """Every fold of a cross-validation begins with a model of its own.

    What it checks
    --------------
    Whether one model is trained and evaluated on one part of the data after the other, where each part evaluates on what the
    other trains on, and begins the later part with the very weights that the earlier one ended with.

    Why it matters
    --------------
    From the second fold on the model has been trained on the examples that it is judged by, so the mean over the folds
    measures memory. It looks better than the model will be on new data.

    What healthy looks like
    -----------------------
    A new model and a new optimiser inside the loop over the folds, or the first weights loaded again for each fold.

    What to do
    ----------
    Build the model and its optimiser inside the loop over the folds.

    When it is wrong
    ----------------
    Training one model with one part after another held out may be meant, if nobody reads the scores as held-out scores. Two
    tasks learnt one after the other, unlearning, and growing training sets are no folds and not reported. Folds are told
    by the variables of the loop (`for train, val in …`), by positions in one data set or by equal contents. A rehearsal of
    a longer training ends within the first fold; `recipe run` sees all.

    Source
    ------
    Fault catalogue 43; PyTorch forum, "resetting the model for every fold".
    """

    title = "The folds of a cross-validation share one model"
    rows = ("D3", "S24")
    faults = (43,)
    explains = ("optimizer-recreated",)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence:
        """Look for two parts of a training that cross, with the same weights at the seam."""
        run = data.run
        crossing = [s for s in run.seams if s.shared >= SWAPPED * s.judged and s.back >= SWAPPED * s.before]
        seam = next((s for s in crossing if s.carried), None)
        if seam is not None:
            counted = {
                "shared": seam.shared,
                "total": seam.judged,
                "folds": len(run.seams) + 1,
                "fold": run.seams.index(seam) + 2,
            }
            return Evidence({"model": "The model", **counted}, place=seam.place)
        judged = len(crossing)
        for number in sorted(run.trained_models()):
            folds = [f for f in _folds(run, number) if f.last is not None]
            for before, after in itertools.pairwise(folds):
                if before.last is None or before.last.weights is None or not _moved(before):
                    continue
                judged += 1
                seen = _cross(data, before, after) if after.first.weights == before.last.weights else None
                if seen is not None:
                    loader = run.loaders[after.training]
                    place = loader.born or loader.place or after.first.place  # where a new model should be built too
                    model = run.models[number].name
                    return Evidence({"model": model, "folds": len(folds), "fold": folds.index(after) + 1, **seen}, place=place)
        if not judged:
            return Evidence(missing="no model was trained and evaluated on one loader and then on another")
        return Evidence({"folds": 0})

    def judge(self, evidence: Evidence) -> Ruling:
        """The identity of the weights and the crossing of the parts decide."""
        if not evidence["folds"]:
            return Ruling.passed("no two parts of the data with one model evaluate on what the other trains on")
        shared, total = evidence["shared"], evidence["total"]
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['model']} goes from fold to fold with its weights: {shared} of {total} evaluation examples of fold "
            f"{evidence['fold']} are among those it was trained on before.",
            expected="a fold begins with a model that never saw its evaluation examples",
            observed=f"{shared / total:.0%} of them seen in the fold before, and the weights at the start of fold "
            f"{evidence['fold']} are those at the end of it",
            fix="Build the model and its optimiser inside the loop over the folds, or load the first weights again.",
            causes=(
                "the model is built once, before the loop over the folds",
                "the data are split anew during the training of one model",
            ),
        )


def _folds(run: Run, model: int) -> Iterator[_Fold]:
    """The loaders that a model was trained on, in order, each with the last evaluation on another loader that followed."""
    current: _Fold | None = None
    for forward in sorted((f for f in run.forwards if f.model == model), key=lambda f: f.first_event):
        if forward.in_pass is None:
            continue
        seen = run.passes[forward.in_pass]
        if forward.fed and seen.trains:
            if current is None or current.training != seen.loader:
                if current is not None:
                    yield current
                current = _Fold(seen.loader, forward)
        elif current is not None and not seen.trains and seen.loader != current.training:
            current.evaluated, current.last = seen.loader, forward
    if current is not None:
        yield current


def _moved(fold: _Fold) -> bool:
    """Whether the weights that are hashed are among those that training changes."""
    return fold.last is not None and fold.first.weights != fold.last.weights


def _cross(data: Data, before: _Fold, after: _Fold) -> dict[str, int] | None:
    """How many of the later evaluation examples the earlier part trained on, if the two are folds of the same data."""
    if before.evaluated is None or after.evaluated is None:
        return None
    sets = _examples(data, [before.training, before.evaluated, after.training, after.evaluated])
    if sets is None:
        return None
    trained, judged, trained_later, judged_later = sets
    if min(len(judged), len(judged_later)) < FEW or not trained or not trained_later:
        return None
    clean = len(judged & trained) <= OWN * len(judged) and len(judged_later & trained_later) <= OWN * len(judged_later)
    shared = len(judged_later & trained)
    swapped = shared >= SWAPPED * len(judged_later) and len(judged & trained_later) >= SWAPPED * len(judged)
    common = len(trained & trained_later) >= COMMON * min(len(trained), len(trained_later))
    return {"shared": shared, "total": len(judged_later)} if clean and swapped and common else None


def _examples(data: Data, loaders: list[int]) -> list[set[int]] | None:
    """The examples of each loader: positions in one data set, else hashes of contents that are rich enough."""
    positions = [data.positions(n) for n in loaders]
    if len({dataset for dataset, _ in positions}) == 1:
        known = [chosen for _, chosen in positions if chosen is not None]
        return known if len(known) == len(loaders) else None
    rows = [data.rows(n, 0.4) for n in loaders]
    read = [r for r in rows if r is not None and r.complete and r.inputs and r.bits >= WIDE]
    return [set(r.inputs) for r in read] if len(read) == len(loaders) else None
