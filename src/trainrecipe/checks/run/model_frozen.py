from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run, Untrained

FEWEST = 3
"""Steps after which an optimiser with nothing to train is no longer taken for one that waits."""


class ModelFrozen(Check):
    """Each optimiser that steps holds something that can be trained, and no layer is frozen before it learnt anything.

    What it checks
    --------------
    For each optimiser that takes steps: how many of the tensors it holds require a gradient or ever got one. And each linear
    or convolutional layer that lies between trained weights and the loss of the same model: whether it is frozen with the
    random weights that its constructor gave it, neither loaded nor copied nor trained.

    Why it matters
    --------------
    PyTorch says nothing when every parameter of an optimiser is frozen: its steps run and do nothing. As long as
    something else in the program is trained, even a bias or a batch-norm statistic, the loss moves a little and the run
    looks slow rather than broken. A new classifier that was frozen along with the backbone makes its predictions at random,
    and what is trained before it can only adapt to that.

    What healthy looks like
    -----------------------
    A frozen backbone with pretrained weights and a head that is trained: then the optimiser holds the head.

    What to do
    ----------
    Freeze only what is meant to be frozen, before new layers are added; print how many parameters require a gradient.

    When it is wrong
    ----------------
    An optimiser whose part is thawed later on waits for its turn: where the code sets `requires_grad` to True anywhere,
    the check is unsure in a rehearsal. Fixed random projections are known and work: random features, reservoirs, targets of
    exploration bonuses, fixed classifiers. Only a frozen last layer is a warning; one inside the model, or one beside which
    its own module trains an adapter, is a note, and one that comes before everything that is trained is not reported. A
    pretrained layer is taken for a new one if its weights were read into the constructor's tensor through `data` and happen
    to be spread as a new layer's are.

    Source
    ------
    Fault catalogue 58; TrainCheck case PyTorch-Forum 84911.
    """

    title = "Something that is meant to be trained is frozen"
    rows = ("S24", "S17")
    faults = (58,)
    explains = ("optimizer-without-gradients", "update-ratio", "overfit-one-batch")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps >= FEWEST and o.parameters]
        if not stepping:
            return Evidence(missing=f"no optimiser took {FEWEST} steps while the script was observed")
        heads = [u for u in run.untrained if u.last and not u.adapter]
        inner = [u for u in run.untrained if not u.last or u.adapter]
        return [self._look(run, o) for o in stepping] + [self._layers(run, found) for found in (heads, inner) if found]

    def _layers(self, run: Run, found: list[Untrained]) -> Evidence:
        at = found[0].place
        thaws = [t for t in run.weights.thaws if run.rehearsal and t != at]
        return Evidence(
            {
                "layers": [f"{u.name} ({u.kind})" for u in found[:4]],
                "model": found[0].model,
                "elements": sum(u.elements for u in found),
                "last": found[0].last and not found[0].adapter,
                "thaws": [f"line {t.line}: {t.source}" for t in thaws[:2]],
            },
            place=at,
        )

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        held = [p for p in run.parameters if optimizer.number in p.optimizers]
        live = [p for p in held if p.trainable or p.gradient or p.updates]
        return Evidence(
            {
                "optimizer": optimizer.name,
                "held": len(held),
                "live": len(live),
                "elements": sum(p.elements for p in held),
                "names": [p.name for p in held[:4]],
                "steps": optimizer.steps,
                "thaws": [f"line {t.line}: {t.source}" for t in run.weights.thaws[:2]] if run.rehearsal else [],
                "others": sum(1 for p in run.parameters if p.gradient and optimizer.number not in p.optimizers),
            },
            place=optimizer.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence.get("layers"):
            return _layers(evidence)
        held, live = evidence["held"], evidence["live"]
        if live or not held:
            return Ruling.passed(f"{live} of the {held} tensors in {evidence['optimizer']} can be trained")
        names = ", ".join(evidence["names"])
        if evidence["thaws"]:
            return Ruling.unsure(f"{names} are frozen so far, but {evidence['thaws'][0]} may thaw them")
        return Ruling.found(
            Severity.WARNING,
            f"Every parameter that {evidence['optimizer']} holds is frozen ({names}), so its steps do nothing.",
            expected="an optimiser with parameters that require a gradient",
            observed=f"none of {held} tensors ({evidence['elements']:,} weights) requires a gradient or got one in "
            f"{evidence['steps']} steps",
            fix="Set requires_grad to True for the part that is to be trained, or leave this optimiser out.",
        )


def _layers(evidence: Evidence) -> Ruling:
    names, model = ", ".join(evidence["layers"]), evidence["model"]
    if evidence["thaws"]:
        return Ruling.unsure(f"{names} of {model} are frozen so far, but {evidence['thaws'][0]} may thaw them")
    what = "makes the predictions of" if evidence["last"] else "lies behind trained weights of"
    return Ruling.found(
        Severity.WARNING if evidence["last"] else Severity.NOTE,
        f"{names} {what} {model} and stays frozen at its random initial weights.",
        expected="a layer that is frozen has weights from a training or a file, or is a random projection on purpose",
        observed=f"{evidence['elements']:,} weights require no gradient and are those of the constructor: nothing was loaded, "
        "copied or trained into them",
        fix="Set requires_grad to True for this layer and give it to the optimiser, unless a fixed random projection is meant.",
        causes=(
            "the names or prefixes that decide what is trained match another layer, or none: print what requires a gradient",
            "the whole model was frozen after the new layer had been put in",
        ),
    )
