"""Whether class weights help the rare classes, as they are meant to, or the frequent ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, points

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.loss_calls import LiveCall
    from trainrecipe.subjects.step import Step

FITS = 0.35
"""Scatter of logarithms up to which weights follow a formula: counts from a few batches vary by as much."""
IMBALANCED = 0.4
"""Scatter of the logarithms of the counts from which classes are imbalanced: 70 % against 30 % for two classes."""
LEAST = 40
"""Labels that must have been seen."""
CLEARLY = math.log(2)
"""Logarithm of pos_weight from which it favours one side: by a factor of two."""
FOLLOWS = 0.8
"""Correlation from which weights rise with the counts although not in proportion."""


class ClassWeights(Check):
    """Class weights are larger for rarer classes.

    What it checks
    --------------
    `weight` of cross-entropy and NLL and `pos_weight` of binary cross-entropy against how often the classes occur among
    the labels that training saw. It is a finding when the weights are proportional to the frequencies instead of their
    inverse, when `pos_weight` is positives over negatives instead of negatives over positives (as exactly as the labels
    seen tell), or when the weights are the inverse frequencies, but of other classes. It is a note when they clearly favour
    the frequent classes in another way, such as a `pos_weight` below one half for rare positives.

    Why it matters
    --------------
    Inverted weights make an imbalance worse: the rare class, the reason for weighting, is ignored, and accuracy still
    looks fine.

    What healthy looks like
    -----------------------
    weight ∝ 1 / count, or a milder power of it; pos_weight = negatives / positives.

    What to do
    ----------
    `weight = counts.sum() / (len(counts) * counts)` with `counts = torch.bincount(labels, minlength=classes)`, so that
    entry c belongs to class c; `pos_weight = negatives / positives`.

    When it is wrong
    ----------------
    Weights that favour a frequent class by choice, as where its errors cost more, are at most a note unless they are
    its frequency, or as near to it as the number of labels seen can tell. With a sampler that balances the classes nothing
    is said. Weights applied by hand are not seen.

    Source
    ------
    Fault catalogue 18 (forum threads 78256, 17786); G. King and L. Zeng 2001 for the inverse frequencies.
    """

    title = "Class weights favour the frequent classes"
    rows = ("S18", "D2")
    faults = (18,)
    price = Price.FORWARD
    explains = ("overfit-one-batch", "output-bias-at-init")

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Compare weights with counts."""
        from trainrecipe.subjects.loss_calls import live_calls

        if step.distrust:
            return Evidence(missing=step.distrust)
        every = [live_calls(one) for one in step.each()]
        found = [e for call in every[0] if (e := _look(step, call, every)) is not None]
        return found or Evidence(missing="no loss of the step has class weights")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        counts, weights = e["counts"], e["weights"]
        if e["labels"] < LEAST:
            return Ruling.unsure(f"only {e['labels']} labels were seen, too few to compare {e['kind']} with")
        common, rare = max(range(len(counts)), key=lambda i: counts[i]), min(range(len(counts)), key=lambda i: counts[i])
        verdict = _binary(counts, weights, e["labels"]) if e["kind"] == "pos_weight" else _classes(counts, weights)
        if verdict in ("balanced", "fine"):
            return Ruling.passed(f"{e['kind']} does not favour frequent classes")
        return Ruling.found(
            Severity.NOTE if verdict == "favours" else Severity.WARNING,
            {
                "proportional": f"{e['kind']} is proportional to how often each class occurs, where the inverse is needed.",
                "order": f"{e['kind']} fits the inverse frequencies, but in another order: it belongs to other classes.",
                "favours": f"{e['kind']} favours the frequent classes.",
            }[verdict],
            expected="negatives / positives"
            if e["kind"] == "pos_weight"
            else "weights that fall as the class gets more frequent",
            observed=_observed(e, common, rare),
            fix="pos_weight = negatives / positives."
            if e["kind"] == "pos_weight"
            else "counts = torch.bincount(labels, minlength=classes); weight = counts.sum() / (classes * counts).",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        e = evidence
        if e["kind"] == "pos_weight" or len(e["counts"]) < 3:
            return None
        return points(
            "Class weights against how often the classes occur",
            "Healthy: weights fall to the right.",
            e["counts"],
            e["weights"],
            x_title="labels seen",
            y_title="weight",
        )


def _observed(e: Evidence, common: int, rare: int) -> str:
    counts, weights = e["counts"], e["weights"]
    if e["kind"] == "pos_weight":
        share = counts[common]
        return (
            f"pos_weight {weights[common]:.3g} where {share:.1%} of {e['labels']} labels are positive: negatives over "
            f"positives are {(1 - share) / max(share, 1e-9):.3g}, positives over negatives {share / max(1 - share, 1e-9):.3g}"
        )
    return (
        f"of {e['labels']} labels seen, class {common} has {counts[common]:g} and weight {weights[common]:.3g}, "
        f"class {rare} has {counts[rare]:g} and weight {weights[rare]:.3g}"
    )


def _classes(counts: list[float], weights: list[float]) -> str:
    """How weights relate to counts: balanced, fine, proportional, order (inverse, of other classes) or favours."""
    x = [math.log(c + 0.5) for c in counts]
    y = [math.log(max(w, 1e-9)) for w in weights]
    if _scatter(x) < IMBALANCED or _scatter(y) < FITS / 2:
        return "balanced"
    if _scatter([b - a for a, b in zip(x, y, strict=True)]) < FITS and _correlation(x, y) > 0:
        return "proportional"
    inverse = _scatter([a + b for a, b in zip(x, y, strict=True)])
    ordered = _scatter([a + b for a, b in zip(sorted(x), sorted(y, reverse=True), strict=True)])
    if len(x) > 2 and ordered < FITS < inverse and _correlation(x, y) > -0.5:
        return "order"
    return "favours" if _correlation(x, y) > FOLLOWS else "fine"


def _binary(rates: list[float], weights: list[float], labels: int) -> str:
    """The same for the shares of positives of several labels and their pos_weight.

    Log-odds are known to about two standard errors. The logarithm of an inverted weight lies nearer to them than to zero.
    """
    skewed = inverted = favoured = 0
    for rate, weight in zip(rates, weights, strict=True):
        odds, size = math.log((rate + 1e-4) / (1 - rate + 1e-4)), math.log(max(weight, 1e-9))
        if abs(odds) <= IMBALANCED:
            continue
        error = 2 / math.sqrt(max(labels * min(rate, 1 - rate), 1e-9))
        skewed += 1
        inverted += error <= 1 and abs(size - odds) < min(math.hypot(FITS, error), abs(size))
        favoured += error < abs(odds) - IMBALANCED and abs(size) > CLEARLY and size * odds > 0
    if not skewed:
        return "balanced"
    return "proportional" if inverted > 0.7 * skewed else "favours" if favoured > 0.7 * skewed else "fine"


def _scatter(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


def _correlation(x: list[float], y: list[float]) -> float:
    a, b = sum(x) / len(x), sum(y) / len(y)
    size = len(x) * _scatter(x) * _scatter(y)
    return sum((p - a) * (q - b) for p, q in zip(x, y, strict=True)) / size if size else 0.0


def _look(step: Step, call: LiveCall, every: list[list[LiveCall]]) -> Evidence | None:
    import torch

    same = [c for calls in every for c in calls if c.name == call.name and c.place == call.place]
    weight, positive = call.settings.get("weight"), call.settings.get("pos_weight")
    if call.name == "binary_cross_entropy_with_logits" and isinstance(positive, torch.Tensor):
        targets = [c.target.double().reshape(-1, c.target.shape[-1] if positive.numel() > 1 else 1) for c in same]
        joined = torch.cat(targets)
        if positive.numel() not in (1, joined.shape[1]):
            return None
        rates = joined.mean(0)
        weights = positive.double().reshape(-1).expand(len(rates))
        data: dict[str, Any] = {"kind": "pos_weight", "counts": rates.tolist(), "labels": joined.shape[0]}
    elif call.name in ("cross_entropy", "nll_loss") and isinstance(weight, torch.Tensor) and weight.numel() > 1:
        if call.target.is_floating_point():
            return None
        ignored = int(call.settings.get("ignore_index", -100))
        seen = _labels(step, [c.target.reshape(-1) for c in same], weight.numel())
        seen = seen[seen != ignored]
        counts = torch.bincount(seen, minlength=weight.numel())
        weights = weight.double().reshape(-1)
        kept = [i for i in range(weight.numel()) if i != ignored and float(weights[i]) > 0]
        counts, weights = counts[kept], weights[kept]
        data = {"kind": "weight", "counts": counts.double().tolist(), "labels": int(counts.sum())}
        if len(kept) < 2:
            return None
    else:
        return None
    return Evidence({**data, "weights": [float(w) for w in weights]}, place=call.place)


def _labels(step: Step, targets: list[torch.Tensor], classes: int) -> torch.Tensor:
    """The labels that training saw: of its loader where its label is known, else those of the recorded steps."""
    import torch

    own = torch.cat(targets)
    if len(step.labels_seen) > len(own):
        seen = torch.tensor(step.labels_seen, device=own.device)
        if bool(((seen >= 0) & (seen < classes) & (seen == seen.round())).all()):
            return seen.long()
    return own.long()
