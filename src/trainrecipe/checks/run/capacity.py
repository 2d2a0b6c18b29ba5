from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, lines

if TYPE_CHECKING:
    from trainrecipe.subjects.knob import Trial
    from trainrecipe.subjects.run import Run

FEWEST = 24
"""Steps that all trials must have in common."""
QUANTILES = (31.8, 6.96, 4.54, 3.75, 3.36, 3.14)
"""Student's t for one degree of freedom on, at one in a hundred: two seeds per value give one degree each."""
WITHIN = 3.0
"""Standard errors of the loss's own scatter, which is known from many blocks."""
LEAST = 0.05
"""Share of what the smallest model learned, below which a difference does not matter."""
CLOSING = 0.8
"""The gap in the last quarter over that in the third, below which the larger model is catching up."""
SAME = 1e-6
"""Relative difference of two first losses up to which the models are the same."""
BESIDE = 0.1
"""Share of the backwards that another line may have, so that one loss is still the training's."""
BLOCKS = 5
_DRAWN = 60


class Capacity(Check):
    """A model with more capacity reaches a lower training loss.

    What it checks
    --------------
    With `--knob hidden=32,128` the script is first trained a few hundred steps with each of these values, each under two
    seeds, on whole loaders. The name is a constant at the top of the script, or one of its flags. Compared are the number of
    trainable weights and the training loss, its mean over the last quarter of the steps that all trials have in common. What
    chance does is taken from the seeds and from the scatter of the loss itself.

    Why it matters
    --------------
    A model that can express more must be able to fit the training data better; whether it generalises is another question.
    Where it does not, either the setting never reaches the model, or the optimisation fails before capacity counts, and
    every result about the size of the model is an artefact of that.

    What healthy looks like
    -----------------------
    More weights at the larger value, and a lower loss under every seed.

    What to do
    ----------
    The same number of weights: follow the name from where it is set to where the layers are built. A higher loss: train the
    larger one with a third of the learning rate, then look at the loss before the first step, then at its depth.

    When it is wrong
    ----------------
    A few hundred steps are the beginning of a training; a larger model that is still catching up is left undecided, and one
    with more layers, which may need longer before it learns anything, gets a note unless its training was over. Losses that
    are no measure of fit need not fall with capacity: a script with several losses is not judged, and losses below zero, or
    beside predictions without gradients (rewards, targets that the model makes itself), give a note at most. A penalty in
    the loss may grow with the number of weights. A knob that changes the model without adding weights (heads, tied layers)
    is told in a note.

    Source
    ------
    Recipe S9; Karpathy, "A Recipe for Training Neural Networks"; Yang et al., "Tensor Programs V" (wider is better).
    """

    title = "More capacity does not lower the training loss"
    rows = ("S9",)
    price = Price.SWEEP

    def measure(self, run: Run) -> Evidence:
        """Put the trials side by side, from the fewest weights to the most."""
        knob = run.knob
        if knob is None:
            return Evidence(missing="no knob was named; to compare capacities name one: --knob hidden=32,128")
        by_value = {value: [t for t in run.trials if t.value == value] for value in knob.values}
        weights = {value: max((t.parameters for t in trials), default=0) for value, trials in by_value.items()}
        order = sorted(knob.values, key=lambda value: weights[value])
        told: dict[str, Any] = {
            "knob": knob.told,
            "constant": bool(knob.path),
            "values": order,
            "weights": [weights[value] for value in order],
            "trials": len(run.trials),
            "errors": [f"{knob.name}={t.value}: {t.error}" for t in run.trials if t.error],
            "steps": 0,
        }
        if not told["errors"] and run.trials:
            told |= _compared(run.trials, [by_value[value] for value in order])
            told["own_targets"] = any(not f.grad and f.at_steps >= max(3, run.steps / 2) for f in run.forwards)
        return Evidence(told, place=knob.place)

    def judge(self, evidence: Evidence) -> Ruling:
        """First the trials themselves, then the weights, then the loss."""
        if evidence["errors"]:
            failed = f"{len(evidence['errors'])} of {evidence['trials']} trials"
            return Ruling.unsure(f"{failed} did not get through; the first of them: {evidence['errors'][0]}")
        if len(set(evidence["weights"])) == 1:
            return _changes_no_weights(evidence)
        if evidence["steps"] < FEWEST:
            return Ruling.unsure(f"the trials have only {evidence['steps']} steps in common, which are too few to compare")
        if evidence["several"]:
            return Ruling.unsure("the script calls backward in several lines, and none of their losses is the training's alone")
        return _loss(evidence)

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence["steps"]:
            return None
        sizes = zip(evidence["values"], evidence["weights"], evidence["curves"], strict=True)
        series = {f"{value} ({weights:,} weights)": curve for value, weights, curve in sizes}
        return lines(
            f"Training loss at each {evidence['knob']}",
            "Means over the seeds, smoothed: with more weights the curve should lie lower.",
            series,
            x=evidence["at"],
            y_title="loss",
        )


