from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.ranks import LocalMean, Ranks

NOTED, LARGE = 1.5, 2.0
"""Ratio of the weights that targets have in two ranks, from which a step is uneven, and very much so. Of batches of n texts
drawn at random, with lengths that vary by 60% (standard deviation over mean), half reach exp(0.67 · 0.6 · √(2/n)) in two ranks
and a third exp(0.97 · 0.6 · √(2/n)): 1.3 and 1.5 for four texts, 1.5 and 1.8 for two."""
MOST, MANY = 1 / 2, 1 / 3
"""Share of the steps above which uneven steps are a note, and very uneven ones a warning: beyond what chance does to batches
of a few texts, and last batches of an epoch, while of batches that are all short or all long half meet their like."""
APART = 0.25
"""Distance between the gradient of equal ranks and that of equal targets, in lengths of the latter, below which it is a note.
That of accumulation-uneven."""
ROUNDING = 1e-3
"""Such a distance that rounding may make: below it, the two cannot be told apart."""
MEANT = 0.1
"""Sine of the angle between the gradient that a step used and the one that it would be, up to which it is that one."""
FEWEST = 3
"""Steps in which all ranks count their targets, from which is judged."""


class UnevenShards(Check):
    """Every target has the same weight, in whichever rank it is.

    What it checks
    --------------
    At each recorded step over how many targets every rank takes the mean of its loss (tokens that are not ignored, valid
    pixels, rows), times what the script multiplies it by; and whether the gradient that the step uses is the plain mean
    over the ranks.

    Why it matters
    --------------
    A mean over ranks of means over targets is the mean over all targets only where each rank has as many. A target in the
    rank with the fewest weighs many times as much as one in the rank with the most, so short texts, or the smallest shard,
    decide where the model goes, and the result depends on the number of processes.

    What healthy looks like
    -----------------------
    The loss is a sum, divided by the number of targets in all ranks and multiplied by the number of ranks, by which
    DistributedDataParallel divides. Or batches hold as many targets in each rank.

    What to do
    ----------
    `total = (labels != -100).sum(); dist.all_reduce(total)`, and
    `loss = F.cross_entropy(logits, labels, reduction="sum") * dist.get_world_size() / total`.

    When it is wrong
    ----------------
    Every sequence, site or rank may be meant to count the same; where each rank has a single row, it is a note. Smaller
    batches at the end of an epoch are left out, and so are steps of several backward calls, of several losses, class weights,
    and means that are written by hand (a masked sum over the sum of its mask). Where the gradients before and after the
    exchange could not be compared, a script that weighs them itself looks the same: this is a note.

    Source
    ------
    Fault catalogue 161; huggingface/transformers#34191 and Hugging Face, "Fixing gradient accumulation" (2024), the same
    over micro-batches. That gradients of means add up to that of the whole mean with weights n_i / n is an identity.
    PyTorch documentation of DistributedDataParallel: gradients are averaged across processes.
    """

    title = "Ranks with few targets weigh as much as ranks with many"
    rows = ("S25", "S18")
    faults = (161,)

    def measure(self, ranks: Ranks) -> Evidence:
        """Compare the weights of a target in all ranks, step by step."""
        missing = ranks.why_not()
        if missing:
            return Evidence(missing=missing)
        if len(ranks.facts) < ranks.world:
            return Evidence(missing=ranks.missing or f"only {len(ranks.facts)} of {ranks.world} ranks were seen")
        if not ranks.together():
            return Evidence(missing="the ranks exchange no gradients, so none are averaged")
        steps = [_compare(means) for means in _common(ranks)]
        if len(steps) < FEWEST:
            return Evidence(missing=f"fewer than {FEWEST} steps in which the loss of every rank is one mean over targets")
        place = next((m.place for m in ranks.facts[0].means if m.place is not None), None)
        uneven = sorted((s for s in steps if s["ratio"] >= NOTED), key=lambda s: s["ratio"])
        median = uneven[len(uneven) // 2] if uneven else steps[0]
        known = sorted(s["apart"] for s in uneven if s["plain"])
        return Evidence(
            {
                "world": ranks.world,
                "steps": len(steps),
                "uneven": len(uneven),
                "large": sum(s["ratio"] >= LARGE for s in steps),
                "ratio": median["ratio"],
                "targets": median["targets"],
                "single": all(s["single"] for s in steps),
                "plain": len(known),
                "weighed": sum(s["weighed"] for s in uneven),
                "apart": known[len(known) // 2] if known else None,
            },
            place=place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        """Many steps with unequal weights of targets, unless the exchange makes up for it."""
        e = evidence
        if e["weighed"] > e["plain"]:
            return Ruling.passed(f"the ranks weigh their gradients by their targets, seen in {e['weighed']} steps")
        large = e["large"] > MANY * e["steps"]
        if not large and e["uneven"] <= MOST * e["steps"]:
            even = e["steps"] - e["uneven"]
            return Ruling.passed(f"a target weighs about the same in all ranks in {even} of {e['steps']} steps")
        sure = large and e["plain"] and e["apart"] >= APART and not e["single"]
        fewest, most = min(e["targets"]), max(e["targets"])
        moved = f"; the gradient is about {e['apart']:.0%} of its length off that of equal targets" if e["plain"] else ""
        return Ruling.found(
            Severity.WARNING if sure else Severity.NOTE,
            f"The ranks average means over {fewest} to {most} targets as if they had as many.",
            expected=f"the same weight for every target of a step over {e['world']} ranks",
            observed=f"in {e['uneven']} of {e['steps']} steps a target weighs at least {NOTED} times as much in one rank as in "
            f"another, in the median of these {e['ratio']:.1f} times{moved}",
            fix='Use reduction="sum", divide by the number of targets over all ranks (all_reduce), and multiply by the number '
            "of ranks.",
            causes=(
                "each rank takes the mean over its own targets, and gradients are averaged over the ranks",
                "batches are put together by length, or the shards differ in size, so that the numbers of targets differ",
            ),
        )


def _common(ranks: Ranks) -> list[list[LocalMean]]:
    """The means of all ranks for each step that all of them took, where a row means the same in all."""
    by_step = [{m.step: m for m in f.means} for f in ranks.facts]
    shared = sorted(set.intersection(*map(set, by_step)))
    found = [[means[step] for means in by_step] for step in shared]
    return [means for means in found if all(m.inner == means[0].inner and m.place == means[0].place for m in means)]


def _compare(means: list[LocalMean]) -> dict[str, Any]:
    """How much more a target weighs in one rank than in another, and which gradient the step used."""
    each = [m.weight / m.targets for m in means]
    result = {
        "ratio": max(each) / min(each),
        "targets": [m.targets for m in means],
        "single": all(m.rows == 1 for m in means),
        "apart": None,
        "plain": False,
        "weighed": False,
    }
    used = means[0].used
    if not used or any(len(m.used) != len(used) or len(m.local) != len(used) for m in means):
        return result
    share = sum(1 / w for w in each) / len(each)
    columns = list(zip(*(m.local for m in means), strict=True))
    plain = [math.fsum(column) for column in columns]
    right = [math.fsum(g / w / share for g, w in zip(column, each, strict=True)) for column in columns]
    length = math.hypot(*right)
    apart = math.dist(plain, right) / length if length else 0.0
    if not math.isfinite(apart) or apart < ROUNDING:
        return result
    off_plain, off_right = _off(used, plain), _off(used, right)
    return {**result, "apart": apart, "plain": off_plain < min(MEANT, off_right), "weighed": off_right < min(MEANT, off_plain)}


def _off(one: list[float], other: list[float]) -> float:
    """The sine of the angle between two vectors; 1 where one has no length, or they point away from each other."""
    lengths = math.hypot(*one) * math.hypot(*other)
    cosine = math.fsum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0
    return math.sqrt(max(0.0, 1 - cosine * cosine)) if cosine > 0 else 1.0
