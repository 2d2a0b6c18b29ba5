from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data


class AugmentationRepeats(Check):
    """Reading an example draws new random numbers, and does not set the generator back.

    What it checks
    --------------
    A few training examples are read in a process of their own, after different seeds. It is reported when a global random
    generator (Python's, NumPy's or PyTorch's) is in one and the same state after each reading: the code that reads sets a
    seed. Also noted: generators that are made anew, with the same seed, for each example.

    Why it matters
    --------------
    With a constant seed set for each example, every example in every epoch gets the same augmentation, which is then none.
    Without worker processes it also resets dropout, sampling and shuffling of the training itself with every example.

    What healthy looks like
    -----------------------
    Reading the same example twice gives two different augmentations, and the global generators go on.

    What to do
    ----------
    Seed once, at the start of the program, and not in `__getitem__` or a transform. For reproducible augmentation make one
    generator per worker in `worker_init_fn`, and draw from it.

    When it is wrong
    ----------------
    Seeds that depend on the index (examples generated from their number) get a note where they reset a global generator,
    and nothing where they have one of their own. A generator with a constant seed for each example may stand for a fixed
    random projection: a note.

    Source
    ------
    Fault catalogue 145 and 46; PyTorch's documentation, "Randomness in multi-process data loading".
    """

    title = "Reading an example sets the random seed"
    rows = ("S24",)
    faults = (145, 46)
    explains = ("epoch-order-repeats",)

    def measure(self, data: Data) -> list[Evidence]:
        """Read training examples after different seeds and compare the states of the generators."""
        from trainrecipe.subjects.examples import read_place
        from trainrecipe.subjects.rereading import reading

        found, why = [], "no training pass over a DataLoader was seen"
        for number in dict.fromkeys(p.loader for p in data.run.train_passes()):
            told, record = reading(data, number), data.loaders[number][0]
            if isinstance(told, str):
                why = told
                continue
            at = read_place(data.loader(number).dataset) or record.born or record.place
            varies = any(n for n, one in zip(told.random, told.single, strict=True) if not one)
            counts = {"read": len(told.indices), "workers": record.workers, "varies": varies}
            found.append(Evidence({**counts, "resets": dict(told.resets), "made": list(told.made)}, place=at))
        return found or [Evidence(missing=why)]

    def judge(self, evidence: Evidence) -> Ruling:
        """A generator in the same state after every example."""
        resets = evidence["resets"]
        names = {"python": "Python's", "numpy": "NumPy's", "torch": "PyTorch's"}
        always = [names[n] for n, how in sorted(resets.items()) if how == "always"]
        by_index = [names[n] for n, how in sorted(resets.items()) if how == "index"]
        read = evidence["read"]
        fix = "Set no seed while an example is read; seed once, at the start of the program."
        if always:
            main = "" if evidence["workers"] else "; there are no workers, so the training's own random stream is set back too"
            return Ruling.found(
                Severity.WARNING,
                f"Reading an example sets {' and '.join(always)} random generator to the same state each time.",
                expected="a generator that goes on from example to example",
                observed=f"after different seeds and {read} examples, one and the same state{main}",
                fix=fix,
            )
        if by_index:
            return Ruling.found(
                Severity.NOTE,
                f"Reading an example seeds {' and '.join(by_index)} global generator by its index.",
                expected="a generator of the example's own, so that the global one is left alone",
                observed=f"the state after reading depends on the example only, in {read} examples",
                fix="Make a generator of its own from the index, such as numpy.random.default_rng(index).",
            )
        if evidence["made"] and not evidence["varies"]:
            return Ruling.found(
                Severity.NOTE,
                "Each example makes a generator with the same seed, so what it draws is the same for all examples.",
                expected="other random numbers for each example, unless a fixed random transform is meant",
                observed=f"{', '.join(evidence['made'])} in each of {read} examples",
                fix="Make the generator once, outside of __getitem__, if its numbers are meant to vary.",
            )
        return Ruling.passed(f"the global generators go on while {read} examples are read")
