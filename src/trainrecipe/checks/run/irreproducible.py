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
    The script is rehearsed twice. Seeds, initial parameters, the tensors that the first steps consume, and the losses are
    hashed in the order in which they occur; the first that differs is named, with the generators that the script makes
    without a seed.

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
    Kernels that add in a changing order differ in the last bits on GPUs: where seeds and data agree there, it is a note. A
    script that sets no seed at all is only told so in a note. With `--once` nothing is compared. What a script makes random
    only after its first steps, such as a restart, is not seen.

    Source
    ------
    Recipe S1; PyTorch documentation, "Reproducibility"; fault catalogue 100.
    """

    title = "The same seed gives another run"
    rows = ("S1",)
    faults = (100,)
    price = Price.SWEEP

    def measure(self, run: Run) -> Evidence:
        """Compare the marks that both rehearsals left, by their labels."""
        if run.twin_run is None or not run.fingerprint:
            return Evidence(missing="the script was run once only, so there is nothing to compare")
        theirs = dict(run.twin_run.fingerprint)
        both = [(label, mark, theirs[label]) for label, mark in run.fingerprint if label in theirs]
        differing = [label for label, mine, other in both if mine != other]
        first = differing[0] if differing else None
        kind = _kind(first, differing)
        made = [(name, at) for name, at in run.unseeded if at is not None]
        place = run.mark_places.get(first or "")
        if kind in ("example", "order", "other") and made:
            place = made[0][1]
        return Evidence(
            {
                "compared": len(both),
                "differing": len(differing),
                "first": first,
                "kind": kind,
                "gpu": run.on_gpu,
                "seeded": run.seeded is not None,
                "unseeded": [name + (f" in line {at.line}" if at is not None else "") for name, at in run.unseeded],
            },
            place=place or run.seeded,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        """Any difference; without a seed it is a note."""
        first = evidence["first"]
        if first is None:
            return Ruling.passed(f"two rehearsals agree bit for bit in {evidence['compared']} hashes")
        observed = f"{evidence['differing']} of {evidence['compared']} hashes differ, the first of them: {first}"
        if not evidence["seeded"]:
            return Ruling.found(
                Severity.NOTE,
                "The script sets no seed, so two runs differ.",
                expected="a seed set before the model is built",
                observed=observed,
                fix="Call torch.manual_seed(0) (and numpy.random.seed, random.seed where used) at the top of the script.",
            )
        sources = "; ".join(evidence["unseeded"])
        if evidence["gpu"] and evidence["kind"] == "other":
            return Ruling.found(
                Severity.NOTE,
                f"Two rehearsals with the same seed and the same data differ; the first difference is {first}.",
                expected="runs that differ only in the last bits, if kernels add in a changing order",
                observed=observed + (f"; not seeded: {sources}" if sources else ""),
                fix="Where runs must be equal, call torch.use_deterministic_algorithms(True), which names such kernels.",
                causes=CAUSES["other"],
            )
        return Ruling.found(
            Severity.WARNING,
            f"Two rehearsals with the same seed differ; the first difference is {first}.",
            expected="bit-identical runs, since the script sets a seed",
            observed=observed + (f"; not seeded: {sources}" if sources else ""),
            fix=f"Give a seed to {evidence['unseeded'][0]}."
            if evidence["unseeded"]
            else "Seed the source of randomness behind it, before it is first used.",
            causes=CAUSES[evidence["kind"]],
        )


CAUSES = {
    "": (),
    "seed": ("the seed is drawn at random or from the time",),
    "initial": ("the model is built before the seed is set", "an initialisation draws from an unseeded generator"),
    "example": (
        "an augmentation, or noise that the script adds, draws from an unseeded generator: the targets agree, the inputs "
        "do not",
    ),
    "order": (
        "the order of examples or the split draws from an unseeded generator (a sampler, numpy.random.default_rng(), "
        "random.Random())",
        "files or a set are listed in an order that changes from run to run",
    ),
    "other": ("an operation in the model draws from an unseeded generator", "a kernel that is not deterministic"),
}
"""Candidate causes by what differs first."""


def _kind(first: str | None, differing: list[str]) -> str:
    if first is None:
        return ""
    if first.startswith("the seed"):
        return "seed"
    if first.startswith("the initial"):
        return "initial"
    step = first.partition(":")[0]
    if f"{step}: the input" not in first and f"{step}: the target" not in first:
        return "other"
    inputs = any(d.startswith(f"{step}: the input") for d in differing)
    targets = any(d.startswith(f"{step}: the target") for d in differing)
    return "example" if inputs and not targets else "order"
