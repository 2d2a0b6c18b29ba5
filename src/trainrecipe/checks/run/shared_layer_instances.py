from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run


class SharedLayerInstances(Check):
    """A stack of layers is made of different layers.

    What it checks
    --------------
    Whether one and the same layer with parameters lies at several positions of a `ModuleList`, `Sequential` or
    `ModuleDict`; whether what it returns goes into it again; and whether the list was written as `[Layer(...)] * n`.

    Why it matters
    --------------
    `[layer] * 6`, or a list of six times the same variable, is one layer that is used six times: the model has a sixth of
    the parameters that its depth suggests, and nothing tells so. The loss falls, only less far.

    What healthy looks like
    -----------------------
    `nn.ModuleList(Layer(...) for _ in range(n))`, or deep copies of one layer, each made on its own.

    What to do
    ----------
    Build each layer in the list comprehension, or copy it with `copy.deepcopy(layer)` for each position.

    When it is wrong
    ----------------
    Sharing across depth can be meant (ALBERT, universal transformers): where the code around says so, it is a note. One
    head that is applied to the outputs of several layers, as in detection transformers, is not reported.

    Source
    ------
    Fault catalogue 64.
    """

    title = "One layer is used in place of several"
    rows = ("S24", "S12")
    faults = (64,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.models:
            return Evidence(missing="no module was called while the script was observed")
        found = [s for s in run.weights.shared if s.chain or s.written]
        if not found:
            return Evidence({"positions": 0})
        return [
            Evidence(
                {
                    "container": s.container,
                    "kind": s.kind,
                    "layer": s.layer,
                    "positions": s.positions,
                    "elements": s.elements,
                    "chain": s.chain,
                    "written": s.written,
                    "meant": s.says,
                },
                place=s.place,
            )
            for s in found
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        count = evidence["positions"]
        if not count:
            return Ruling.passed("no stack of layers holds one layer several times")
        how = "each feeding the next" if evidence["chain"] else "written as one constructor in a list that is multiplied"
        return Ruling.found(
            Severity.NOTE if evidence["meant"] else Severity.WARNING,
            f"{count} positions of `{evidence['container']}` hold one and the same {evidence['layer']}.",
            expected=f"{count} layers with weights of their own, {count * evidence['elements']:,} weights",
            observed=f"one object, {evidence['elements']:,} weights, at {count} positions of a {evidence['kind']}, {how}",
            fix="Build a layer for each position: nn.ModuleList(Layer(...) for _ in range(n)), or copy.deepcopy(layer) in the "
            "comprehension. If sharing is meant, call one layer in a loop and say so.",
        )
