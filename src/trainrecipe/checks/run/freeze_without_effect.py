from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run

RIGHT = "requires_grad"


class FreezeWithoutEffect(Check):
    """What the code sets in order to freeze parameters does freeze them.

    What it checks
    --------------
    Attributes that PyTorch never reads: `requires_grad = False` on a module, a misspelt `require_grad` on a tensor or
    module, and a comparison `p.requires_grad == False` that stands alone. For each, whether the parameters concerned still
    require gradients, and how many weights of them an optimiser has moved.

    Why it matters
    --------------
    Python creates the attribute without a word, and the part that was to keep its pretrained features is trained away
    from the first step on, often at a learning rate that destroys them.

    What healthy looks like
    -----------------------
    `module.requires_grad_(False)`, or `p.requires_grad = False` for each parameter; frozen weights keep every bit.

    What to do
    ----------
    Call `module.requires_grad_(False)` before the optimiser is built.

    When it is wrong
    ----------------
    A class that keeps `self.requires_grad` as a note to itself is at most a note, and nothing is said when its parameters
    are frozen in fact, or when no optimiser moves them.

    Source
    ------
    Fault catalogue 59; pytorch-labs/torchfix TOR002.
    """

    title = "Parameters that look frozen are trained"
    rows = ("S24", "S17")
    faults = (59,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not any(o.steps for o in run.optimizers):
            return Evidence(missing="no optimiser took a step while the script was observed")
        found = [f for f in run.weights.freezes if f.elements]
        if not found:
            return Evidence({"kind": ""})
        return [
            Evidence(
                {
                    "kind": f.kind,
                    "attribute": f.attribute,
                    "holder": f.holder,
                    "names": f.names[:4],
                    "elements": f.elements,
                    "moved": f.moved,
                    "own": f.own,
                },
                place=f.place,
            )
            for f in found
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        kind = evidence["kind"]
        if not kind:
            return Ruling.passed("no attribute was found that only looks as if it froze parameters")
        attribute, moved, names = evidence["attribute"], evidence["moved"], ", ".join(evidence["names"])
        if kind == "thawed":
            return Ruling.found(
                Severity.WARNING,
                f"`requires_grad = True` was set on a module ({evidence['holder']}), which unfreezes none of its parameters.",
                expected="parameters that require a gradient once they are to be trained",
                observed=f"{evidence['elements']:,} weights still require no gradient ({names})",
                fix="Call requires_grad_(True) on the module, or set p.requires_grad = True for each of its parameters.",
            )
        if not moved:
            return Ruling.passed(f"`{attribute}` has no effect, but no optimiser moves these parameters ({names})")
        if kind == "compared":
            says = "A statement compares `requires_grad` instead of setting it, so it freezes nothing."
        elif kind == "module":
            says = f"`{attribute} = False` was set on a module ({evidence['holder']}), which freezes none of its parameters."
        else:
            says = f"`{attribute} = False` was set on parameters, but the attribute is called `requires_grad`."
        return Ruling.found(
            Severity.NOTE if evidence["own"] else Severity.WARNING if kind == "compared" else Severity.ERROR,
            says,
            expected="frozen parameters: requires_grad False, and not one bit changed by the optimiser",
            observed=f"{evidence['elements']:,} weights still require a gradient ({names}), and {moved:,} of them lie in "
            "tensors "
            "that the optimiser moved",
            fix="Call requires_grad_(False) on the module, or set p.requires_grad = False for each of its parameters.",
        )
