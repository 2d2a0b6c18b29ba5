"""Equal examples that bear different labels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.contents import Table
    from trainrecipe.subjects.data import Data

SHARE = 0.01
"""Share of the examples that must be labelled against an equal one."""
FEW = 5
WIDE = 64.0
"""Bits of information in an example, as its columns' entropies add up, from which equal examples are copies and no chance."""


class ConflictingLabels(Check):
    """Equal examples bear the same label.

    What it checks
    --------------
    Training examples as fed, bit by bit, with their class labels: how many have an equal example with another label, and
    what accuracy that leaves at most. Examples of few numbers with few values, which are equal by chance, count as
    information and not as a fault.

    Why it matters
    --------------
    No net can be right on both. The training loss has a floor that no capacity removes, and the wrong ones of the labels
    are learnt as well.

    What healthy looks like
    -----------------------
    Equal examples are rare, and agree.

    What to do
    ----------
    Look at the pairs named; settle the label or drop both. If most of them conflict, the labels were joined or copied
    wrongly.

    When it is wrong
    ----------------
    Several annotators per example, or one example in several roles (pairs, questions about an image), are meant to
    differ: steps whose model takes more than one input are left out, as are labels that neither a loader gives nor an
    array holds beside its examples (an agent's actions), and numbers as targets, which repeat with noise.

    Source
    ------
    Fault catalogue 131; deepchecks' conflicting labels.
    """

    title = "Equal examples bear different labels"
    rows = ("D3", "D5")
    faults = (131,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence:
        from trainrecipe.subjects.contents import stored_together, training

        table = training(data)
        if table is None or table.y is None or not table.classes:
            return Evidence(missing="no class labels were seen with the training inputs")
        if not table.x.is_floating_point():
            return Evidence(missing="the inputs are tokens, and short texts repeat")
        loaded = table.loader is not None and data.run.loaders[table.loader].label is not None
        if not loaded and not (all(b.loss for b in table.batches) and stored_together(data, table)):
            return Evidence(missing="inputs and labels come from no loader or stored arrays: the program may draw the labels")
        if any(len(b.inputs) > 1 for b in table.batches):
            return Evidence(missing="the model takes several inputs, so equal ones may differ in another")
        if _several_tasks(table):
            return Evidence(missing="several networks are trained on the examples, each with labels of its own")
        return Evidence(_count(table), place=table.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = f"{e['conflicting']} of {e['rows']} training examples have an equal one with another label"
        if e["lost"] < max(FEW, SHARE * e["rows"]):
            return Ruling.passed(says)
        best = 1 - e["lost"] / e["rows"]
        if e["bits"] < WIDE:
            return Ruling.passed(f"{says}, by chance: they hold few different values; accuracy can be at most {best:.1%}")
        return Ruling.found(
            Severity.WARNING,
            f"{says}: no net can be right on more than {best:.1%}.",
            expected="one label for equal examples",
            observed=f"{e['groups']} groups of equal examples that disagree, such as labels {e['sample']}",
            fix="Look at these examples, settle or drop them, and check how labels were joined to inputs.",
        )


def _several_tasks(table: Table) -> bool:
    """Whether equal examples bear one label in the training of each network, and different ones in that of several."""
    from trainrecipe.subjects.contents import hashes

    told: dict[int, dict[int, set[float]]] = {}
    for batch in table.batches:
        labels = batch.labels()
        for h, label in zip(hashes(batch.inputs[0]), labels, strict=False):
            told.setdefault(h, {}).setdefault(batch.module, set()).add(label)
    apart = [by for by in told.values() if len(by) > 1 and len(set().union(*by.values())) > 1]
    return bool(apart) and sum(all(len(own) == 1 for own in by.values()) for by in apart) > len(apart) / 2


def _count(table: Table) -> dict[str, Any]:
    from trainrecipe.subjects.contents import hashes
    from trainrecipe.subjects.data import _bits

    assert table.y is not None
    groups: dict[int, Counter[float]] = {}
    for h, y in zip(hashes(table.x), table.y.tolist(), strict=True):
        groups.setdefault(h, Counter())[y] += 1
    apart = [c for c in groups.values() if len(c) > 1]
    sample = [row.reshape(-1)[:256].double().numpy() for row in table.x[:512]]
    return {
        "rows": table.rows,
        "conflicting": sum(sum(c.values()) for c in apart),
        "lost": sum(sum(c.values()) - max(c.values()) for c in apart),
        "groups": len(apart),
        "bits": _bits(sample),
        "sample": [int(v) for v in list(apart[0])[:5]] if apart else [],
    }
