from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.draws import Carried

LANES = 0.5
"""Share of a batch's rows that go on from the row above at one and the same distance, from which the stream is continuous."""


class HiddenStateAcrossSequences(Check):
    """Recurrent state carried from batch to batch belongs to the sequences of the next batch.

    What it checks
    --------------
    Whether a recurrent layer, or a module that returns its own state, is given the state of an earlier batch (detached or
    not) together with the next batch; and whether the indices of its examples continue from batch to batch, row by
    row, or are shuffled.

    Why it matters
    --------------
    In shuffled batches row 3 of this batch has nothing to do with row 3 of the last one: the state that the model begins
    with is noise from another sequence, different at evaluation, and results depend on the order of the batches.

    What healthy looks like
    -----------------------
    Independent sequences begin with a fresh state. Where state is carried on purpose (truncated back-propagation through
    time), each row of a batch is the continuation of the same row of the batch before.

    What to do
    ----------
    Reset the state at the start of each batch (`state = None`). To carry it, read the data in parallel lanes, unshuffled.

    When it is wrong
    ----------------
    State carried within one batch, over chunks of its sequences, is not reported, nor is state carried over data read in
    order. State that a module keeps in an attribute and feeds to operations of its own is not seen.

    Source
    ------
    Fault catalogue 41; PyTorch forum threads 92725 and 99580.
    """

    title = "Hidden state is carried over to other sequences"
    rows = ("S24",)
    faults = (41,)

    def measure(self, data: Data) -> Evidence:
        """Look for carried state, and at the indices of successive batches."""
        carried = data.run.carried
        if carried is None:
            return Evidence(missing="no recurrent state was carried from one batch to the next")
        if carried.loader is None:
            return _by_hand(carried)
        loader = data.run.loaders[carried.loader]
        draws = [d for d in data.run.draws if d.loader == carried.loader and d.readable and len(d.sizes) > 1]
        if not draws:
            return Evidence(missing="which examples follow each other could not be seen", place=carried.place)
        shares = [_continued(a, b) for d in draws[:2] for a, b in itertools.islice(itertools.pairwise(d.batches()), 6)]
        return Evidence(
            {
                "continued": sum(shares) / len(shares),
                "shuffled": loader.shuffled,
                "sampler": loader.sampler,
                "size": max(draws[0].sizes),
            },
            place=carried.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        """State is carried, and rows do not continue."""
        if not evidence["shuffled"] or evidence["continued"] >= LANES or evidence["size"] < 3:
            return Ruling.passed("the state is carried along rows that continue from batch to batch")
        return Ruling.found(
            Severity.WARNING,
            "The hidden state of one batch is given to the next, whose sequences are others.",
            expected="a fresh state for each batch of shuffled sequences",
            observed=f"{evidence['sampler']} draws the batches; {evidence['continued']:.0%} of their rows go on "
            "from the same row of the batch before",
            fix="Reset the state at the start of each batch, or read continuous streams without shuffling.",
        )


def _by_hand(carried: Carried) -> Evidence:
    """The same where the script picks the rows of each batch itself."""
    picked = [p for p in carried.picked if len(p) > 1]
    if len(picked) < 3:
        return Evidence(missing="which examples follow each other could not be seen", place=carried.place)
    shares = [_continued(a, b) for a, b in itertools.pairwise(picked)]
    shuffled = any(a > b for rows in picked for a, b in itertools.pairwise(rows))
    size = max(map(len, picked))
    data = {"continued": sum(shares) / len(shares), "shuffled": shuffled, "sampler": "An index in no order", "size": size}
    return Evidence(data, place=carried.place)


def _continued(first: list[int], second: list[int]) -> float:
    """The share of rows at the most common distance from the same row of the batch before."""
    jumps = Counter(b - a for a, b in zip(first, second, strict=False))
    return max(jumps.values(), default=0) / max(1, min(len(first), len(second)))
