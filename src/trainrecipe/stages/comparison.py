"""Changes against a baseline over the same seeds: which help beyond what chance does, and which are within noise.

found = compare(run, baseline, changes=["dropout=0.3"], seeds=range(5))
found.verdicts[0].verdict        # helps | hurts | within noise | no effect | failed
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from trainrecipe.lab.experiment import Experiment, Result
from trainrecipe.lab.noise import LEVEL, Effect, Noise, holm, noise, paired
from trainrecipe.lab.series import chosen
from trainrecipe.wrong_use import WrongUse

Run = Callable[[Sequence[Experiment]], Iterable[Result]]
"""Makes experiments, in any order."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a change: its values under each seed, the effect in the direction that is better, the corrected `p`, and
    the verdict. `why` tells what it changed in the script, or why there is no effect."""

    change: str
    verdict: str
    values: tuple[float, ...]
    effect: Effect | None
    p: float
    why: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The baseline's noise and the verdicts on changes, the best first. `better`: 1 if the metric is better when higher."""

    metric: str
    better: int
    baseline: Noise
    values: tuple[float, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def wish(self) -> str:
        """The metric with its direction, for other comparisons by the same."""
        return f"{'+' if self.better > 0 else '-'}{self.metric}"

    @property
    def helps(self) -> tuple[Verdict, ...]:
        """The changes that help."""
        return tuple(v for v in self.verdicts if v.verdict == "helps")


def compare(run: Run, baseline: Experiment, changes: Sequence[str], seeds: Sequence[int], metric: str = "") -> Comparison:
    """Make the baseline and every change under each seed. Raises WrongUse where the script fails, or tells nothing."""
    first = [dataclasses.replace(baseline, seed=s) for s in seeds]
    grid = {change: [dataclasses.replace(e, changes=(*e.changes, *parts(change))) for e in first] for change in changes}
    results = {r.experiment: r for r in run([*first, *(e for row in grid.values() for e in row)])}
    own = [results[e] for e in first]
    if failed := next((r for r in own if not r.good), None):
        raise WrongUse(f"{baseline.script} as it is {failed.status}: {failed.error or 'it told no reason'}")
    name, better = chosen(_common(own), metric)
    values = [r.value(name) for r in own]
    if any(not math.isfinite(v) for v in values):
        raise WrongUse(f"{name!r} of {baseline.script} is not a finite number under each seed: {values}")
    judged = [_judged(change, [results[e] for e in row], values, name, better) for change, row in grid.items()]
    tested = [v for v in judged if v.effect is not None]
    corrected = dict(zip((v.change for v in tested), holm([v.effect.p for v in tested if v.effect]), strict=True))
    final = [_decided(v, corrected.get(v.change, 1.0)) for v in judged]
    final.sort(key=lambda v: -(v.effect.difference if v.effect is not None else -math.inf))
    return Comparison(name, better, noise(values), tuple(values), tuple(final))


AND = " + "
"""Between changes that are made together."""


def parts(change: str) -> tuple[str, ...]:
    """The changes that one stands for."""
    return tuple(change.split(AND))


def _common(results: Sequence[Result]) -> list[str]:
    """The names of what all of them told."""
    return [name for name in results[0].series if all(name in r.series for r in results)]


def _judged(change: str, results: Sequence[Result], before: Sequence[float], metric: str, better: int) -> Verdict:
    bad = next((r for r in results if not r.good), None)
    values = tuple(r.value(metric) for r in results)
    if bad is not None:
        return Verdict(change, "failed", values, None, 1.0, bad.error.strip().splitlines()[-1] if bad.error else bad.status)
    mine = [e for r in results for e in r.effects if e.said in parts(change)]
    says = "; ".join(dict.fromkeys(e.says for e in mine))
    if mine and len(mine) >= len(parts(change)) and not any(e.took for e in mine):
        return Verdict(change, "no effect", values, None, 1.0, says)
    if any(not math.isfinite(v) for v in values):
        return Verdict(change, "hurts", values, None, 1.0, f"{metric} is not finite; {says}")
    effect = paired([better * v for v in before], [better * v for v in values])
    return Verdict(change, "", values, effect, 1.0, says)


def _decided(verdict: Verdict, p: float) -> Verdict:
    """The verdict by the corrected p-value."""
    if verdict.effect is None:
        return verdict
    sure = p < 1 - LEVEL
    word = ("helps" if verdict.effect.difference > 0 else "hurts") if sure else "within noise"
    return dataclasses.replace(verdict, verdict=word, p=p)
