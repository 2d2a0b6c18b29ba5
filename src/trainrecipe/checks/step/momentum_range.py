"""Whether the optimiser's momentum lets it train this net, next to other values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, lines

if TYPE_CHECKING:
    from trainrecipe.subjects.practice import Curve
    from trainrecipe.subjects.step import Step

OTHERS = (0.0, 0.9)
"""Values that are tried next to the script's own."""
STEPS = 12
"""Steps for each; as many as the script's own way needs anyway when its learning rate is examined."""
HIGH = 0.995
"""Momentum from which on it is tried over many more steps; 0.99 is used with success in long trainings."""
LONG = 60
"""Steps over all captured batches then: on a single one a high momentum shoots to a loss of zero and coasts there."""
WORSE = 0.9
"""Share of its first loss that is left at the end with a momentum that does not work."""
WELL = 0.3
"""Share of the way to the floor that 0.9 must have made in the same steps."""
SAFE = 0.9


class MomentumRange(Check):
    """The momentum lets the optimiser train this net at its learning rate.

    What it checks
    --------------
    Twins are trained for a few steps on the recorded batch with the script's optimiser, rate and clipping: with its own
    momentum (the first beta of Adam and its kin), without any, and with 0.9. A momentum above 0.995 is tried for longer, over
    all captured batches, and so is 0.9.

    Why it matters
    --------------
    Momentum m multiplies the effective step by up to 1 / (1 - m): 0.999 in place of 0.9 makes it a hundred times longer, and it
    takes a thousand steps until an old gradient is forgotten.

    What healthy looks like
    -----------------------
    The loss falls with the script's momentum about as fast as with the best of the others.

    What to do
    ----------
    Take 0.9. Where 0.99 is wanted, lower the learning rate by the same factor.

    When it is wrong
    ----------------
    It speaks only where momentum is at least 0.995, sixty steps over several batches do not lower the loss, and 0.9 at the same
    rate does so well. Rates that are warming up, losses without a known floor, loss scaling and optimisers without momentum are
    skipped.

    Source
    ------
    L. N. Smith 2018, A disciplined approach to neural network hyper-parameters; fault catalogue 75.
    """

    title = "The momentum is too high for the learning rate"
    rows = ("S21",)
    faults = (75,)
    price = Price.TRAIN
    explains = ("learning-rate-range", "update-ratio", "dead-units", "exploding-gradients", "non-finite")

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.practice import own_run, progress
        from trainrecipe.subjects.theory import theory_of

        if step.distrust:
            return Evidence(missing=step.distrust)
        own = _momentum(step.optimizer)
        if own is None or step.peak_rate <= 0:
            return Evidence(missing="no optimiser with momentum was seen to step on this loss")
        found = theory_of(step)
        if isinstance(found, str):
            return Evidence(missing=f"{found}, so progress cannot be measured")
        floor = (found[1].floor or 0.0) * abs(found[1].factor)
        curves: dict[str, Curve | None] = {f"{own:g}": own_run(step)}
        for value in OTHERS:
            if step.seconds_left() > 0:
                curves.setdefault(f"{value:g}", _with(step, value))
        if curves[f"{own:g}"] is None:
            return Evidence(missing="the optimiser cannot be copied, so no other momentum can be tried")
        if any(c is None or c.cut for c in curves.values()):
            return Evidence(missing="the time for experiments ran out")
        made = {name: c for name, c in curves.items() if c is not None}
        first = step.rates[0] if step.rates and step.rates[0] > 0 else step.peak_rate
        data: dict[str, Any] = {
            "optimizer": type(step.optimizer).__name__,
            "own": own,
            "rate": step.peak_rate,
            "warms_up": first < 0.5 * step.peak_rate,
            "curves": {name: c.losses for name, c in made.items()},
            "broken": {name: c.broken for name, c in made.items()},
            "progress": {name: progress(c, floor, len(c.losses) if name == f"{own:g}" else STEPS) for name, c in made.items()},
        }
        feeds = step.feeds()
        if own >= HIGH and len(feeds) > 1 and not step.transfers:
            both = [_with(step, value, LONG, feeds) for value in (own, SAFE)]
            if any(c is None or c.cut for c in both):
                return Evidence(missing="the time for experiments ran out")
            data["long"] = [_level(c, len(feeds)) for c in both if c is not None]
            data["long_progress"] = progress(both[1], floor, LONG) if both[1] is not None else 0.0
        return Evidence(data, place=step.optimizer_place or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        own = f"{e['own']:g}"
        told = ", ".join(f"{n}: {_end(e, n)}" for n in sorted(e["curves"], key=float))
        text = f"loss on one batch at a rate of {e['rate']:g}, from {e['curves'][own][0]:.4g}, by momentum {told}"
        if not e.get("long"):
            return Ruling.passed(text)
        (first, end), (_, safe) = e["long"]
        text = f"{LONG} steps over several batches at a rate of {e['rate']:g} lead from {first:.4g} to {_number(end)}"
        if e["warms_up"] or (end is not None and end < WORSE * first):
            return Ruling.passed(f"{text} with a momentum of {own}, with {SAFE} to {_number(safe)}")
        if e["long_progress"] < WELL:
            return Ruling.unsure(f"{text} with a momentum of {own}, but with {SAFE} to no better")
        return Ruling.found(
            Severity.WARNING,
            f"A momentum of {own} does not let {e['optimizer']} lower the loss at its rate of {e['rate']:g}; {SAFE} does.",
            expected=f"a loss that falls, as with a momentum of {SAFE}: to {_number(safe)}",
            observed=text,
            fix=f"Take a momentum of {SAFE}, or a learning rate about {0.1 / (1.0000001 - e['own']):.0f} times lower.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        curves = {n: v[: STEPS + 1] for n, v in sorted(evidence["curves"].items(), key=lambda item: float(item[0]))}
        top = 3 * max(v[0] for v in curves.values() if v)
        series = {f"momentum {n}": [min(x, top) for x in v] + [None] * (STEPS + 1 - len(v)) for n, v in curves.items()}
        caption = f"Loss on one batch at the script's learning rate; the script's own momentum is {evidence['own']:g}."
        return lines("Momentum", caption, series, y_title="loss")


def _number(value: float | None) -> str:
    return "a value that is not finite" if value is None else f"{value:.4g}"


def _level(curve: Curve, batches: int) -> tuple[float, float | None]:
    """The mean loss of the first round over the batches and of the last; None for one that broke."""
    start, end = curve.losses[:batches], curve.losses[-batches:]
    return sum(start) / len(start), None if curve.broken else sum(end) / len(end)


def _end(e: Evidence, name: str) -> str:
    return "a value that is not finite" if e["broken"][name] else f"{min(e['curves'][name][-3:]):.4g}"


def _momentum(optimizer: Any) -> float | None:
    """The momentum of an optimiser's first group, or its first beta; None where it has neither."""
    if optimizer is None:
        return None
    group = optimizer.param_groups[0]
    value = group.get("momentum") or (group["betas"][0] if isinstance(group.get("betas"), tuple | list) else None)
    return float(value) if value else None


def _with(step: Step, value: float, steps: int = STEPS, batches: Any = ({},)) -> Curve | None:
    """A few steps with another momentum."""
    from trainrecipe.subjects.practice import own_optimizer, practise

    twin = step.twin()
    optimizer = own_optimizer(step, twin)
    if optimizer is None:
        return None
    for group in optimizer.param_groups:
        if group.get("momentum"):
            group["momentum"] = value
        if isinstance(group.get("betas"), tuple | list):
            group["betas"] = (value, *group["betas"][1:])
    return practise(step, twin, optimizer, steps, clip=True, batches=batches)
