from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Parameter, Run


class UnregisteredParameters(Check):
    """Every layer that a model uses in its forward is registered with it.

    What it checks
    --------------
    Layers that run inside a called model's forward and whose parameters get gradients, although the model's own
    `parameters()` does not list them, because they sit in a plain list or dict; and whether an optimiser holds them.

    Why it matters
    --------------
    `parameters()`, `state_dict()`, `to()`, `train()` and `eval()` do not reach such layers: they are not trained, not
    saved, not moved to the GPU, and their dropout stays on in evaluation.

    What healthy looks like
    -----------------------
    Layers are attributes of the module, or live in `nn.ModuleList`, `nn.ModuleDict`, `nn.Sequential`; loose tensors in
    `nn.ParameterList`.

    What to do
    ----------
    Wrap the list in `nn.ModuleList` (the dict in `nn.ModuleDict`).

    When it is wrong
    ----------------
    A frozen teacher is sometimes hidden in a list so that it is not saved; it gets no gradient or runs in eval mode while
    the model trains, and is at most a note. Layers that were given to the optimiser by hand are trained and a note, too.

    Source
    ------
    Fault catalogue 56; pytorch/pytorch#59925, EleutherAI/gpt-neox#267.
    """

    title = "Layers are not registered with the model"
    rows = ("S24", "S17")
    faults = (56,)
    explains = ("parameters-missing-from-optimizer", "unused-parameters", "dropout-in-eval", "overfit-one-batch")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.backwards:
            return Evidence(missing="backward was never called while the script was observed")
        users = sorted({p.used_in for p in run.parameters if p.used_in is not None and not p.registered})
        hidden = {n: [p for p in run.parameters if p.used_in == n and not p.registered and p.gradient] for n in users}
        found = [self._look(run, n, ps) for n, ps in hidden.items() if ps]
        return found or Evidence({"model": "", "layers": 0})

    def _look(self, run: Run, number: int, hidden: list[Parameter]) -> Evidence:
        loose = [p for p in hidden if not p.optimizers and not p.moved]
        kinds = list(dict.fromkeys(p.kind for p in hidden if p.kind))
        return Evidence(
            {
                "model": run.models[number].name,
                "layers": len(hidden),
                "elements": sum(p.elements for p in hidden),
                "untrained": len(loose),
                "training": any(p.mode is not False for p in hidden),
                "kinds": kinds[:4],
            },
            place=next((p.born for p in hidden if p.born is not None), run.models[number].born),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["layers"]:
            return Ruling.passed("all layers that the called models use are registered with them")
        untrained, count = evidence["untrained"], evidence["layers"]
        meant = not untrained or not evidence["training"]
        held = f"{untrained} of them in no optimiser and unchanged" if untrained else "held by an optimiser all the same"
        kinds = ", ".join(evidence["kinds"])
        return Ruling.found(
            Severity.NOTE if meant else Severity.ERROR,
            f"{evidence['model']} uses layers in its forward that it does not own ({kinds}).",
            expected="every layer reachable through model.parameters()",
            observed=f"{count} parameter tensors ({evidence['elements']:,} weights) with gradients that "
            f"{evidence['model']}.parameters() does not list, {held}",
            fix="Keep the layers in nn.ModuleList or nn.ModuleDict (tensors in nn.ParameterList) instead of a list or dict.",
        )
