from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Loader

KINDS = 50
"""Different labels, or different weights, up to which they count as classes, or as weights given to classes."""
UNEVEN = 1.5
"""Largest class over smallest, from which data count as imbalanced."""
WORSE = 1.3
"""How many times more uneven the drawn classes must be than the data's before it is said."""
EXACT = 0.02
"""Relative spread of weight / class size, up to which weights are the class sizes themselves."""


class SamplerWeights(Check):
    """A weighted sampler has one weight for each example, and draws rare classes more often, not less.

    What it checks
    --------------
    The weights of each `WeightedRandomSampler`: whether there are as many as examples; whether they have any effect;
    where they follow from the label, how the classes are drawn compared with how often they occur; where they do not,
    whether they are the class weights in the order of other examples.

    Why it matters
    --------------
    With one weight per class instead of per example only the first few examples are ever drawn, and nothing warns. With
    class counts in place of their inverse, or weights in another order than the examples, the imbalance that the sampler
    is there to remove stays or grows.

    What healthy looks like
    -----------------------
    As many weights as examples; weights inverse to the size of the example's class, so that all classes are drawn alike.

    What to do
    ----------
    `weights = (1.0 / torch.bincount(labels))[labels]`, with the labels of exactly the examples that the loader reads, in
    their order (after the split), and `WeightedRandomSampler(weights, num_samples=len(weights))`.

    When it is wrong
    ----------------
    Weights that stand for something other than the class (quality, recency, priority) are not judged by classes. Drawing
    large classes more often on purpose, by weights that grow with the class, is a note at most, unless the weights are
    the class sizes themselves. Samplers written by hand are not looked at.

    Source
    ------
    Fault catalogue 150; PyTorch forum threads 69063 and 40057.
    """

    title = "The sampler's weights do not belong to the examples"
    rows = ("S24",)
    faults = (150,)
    explains = ("data-dropped", "one-class-batches", "examples-repeat-within-epoch", "same-batch")

    def measure(self, data: Data) -> list[Evidence]:
        """Compare each weighted sampler's weights with the examples and their labels."""
        from trainrecipe.subjects.examples import weighted

        found = [_look(data, record, sampler) for record, sampler in weighted(data)]
        return found or [Evidence(missing="no loader draws by a WeightedRandomSampler")]

    def judge(self, evidence: Evidence) -> Ruling:
        """Too few weights, weights without effect, weights of other examples, weights that make it worse."""
        weights, examples = evidence["weights"], evidence["examples"]
        if weights != examples:
            never = f"; the last {examples - weights} can never be drawn" if weights < examples else ""
            of_classes = weights in (evidence["classes"], evidence["classes"] + 1) and weights < examples
            return Ruling.found(
                Severity.ERROR,
                f"The sampler has {weights} weights for {examples} examples.",
                expected=f"{examples} weights, one for each example",
                observed=f"{weights} weights{never}" + (f"; there are {weights} classes" if of_classes else ""),
                fix="Give each example its class's weight: weights = class_weights[labels], with the labels of these examples.",
                causes=("weights of the classes were given", "weights were made for another split of the data"),
            )
        if evidence["idle"]:
            return Ruling.found(
                Severity.WARNING,
                "The sampler's weights have no effect: each example is drawn exactly once.",
                expected="examples drawn in proportion to their weights",
                observed=f"replacement=False and {evidence['drawn']} draws from {examples} examples with "
                f"{evidence['different']} different weights",
                fix="Use replacement=True.",
            )
        return _by_class(evidence)

    def draw(self, evidence: Evidence) -> Picture | None:
        """How often each class occurs, and how often it is drawn."""
        if not evidence["counts"] or not evidence["shares"]:
            return None
        caption = "Share of draws that each class gets; inverse weights make them equal."
        ideal = {"equal": 1 / len(evidence["shares"])}
        return bars("Classes as drawn", caption, evidence["shares"], x_title="share of draws", rules=ideal)


