from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run


class Irreproducible(Check):
    """Two runs with the same seed are bit-identical.

    What it checks
    --------------
    The script is rehearsed twice. Initial parameters, the tensors that the first steps consume, and the losses are hashed
    in the order in which they occur; the first that differs is named.

    Why it matters
    --------------
    When two runs of the same program differ, no change can be judged by comparing two runs, and no failure can be looked
    at again. The first thing that differs says where the randomness enters.

    What healthy looks like
    -----------------------
    All hashes are equal.

    What to do
    ----------
    Seed every source of randomness that the script uses (torch, NumPy, Python's random, generators of loaders and
    samplers, workers) before the model is built and the data are split.

    When it is wrong
    ----------------
    Kernels that add in a changing order differ in the last bits on some devices. A script that sets no seed at all is only
    told so in a note. With `--once` nothing is compared.

    Source
    ------
    Recipe S1; PyTorch documentation, "Reproducibility"; fault catalogue 100.
    """

    title = "The same seed gives another run"
    rows = ("S1",)
    faults = (100,)
    price = Price.SWEEP

    def measure(self, run: Run) -> Evidence:
        if run.twin_run is None or not run.fingerprint:
            return Evidence(missing="the script was run once only, so there is nothing to compare")
        mine, theirs = run.fingerprint, run.twin_run.fingerprint
        first = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
        return Evidence(
            {
                "compared": min(len(mine), len(theirs)),
                "first": None if first is None else mine[first][0],
                "seeded": run.seeded is not None,
            },
            place=run.seeded,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        first = evidence["first"]
        if first is None:
            return Ruling.passed(f"two rehearsals agree bit for bit in {evidence['compared']} hashes")
        if not evidence["seeded"]:
            return Ruling.found(
                Severity.NOTE,
                "The script sets no seed, so two runs differ.",
                expected="a seed set before the model is built",
                observed=f"two rehearsals differ, first in: {first}",
                fix="Call torch.manual_seed(0) (and numpy.random.seed, random.seed where used) at the top of the script.",
            )
        return Ruling.found(
            Severity.WARNING,
            f"Two rehearsals with the same seed differ; the first difference is: {first}.",
            expected="bit-identical runs, since the script sets a seed",
            observed=f"different from {first} on",
            fix="Seed the source of randomness behind it, before it is first used.",
            causes=_causes(first),
        )


def _causes(first: str) -> tuple[str, ...]:
    if first.startswith("initial parameter"):
        return ("the model is built before the seed is set", "an initialisation draws from an unseeded generator")
    if "consumed" in first:
        return (
            "the split, the order of examples or an augmentation draws from an unseeded generator "
            "(numpy.random.default_rng(), random.Random(), a set's order, the time)",
            "noise that the script adds comes from an unseeded generator",
        )
    return ("an operation in the model draws from an unseeded generator", "a kernel that is not deterministic")
