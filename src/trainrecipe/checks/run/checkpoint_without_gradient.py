from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run

STEPS = 2
"""Optimiser steps that must have been seen."""


class CheckpointWithoutGradient(Check):
    """A block whose activations are recomputed is trained.

    What it checks
    --------------
    Calls of `torch.utils.checkpoint.checkpoint` with `use_reentrant=True` none of whose arguments requires a gradient: whether
    trainable parameters of the module inside, which an optimiser holds, never get a gradient.

    Why it matters
    --------------
    The reentrant kind hides what is inside from autograd, and is itself only part of the graph where one of its inputs
    requires a gradient. The first block of a model, fed with the data themselves, does not: it keeps its initial weights, and
    all that is seen is a warning once.

    What healthy looks like
    -----------------------
    `checkpoint(block, x, use_reentrant=False)`, which looks at the output instead.

    What to do
    ----------
    Pass `use_reentrant=False`; or call `x.requires_grad_()` before (`model.enable_input_require_grads()` of transformers).

    When it is wrong
    ----------------
    A block that is frozen has no trainable parameters and is not reported. Only modules that are checkpointed themselves, by
    one of their methods, or by a function that closes over them, are known.

    Source
    ------
    Fault catalogue 165; PyTorch documentation of torch.utils.checkpoint.
    """

    title = "A checkpointed block gets no gradients"
    rows = ("S17",)
    faults = (165,)
    explains = ("unused-parameters", "parameters-never-updated", "graph-cut")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if run.steps < STEPS:
            return Evidence(missing=f"only {run.steps} optimiser steps were seen")
        if not run.untaught:
            return Evidence({"block": ""})
        return [
            Evidence(
                {"block": u.block, "names": u.names[:6], "tensors": len(u.names), "elements": u.elements, "others": u.others},
                place=u.place,
            )
            for u in run.untaught[:3]
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["block"]:
            return Ruling.passed("no reentrant checkpoint keeps gradients from parameters")
        return Ruling.found(
            Severity.ERROR,
            f"The checkpointed {evidence['block']} is not trained: none of its inputs requires a gradient.",
            expected="a gradient for each trainable parameter of a checkpointed block",
            observed=f"{evidence['tensors']} parameter tensors ({', '.join(evidence['names'])}) with {evidence['elements']:,} "
            "elements never got one; reentrant checkpoints pass gradients on only where an input requires one",
            fix="Call checkpoint(…, use_reentrant=False).",
        )