def _by_class(evidence: Evidence) -> Ruling:
    if evidence["misplaced"]:
        return Ruling.found(
            Severity.WARNING,
            "The sampler's weights belong to examples in another order.",
            expected="examples of one class to have one weight",
            observed=f"as many examples with each weight as there are in each class, but only {evidence['agree']:.0%} of "
            "the examples have their own class's weight",
            fix="Compute the weights from the labels of the loader's data set, in its order: after shuffling and splitting.",
        )
    before, after = evidence["uneven"], evidence["uneven_drawn"]
    if not evidence["follow"] or before < UNEVEN or after < WORSE * before:
        return Ruling.passed("each example has a weight" + (f"; classes are drawn {after:.2g} : 1" if after else ""))
    return Ruling.found(
        Severity.WARNING if evidence["sizes"] else Severity.NOTE,
        "The sampler draws large classes more often, so the imbalance grows.",
        expected="weights inverse to the size of the class, so that rare classes are drawn as often as others",
        observed=f"the largest class is {before:.2g} times the smallest in the data and {after:.2g} times as drawn"
        + ("; the weights are proportional to the class sizes" if evidence["sizes"] else ""),
        fix="Use the inverse: weights = (1.0 / torch.bincount(labels))[labels].",
    )


def _look(data: Data, record: Loader, sampler: object) -> Evidence:
    from trainrecipe.subjects.examples import labels

    weights = [float(w) for w in sampler.weights]  # type: ignore[attr-defined]
    known = labels(data, record.number)
    classes = Counter(known.values())
    positive = sum(w > 0 for w in weights)
    fits = len(weights) == record.examples
    found = {
        "weights": len(weights),
        "examples": record.examples,
        "classes": len(classes),
        "different": len(set(weights)),
        "drawn": int(sampler.num_samples),  # type: ignore[attr-defined]
        "idle": bool(
            not sampler.replacement  # type: ignore[attr-defined]
            and sampler.num_samples >= positive == len(weights)  # type: ignore[attr-defined]
            and len(set(weights)) > 1
        ),
    }
    judged = fits and 2 <= len(classes) <= min(KINDS, len(known) // 8)
    return Evidence(
        {**found, **(_classes(weights, known, classes) if judged else _NOTHING)},
        place=record.sampler_born or record.born or record.place,
    )


_NOTHING = {
    "misplaced": False,
    "agree": 0.0,
    "follow": False,
    "uneven": 0.0,
    "uneven_drawn": 0.0,
    "sizes": False,
    "counts": {},
    "shares": {},
}


def _classes(weights: Sequence[float], known: Mapping[int, float], classes: Counter[float]) -> dict[str, object]:
    """How the classes are drawn, given the labels of all or some examples."""
    by_class: dict[float, Counter[float]] = {c: Counter() for c in classes}
    for i, label in known.items():
        by_class[label][_rounded(weights[i])] += 1
    usual = {c: held.most_common(1)[0][0] for c, held in by_class.items()}
    agree = sum(held[usual[c]] for c, held in by_class.items()) / len(known)
    groups = Counter(_rounded(weights[i]) for i in known)
    sizes = sorted(classes.values())
    whole = len(known) == len(weights)
    total = sum(weights[i] for i in known)
    shares = {c: sum(w * n for w, n in by_class[c].items()) / max(total, 1e-12) for c in classes}
    drawn = [s for s in shares.values() if s > 0]
    whole_groups = Counter(map(_rounded, weights))
    ratios = [[usual[c] / n for c, n in classes.items()], [w / n for w, n in whole_groups.items()]]
    varied = len(set(usual.values())) > 1
    return {
        "misplaced": whole and len(groups) > 1 and sorted(groups.values()) == sizes and agree < 0.9,
        "agree": agree,
        "follow": agree == 1.0 and varied,
        "uneven": sizes[-1] / sizes[0],
        "uneven_drawn": max(drawn) / min(drawn) if len(drawn) > 1 else 0.0,
        "sizes": varied and any(max(r) - min(r) <= EXACT * max(r) for r in ratios),
        "counts": {f"{c:g}": n for c, n in sorted(classes.items())},
        "shares": {f"{c:g}": s for c, s in sorted(shares.items())},
    }


def _rounded(weight: float) -> float:
    return float(f"{weight:.6g}")
