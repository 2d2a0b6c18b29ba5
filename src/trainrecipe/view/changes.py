"""What the stages 3 to 5 found, in words, as a table, and as pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from trainrecipe.lab.noise import Effect, resolution, seeds_needed
from trainrecipe.picture import Picture, lines, points, ranges
from trainrecipe.stages.comparison import Comparison, Verdict
from trainrecipe.stages.overfit import Report as Overfit
from trainrecipe.stages.regularize import Report
from trainrecipe.stages.tune import Range
from trainrecipe.stages.tune import Report as Tuned

_INK = {"helps": "green", "hurts": "red", "failed": "red", "within noise": "dim", "no effect": "dim"}


def number(value: float, signed: bool = False) -> str:
    """A number of a metric: four digits that count."""
    return f"{value:+.4g}" if signed else f"{value:.4g}"


def baseline(found: Comparison) -> str:
    """What the script does as it is."""
    n, way = found.baseline, "higher is better" if found.better > 0 else "lower is better"
    return (
        f"as it is: {found.metric} = {number(n.mean)} ± {number(n.deviation)} between {n.seeds} seeds ({way}); "
        f"{n.seeds} paired seeds resolve about {number(_resolved(found))}"
    )


def _resolved(found: Comparison) -> float:
    known = sorted(v.effect.deviation for v in found.verdicts if v.effect is not None)
    return resolution(known[len(known) // 2] if known else found.baseline.deviation, found.baseline.seeds)


def table(found: Comparison) -> Table:
    """The changes with their effects, the best first."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("change", overflow="fold", ratio=1)
    for name in ("effect", "95 % interval"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    for verdict in found.verdicts:
        effect = verdict.effect
        numbers = ("", "") if effect is None else (number(effect.difference, True), _ends(effect))
        told = Text.assemble(verdict.change, ("\n  " + verdict.why, "dim") if verdict.why else "")
        shown.add_row(told, *numbers, Text(verdict.verdict, _INK[verdict.verdict]))
    return shown


def sentences(report: Report) -> Iterator[str]:
    """The verdict of the stage and the next moves."""
    found = report.comparison
    if any(v.verdict == "within noise" and v.effect and v.effect.low * v.effect.high > 0 for v in found.verdicts):
        yield f"The intervals are of each change alone; the verdicts allow for {len(found.verdicts)} having been tried."
    if not found.helps:
        yield "No change helps beyond what chance does." + _more_seeds(found)
    elif not report.confirmed:
        yield "What helped at first did not help again under fresh seeds: it was luck."
    else:
        names = ", ".join(v.change for v in report.confirmed)
        yield f"Helps, also under fresh seeds: {names}."
    if report.kept:
        effect = report.stacked
        told = (
            f", {number(effect.difference, True)} ({number(effect.low, True)} … {number(effect.high, True)})" if effect else ""
        )
        yield f"Keep: {' + '.join(report.kept)}{told}."
    if report.curve is not None:
        yield _learnt(report)


def _more_seeds(found: Comparison) -> str:
    best = next((v for v in found.verdicts if v.effect is not None and v.effect.difference > 0), None)
    if best is None or best.effect is None:
        return ""
    needed = seeds_needed(best.effect.deviation, best.effect.difference)
    return f" If the {number(best.effect.difference, True)} of {best.change} is real, about {needed} seeds would show it."


def _learnt(report: Report) -> str:
    curve = report.curve
    assert curve is not None
    if curve.more is None:
        return f"No learning curve: {curve.why}."
    steps = ", ".join(f"{number(m)} with {f:.0%}" for f, m in zip(curve.fractions, curve.means, strict=True))
    return f"More data: {steps}; twice the data would buy about {_interval(curve.more)}."


def _interval(effect: Effect) -> str:
    return f"{number(effect.difference, True)} ({_ends(effect)})"


def _ends(effect: Effect) -> str:
    return f"{number(effect.low, True)} … {number(effect.high, True)}"


def effects(found: Comparison) -> Iterator[Picture]:
    """The effects with their intervals."""
    rows = [_row(v) for v in found.verdicts if v.effect is not None]
    if rows:
        caption = f"Effect of each change on {found.metric}, in the better direction, with 95 % intervals over seeds."
        yield ranges("One change at a time", caption, rows, x_title=found.metric)


def pictures(report: Report) -> Iterator[Picture]:
    """The effects, and the learning curve."""
    found = report.comparison
    yield from effects(found)
    if report.curve is not None and report.curve.fractions:
        caption = f"{found.metric} with parts of the training data."
        x, y = report.curve.fractions, {"mean over seeds": report.curve.means}
        yield lines("Learning curve", caption, y, x=x, x_title="share of the training data", y_title=found.metric)


def overfitting(report: Overfit) -> Iterator[str]:
    """The verdict of stage 3."""
    found, learnt = report.comparison, report.learnt
    if learnt.low > 0:
        yield f"The inputs are learnt from: without them the training loss ends at {number(report.blind)}."
    else:
        yield f"Nothing is learnt from the inputs: with zeros in their place the loss ends at {number(report.blind)}, too."
    words = {
        "optimizer=adam": "Adam at 3e-4, the reference,",
        "schedule=off": "A constant rate",
        "learning_rate=x3": "A rate three times as high",
        "learning_rate=x0.33": "A third of the rate",
        "dropout=off": "No dropout",
        "weight_decay=0": "No weight decay",
    }
    for verdict in found.verdicts:
        effect = verdict.effect
        if effect is not None and verdict.verdict != "within noise":
            way = "lower" if verdict.verdict == "helps" else "higher"
            yield f"{words[verdict.change]} gives a {way} training loss, by {_interval(effect)}."


def tuning(report: Tuned) -> Iterator[str]:
    """The verdict of stage 5."""
    best = report.best
    if best is None:
        yield f"None of {len(report.trials)} trials ended with a finite {report.metric!r}."
        return
    yield f"best of {len(report.trials)} trials: {report.metric} = {number(best.value)} with {' + '.join(best.changes)}"
    if report.confirmed is not None:
        helps = report.confirmed.helps
        yield (
            f"Under fresh seeds it helps: {helps[0].change}, {_interval(helps[0].effect)}."
            if helps and helps[0].effect is not None
            else "Under fresh seeds none of the best is better than the script as it is, beyond the noise."
        )
    if report.importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in report.importance.items())
        yield f"What matters for being among the good ones: {shares}."
    yield from report.notes


def search(report: Tuned, space: Sequence[Range]) -> Iterator[Picture]:
    """The metric over the values of each knob."""
    for r in space:
        if r.values:
            continue
        ended = [t for t in report.trials if math.isfinite(t.value)]
        x, y = [_of(t.changes, r.name) for t in ended], [t.value for t in ended]
        caption = f"{report.metric} in each trial, over {r.name}; the other knobs vary as well."
        yield points(r.name, caption, x, y, x_title=r.name, y_title=report.metric, log_x=r.log)


def _of(changes: Sequence[str], name: str) -> float:
    return next(float(c.partition("=")[2]) for c in changes if c.partition("=")[0] == name)


def _row(verdict: Verdict) -> dict[str, float | str]:
    effect = verdict.effect
    assert effect is not None
    return {"name": verdict.change, "low": effect.low, "middle": effect.difference, "high": effect.high}
