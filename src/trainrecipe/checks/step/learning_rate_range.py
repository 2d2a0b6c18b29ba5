"""Where the script's learning rate lies in the range in which its optimiser can train this net at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, lines

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

STEPS = 25
"""Steps for each rate on the recorded batch."""
WORKS = 0.2
"""Share of the way to the floor within these steps that makes a rate workable."""
WELL = 0.5
"""Share that shows that a rate trains the net well."""
SUM = 8.0
"""Values that a loss adds up, instead of taking their mean, from which on that is named as a reason for too high a rate."""
FAIRLY = 0.3
"""Share that is enough to show that a lower rate trains the net where the script's does not at all."""
UP = 7
"""Powers of ten above the script's rate that are tried."""
DOWN = 3
"""Powers of ten below."""
TOO_LONG = 300_000
"""Steps on one single batch beyond which a rate is hopeless: AdamW at 1e-6 from scratch needs 100,000, at 2e-5 5,000."""
LONG = 100_000
"""Steps beyond which it is worth a note."""
FACTOR_LOW = 1000.0
"""How far below a rate that trains well the script's must lie. A fine-tuning rate lies 30 to 300 times below."""
HURRY, HARDLY = 20.0, 0.02
"""A rate is too low for its run if the run is that many times shorter than what the rate needs, and if going on as fast as
it begins would take the loss no more than that share of the way to its floor."""
NOTHING = 0.9
"""Share of the best constant prediction's loss from which a net is taken to have learnt nothing yet."""
SWEEP = 24
"""Steps of the range test, whose rate goes from the script's over `WIDE` to that times `WIDE`."""
WIDE = 100.0
SCALED = 100.0
"""Factor between the loss function and what backward is called on, from which on a loss scaler is at work."""