# ---- measuring


def _compared(trials: Sequence[Trial], ordered: Sequence[Sequence[Trial]]) -> dict[str, Any]:
    steps = min(len(t.losses) for t in trials)
    width = max(1, math.ceil(steps / _DRAWN))
    quarter = max(1, steps // 4)

    def means(start: int, end: int) -> list[list[float]]:
        return [[_mean(t.losses[start:end]) for t in group] for group in ordered]

    return {
        "steps": steps,
        "several": any(t.beside > BESIDE * len(t.losses) for t in trials),
        "seeded": all(t.seeded for t in trials),
        "cut": any(t.cut for t in trials),
        "deeper": ordered[-1][0].tensors > ordered[0][0].tensors,
        "seeds_matter": any(t.losses[:steps] != group[0].losses[:steps] for group in ordered for t in group[1:]),
        "firsts": [[t.losses[0] for t in group] for group in ordered],
        "starts": means(0, max(1, steps // 20)),
        "thirds": means(steps - 2 * quarter, steps - quarter),
        "ends": means(steps - quarter, steps),
        "scatter": _scatter([t.losses[steps - quarter : steps] for t in trials]),
        "at": list(range(0, steps, width)),
        "curves": [
            [_mean([x for t in group for x in t.losses[i : i + width]]) for i in range(0, steps, width)] for group in ordered
        ],
    }


def _mean(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return mean if math.isfinite(mean) else math.inf


def _scatter(tails: Sequence[Sequence[float]]) -> float:
    """The error of the mean of a tail that its own blocks show, over all tails."""
    found = []
    for tail in tails:
        size = len(tail) // BLOCKS
        if size and all(map(math.isfinite, tail)):
            blocks = [_mean(tail[i * size : (i + 1) * size]) for i in range(BLOCKS)]
            found.append(statistics.variance(blocks) / BLOCKS)
    return math.sqrt(_mean(found)) if found else 0.0


# ---- judging


def _changes_no_weights(evidence: Evidence) -> Ruling:
    weights, knob = evidence["weights"][0], evidence["knob"]
    values = " and ".join(evidence["values"])
    firsts = [[float(x) for x in seeds] for seeds in zip(*evidence["firsts"], strict=True)]
    same = all(max(seeds) - min(seeds) <= SAME * abs(max(seeds, key=abs)) for seeds in firsts)
    where = "it is never handed to the model" if evidence["constant"] else "the script reads the flag and never uses it"
    causes = (
        f"{where[0].upper()}{where[1:]}: search the script for the places that read {knob}.",
        "The layers are built with a default or a number of their own: print the model at two values.",
    )
    told = f"{weights:,} weights at {knob} = {values}"
    if same:
        return Ruling.found(
            Severity.WARNING,
            f"{knob} changes nothing of the model: it has {weights:,} trainable weights at every value.",
            expected="more weights at a larger value",
            observed=f"{told}, and the same loss before the first step",
            fix=f"Build the model's layers from {knob}.",
            causes=causes,
        )
    why = "though the losses differ" if evidence["seeded"] else "and the losses differ by chance at least, since no seed is set"
    return Ruling.found(
        Severity.NOTE,
        f"{knob} adds no capacity that can be counted: the model has {weights:,} trainable weights at every value.",
        expected="more weights at a larger value, or a knob that is known to change the model otherwise (heads, tied layers)",
        observed=f"{told}, {why}",
        fix=f"If {knob} is meant to set the size of the model, build its layers from it; otherwise name another knob.",
        causes=causes,
    )


def _loss(evidence: Evidence) -> Ruling:
    ends = [[float(x) for x in seeds] for seeds in evidence["ends"]]
    small, large = _mean(ends[0]), _mean(ends[-1])
    told = _told(evidence, ends)
    if not math.isfinite(small):
        return Ruling.unsure(f"the loss is not finite even at {evidence['knob']} = {evidence['values'][0]}")
    learned = _mean([float(x) for x in evidence["starts"][0]]) - small
    enough = max(QUANTILES[min(len(ends), len(QUANTILES)) - 1] * _between(ends), WITHIN * evidence["scatter"])
    if max(ends[-1]) < min(ends[0]):
        return Ruling.passed(f"the loss falls with capacity, over the last quarter of {evidence['steps']} steps: {told}")
    if learned <= enough and math.isfinite(large):
        return Ruling.unsure(
            f"the smallest model's loss fell by {learned:.2g} in {evidence['steps']} steps, no more than chance explains "
            f"(± {enough:.2g}), so nothing compares: {told}"
        )
    higher = large - small
    if math.isfinite(large) and (higher <= max(enough, LEAST * learned) or min(ends[-1]) <= max(ends[0])):
        return Ruling.unsure(f"the difference is within what chance does (± {enough:.2g}): {told}")
    if not evidence["seeds_matter"] and math.isfinite(large):
        return Ruling.unsure(f"the loss rises with capacity, yet both seeds gave the same, so chance is not known: {told}")
    before = [_mean([float(x) for x in evidence["thirds"][i]]) for i in (0, -1)]
    if higher < CLOSING * (before[1] - before[0]):
        return Ruling.unsure(f"the larger model starts behind and is catching up after {evidence['steps']} steps: {told}")
    return _rises(evidence, small, large, enough, told)


def _rises(evidence: Evidence, small: float, large: float, noise: float, told: str) -> Ruling:
    values, weights = evidence["values"], evidence["weights"]
    starts = [_mean([float(x) for x in evidence["firsts"][i]]) for i in (0, -1)]
    rate = "The learning rate is too large for the larger model: train it with a third of the rate."
    late = starts[1] > 1.5 * starts[0] > 0
    init = (
        "The initialisation does not follow the width"
        + (f": before the first step the loss is {starts[1]:.4g} against {starts[0]:.4g}" if late else "")
        + "; scale the weights by one over the root of the fan-in and compare again."
    )
    fit = "The loss is no measure of fit, as with rewards or targets that the model makes itself: compare a score instead."
    depth = "More layers without skips or norms need longer before they learn: compare after more steps, then add skips."
    ratio = weights[-1] / max(1, weights[0])
    end = "is not finite" if not math.isfinite(large) else f"is {large:.4g} instead of {small:.4g}"
    waits = evidence["cut"] and evidence["deeper"] and math.isfinite(large)
    game = math.isfinite(large) and (evidence["own_targets"] or min(small, large) < 0)
    return Ruling.found(
        Severity.NOTE if waits or game else Severity.WARNING,
        f"With {ratio:.3g} times the weights ({evidence['knob']} = {values[-1]}) the training loss {end}.",
        expected=f"a loss below {small:.4g}, that of {values[0]}; chance explains ± {noise:.2g}",
        observed=f"over the last quarter of {evidence['steps']} steps: {told}",
        fix="Make the larger model train first: a smaller rate or a warm-up, and an initialisation that follows the width.",
        causes=(fit, rate) if game else (depth, rate, init) if evidence["deeper"] else (init, rate) if late else (rate, init),
    )


def _between(ends: Sequence[Sequence[float]]) -> float:
    """What the seeds change: the standard deviation of the difference of two values' means."""
    finite = [seeds for seeds in ends if len(seeds) > 1 and all(map(math.isfinite, seeds))]
    return math.sqrt(_mean([2 * statistics.variance(seeds) / len(seeds) for seeds in finite])) if finite else 0.0


def _told(evidence: Evidence, ends: Sequence[Sequence[float]]) -> str:
    parts = zip(evidence["values"], evidence["weights"], ends, strict=True)
    return "; ".join(f"{v} ({w:,} weights) {' and '.join(f'{x:.4g}' for x in seeds)}" for v, w, seeds in parts)
