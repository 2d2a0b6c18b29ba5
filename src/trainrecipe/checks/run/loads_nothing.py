from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.checkpoints import Loaded
    from trainrecipe.subjects.run import Run

FEW = 0.1
"""Share of the state's entries, and of the model's, that match, below which nothing to speak of was loaded."""
MOST = 0.5
"""Share that would match under other names, from which the names are the reason."""


class LoadsNothing(Check):
    """Loading weights puts weights into the model.

    What it checks
    --------------
    At each `load_state_dict`: how many names of the state the model has, and how many it would have if a prefix such as
    `module.` were removed or added. Where a state was read from a file, filtered by name and merged into the model's own, it
    also checks whether any tensor of the file is in what is loaded.

    Why it matters
    --------------
    With `strict=False` PyTorch skips every name it does not know. A checkpoint of a wrapped model then loads nothing, and a
    "pretrained" model is a random one: training still works, only worse.

    What healthy looks like
    -----------------------
    Most names of the state are the model's, apart from a head that was replaced.

    What to do
    ----------
    Print `model.load_state_dict(state, strict=False)`: it returns the missing and unexpected names. Strip the prefix, or load
    the part that fits with strict=True.

    When it is wrong
    ----------------
    Adapters (all their names match, most of the model's are missing), heads that differ and equal weights are not reported.
    Loading code that copies tensors one by one, without `load_state_dict`, is not seen.

    Source
    ------
    Fault catalogue 96 and 99; torchgeo/torchgeo#4036, pytorch/examples#1029, pytorch/pytorch#141256.
    """

    title = "Loading the weights loads nothing"
    rows = ("S24",)
    faults = (96, 99)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        loads = run.checkpoints.loaded
        if not loads:
            return Evidence(missing="no weights were loaded into a model while the script was observed")
        return [_look(x) for x in loads]

    def judge(self, evidence: Evidence) -> Ruling:
        given, matched, own = evidence["given"], evidence["matched"], evidence["own"]
        if not evidence["fault"]:
            return Ruling.passed(f"{matched} of {given} loaded tensors belong to {evidence['model']}")
        prefix = evidence["prefix"]
        reason = ""
        if prefix:
            change = f"with {prefix[1:]!r} added to" if prefix.startswith("+") else f"without {prefix!r} in front of"
            reason = f"; {evidence['prefixed']} would match {change} their names"
        names = ", ".join(evidence["examples"]) or "none"
        theirs = ", ".join(evidence["own_examples"])
        if evidence["fault"] == "merged":
            observed = f"none of the {evidence['file_tensors']} tensors that were read is among those loaded"
        else:
            observed = f"{matched} of {given} names match"
        return Ruling.found(
            Severity.ERROR if not matched or prefix or evidence["fault"] == "merged" else Severity.WARNING,
            f"Loading these weights leaves {evidence['model']} as it was.",
            expected=f"names of the {own} tensors of {evidence['model']}, such as {theirs}",
            observed=f"{observed}{reason}; the state has {names}",
            fix="Rename the entries (strip or add the prefix), and load with strict=True so that a mismatch is an error.",
        )


def _look(x: Loaded) -> Evidence:
    renamed = x.prefixed >= MOST * min(x.given, x.own) and x.prefixed > x.matched
    fault = ""
    if x.own and not x.strict and x.matched <= FEW * min(x.given, x.own) and (x.given or x.file_tensors):
        fault = "names"
    elif x.own and x.shared == x.given == x.matched and x.given and x.file_tensors and not (x.from_file or x.file_matched):
        fault = "merged"
    return Evidence(
        {
            "model": x.model,
            "fault": fault,
            "given": x.given,
            "own": x.own,
            "matched": x.matched,
            "prefix": x.prefix if renamed else "",
            "prefixed": x.prefixed if renamed else 0,
            "file_tensors": x.file_tensors,
            "examples": x.examples,
            "own_examples": x.own_examples,
        },
        place=x.place,
    )