class LearningRateRange(Check):
    """The learning rate lies in the range in which this optimiser can train this net.

    What it checks
    --------------
    Twins are trained for a few steps on the recorded batch with the script's class of optimiser, settings and
    clipping, at the script's rate; if that does not work, also at powers of ten above and below. Before calling a
    rate too low, the number of steps it would need for what a workable rate does in a few is computed, and, where the
    length of the run is known, set against it; a rate is too high when it makes things worse while a tenth or less of it
    trains well. Where the script's rate works, one more twin is trained while its rate is raised from step to step, and the
    rate at which the loss falls fastest is named.

    Why it matters
    --------------
    Too low a rate looks like a net that cannot learn. Too high a rate kills units in the first steps, and the loss then
    stays at a plateau that looks like convergence.

    What healthy looks like
    -----------------------
    The script's rate lies on the falling part of the curve or at its bottom, a factor of ten below where it blows up.

    What to do
    ----------
    Take a rate in the middle of the workable range. For Adam, 3e-4 to 3e-3 is safe for most nets.

    When it is wrong
    ----------------
    With a schedule, the highest rate known counts for "too low", and the first rates for "too high", so that warm-up is
    not mistaken. Low rates for fine-tuning pass, since they need thousands of steps and not millions. Losses without a
    known floor, loss scaling, LBFGS and optimisers that are not PyTorch's own are skipped.

    Source
    ------
    L. N. Smith 2017 (range test); A. Karpathy, A Recipe for Training Neural Networks; fault catalogue 67 and 68.
    """

    title = "The learning rate is outside the workable range"
    rows = ("S21",)
    faults = (67, 68)
    price = Price.TRAIN
    explains = ("update-ratio", "dead-units", "exploding-gradients", "non-finite")

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.reductions import summed
        from trainrecipe.subjects.theory import theory_of

        if step.distrust:
            return Evidence(missing=step.distrust)
        if step.optimizer is None or step.peak_rate <= 0:
            return Evidence(missing="no optimiser with a learning rate was seen to step on this loss")
        found = theory_of(step)
        if isinstance(found, str):
            return Evidence(missing=f"{found}, so progress cannot be measured")
        _, theory = found
        ratio = _ratio(step)
        if ratio is None or ratio > SCALED:
            return Evidence(missing="the loss is scaled before backward, as a loss scaler does")
        floor = (theory.floor or 0.0) * abs(theory.factor)
        first = step.rates[0] if step.rates and step.rates[0] > 0 else step.peak_rate
        data: dict[str, Any] = {
            "optimizer": type(step.optimizer).__name__,
            "rate": step.peak_rate,
            "first_rate": first,
            "rising": _rising(step.rates),
            "floor": floor,
            "known": theory.floor is not None,
            "constant": (theory.start if theory.prior is None else theory.prior) * abs(theory.factor),
            "planned": step.planned_steps,
            "steps": STEPS,
            "whole": len(step.trained(step.twin())) >= len(step.tape.parameters),
            "tried": [],
        }
        for rate in _rates(data):
            result = _try(step, rate, floor)
            if result is None:
                return Evidence(missing="the optimiser cannot be copied, so no other rate can be tried")
            if result["cut"]:
                return Evidence(missing=f"the time for experiments ran out at learning rate {rate:g}")
            data["tried"].append(result)
            if result["progress"] >= WELL or (rate == data["rate"] and result["progress"] >= WORKS):
                break
        if data["tried"][0]["progress"] < WORKS:
            data["summed"] = summed(step)
        if len(data["tried"]) == 1 and step.seconds_left() > 0:
            data["sweep"] = _sweep(step)
        return Evidence(data, place=_optimizer_place(step))

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        own, best = e["tried"][0], max(e["tried"], key=lambda t: t["progress"])
        fall = f"from {own['first']:.4g} to {_text(own)} in {e['steps']} steps"
        text = f"at its rate of {own['rate']:g} the loss on one batch goes {fall}"
        if own["progress"] >= WORKS:
            found = _suggested(e.get("sweep"))
            return Ruling.passed(f"{text}; in a range test it falls fastest at about {found:.0e}" if found else text)
        if best["progress"] < (WELL if best["rate"] > own["rate"] else FAIRLY) or not e["whole"]:
            return Ruling.unsure(f"{text}; no rate that was tried does well, so the rate is not what holds it up")
        if best["rate"] > own["rate"]:
            return self._low(e, own, best, text)
        return self._high(e, own, best, text)

    def _low(self, e: Evidence, own: dict[str, Any], best: dict[str, Any], text: str) -> Ruling:
        needed = best["needed"] * best["rate"] / own["rate"]
        text = f"{text}; at {best['rate']:g} it is {_text(best)}"
        if e["rising"]:
            return Ruling.unsure(f"{text}, but the rate is still rising")
        if _cannot_in_time(e, own, needed):
            return self._in_vain(e, own, best, needed)
        if needed < LONG or best["rate"] < FACTOR_LOW * own["rate"]:
            return Ruling.passed(f"{text}: low, but workable")
        return Ruling.found(
            Severity.WARNING if needed >= TOO_LONG else Severity.NOTE,
            f"The learning rate of {own['rate']:g} is about {best['rate'] / own['rate']:.0e} times below one that "
            "trains this net: "
            f"it would need about {needed:.0e} steps to learn even a single batch.",
            expected=f"a rate at which {e['optimizer']} gets somewhere, such as {best['rate']:g}",
            observed=f"{e['steps']} steps on one batch: from {own['first']:.5g} to {_text(own)} at {own['rate']:g}, "
            "and to "
            f"{_text(best)} at {best['rate']:g}",
            fix=f"Raise the learning rate to about {best['rate'] / 3:.0e} … {best['rate']:g}, and look for a misplaced factor.",
        )

    def _in_vain(self, e: Evidence, own: dict[str, Any], best: dict[str, Any], needed: float) -> Ruling:
        return Ruling.found(
            Severity.WARNING,
            f"At its learning rate of {own['rate']:g} the net learns next to nothing in the {e['planned']} steps of the run.",
            expected=f"a rate at which {e['optimizer']} gets somewhere in {e['planned']} steps, such as {best['rate']:g}",
            observed=f"{e['steps']} steps on one batch: from {own['first']:.5g} to {_text(own)} at {own['rate']:g}, and to "
            f"{_text(best)} at {best['rate']:g}; it would need about {needed:.0e} steps for half of the way",
            fix=f"Raise the learning rate to about {best['rate'] / 10:.0e} … {best['rate']:g}, or train for longer.",
        )

    def _high(self, e: Evidence, own: dict[str, Any], best: dict[str, Any], text: str) -> Ruling:
        text = f"{text}; at {best['rate']:g} it is {_text(best)}"
        worse = own["broken"] or own["end"] >= 0.9 * own["first"]
        if e["first_rate"] < 0.5 * own["rate"]:
            return Ruling.passed(f"{text}; the script starts at {e['first_rate']:g} and warms up")
        if not worse or best["rate"] > own["rate"] / 9:
            return Ruling.passed(f"{text}: high, but workable")
        summed = e.get("summed", 1.0)
        loss = f" for a loss that is a sum over {summed:.0f} values" if summed >= SUM else ""
        return Ruling.found(
            Severity.WARNING,
            f"The learning rate of {own['rate']:g} is above the workable range{loss}: {e['steps']} steps on one batch do "
            f"not lower the loss, and at {best['rate']:g} they do.",
            expected=f"a rate at which {e['optimizer']} lowers the loss, such as {best['rate']:g}",
            observed=f"from {own['first']:.4g} to {_text(own)} at {own['rate']:g}, by way of {own['peak']:.3g}; to "
            f"{_text(best)} at "
            f"{best['rate']:g}",
            fix=f"{'Take the mean of the values, or lower' if loss else 'Lower'} the learning rate to about {best['rate']:g}.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        tried = sorted(evidence["tried"], key=lambda t: t["rate"])
        if len(tried) < 2:
            return _range_test(evidence)
        own = evidence["rate"]
        losses = [None if t["broken"] else min(t["end"], 10 * t["first"]) for t in tried]
        series = {
            "all rates": losses,
            "the script's": [v if t["rate"] == own else None for t, v in zip(tried, losses, strict=True)],
        }
        caption = f"Loss on one batch after {evidence['steps']} steps at each rate; rates that blew up are left out."
        rules = {"before": tried[0]["first"]}
        x = [t["rate"] for t in tried]
        return lines(
            "Learning-rate range",
            caption,
            series,
            x=x,
            x_title="learning rate",
            y_title="loss",
            rules=rules,
            log_x=True,
        )


def _cannot_in_time(e: Evidence, own: dict[str, Any], needed: float) -> bool:
    """Whether a net that has learnt nothing yet cannot learn anything in the steps that are planned, at its rate."""
    if not e["planned"] or own["first"] < NOTHING * e["constant"] or needed < HURRY * e["planned"]:
        return False
    return bool(own["progress"] * e["planned"] / e["steps"] < HARDLY)


def _sweep(step: Step) -> dict[str, list[float]]:
    """One training on the recorded batch whose rate grows from step to step: the rates, and the loss after each."""
    import torch

    from trainrecipe.subjects.practice import own_optimizer, practise

    twin = step.twin()
    optimizer = own_optimizer(step, twin)
    if optimizer is None:
        return {}
    own = [float(group["lr"]) for group in optimizer.param_groups]
    factors = [WIDE ** (2 * k / (SWEEP - 1) - 1) for k in range(SWEEP)]
    count = iter(factors)

    def raise_rate(_: dict[int, torch.Tensor]) -> None:
        factor = next(count, factors[-1])
        for group, rate in zip(optimizer.param_groups, own, strict=True):
            group["lr"] = (
                torch.full_like(group["lr"], rate * factor) if isinstance(group["lr"], torch.Tensor) else rate * factor
            )

    curve = practise(step, twin, optimizer, SWEEP, clip=True, watch=raise_rate)
    rates = [step.peak_rate * f for f in factors]
    losses = curve.losses[1:]
    kept = next((k for k, v in enumerate(losses) if v > 2 * curve.losses[0]), len(losses))  # beyond that it has blown up
    return {"rates": rates[:kept], "losses": losses[:kept]}


def _suggested(sweep: dict[str, list[float]] | None) -> float | None:
    """The rate at which the loss of a range test falls most steeply, smoothed; None where it hardly falls."""
    if not sweep or len(sweep["losses"]) < 5:
        return None
    losses = sweep["losses"]
    smooth = [sum(losses[max(0, k - 1) : k + 2]) / len(losses[max(0, k - 1) : k + 2]) for k in range(len(losses))]
    lowest = smooth.index(min(smooth))
    falls = [smooth[k] - smooth[k + 1] for k in range(lowest)]
    if not falls or smooth[0] - smooth[lowest] < 0.02 * abs(smooth[0]):
        return None
    return sweep["rates"][falls.index(max(falls)) + 1]


def _range_test(evidence: Evidence) -> Picture | None:
    """The picture of a range test."""
    sweep = evidence.get("sweep")
    found = _suggested(sweep)
    if not sweep or len(sweep["losses"]) < 5:
        return None
    own = min(sweep["rates"], key=lambda r: abs(math.log(r / evidence["rate"])))
    series = {"loss": sweep["losses"]}
    for name, at in (("the script's", own), ("falls fastest", found)):
        if at is not None:
            series[name] = [v if r == at else None for r, v in zip(sweep["rates"], sweep["losses"], strict=True)]
    caption = "One training on one batch, its rate raised from step to step; a good rate lies where the loss falls fast."
    return lines(
        "Learning-rate range test", caption, series, x=sweep["rates"], x_title="learning rate", y_title="loss", log_x=True
    )


def _text(result: dict[str, Any]) -> str:
    return "a value that is not finite" if result["broken"] else f"{result['end']:.5g}"


def _rates(data: dict[str, Any]) -> Iterator[float]:
    """The script's rate; then, judging by what it did, rates above it or below."""
    rate = data["rate"]
    yield rate
    own = data["tried"][0]
    down = own["broken"] or own["end"] > 1.001 * own["first"] or own["peak"] > 2 * own["first"]
    for power in range(1, (DOWN if down else UP) + 1):
        yield rate * 10.0 ** (-power if down else power)


def _try(step: Step, rate: float, floor: float) -> dict[str, Any] | None:
    """A few steps at one rate on a fresh twin."""
    from trainrecipe.subjects.practice import own_optimizer, own_run, practise

    if rate == step.peak_rate:
        curve = own_run(step)
    else:
        twin = step.twin()
        optimizer = own_optimizer(step, twin, lr=rate)
        curve = None if optimizer is None else practise(step, twin, optimizer, STEPS, clip=True)
    if curve is None:
        return None
    first = curve.losses[0] if curve.losses else math.nan
    end = min(curve.losses[-3:]) if curve.losses else math.nan
    gap = first - floor
    progress = 0.0 if curve.broken or gap <= 0 else (first - end) / gap
    half = next((i for i, v in enumerate(curve.losses) if first - v >= WELL * gap), STEPS)
    return {
        "rate": rate,
        "first": first,
        "end": end,
        "peak": max(curve.losses, default=math.nan),
        "progress": progress,
        "needed": half,
        "broken": curve.broken,
        "cut": curve.cut,
    }


def _ratio(step: Step) -> float | None:
    """What backward is called on, per unit of the loss function's own value."""
    from trainrecipe.subjects.theory import only_call

    call = only_call(step)
    if isinstance(call, str):
        return None
    return abs(step.observed / call.value) if call.value else 1.0


def _rising(rates: list[float]) -> bool:
    """Whether the rate was still rising when the script was last seen."""
    return len(rates) > 1 and rates[-1] > rates[0] * 1.01


def _optimizer_place(step: Step) -> Any:
    """Where the optimiser was built, or where backward is called."""
    return step.optimizer_place or step.place
