from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars
from trainrecipe.subjects.evaluation import averagings

if TYPE_CHECKING:
    from trainrecipe.subjects.evaluation import Averaging, Score
    from trainrecipe.subjects.run import Run

MATERIAL = 0.01
"""Difference in the reported score, absolute for shares and relative for losses, from which it shows in the third digit."""
HEAVY, MISPLACED = 8.0, 0.08
"""How much more an example of the last batch weighs, and the share of the weight that lies wrong, from which it is no habit."""


class RaggedBatchMean(Check):
    """The score of an evaluation weights every example equally.

    What it checks
    --------------
    What is computed from the outputs of each evaluation batch (a loss, an accuracy) is kept with the batch's size, and both
    averages are worked out: over the examples and over the batches. The script's own variables and what it prints tell which
    of the two it reports.

    Why it matters
    --------------
    With 129 examples in batches of 128, one example has half of the weight in a mean of batch means. The score is off, most
    where the last batch is small, and two runs with different batch sizes cannot be compared.

    What healthy looks like
    -----------------------
    Sums over examples divided by their number at the end, or batches of equal size.

    What to do
    ----------
    Add up `loss.item() * len(labels)` and the number of right predictions, and divide by the number of examples.

    When it is wrong
    ----------------
    Where a mean of batch means is the convention, with a last batch that is nearly full, the difference is small: then this
    is a note. Scores that are only shown in graphics, or written to files, are not seen. With several kinds of sizes (tokens,
    boxes) the number of examples is taken.

    Source
    ------
    Fault catalogue 91; huggingface/transformers#34191 for the same fault in training.
    """

    title = "The score is a mean of batch means, and the last batch is smaller"
    rows = ("S3",)
    faults = (91,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        seen = [e for e in run.evaluated if len(e.sizes) > 1 and e.complete]
        if not seen:
            return Evidence(missing="no evaluation over more than one batch was seen from its first batch to its last")
        ragged = [e for e in seen if len(set(e.sizes)) > 1]
        if not ragged:
            return Evidence({"ragged": False, "batches": len(seen[-1].sizes), "size": seen[-1].sizes[0]}, seen[-1].place)
        found = [a for a in averagings(ragged) if a.right or (a.how == "the mean of batch means" and not _is_sum(a))]
        if not found:
            return Evidence(
                missing="none of the script's numbers could be traced to an evaluation with batches of unequal size"
            )
        chosen = [a for a in found if not a.right] or found
        return max((_look(run, a) for a in chosen), key=lambda e: (e["times"], e["share"], abs(e["difference"])))

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["ragged"]:
            return Ruling.passed(f"all {evidence['batches']} batches have {evidence['size']} examples, so both means agree")
        if evidence["right"]:
            return Ruling.passed(f"the score of line {evidence['line']} weights every example equally")
        if evidence["times"] < 2 and not evidence["exact"] and evidence["digits"] < 4:
            return Ruling.unsure("one printed number agrees with a mean of batch means, which could be chance")
        sizes, heavy = evidence["sizes"], evidence["sizes"][0] / max(1, evidence["sizes"][-1])
        grave = heavy >= HEAVY and evidence["misplaced"] >= MISPLACED and abs(evidence["difference"]) >= MATERIAL
        weight = f"{evidence['batches']} batches of {sizes[0]}, the last of {sizes[-1]}"
        return Ruling.found(
            Severity.WARNING if grave and evidence["times"] > 1 else Severity.NOTE,
            f"The reported {evidence['what']} is the mean of batch means, although the last batch has {sizes[-1]} examples.",
            expected=f"the mean over the examples: {evidence['proper']:.4f}",
            observed=f"{evidence['value']:.4f} in {evidence['name'] or 'the output'} ({weight}): an example of the last batch "
            f"weighs {heavy:.3g} times as much as the others",
            fix="Sum over the examples (loss.item() * len(labels), number right) and divide once by the number of examples.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence["ragged"] or evidence["right"] or len(evidence["values"]) > 40:
            return None
        named = {f"batch {i + 1} ({n})": v for i, (v, n) in enumerate(zip(evidence["values"], evidence["sizes"], strict=True))}
        rules = {"mean of batches": evidence["value"], "mean of examples": evidence["proper"]}
        return bars("Score by batch", "Each batch's score, with its number of examples, and both means.", named, rules=rules)


def _is_sum(averaging: Averaging) -> bool:
    """Whether the batch's number grows with the size of the batch, as a sum does."""
    score = averaging.score
    if score.kind == "count" or score.name not in ("div", "truediv", "true_divide"):
        return False  # a mean by its own definition
    full, last = max(score.sizes), score.sizes[-1]
    usual = sum(score.values[:-1]) / (len(score.values) - 1)
    return last < 0.7 * full and usual != 0 and abs(score.values[-1] / usual - last / full) < 0.25 * (1 - last / full)


def _what(score: Score) -> str:
    if score.kind == "count":
        return "share of right predictions"
    return score.name if score.name.lower().endswith(("loss", "entropy")) else "score"


def _look(run: Run, found: Averaging) -> Evidence:
    score, evaluation = found.score, found.evaluation
    values = [v / n for v, n in zip(score.values, score.sizes, strict=True)] if score.kind == "count" else score.values
    value = sum(values) / len(values)
    printed = found.value / found.proper if found.proper else 1.0
    scale = 100.0 if printed > 20 else 1.0
    difference = _over_the_whole(run, found, values)
    share = score.kind == "count" or all(0 <= v <= 1 for v in values)
    relative = difference if share else difference / abs(found.proper) if found.proper else 0.0
    return Evidence(
        {
            "ragged": True,
            "right": found.right,
            "what": _what(score),
            "line": score.place.line if score.place else 0,
            "name": found.name.strip(),
            "times": found.times,
            "exact": found.exact,
            "digits": len(f"{abs(found.value):.4f}".replace(".", "").strip("0")),
            "value": found.value / scale if found.right else value,
            "proper": found.proper,
            "share": share,
            "difference": relative,
            "misplaced": _misplaced(run, found),
            "batches": len(score.sizes),
            "sizes": score.sizes[:60],
            "values": list(values[:60]),
            "calls": evaluation.calls,
        },
        place=score.place,
    )


def _misplaced(run: Run, found: Averaging) -> float:
    """The share of the weight that the last batch has too much, over all batches of the loader."""
    sizes = found.score.sizes
    loader = run.loaders[found.evaluation.loader] if found.evaluation.loader is not None else None
    if loader is not None and loader.length and loader.examples and run.rehearsal:
        return abs(1 / loader.length - sizes[-1] / loader.examples)
    return abs(1 / len(sizes) - sizes[-1] / sum(sizes))


def _over_the_whole(run: Run, found: Averaging, values: list[float]) -> float:
    """By how much the two means differ over all batches of the loader; a rehearsal leaves most of them out."""
    sizes = found.score.sizes
    difference = sum(values) / len(values) - found.proper
    loader = run.loaders[found.evaluation.loader] if found.evaluation.loader is not None else None
    if not run.rehearsal or loader is None or not loader.length or not loader.examples or loader.length <= len(values):
        return difference
    full = sum(values[:-1]) / (len(values) - 1)
    return (values[-1] - full) * (1 / loader.length - sizes[-1] / loader.examples)
