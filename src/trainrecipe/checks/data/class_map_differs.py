"""Training and evaluation that call the same class by different numbers."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.contents import Table
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.evaluation import Evaluation
    from trainrecipe.subjects.run import Run

KNOWN = 0.6
"""Share of training examples whose nearest neighbour has the same label, from which neighbours tell the class."""
EACH = 5
"""Evaluation examples of a renamed class that must agree, in either half of them."""
SURE = 0.8
"""Share of a class's evaluation examples that must bear the one other label."""
SEVERAL, OPEN = 3, 6
"""Classes that are surely renamed, from which those that neighbours confuse may be assigned by trial, and at most how many."""
HELD = 0.9
"""Share that must agree in the second half after such a trial, of the share that agrees in training."""
FEW = 10
"""Evaluation examples of a label from which its predictions are read."""
OFTEN, LESS = 0.5, 0.35
"""Share of another label's examples for which the model must give a number, and how much smaller that share must be for the
examples that bear this number themselves. A weak model confuses classes, but gives no label less often to its own."""

FOLLOWED, RIGHT = 5, 0.7
"""Training examples with the numbers in question, and the share that must be right, where no other evaluation was seen."""


class ClassMapDiffers(Check):
    """A class has the same number in training and in evaluation.

    What it checks
    --------------
    For each evaluation example, the label of the nearest training example. Where all examples of one label are nearest to
    training examples of one other label, and these exchanges make up a permutation, the labels were numbered differently.
    The permutation is guessed on one half of the examples and tested on the other. Where three classes or more are surely
    renamed and neighbours confuse the rest, the rest is exchanged in the way that agrees best, and must agree in the other
    half about as well as training examples do among each other.

    And the model's own predictions: whether there are two or more numbers that it gives to most examples of one other label
    and hardly to those that bear them, while it gives them to their own in the evaluation of another split, or in training.

    Why it matters
    --------------
    The model learns the right thing and is marked wrong: its score is that of chance or below, and tuning by it breaks
    what works. It happens when each split numbers its own folders, categories or words.

    What healthy looks like
    -----------------------
    Examples that look alike have the same label in both splits.

    What to do
    ----------
    Make the mapping from names to numbers once, from the training set, sorted, and use it for every split.

    When it is wrong
    ----------------
    Neighbours are compared number by number in the inputs as the net is fed them. Where they do not tell the class even
    among the training examples, as for photographs, nothing is said.

    Source
    ------
    Fault catalogue 132.
    """

    title = "Training and evaluation number the classes differently"
    rows = ("D3", "D13")
    faults = (132,)
    price = Price.FREE
    explains = ("inputs-and-labels-unrelated",)

    def measure(self, data: Data) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.contents import evaluations, training

        confused = _confused(data)
        if confused:
            return confused
        train = training(data)
        if train is None or not 2 <= len(train.classes) <= 200:
            return Evidence(missing="no class labels were seen with the training inputs")
        others = [t for t in evaluations(data) if t.classes and t.x.shape[1:] == train.x.shape[1:] and t.rows >= 2 * EACH]
        if not others:
            return Evidence(missing="no evaluation with class labels was seen")
        return [_compare(train, other) for other in others]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e.get("shares"):
            return _predicted(e)
        same = f"{e['same']:.0%} of {e['total']} evaluation examples have the label of the nearest training example"
        if e["known"] < KNOWN:
            return Ruling.unsure(f"nearest neighbours do not tell the class ({e['known']:.0%} among training examples)")
        if not e["renamed"]:
            return Ruling.passed(same)
        pairs = ", ".join(f"{a} is called {b}" for a, b in e["renamed"][:6])
        return Ruling.found(
            Severity.WARNING,
            f"Classes have other numbers in evaluation than in training: what training calls {pairs}"
            + (" …" if len(e["renamed"]) > 6 else "")
            + ".",
            expected=f"the same number for a class in both; among training examples neighbours agree in {e['known']:.0%}",
            observed=f"{same}; {e['mapped']:.0%} when the numbers are exchanged like this (tested on the other half)",
            fix="Build the mapping from class names to numbers once, and give it to every split.",
            causes=(
                "each split lists its own folders or names (os.listdir and set have no fixed order): print both mappings",
                "one split was encoded by a second LabelEncoder or factorize: reuse the first",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence.get("renamed"):
            return None
        values = {"as they are": evidence["same"], "numbers exchanged": evidence["mapped"]}
        if evidence.get("shares"):
            caption = "Share of evaluation examples whose label is the predicted one."
            return bars("Predictions and labels", caption, values, x_title="share that agrees")
        return bars(
            "Labels of nearest neighbours",
            "Share of evaluation examples with the label of the nearest training example.",
            values,
            x_title="share that agrees",
        )


def _confused(data: Data) -> list[Evidence]:
    """Evaluations in which the trained model gives several numbers to other labels than in the evaluation of another split."""
    from trainrecipe.subjects.contents import place_of

    run = data.run
    last: dict[Any, Evaluation] = {}
    for one in run.evaluated:
        if one.predictions.task in ("classes", "binary") and one.predictions.examples and not one.aside:
            last[one.model, one.loader, None if one.loader is not None else str(one.place)] = one
    tables = [(one, _shares_of(one)) for one in last.values()]
    found = []
    for one, shares in tables:
        renamed = _given_to_others(shares)
        if len(renamed) < 2 or len({label for _, label in renamed}) < len(renamed):
            continue
        others = [s for other, s in tables if other is not one and other.model == one.model]
        right = [s[p, p] for s in others for p, _ in renamed[:1] if all(s.get((q, q), 0.0) >= OFTEN for q, _ in renamed)]
        right = right or _in_training(run, {p for p, _ in renamed})
        if not right:
            continue
        counts, total = one.predictions.confusion, one.predictions.examples
        mapped = dict(renamed)
        found.append(
            Evidence(
                {
                    "renamed": [list(pair) for pair in renamed],
                    "shares": [[shares[label, p], shares.get((p, p), 0.0)] for p, label in renamed],
                    "right": right[0],
                    "same": one.predictions.right / total,
                    "mapped": sum(n for (label, p), n in counts.items() if mapped.get(p, p) == label) / total,
                    "total": total,
                },
                place=place_of(data, one.loader) or one.place,
            )
        )
    return found


def _in_training(run: Run, numbers: set[int]) -> list[float]:
    """The share of training examples with these numbers that are predicted rightly at last; empty where it is not most."""
    followed = run.dynamics
    if followed is None or not followed.looks or followed.kind not in ("classes", "binary"):
        return []
    pairs = zip(followed.truths, followed.looks[-1].picked, strict=False)
    right = [float(truth == picked) for truth, picked in pairs if truth in numbers]
    share = sum(right) / len(right) if len(right) >= FOLLOWED else 0.0
    return [share] if share >= RIGHT else []


def _shares_of(one: Evaluation) -> dict[tuple[int, int], float]:
    """For each label with enough examples, the share of them for which each number was predicted."""
    rows: dict[int, int] = {}
    for (label, _), count in one.predictions.confusion.items():
        rows[label] = rows.get(label, 0) + count
    return {(label, p): n / rows[label] for (label, p), n in one.predictions.confusion.items() if rows[label] >= FEW}


def _given_to_others(shares: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Numbers that are predicted for most examples of another label, and far less often for those that bear them."""
    labels = {label for label, _ in shares}
    found = []
    for p in sorted(labels):
        share, label = max(((shares.get((other, p), 0.0), other) for other in labels - {p}), default=(0.0, p))
        if share >= OFTEN and share - shares.get((p, p), 0.0) >= LESS:
            found.append((p, label))
    return found


def _predicted(e: Evidence) -> Ruling:
    pairs = ", ".join(f"{a} is called {b}" for a, b in e["renamed"][:6])
    (other, own), (number, label) = e["shares"][0], e["renamed"][0]
    return Ruling.found(
        Severity.WARNING,
        f"The model gives classes the numbers that they have elsewhere: what it calls {pairs} in this evaluation.",
        expected=f"number {number} for the examples that bear it, as elsewhere ({e['right']:.0%} of them)",
        observed=f"number {number} for {other:.0%} of the examples with label {label} and for {own:.0%} of those with label "
        f"{number}; {e['same']:.0%} of {e['total']} are right, and {e['mapped']:.0%} when the numbers are exchanged like this",
        fix="Build the mapping from class names to numbers once, and give it to every split.",
        causes=(
            "each split numbers its own classes (order of first appearance, os.listdir, set): print both mappings",
            "the inputs of this split are prepared in another way (colours in reverse order): compare two examples",
        ),
    )


def _compare(train: Table, other: Table) -> Evidence:
    import torch

    from trainrecipe.subjects.features import features, nearest

    assert train.y is not None
    assert other.y is not None
    x, z = features(train.x[:2048]), features(other.x[:1024])
    width = max(x.shape[1], z.shape[1])
    x, z = (torch.nn.functional.pad(t, (0, width - t.shape[1])) for t in (x, z))
    y = train.y[: len(x)]
    known = float((y[nearest(x, x, leave_out=True)[:, 0]] == y).double().mean())
    told = y[nearest(x, z)[:, 0]]
    label = other.y[: len(z)]
    renamed, mapped = _permutation(told, label, known)
    return Evidence(
        {
            "known": known,
            "same": float((told == label).double().mean()),
            "mapped": mapped,
            "renamed": renamed,
            "total": len(z),
        },
        place=other.place,
    )


def _permutation(told: torch.Tensor, label: torch.Tensor, known: float) -> tuple[list[list[int]], float]:
    """Which labels stand for which, if some are exchanged: pairs (training's number, evaluation's number), and the share of
    examples in the second half that agree under that. `known` is the share that agrees in training."""
    import torch

    found: dict[int, int] = {}
    for k in torch.unique(told).tolist():
        mine = told == k
        halves = [label[0::2][mine[0::2]], label[1::2][mine[1::2]]]
        if min(map(len, halves)) < EACH:
            continue
        most = float(halves[0].mode().values)
        if all(float((h == most).double().mean()) >= SURE for h in halves):
            found[int(k)] = int(most)
    renamed = {a: b for a, b in found.items() if a != b}
    closed = len(set(renamed.values())) == len(renamed) and (
        set(renamed) == set(renamed.values()) or _one_sided(renamed, label)
    )
    if renamed and not closed and len(renamed) >= SEVERAL:
        found = _filled(found, told[0::2], label[0::2])
        renamed = {a: b for a, b in found.items() if a != b}
        closed = _agreement(found, told[1::2], label[1::2]) >= max(SURE * KNOWN, HELD * known)
    if not renamed or not closed:
        return [], math.nan
    return [[a, b] for a, b in sorted(renamed.items())], _agreement(found, told[1::2], label[1::2])


def _agreement(found: dict[int, int], told: torch.Tensor, label: torch.Tensor) -> float:
    """The share of examples that agree when the numbers are exchanged like this."""
    moved: Any = told.clone()
    for a, b in found.items():
        moved[told == a] = b
    return float((moved == label).double().mean())


def _filled(found: dict[int, int], told: torch.Tensor, label: torch.Tensor) -> dict[int, int]:
    """The exchanges with those of the other classes, as agrees best; empty where both splits do not have the same classes."""
    import torch

    classes = {int(k) for k in torch.unique(told)}
    rest, free = sorted(classes - set(found)), sorted(classes - set(found.values()))
    same = classes == {int(k) for k in torch.unique(label)}
    if not same or len(set(found.values())) < len(found) or len(rest) != len(free) or len(rest) > OPEN:
        return {}
    counts = {(a, b): int(((told == a) & (label == b)).sum()) for a in rest for b in free}
    ways = itertools.permutations(free)
    best = max(ways, key=lambda way: sum(counts[pair] for pair in zip(rest, way, strict=True)))
    return found | dict(zip(rest, best, strict=True))


def _one_sided(renamed: dict[int, int], label: torch.Tensor) -> bool:
    """Whether the exchanges are all a shift by one number, as of labels that begin at 1 in one split."""
    return len(renamed) >= 2 and len({b - a for a, b in renamed.items()}) == 1
