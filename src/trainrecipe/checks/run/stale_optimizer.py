from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run


class StaleOptimizer(Check):
    """The tensors that an optimiser holds are those of the model that is trained.

    What it checks
    --------------
    Tensors in an optimiser that belong to no model the script calls and never get a gradient, while the called models have
    trainable parameters that do get gradients and are in no optimiser.

    Why it matters
    --------------
    When a layer is replaced, or the model is copied, cast or wrapped after the optimiser was built, the optimiser goes on
    updating tensors that nobody uses. The new layer keeps its random weights for ever, without any error.

    What healthy looks like
    -----------------------
    Every tensor in an optimiser's groups is a parameter of a called model (or is used by the loss itself).

    What to do
    ----------
    Build the optimiser last: after layers were replaced and the model was moved, cast, copied or wrapped.

    When it is wrong
    ----------------
    An optimiser that also holds a second model whose turn comes later, next to a part that is frozen without
    `requires_grad_(False)`, would look the same.

    Source
    ------
    Fault catalogue 57, 79; huggingface/accelerate#2665, huggingface/diffusers#11903.
    """

    title = "The optimiser holds parameters that the model no longer has"
    rows = ("S24",)
    faults = (57, 79)
    explains = (
        "optimizer-without-gradients",
        "parameters-missing-from-optimizer",
        "parameters-never-updated",
        "unused-parameters",
        "overfit-one-batch",
    )

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps]
        if not stepping:
            return Evidence(missing="no optimiser took a step while the script was observed")
        return [self._look(run, o) for o in stepping]

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        held = [p for p in run.parameters if optimizer.number in p.optimizers and p.trainable]
        stale = [p for p in held if not p.registered and not p.reached and not p.gradient]
        homeless = [
            p for p in run.parameters if p.registered and p.trainable and p.gradient and not p.optimizers and not p.moved
        ]
        trained = run.trained_models()
        orphans = [p for p in homeless if p.model in trained]
        return Evidence(
            {
                "optimizer": optimizer.name,
                "held": len(held),
                "stale": len(stale),
                "stale_shapes": [p.name for p in stale[:4]],
                "orphans": len(orphans),
                "orphan_names": [p.name for p in orphans[:4]],
            },
            place=optimizer.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        stale, orphans = evidence["stale"], evidence["orphans"]
        if not stale or not orphans:
            return Ruling.passed(f"the {evidence['held']} tensors in {evidence['optimizer']} are the models' own")
        names = ", ".join(evidence["orphan_names"])
        return Ruling.found(
            Severity.ERROR,
            f"{evidence['optimizer']} was built before the model got its present parameters ({names}).",
            expected="an optimiser that holds the parameters of the model that is called",
            observed=f"{stale} of {evidence['held']} tensors in the optimiser belong to no called model and never get a "
            f"gradient; {orphans} parameters of the model get gradients and are in no optimiser",
            fix="Build the optimiser after the model is complete: after replacing layers, .to(), casts, copies and wrappers.",
        )
