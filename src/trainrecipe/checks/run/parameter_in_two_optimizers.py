from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.gradients import uses_of

if TYPE_CHECKING:
    from trainrecipe.finding import Place
    from trainrecipe.subjects.run import Optimizer, Parameter, Run

FEWEST = 3
SHARE = 0.8
"""Share of the steps that must repeat another optimiser's."""
ALIKE = 8
"""Optimisers built at one line that are compared with others; a loop may build any number of them."""


class ParameterInTwoOptimizers(Check):
    """No gradient is applied to a parameter by two optimisers.

    What it checks
    --------------
    For tensors that lie in two optimisers which both take steps: whether the second steps with a gradient that the first has
    already used, with no clearing and no new backward in between.

    Why it matters
    --------------
    Such parameters move twice for each gradient: their learning rate is the sum of both, the second step is taken at weights
    that its gradient does not belong to, and both optimisers' running averages describe a path that neither takes alone. It
    usually happens when one model's `parameters()` contain another's.

    What healthy looks like
    -----------------------
    Every tensor in one optimiser; or in several that each have a backward of their own, or take turns.

    What to do
    ----------
    Give each optimiser only its own tensors: leave the shared part out of one of them.

    When it is wrong
    ----------------
    Optimisers that wrap another one (SAM, Lookahead) hold the same tensors and step inside each other; that is no finding.
    Neither are two optimisers in which each step follows its own backward.

    Source
    ------
    Fault catalogue 65; TrainCheck's case DistinctArgument.
    """

    title = "Two optimisers apply the same gradient to the same parameters"
    rows = ("S24",)
    faults = (65,)
    explains = ("update-ratio", "gradients-from-another-optimizer", "missing-zero-grad")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        places: Counter[Place | None] = Counter()
        stepping = {}
        for o in run.optimizers:
            if o.steps and max(o.rates, default=0.0) > 0 and places[o.place] < ALIKE:
                places[o.place] += 1
                stepping[o.number] = o
        shared: dict[tuple[int, int], list[Parameter]] = {}
        for parameter in run.parameters:
            own = [n for n in parameter.optimizers if n in stepping]
            for first in own:
                for second in own:
                    if first != second:
                        shared.setdefault((first, second), []).append(parameter)
        if not shared:
            if not stepping:
                return Evidence(missing="no optimiser took a step while the script was observed")
            return Evidence({"shared": 0, "optimizers": len(stepping)}, place=next(iter(stepping.values())).place)
        found = [self._look(run, stepping[a], stepping[b], parameters) for (a, b), parameters in shared.items()]
        return max(found, key=lambda e: (e["double"] / max(1, e["steps"]), e["steps"]))

    def _look(self, run: Run, first: Optimizer, second: Optimizer, parameters: list[Parameter]) -> Evidence:
        uses = [u for u in uses_of(run, second.number) if u.inside is None]
        nested = any(u.inside == second.number for u in run.gradients if u.optimizer == first.number)
        double = [u for u in uses if all(first.number in c.used for c in u.contributions)]
        return Evidence(
            {
                "shared": len(parameters),
                "elements": sum(p.elements for p in parameters),
                "names": [p.name for p in parameters[:4]],
                "first": first.name,
                "first_line": first.place.line if first.place else None,
                "second": second.name,
                "steps": len(uses),
                "double": 0 if nested else len(double),
                "rates": [max(first.rates), max(second.rates)],
            },
            place=second.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["shared"]:
            return Ruling.passed(f"no tensor is in two of the {evidence['optimizers']} optimisers that take steps")
        steps, double, names = evidence["steps"], evidence["double"], ", ".join(evidence["names"])
        if double < FEWEST or double < SHARE * steps:
            return Ruling.passed(
                f"{evidence['shared']} tensors are in two optimisers, but {steps - double} of {steps} steps used gradients "
                "that the other one had not used"
            )
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['shared']} tensors are moved twice by the same gradient ({names}).",
            expected="each gradient applied by one optimiser",
            observed=f"at {double} of {steps} steps the {evidence['second']} used gradients that the {evidence['first']} built "
            f"in line {evidence['first_line']} had already stepped with, over {evidence['elements']} shared weights; learning "
            f"rates {evidence['rates'][0]:g} and {evidence['rates'][1]:g} add up",
            fix="Leave the shared tensors out of one of the two optimisers.",
            causes=("the parameters() of one model contain those of another one that has an optimiser of its own",),
        )
