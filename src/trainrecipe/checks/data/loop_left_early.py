from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.leaving import Leaving, leaving

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Loader, Pass, Run

FEWEST = 4
"""Batches that a loader must have, for leaving its loop early to mean something."""
SHARE = 0.5
"""Share of the batches up to which a conditional break that comes at the same batch in each epoch is reported."""


class LoopLeftEarly(Check):
    """A limit on the batches per epoch does not leave out the same data for ever.

    What it checks
    --------------
    Training passes over an unshuffled loader that end after the same number of batches, again and again, by a `break` or
    `return` that depends on a condition.

    Why it matters
    --------------
    A limit that was set for debugging and left in ends each epoch after its first few batches. Without shuffling these are
    the same ones in every epoch: the model is trained on a fraction of the data, and never sees the rest.

    What healthy looks like
    -----------------------
    Each epoch uses all batches, or a limit together with shuffled data, so that every epoch sees another part.

    What to do
    ----------
    Remove the limit, or pass `shuffle=True` to the loader.

    When it is wrong
    ----------------
    Limits on shuffled data and on streams are common and not reported, nor are limits set in a framework's trainer.
    Statements that end the loop in its first turn, whatever happens, are `epoch-left-early`'s business. Training on a few
    batches on purpose looks the same: a limit that asks whether an option is set (`if args.fast_dev_run`) is a note.

    Source
    ------
    Fault catalogue 44.
    """

    title = "Each epoch sees the same part of the data"
    rows = ("S24",)
    faults = (44,)
    explains = ("same-batch", "label-order", "learning-rate-range")

    def measure(self, data: Data) -> list[Evidence]:
        """Look for training passes that end after the same number of batches, and for what ends them."""
        run = data.run
        numbers = dict.fromkeys(p.loader for p in run.train_passes())
        found = [_look(run, run.loaders[n], [p for p in run.train_passes() if p.loader == n]) for n in numbers]
        return [e for e in found if e is not None] or [Evidence(missing="no two training passes over one loader were seen")]

    def judge(self, evidence: Evidence) -> Ruling:
        """A condition that ends every pass at the same batch, of data that are not shuffled."""
        batches, length, how = evidence["batches"], evidence["length"], evidence["how"]
        if not evidence["left"] or not how or not evidence["condition"]:
            return Ruling.passed(f"{evidence['passes']} training passes: no condition ends them at the same batch")
        if length is None or length < FEWEST or batches > SHARE * length:
            return Ruling.passed(f"passes use {batches} of {length} batches")
        if evidence["shuffled"]:
            return Ruling.passed(f"a condition ends each pass after {batches} batches, and the data are shuffled")
        switch = evidence["switch"]
        return Ruling.found(
            Severity.NOTE if switch else Severity.WARNING,
            f"Each epoch trains on the same {batches} of {length} batches: a `{how}` in the loop ends it.",
            expected=f"{length} batches in each epoch, or others in each",
            observed=f"{evidence['passes']} passes left after {batches} batch{'es' if batches > 1 else ''}; the data are not "
            "shuffled, so these are the same in each epoch" + (f"; `{switch}` asks for it" if switch else ""),
            fix="Remove the limit, or shuffle the data.",
        )


def _look(run: Run, loader: Loader, passes: list[Pass]) -> Evidence | None:
    """What is known of the passes over one loader; the last of them may have been stopped by something else."""
    if len(passes) < 2:
        return None
    whole = [p for p, following in itertools.pairwise(passes) if p.place == following.place]
    counts = {p.batches for p in whole if not p.finished}
    left = len(whole) > 1 and len(counts) == 1 and not any(p.finished or not p.inside for p in whole)
    exit_ = leaving(whole[0].place) if left else Leaving()
    return Evidence(
        {
            "passes": len(passes),
            "left": left,
            "batches": min(counts, default=0),
            "length": loader.length,
            "shuffled": loader.shuffled,
            "how": exit_.how,
            "condition": exit_.condition,
            "switch": exit_.switch,
        },
        place=exit_.place or passes[0].place,
    )
