"""Stage 3 of the recipe, overfit: can the training loss be driven down at all, and do the script's own choices help or hinder?

report = overfit(run, Experiment("train.py"), seeds=3)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from trainrecipe.lab.experiment import Experiment
from trainrecipe.lab.noise import Effect, paired
from trainrecipe.lab.series import TRAIN_LOSS
from trainrecipe.stages.comparison import Comparison, Run, compare
from trainrecipe.wrong_use import WrongUse

CHANGES = ("optimizer=adam", "schedule=off", "learning_rate=x3", "learning_rate=x0.33", "dropout=off", "weight_decay=0")
"""The reference optimiser (O2), a constant rate (O4), the rate up and down by a factor of three, and no regularisation."""
BLIND = "inputs=zero"


@dataclasses.dataclass(frozen=True)
class Report:
    """What the stage found: the changes against the script as it is, by the training loss of the last tenth of the steps;
    `blind` is that loss without inputs, and `learnt` the gain over it, seed by seed."""

    comparison: Comparison
    blind: float
    learnt: Effect


def overfit(run: Run, baseline: Experiment, *, seeds: int = 3, tell: Callable[[str], None] = lambda text: None) -> Report:
    """The whole stage. Raises WrongUse where the script fails, or no training loss was seen."""
    if seeds < 2:
        raise WrongUse(f"--seeds {seeds}: noise is told from two seeds on; three are enough here")
    tell(f"{len(CHANGES)} changes under {seeds} seeds each")
    found = compare(run, baseline, CHANGES, range(seeds), TRAIN_LOSS)
    tell("without inputs")
    rows = [dataclasses.replace(baseline, seed=s, changes=(*baseline.changes, BLIND)) for s in range(seeds)]
    results = {r.experiment: r for r in run(rows)}
    blind = [results[e].value(TRAIN_LOSS) for e in rows]
    if any(not math.isfinite(v) for v in blind):
        raise WrongUse(f"{baseline.script} does not end with inputs of zero: {next(iter(results.values())).error}")
    return Report(found, math.fsum(blind) / len(blind), paired(list(found.values), blind))
