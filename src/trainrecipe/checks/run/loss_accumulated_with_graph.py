from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Backward, Run

STREAK = 3
"""Consecutive backwards at which one more graph is held, all at least four steps old. A few variables that keep the last
losses hold a constant number."""


class LossAccumulatedWithGraph(Check):
    """The graph of a loss is freed once its backward is done.

    What it checks
    --------------
    At each backward, how many losses that were back-propagated at the same line more than four steps earlier still have a
    graph in memory, although the garbage collector has run.

    Why it matters
    --------------
    `total += loss` keeps every loss of the epoch with its whole graph, for the sake of a printed mean. Memory grows with
    each step until it runs out, long after the start.

    What healthy looks like
    -----------------------
    None or a constant few are alive: the last loss, until its variable is assigned again.

    What to do
    ----------
    Accumulate numbers: `total += loss.item()`, or `loss.detach()` where a transfer from the GPU should be avoided.

    When it is wrong
    ----------------
    A window of losses that is kept on purpose grows until it is full. Nothing is wrong with the results then, only memory
    is spent.

    Source
    ------
    PyTorch FAQ, "My model reports out of memory"; fault catalogue 39.
    """

    title = "Losses are kept together with their graphs"
    rows = ("S24",)
    faults = (39,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        found = [self._look(b) for b in run.backwards if len(b.alive) > STREAK]
        return found or Evidence(missing=f"no backward was called more than {STREAK} times in the steps looked at")

    def _look(self, backward: Backward) -> Evidence:
        best = run = 0
        for (call, alive), (following, more) in zip(backward.alive, backward.alive[1:], strict=False):
            run = run + (more > alive) if more >= alive and following == call + 1 else 0
            best = max(best, run)
        return Evidence(
            {"streak": best, "alive": max(n for _, n in backward.alive), "name": backward.held_name},
            place=backward.held_at or backward.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        streak, alive, name = evidence["streak"], evidence["alive"], evidence["name"]
        if streak < STREAK:
            return Ruling.passed(f"at most {alive} earlier losses were still held with their graphs")
        holder = f"`{name}`" if name else "a variable of the script"
        return Ruling.found(
            Severity.WARNING,
            f"{holder} keeps the graph of every loss of the loop.",
            expected="graphs of past steps that are freed after their backward",
            observed=f"one more graph held after each of {streak} backwards in a row, {alive} at once",
            fix=f"Add numbers, not tensors with a graph: {name or 'total'} += loss.item() (or loss.detach()).",
        )
