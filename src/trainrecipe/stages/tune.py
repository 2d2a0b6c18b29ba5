"""Stage 5 of the recipe, tune: quasi-random search, then a model of what was seen (TPE), and winners again on fresh seeds.

    space = [parse("learning_rate=1e-4..1e-1"), parse("dropout=0..0.5"), parse("HIDDEN=32,64,128")]
    report = tune(run, Experiment("train.py"), space, trials=40)

The search itself is Optuna's. Trials are asked for in rounds of as many as run at once and told in order, so that the same
command makes the same trials: what was made before is found, and an interrupted search goes on from it.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from trainrecipe.lab.experiment import Experiment
from trainrecipe.lab.noise import MISSING
from trainrecipe.lab.series import chosen
from trainrecipe.stages.comparison import AND, Comparison, Run, compare
from trainrecipe.wrong_use import WrongUse

WIDE = 50.0
"""Ratio of the ends of a range from which it is searched on a logarithmic scale."""
TOP = 3
"""Winners that are run again under fresh seeds."""
FRESH = 2000
"""Offset of these seeds."""
RANDOM = 10
"""Quasi-random trials before the first that a model suggests, as far as half of all trials: Optuna's default for TPE."""
EXAMPLE = "say it as in learning_rate=1e-4..1e-1, dropout=0..0.5 or HIDDEN=32,64,128"


