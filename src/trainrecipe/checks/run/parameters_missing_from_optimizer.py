from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Parameter, Run


class ParametersMissingFromOptimizer(Check):
    """Every trainable parameter that gets a gradient is held by an optimiser.

    What it checks
    --------------
    For each model that the script calls: parameters that require a gradient and receive one, are in no optimiser's groups,
    and have not moved since the first step. Where another fault keeps all gradients from a model that an optimiser holds in
    part, its other parameters that are called count instead.

    Why it matters
    --------------
    Such parameters stay at their initial values for the whole training. The rest of the model learns to live with random
    features, so the loss falls and nothing looks broken; it is only worse than it should be.

    What healthy looks like
    -----------------------
    All trainable parameters are in exactly one optimiser; those that are meant to be frozen have `requires_grad` False.

    What to do
    ----------
    Give the optimiser `model.parameters()`, or the missing part as one more group. To freeze a part, say so:
    `part.requires_grad_(False)`, which also saves the work of computing its gradients.

    When it is wrong
    ----------------
    Fixed parts that are merely left out of the optimiser look the same. A part in eval mode, or with weights that were
    loaded before the first step, is taken to be meant so (a note). So is a part that a later phase trains: where the
    source builds another optimiser, or adds a group, that the rehearsal did not reach, the check is unsure.

    Source
    ------
    Fault catalogue 55; PyTorch forum threads 69090, 49643.
    """

    title = "Trainable parameters are in no optimiser"
    rows = ("S24", "S17")
    faults = (55,)
    explains = ("parameters-never-updated", "unused-parameters", "overfit-one-batch")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = {o.number for o in run.optimizers if o.steps}
        if not stepping:
            return Evidence(missing="no optimiser took a step while the script was observed")
        return [self._look(run, number, stepping) for number in sorted(run.trained_models())]

    def _look(self, run: Run, number: int, stepping: set[int]) -> Evidence:
        model = run.models[number]
        own = [p for p in run.parameters if p.model == number and p.registered and p.trainable]
        held = [p for p in own if p.optimizers]
        cut = bool(held) and not any(p.gradient for p in own)
        missing = [p for p in own if not p.optimizers and (p.called if cut else p.gradient) and not p.moved and not p.asked]
        forwards = [f for f in run.forwards if f.model == number and f.fed]
        later = [s.place for s in run.unreached if s.kind in ("build", "group")] if run.rehearsal else []
        optimizer = next((o for o in run.optimizers if o.number in stepping), None)
        data: dict[str, Any] = {
            "model": model.name,
            "held": len(held),
            "missing": len(missing),
            "elements": sum(p.elements for p in missing),
            "all_elements": sum(p.elements for p in own),
            "parts": _parts(missing),
            "training": any(f.training for f in forwards),
            "loaded": model.loaded,
            "cut": cut,
            "later": [f"line {p.line}: {p.source}" for p in later[:2]],
        }
        return Evidence(data, place=optimizer.place if optimizer is not None else model.born)

    def judge(self, evidence: Evidence) -> Ruling:
        missing, parts = evidence["missing"], ", ".join(evidence["parts"])
        if not missing:
            return Ruling.passed(f"all parameters of {evidence['model']} that get gradients are in an optimiser")
        share = evidence["elements"] / max(1, evidence["all_elements"])
        what = f"{missing} parameter tensors of {evidence['model']} ({parts}; {share:.0%} of its trainable weights)"
        if evidence["later"]:
            return Ruling.unsure(f"{what} are in no optimiser yet, but {evidence['later'][0]} was not reached in the rehearsal")
        meant = evidence["loaded"] or not evidence["training"]
        certain = evidence["held"] > 0
        severity = Severity.NOTE if meant else Severity.ERROR if certain else Severity.WARNING
        return Ruling.found(
            severity,
            f"{what} are held by no optimiser." if evidence["cut"] else f"{what} get gradients, but no optimiser holds them.",
            expected="each trainable parameter in an optimiser, or requires_grad False",
            observed=f"{evidence['elements']:,} weights "
            + ("beside those that the optimiser holds" if evidence["cut"] else "with gradients, in no optimiser")
            + ", unchanged since the first step",
            fix="Give the optimiser model.parameters(), or add the missing part; if it is meant to be frozen, call "
            "requires_grad_(False) on it.",
            causes=(
                "The optimiser was built from a part of the model, or before the part was added.",
                "The part is meant to be frozen and was not told so: requires_grad_(False) gives the same results, faster.",
            ),
        )


def _parts(parameters: list[Parameter]) -> list[str]:
    """The modules that the parameters belong to, at most four."""
    names = list(dict.fromkeys(p.name.rpartition(".")[0] or p.name for p in parameters))
    return names if len(names) <= 4 else [*names[:3], f"and {len(names) - 3} more"]
