from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

STRONG = 0.05
"""Weight decay from which it is worth a note. GPT-3, LLaMA and ViT decay matrices by 0.1 and leave vectors alone; below,
as with the 5e-4 of SGD or the 0.01 of AdamW, everything is decayed in most published code."""
STRONG_L2 = 0.005
"""The same where it is an L2 term of an adaptive optimiser: published code has 5e-4 and less."""
L2 = ("Adam", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop")
"""Optimisers that add the decay to the gradient, and divide it by the gradient's size with the rest."""


class DecayOnNorms(Check):
    """A strong weight decay leaves biases and the scales of norms alone.

    What it checks
    --------------
    Optimisers all of whose groups have a weight decay of 0.05 and more, or of 0.005 and more where it is an L2 term of Adam
    and its like: whether vectors (biases, scales and offsets of norms) are among what they decay.

    Why it matters
    --------------
    Decay keeps matrices small. The scale of a norm it pulls towards zero instead of one, and a bias towards a level that
    the data do not have; neither overfits. The harm is small, and grows with the decay and the length of the training.

    What healthy looks like
    -----------------------
    Two groups: parameters of two and more dimensions with the decay, all others with none.

    What to do
    ----------
    Split the parameters by `p.ndim >= 2`, and give the second group `weight_decay=0`.

    When it is wrong
    ----------------
    The literature is divided, and some recipes decay everything on purpose. It is always a note.

    Source
    ------
    Fault catalogue 66; I. Loshchilov and F. Hutter 2019 (decoupled decay); T. Brown et al. 2020, appendix B (decay of 0.1).
    """

    title = "Weight decay pulls at biases and norms as well"
    rows = ("S24",)
    faults = (66,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps and o.groups]
        if not stepping:
            return Evidence(missing="no optimiser took a step while the script was observed")
        return [self._look(run, o) for o in stepping]

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        decay = min(float(g.get("weight_decay") or 0.0) for g in optimizer.groups)
        own = [p for p in run.parameters if optimizer.number in p.optimizers and p.trainable]
        vectors = [p for p in own if p.dimensions <= 1]
        data = {"optimizer": optimizer.name, "decay": decay, "vectors": len(vectors), "matrices": len(own) - len(vectors)}
        return Evidence({**data, "names": [p.name for p in vectors[:3]]}, place=optimizer.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        strong = STRONG_L2 if e["optimizer"] in L2 else STRONG
        if e["decay"] < strong or not e["vectors"] or not e["matrices"]:
            return Ruling.passed(f"{e['optimizer']} decays vectors by less than {strong:g}")
        coupled = "; an L2 term, which weights with small gradients feel most" if e["optimizer"] in L2 else ""
        return Ruling.found(
            Severity.NOTE,
            f"{e['optimizer']} decays {e['vectors']} biases and norms by {e['decay']:g}, as if they were matrices.",
            expected="a group without decay for parameters of one dimension",
            observed=f"weight_decay={e['decay']:g} for {', '.join(e['names'])}{', …' if e['vectors'] > 3 else ''}{coupled}",
            fix="Split the parameters by p.ndim >= 2, and give the others weight_decay=0"
            + ("; AdamW keeps the decay apart from the gradients." if e["optimizer"] in L2 else "."),
        )
