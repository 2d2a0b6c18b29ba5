from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run


class ResultDiscarded(Check):
    """No statement computes a tensor and drops it.

    What it checks
    --------------
    Statements that consist of one call, in functions and loops that training ran through: whether the call was an operation
    or a stateless layer of PyTorch's that returns a new tensor and leaves its arguments as they are. Statements that consist
    of a calculation, such as `+ weight * penalty`: whether its value has a graph to weights; it is an error where that is one
    number, as of a term of the loss. And assignments in the forward of your own models and layers: whether they keep the
    input, or a tensor just computed, under a name that nothing in that function reads.

    Why it matters
    --------------
    `x.clamp(0, 1)`, `F.relu(x)` or `self.dropout(x)` on a line of its own does nothing at all. The model lacks the layer, or
    the target network its update, and no error tells. A sum that goes on in the next line without parentheses ends at the
    first line: the rest is a statement of its own, and no part of the loss. A residual block that keeps `identity = x` and
    never adds it is a plain stack of layers.

    What healthy looks like
    -----------------------
    The result is assigned (`x = F.relu(x)`), or the operation is the one that works in place (`x.clamp_(0, 1)`). A sum over
    several lines stands in parentheses.

    What to do
    ----------
    Assign the result, or use the in-place form. Put parentheses around the sum.

    When it is wrong
    ----------------
    A statement left over from debugging is harmless and reported all the same; delete it. A name that is never read is a
    note, since most of them are such leftovers; names that begin with an underscore, sizes and shapes are none. Layers with
    hooks or with a state of their own (batch norm) are not reported, nor is what a notebook shows at the end of a cell.

    Source
    ------
    Fault catalogue 54; PyTorch forum thread 94593.
    """

    title = "The result of an operation is thrown away"
    rows = ("S24", "S12")
    faults = (54,)
    explains = ("unused-parameters", "loss-never-backpropagated", "target-network-not-synced", "parameters-never-updated")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.backwards:
            return Evidence(missing="backward was never called while the script was observed")
        found = run.weights.discarded
        if not found:
            return Evidence({"source": ""})
        return [
            Evidence(
                {
                    "source": d.source,
                    "operation": d.operation,
                    "steps": d.steps,
                    "layer": d.layer,
                    "sum": d.sum,
                    "scalar": d.scalar,
                },
                place=d.place,
            )
            for d in found
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        source = evidence["source"]
        if evidence.get("operation") == "=":
            return _unread(source, evidence["steps"])
        if not source:
            return Ruling.passed("no statement was seen that computes a tensor and drops it")
        if evidence.get("sum"):
            return _left_over(source, evidence["steps"], evidence["scalar"])
        short = _short(source)
        return Ruling.found(
            Severity.WARNING,
            f"`{short}` returns a new tensor that nothing takes up.",
            expected="a result that is assigned or used, or an operation that works in place",
            observed=f"`{evidence['operation']}` was executed in {evidence['steps']} recorded steps, changed nothing in "
            "place, and "
            "its statement drops the result",
            fix=f"Assign the result (x = {short}), or use the in-place form; delete the line if it is a leftover.",
        )


def _short(source: str) -> str:
    return source if len(source) <= 60 else source[:57] + "..."


def _left_over(source: str, steps: int, scalar: bool) -> Ruling:
    short = _short(source)
    return Ruling.found(
        Severity.ERROR if scalar else Severity.WARNING,
        f"`{short}` is a statement of its own, and its value is thrown away"
        + (": it is no part of the loss." if scalar else "."),
        expected="a term that is part of a sum, or is assigned",
        observed=f"{'one number' if scalar else 'a tensor'} with a graph to weights, computed in {steps} recorded steps, that "
        "nothing takes up",
        fix="If it goes on with the line before, put parentheses around the whole; else assign it, or delete the line.",
    )


def _unread(source: str, steps: int) -> Ruling:
    name, short = source.partition(" = ")[0], _short(source)
    return Ruling.found(
        Severity.NOTE,
        f"`{short}` in forward keeps a tensor that forward never reads again.",
        expected="what a forward assigns is used in it",
        observed=f"the function ran in {steps} recorded steps, and no expression in it reads `{name}`",
        fix=f"Use `{name}` where it was meant, such as in the sum at the end of a residual block; or delete the line.",
    )
