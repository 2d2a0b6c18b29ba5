from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Forward

SHARE = 0.02
"""Share of the evaluation examples found in the training data from which it is a warning; iris has one pair in 150 rows."""
CHANCE = 3.0
"""The overlap must exceed this many times the share of duplicates within the training data, which is chance."""


class TrainValOverlap(Check):
    """No example that the model is evaluated on is among those it is trained on.

    What it checks
    --------------
    For each loader that is used in evaluation: which of its examples a training loader reads too, by position in the same
    data set and by the content of the example. Without loaders: whether rows fed to the model without gradients are rows
    it was trained on.

    Why it matters
    --------------
    Scores on examples that the model has seen measure memory, not what it will do on new data: the model looks better
    than it is, and tuning by such a score picks the wrong model.

    What healthy looks like
    -----------------------
    The splits share no example, apart from accidental duplicates in data with few distinct values.

    What to do
    ----------
    Split once, before augmenting or oversampling; build the validation loader from the held-out part; remove duplicates
    before the split.

    When it is wrong
    ----------------
    Evaluating on the training data besides a held-out set is common and not reported. Graphs and other full-batch
    data where masks tell training and validation apart are left out. Near-duplicates are not seen by this check, nor are
    duplicates hidden by random augmentation unless both loaders read the same data set.

    Source
    ------
    Fault catalogue 92 and 140.
    """

    title = "Evaluation examples are in the training data"
    rows = ("D3", "S24")
    faults = (92, 140)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence:
        if data.run.passes:
            return self._loaders(data)
        return self._forwards(data)

    def _loaders(self, data: Data) -> Evidence:
        training = list(dict.fromkeys(p.loader for p in data.run.train_passes()))
        evaluated = [n for n in dict.fromkeys(p.loader for p in data.run.evaluation_passes()) if n not in training]
        if not training:
            return Evidence(missing="no training pass over a DataLoader was seen")
        if not evaluated:
            return Evidence(missing="no evaluation pass over a DataLoader of its own was seen")
        pairs = [self._compare(data, training[0], n) for n in evaluated]
        known = [p for p in pairs if p.data]
        if not known:
            return pairs[0]
        return min(known, key=lambda e: e["share"])

    def _compare(self, data: Data, training: int, evaluated: int) -> Evidence:
        place = data.run.loaders[evaluated].place
        first, first_part = data.indices(training)
        second, second_part = data.indices(evaluated)
        if first == second:
            size = data.run.loaders[evaluated].examples or 0
            mine = None if first_part is None else set(first_part)
            theirs = range(size) if second_part is None else second_part
            shared = sum(mine is None or i in mine for i in theirs)
            how = "they read the same positions of the same data set"
            return Evidence(self._result(shared, size, 0.0, how), place=place)
        rows, other = data.rows(training), data.rows(evaluated)
        if rows is None or other is None or not rows.inputs or not other.inputs:
            return Evidence(missing="the examples of these data sets could not be read for comparison", place=place)
        return Evidence(self._contents(rows.inputs, other.inputs), place=place)

    def _contents(self, training: Sequence[int], evaluated: Sequence[int]) -> dict[str, object]:
        known = set(training)
        shared = sum(h in known for h in evaluated)
        repeated = 1 - len(known) / len(training)
        return self._result(shared, len(evaluated), repeated, "their contents are equal")

    def _result(self, shared: int, total: int, repeated: float, how: str) -> dict[str, object]:
        return {"shared": shared, "total": total, "share": shared / max(1, total), "repeated": repeated, "how": how}

    def _forwards(self, data: Data) -> Evidence:
        run = data.run
        trained = [f for f in run.forwards if f.fed and f.rows]
        others = [f for f in run.evaluations() if f.rows and f.model in {t.model for t in trained}]
        if not trained or not others:
            return Evidence(missing="no evaluation of the trained model on other rows was seen")
        if {b for f in trained for b in f.batches} & {b for f in others for b in f.batches}:
            return Evidence(missing="training and evaluation feed the very same tensor: masks or labels may tell them apart")
        known = {h for f in trained for h in f.rows}
        fresh = min(others, key=lambda f: self._share(f, known))
        fed = sum(f.count for f in trained)
        repeated = 0.0 if fed else 1.0
        shared = sum(h in known for h in fresh.rows)
        return Evidence(self._result(shared, len(fresh.rows), repeated, "rows fed to the model are equal"), place=fresh.place)

    def _share(self, forward: Forward, known: set[int]) -> float:
        return sum(h in known for h in forward.rows) / len(forward.rows)

    def judge(self, evidence: Evidence) -> Ruling:
        share, repeated = evidence["share"], evidence["repeated"]
        says = f"{evidence['shared']} of {evidence['total']} evaluation examples are in the training data"
        if share < SHARE or share <= CHANCE * repeated:
            return Ruling.passed(says + (f"; the training data repeat {repeated:.1%} of their own" if share else ""))
        return Ruling.found(
            Severity.WARNING,
            says + f": {evidence['how']}.",
            expected="no example in common",
            observed=f"{share:.1%} in common; within the training data {repeated:.1%} are duplicates",
            fix="Split the examples once into disjoint parts, before any oversampling, and evaluate on the held-out part.",
            causes=(
                "the validation loader is built from the training set",
                "examples were duplicated (oversampled, augmented) before the split",
            ),
        )
