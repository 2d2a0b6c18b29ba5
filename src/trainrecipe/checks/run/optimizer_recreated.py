from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

LINKS = 2
"""Times that an optimiser must have been replaced."""
OFTEN = 6
"""The same where each lasts for a step or two."""
SHORT = 2


class OptimizerRecreated(Check):
    """An optimiser that goes on with the same weights keeps its state.

    What it checks
    --------------
    Whether an optimiser is built again and again over the very same tensors, at the same line, with weights that nobody has
    changed in between: after each pass over the same data, or after each step. And whether the new one starts without state.

    Why it matters
    --------------
    Momentum and Adam's running averages live in the optimiser. Built anew they start at zero: Adam's first steps after that
    are as long as at the start of the training, whatever the gradient, and a schedule that is built along starts over too.
    The loss jumps at the beginning of every epoch, or never settles.

    What healthy looks like
    -----------------------
    One optimiser per training, built before the loop over epochs.

    What to do
    ----------
    Move the construction out of the loop. To change the rate, set `group["lr"]` or use a scheduler.

    When it is wrong
    ----------------
    Cross-validation, repeated trials and inner loops of meta-learning start from fresh or reset weights and are not reported.
    Phases over other data or over several epochs each may well begin with a new optimiser; neither are they. Plain SGD
    has no state to lose.

    Source
    ------
    Fault catalogue 42; nianticlabs/manydepth#46.
    """

    title = "The optimiser is built anew in the loop and forgets its state"
    rows = ("S24",)
    faults = (42,)
    explains = ("learning-rate-starved", "warmup-never-ends", "update-ratio")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps]
        if not stepping:
            return Evidence(missing="no optimiser took a step while the script was observed")
        chains = [c for c in _chains(run.optimizers) if len(c) > 1]
        if not chains:
            return Evidence({"links": 0, "optimizers": len(stepping)}, place=stepping[0].place)
        return [self._look(run, chain) for chain in chains]

    def _look(self, run: Run, chain: list[Optimizer]) -> Evidence:
        last = chain[-1]
        done = chain[:-1]
        passes = [_passes(run, a, b) for a, b in itertools.pairwise(chain)]
        data = {run.loaders[run.passes[n].loader].dataset for own in passes for n in own}
        rates = [max((g["lr"] for g in o.groups), default=0.0) for o in chain]
        return Evidence(
            {
                "links": len(chain) - 1,
                "optimizer": last.name,
                "stateful": last.momentum or last.scale_free,
                "steps": [o.steps for o in done][:50],
                "passes": max((len(own) for own in passes), default=0),
                "same_data": len(data) == 1 and all(passes),
                "loop": last.built_in is not None,
                "same_rate": len(set(rates)) == 1,
                "schedulers": sum(1 for s in run.schedulers if s.optimizer in {o.number for o in chain}),
            },
            place=last.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        links = evidence["links"]
        if not links:
            return Ruling.passed(f"none of {evidence['optimizers']} optimisers was replaced while it trained")
        name, steps = evidence["optimizer"], evidence["steps"]
        if not evidence["stateful"]:
            return Ruling.passed(f"{name} is built anew {links} times, but has no state to lose")
        each_step = max(steps) <= SHORT
        if links < (OFTEN if each_step else LINKS):
            return Ruling.unsure(
                f"{name} was built anew {links} times over the same weights: too few to tell a loop from phases"
            )
        if not each_step and evidence["passes"] > 1:
            return Ruling.passed(f"{name} is built anew for each of several phases of more than one pass")
        sure = evidence["loop"] and (each_step or evidence["same_data"])
        when = (
            "after every step"
            if max(steps) == 1
            else f"every {max(steps)} steps"
            if not evidence["passes"]
            else "in every epoch"
        )
        schedule = ", and so is its schedule" if evidence["schedulers"] > 1 else ""
        return Ruling.found(
            Severity.WARNING if sure else Severity.NOTE,
            f"{name} is built anew {when} over the same weights, and its running averages start at zero each time.",
            expected="one optimiser for the whole training",
            observed=f"{links + 1} optimisers in a row over the same tensors, none of which took over a state{schedule}",
            fix="Build the optimiser (and its schedule) once, before the loop.",
        )


def _chains(optimizers: list[Optimizer]) -> list[list[Optimizer]]:
    """Optimisers that replaced each other at one line, going on with the weights as they were and without their state."""
    chains: dict[int, list[Optimizer]] = {}
    for optimizer in optimizers:
        old = chains.get(-1 if optimizer.replaces is None else optimizer.replaces)
        goes_on = old is not None and optimizer.untouched and not optimizer.resumes and old[-1].place == optimizer.place
        if old is not None and goes_on:
            old.append(optimizer)
            del chains[old[-2].number]
            chains[optimizer.number] = old
        else:
            chains[optimizer.number] = [optimizer]
    return list(chains.values())


def _passes(run: Run, first: Optimizer, second: Optimizer) -> list[int]:
    """The training passes between the construction of two optimisers."""
    return [p.number for p in run.passes[first.born_pass : second.born_pass] if p.trains]