@dataclasses.dataclass(frozen=True)
class Range:
    """What a knob may be: from `low` to `high` (whole numbers where `whole`, on a logarithmic scale where `log`), or one of
    some `values`."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    values: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Tried:
    """A trial: the values of the knobs, as changes, and the metric (NaN where it failed)."""

    number: int
    changes: tuple[str, ...]
    value: float


@dataclasses.dataclass(frozen=True)
class Report:
    """What the search found: all trials, how much each knob matters (shares that add up to 1), and the best ones against the
    script as it is under fresh seeds."""

    metric: str
    better: int
    trials: tuple[Tried, ...]
    importance: dict[str, float]
    confirmed: Comparison | None
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Tried | None:
        """The best trial under the seed of the search."""
        ended = [t for t in self.trials if math.isfinite(t.value)]
        return max(ended, key=lambda t: self.better * t.value, default=None)


def parse(text: str) -> Range:
    """The range that `name=low..high` or `name=a,b,c` means. Raises WrongUse."""
    name, equals, rest = text.partition("=")
    if not equals or not name.strip() or not rest.strip():
        raise WrongUse(f"{text!r} is no range; {EXAMPLE}")
    if ".." not in rest:
        values = tuple(v.strip() for v in rest.split(","))
        if len(values) < 2 or not all(values):
            raise WrongUse(f"{text!r} gives {name} one value only; {EXAMPLE}")
        return Range(name.strip(), values=values)
    low, _, high = rest.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise WrongUse(f"{text!r}: {low!r} and {high!r} must be numbers; {EXAMPLE}") from None
    if not ends[0] < ends[1]:
        raise WrongUse(f"{text!r}: {low} is not less than {high}")
    whole = all(part.strip().lstrip("+-").isdigit() for part in (low, high))
    return Range(name.strip(), *ends, log=ends[0] > 0 and ends[1] / ends[0] >= WIDE, whole=whole and ends[1] - ends[0] > 1)


def tune(
    run: Run,
    baseline: Experiment,
    space: Sequence[Range],
    *,
    trials: int = 30,
    at_once: int = 1,
    seeds: int = 3,
    metric: str = "",
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """The whole stage. Raises WrongUse where nothing is to be turned, the script fails, or tells nothing to judge by."""
    if not space:
        raise WrongUse(f"nothing to tune: name a knob and its range; {EXAMPLE}")
    first = next(iter(run([baseline])))
    if not first.good:
        raise WrongUse(f"{baseline.script} as it is {first.status}: {first.error or 'it told no reason'}")
    name, better = chosen(first.series, metric)
    search = _Search(space, trials, better)
    tried: list[Tried] = []
    while len(tried) < trials:
        tell(_state(tried, trials, name, better))
        asked = search.ask(min(at_once, trials - len(tried)))
        rows = [dataclasses.replace(baseline, changes=(*baseline.changes, *changes)) for changes in asked]
        results = {r.experiment: r for r in run(rows)}
        values = [results[e].value(name) for e in rows]
        search.tell(values)
        tried += [Tried(len(tried) + i, c, v) for i, (c, v) in enumerate(zip(asked, values, strict=True))]
    notes = tuple(_notes(space, tried))
    report = Report(name, better, tuple(tried), search.importance(), None, notes)
    best = _top(report)
    if not best:
        return report
    tell(f"the best {len(best)} against the script as it is, under {seeds} fresh seeds")
    confirmed = compare(
        run, baseline, [AND.join(t.changes) for t in best], range(FRESH, FRESH + seeds), f"{'+' if better > 0 else '-'}{name}"
    )
    return dataclasses.replace(report, confirmed=confirmed)


def _state(tried: Sequence[Tried], trials: int, name: str, better: int) -> str:
    ended = [t.value for t in tried if math.isfinite(t.value)]
    best = f", best {name} {max(ended, key=lambda v: better * v):.4g}" if ended else ""
    return f"trial {len(tried) + 1} of {trials}{best}"


def _top(report: Report) -> list[Tried]:
    ended = [t for t in report.trials if math.isfinite(t.value)]
    return sorted(ended, key=lambda t: -report.better * t.value)[:TOP]


def _notes(space: Sequence[Range], tried: Sequence[Tried]) -> list[str]:
    """What should be said about the space: grids, and best values at the end of a range."""
    notes = []
    if len(space) > 1 and all(r.values for r in space):
        notes.append(
            "every knob has a list of values, a grid: with ranges each trial would try another value of every knob (Bergstra "
            "and Bengio 2012)"
        )
    failed = sum(not math.isfinite(t.value) for t in tried)
    if failed:
        notes.append(f"{failed} of {len(tried)} trials failed or told no finite number")
    return notes


class _Search:
    """Optuna, asked and told in rounds."""

    def __init__(self, space: Sequence[Range], trials: int, better: int) -> None:
        try:
            import optuna
        except ImportError:
            raise WrongUse(MISSING) from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self.space = space
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is called experimental since 2021
            self._random = optuna.samplers.QMCSampler(seed=0, warn_asynchronous_seeding=False, warn_independent_sampling=False)
        self._model = optuna.samplers.TPESampler(seed=0, n_startup_trials=0, constant_liar=True)
        self._first = max(1, min(RANDOM, trials // 2))
        self.study = optuna.create_study(direction="maximize" if better > 0 else "minimize", sampler=self._random)
        self._open: list[Any] = []

    def ask(self, number: int) -> list[tuple[str, ...]]:
        """So many trials, as changes."""
        asked = []
        for _ in range(number):
            self.study.sampler = self._random if len(self.study.trials) < self._first else self._model
            trial = self.study.ask({r.name: self._distribution(r) for r in self.space})
            self._open.append(trial)
            asked.append(tuple(f"{r.name}={_said(trial.params[r.name])}" for r in self.space))
        return asked

    def tell(self, values: Sequence[float]) -> None:
        """What came of the trials, in order."""
        fail = self._optuna.trial.TrialState.FAIL
        for trial, value in zip(self._open, values, strict=True):
            if math.isfinite(value):
                self.study.tell(trial, value)
            else:
                self.study.tell(trial, state=fail)
        self._open.clear()

    def importance(self) -> dict[str, float]:
        """How much each knob matters among the good trials (PED-ANOVA; S. Watanabe et al. 2023)."""
        ended = [t for t in self.study.trials if t.value is not None]
        if len(ended) < 4 or len(self.space) < 2:
            return {}
        evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
        found: dict[str, float] = self._optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return dict(found)

    def _distribution(self, r: Range) -> Any:
        kinds = self._optuna.distributions
        if r.values:
            return kinds.CategoricalDistribution(r.values)
        if r.whole:
            return kinds.IntDistribution(int(r.low), int(r.high), log=r.log)
        return kinds.FloatDistribution(r.low, r.high, log=r.log)


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
