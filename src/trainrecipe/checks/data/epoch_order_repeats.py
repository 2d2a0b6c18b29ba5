from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.draws import Draw
    from trainrecipe.subjects.run import Run

LATE = 2
"""Equal pairs of epochs after the first one, from which that is no chance and no second run from the same seed."""
FEWEST = 16
"""Indices in common, from which two equal random orders are no chance: one in 16! = 2e13."""
JUMPS = 0.3
"""Share of different distances between successive indices, below which an order is regular (lanes, blocks, strides) and not
shuffled. A random permutation has about 0.7 of them different."""
RANDOM = frozenset({"RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler", "DistributedSampler"})
"""PyTorch's samplers whose order is meant to be random."""


class EpochOrderRepeats(Check):
    """Shuffled training data come in another order in every epoch.

    What it checks
    --------------
    The indices that the training loader's sampler drew in successive passes in which the same model was trained. They are
    compared one by one.

    Why it matters
    --------------
    With the same order in each epoch the same examples meet in the same batches again and again, so the noise that makes
    stochastic gradient descent generalise repeats itself. Where it comes from a seed that is set in each epoch, dropout
    and augmentation repeat as well.

    What healthy looks like
    -----------------------
    Two epochs have no more indices at the same positions than chance: about one.

    What to do
    ----------
    `DistributedSampler`: call `sampler.set_epoch(epoch)` at the start of each epoch. Seeds: set them once, before the
    loop, and make the loader's generator once. A sampler of your own: draw the permutation in `__iter__`, not in
    `__init__`.

    When it is wrong
    ----------------
    Orders that grow or are regular (unshuffled data, parallel lanes of a stream) are left out. A sampler of one's own
    may keep one order on purpose, such as a curriculum or batches of similar length: it gets a note. Trainings of
    different models that begin from the same seed are not compared.

    Source
    ------
    Fault catalogue 147; pytorch/pytorch#31771, huggingface/transformers#4398; the documentation of
    `torch.utils.data.distributed.DistributedSampler`.
    """

    title = "Every epoch has the same order"
    rows = ("S24", "S25")
    faults = (147,)

    def measure(self, data: Data) -> Evidence:
        """Compare the orders of successive training passes over the same data set."""
        pairs = list(_pairs(data.run))
        if not pairs:
            return Evidence(missing="no two training passes with shuffled indices of the same model and data set were seen")
        equal = [p for p in pairs if p[2]]
        first, second, _ = equal[0] if equal else pairs[0]
        loader = data.run.loaders[second.loader]
        batches = (loader.length or len(second.sizes)) if second.complete else len(second.sizes)
        return Evidence(
            {
                "pairs": len(pairs),
                "equal": len(equal),
                "first_apart": not pairs[0][2] and len(equal) == len(pairs) - 1,
                "indices": min(len(first.indices), len(second.indices)),
                "batches": batches,
                "sampler": loader.sampler,
                "rebuilt": first.loader != second.loader,
                "seeded": loader.sampler != "DistributedSampler",
            },
            place=loader.sampler_born or loader.born or loader.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        """Equal orders in every pair of epochs, or in all after the first, whose order was drawn before a seed in the loop."""
        late = evidence["first_apart"] and evidence["equal"] >= LATE
        if evidence["equal"] < evidence["pairs"] and not late:
            return Ruling.passed(f"the orders of successive epochs differ ({evidence['pairs']} pairs compared)")
        epochs = f"{evidence['equal'] + 1} epochs{' after the first' if late else ''}"
        own = evidence["sampler"] not in RANDOM
        fix = "Draw the permutation anew in each pass, in the sampler's __iter__."
        if evidence["sampler"] == "DistributedSampler":
            fix = "Call sampler.set_epoch(epoch) at the start of every epoch."
        elif not own:
            fix = "Seed once, before the epochs, and build the loader with its generator once."
        return Ruling.found(
            Severity.NOTE if own else Severity.WARNING,
            "The training examples come in the same shuffled order in every epoch.",
            expected="another random order in each epoch",
            observed=f"{evidence['indices']} indices in {evidence['batches']} batches equal one by one, "
            f"in all {epochs} that were compared; drawn by {evidence['sampler']}",
            fix=fix,
            causes=(
                "a seed is set again in each epoch, or the loader is built anew with a generator of the same seed",
                "the sampler keeps one permutation (DistributedSampler: set_epoch is not called)",
            ),
        )


def _pairs(run: Run) -> list[tuple[Draw, Draw, bool]]:
    """Successive shuffled training passes over one data set that trained the same models, and whether they are equal."""
    trained: dict[int, set[int]] = {}
    for forward in run.forwards:
        if forward.fed and forward.in_pass is not None:
            trained.setdefault(forward.in_pass, set()).add(forward.model)
    usable: dict[int, list[Draw]] = {}
    for draw in run.draws:
        if draw.readable and len(draw.sizes) > 1 and run.passes[draw.in_pass].trains and draw.in_pass in trained:
            usable.setdefault(run.loaders[draw.loader].dataset, []).append(draw)
    found = []
    for draws in usable.values():
        for first, second in itertools.pairwise(draws):
            length = min(len(first.indices), len(second.indices))
            overlap = run.passes[first.in_pass].last_event > run.passes[second.in_pass].first_event
            if length < FEWEST or overlap or trained[first.in_pass] != trained[second.in_pass]:
                continue
            if is_shuffled(second.indices[:length].tolist()):
                found.append((first, second, first.indices[:length] == second.indices[:length]))
    return found


def is_shuffled(indices: list[int]) -> bool:
    """Whether indices look drawn at random: neither growing nor regular.

    >>> is_shuffled(list(range(40)))
    False
    """
    jumps = [b - a for a, b in itertools.pairwise(indices)]
    return any(j < 0 for j in jumps) and len(set(jumps)) >= JUMPS * len(jumps)
