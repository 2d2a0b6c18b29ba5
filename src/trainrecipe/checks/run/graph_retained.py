from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe import picture
from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.picture import Picture
    from trainrecipe.subjects.run import Backward, Run

STREAK = 6
"""Consecutive backwards that must each walk a larger graph than the one before, through nodes of earlier graphs.
Truncated backpropagation through time grows for a few chunks and starts afresh."""
GROWTH = 2.0


class GraphRetained(Check):
    """Each backward walks the graph of its own step only.

    What it checks
    --------------
    The size of the autograd graph behind each loss, and how many of its nodes were already part of an earlier loss's graph.

    Why it matters
    --------------
    If a hidden state, a running loss or a buffer still carries its history, every backward goes through all steps before
    it as well: each is slower than the last, memory grows without end, and gradients mix weights of different ages.
    `retain_graph=True` silences the error that would have told.

    What healthy looks like
    -----------------------
    A constant size, or one that depends on the lengths of the sequences in the batch, and no shared nodes.

    What to do
    ----------
    Detach what is carried over (`state = state.detach()`) and remove `retain_graph=True`.

    When it is wrong
    ----------------
    Sequences that get longer from step to step make larger graphs, but share no nodes. Inner loops that are differentiated
    through on purpose start afresh after a few steps. Graphs beyond 20,000 nodes are counted up to there.

    Source
    ------
    Fault catalogue 40; PyTorch forum threads 71145, 112135, 113790.
    """

    title = "The graph grows from step to step"
    rows = ("S24",)
    faults = (40,)
    explains = ("loss-accumulated-with-graph", "irreproducible")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        found = [self._look(b) for b in run.backwards if len(b.nodes) > STREAK]
        return found or Evidence(missing=f"no backward was called more than {STREAK} times in the steps looked at")

    def _look(self, backward: Backward) -> Evidence:
        sizes = [n for _, n in backward.nodes]
        numbers = [c for c, _ in backward.nodes]
        shared = [n for _, n in backward.shared] or [0] * len(sizes)
        best, start = (0, 0), 0
        for i in range(1, len(sizes)):
            grows = sizes[i] > sizes[i - 1] and shared[i] > 0 and numbers[i] == numbers[i - 1] + 1
            start = start if grows else i
            best = max(best, (i - start, start))
        length, first = best
        return Evidence(
            {
                "sizes": sizes[:400],
                "streak": length,
                "from": sizes[first],
                "to": sizes[first + length],
                "shared": shared[first + length],
            },
            place=backward.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        streak, first, last = evidence["streak"], evidence["from"], evidence["to"]
        if streak < STREAK or last < GROWTH * first:
            return Ruling.passed(f"graphs have {min(evidence['sizes'])} to {max(evidence['sizes'])} nodes and do not pile up")
        return Ruling.found(
            Severity.ERROR,
            "Every backward also goes through the graphs of the steps before it.",
            expected="a graph that begins anew with each step",
            observed=f"{first} nodes, then {last} nodes {streak} steps later, of which {evidence['shared']} belong to earlier "
            "steps",
            fix="Detach what one step hands to the next, such as a hidden state: state = state.detach(); "
            "then remove retain_graph=True.",
        )

    def draw(self, evidence: Evidence) -> Picture:
        return picture.lines(
            "Size of the graph behind each loss",
            "It should not depend on how many steps came before.",
            {"nodes": evidence["sizes"]},
            x_title="backward call",
            y_title="nodes",
        )
