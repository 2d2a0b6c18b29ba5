from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.tape import Op
    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.step import Step

STRETCH = 1.5
"""Factor by which weights are multiplied to see whether the loss depends on them."""
LEAVES = frozenset({"numpy", "item", "tolist", "__float__", "__int__", "__array__"})
REWRAPS = frozenset({"tensor", "as_tensor", "from_numpy", "requires_grad_", "requires_grad.set"})
NAMED = 4


class GraphCut(Check):
    """Whatever the loss depends on and the optimiser trains gets a gradient.

    What it checks
    --------------
    Weights that the optimiser holds, that are used in the step, and that got no gradient from any backward of the
    program are changed on a copy. If the loss changes although autograd knows no way to them, the graph is cut between.
    Where the loss reaches no weight at all, the graph is cut behind the model.

    Why it matters
    --------------
    The layers before the cut stay at their random start. The rest learns around it, so that the loss still falls.

    What healthy looks like
    -----------------------
    Every weight in the optimiser that influences the loss has a path to it.

    What to do
    ----------
    Remove the `detach()`, `no_grad()`, `.data`, `.item()`, `.numpy()` or `torch.tensor(...)` at the line named. If the
    layers are meant to stay as they are, set `requires_grad_(False)` and leave them out of the optimiser.

    When it is wrong
    ----------------
    Stop-gradients (targets, teachers, straight-through estimators, truncated backpropagation) are no matter as long as
    the weights get a gradient from some backward, or are not in an optimiser. Layers in evaluation mode inside a model
    in training mode are taken to be frozen on purpose.

    Source
    ------
    PyTorch autograd documentation; fault catalogue 62 and 63.
    """

    title = "The gradient does not reach layers that the optimiser should train"
    rows = ("S12", "S17")
    faults = (62, 63)
    price = Price.FORWARD
    explains = (
        "optimizer-without-gradients",
        "overfit-one-batch",
        "parameters-never-updated",
        "unused-parameters",
        "learning-rate-range",
        "step-missing",
    )

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        if not step.steppers:
            return Evidence(missing="no optimiser made a step")
        held = {id(p) for o in step.steppers for g in o.param_groups for p in g["params"] if p.requires_grad}
        graded = step.graded or frozenset(id(p) for p in step.tape.parameters)
        reached = any(id(p) in held for p in step.tape.parameters)
        if not reached:
            return self._behind(step, held, graded)
        if step.distrust:
            return Evidence(missing=step.distrust)
        return self._inside(step, held - graded)

    # ---- the loss reaches no weight

    def _behind(self, step: Step, held: set[int], graded: frozenset[int]) -> Evidence:
        from trainrecipe.capture import members

        called = [op for op in step.tape.history if op.kind == "module" and op.parent is None]
        modules = [{id(p) for p in members.parameters(op.call)} & held for op in called]
        lost = {i for ids in modules if not ids & graded for i in ids}
        if not lost:
            return Evidence(missing="the step trains none of the weights of an optimiser that made steps")
        names = [step.names.get(i, "a weight") for i in lost]
        at = _rewrap(step, called)
        return Evidence(
            {"lost": sorted(names), "behind": True, "operation": at.name if at else "", "frozen": False},
            place=step.place_of(at) if at is not None else step.place,
        )

    # ---- the loss reaches some weights

    def _inside(self, step: Step, ungraded: set[int]) -> Evidence | list[Evidence]:
        twin = step.twin()
        lost = [(o, w) for o, w in twin.leaves if id(o) in ungraded]
        if not lost:
            return Evidence({"lost": []})
        before = _loss(twin)
        flowing = [o for o, w in lost if _loss(twin, w) != before]
        if not flowing:
            return Evidence({"lost": [], "idle": len(lost)})
        modules = _owners(step, flowing)
        return [self._cut(step, weights, frozen) for weights, frozen in modules]

    def _cut(self, step: Step, weights: list[torch.Tensor], frozen: bool) -> Evidence:
        seen = _find_cut(step, weights)
        return Evidence(
            {
                "lost": sorted(step.name(w) for w in weights),
                "behind": False,
                "operation": ("" if seen is None else seen.name if seen.grad else "no_grad"),
                "frozen": frozen,
            },
            place=_line(seen) or step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        lost = evidence["lost"]
        if not lost:
            return Ruling.passed("the gradient reaches every weight in the optimiser that the loss depends on")
        if evidence["frozen"]:
            return Ruling.unsure(f"{len(lost)} weights get no gradient, but their layer is in evaluation mode: meant?")
        named = ", ".join(lost[:NAMED]) + (", …" if len(lost) > NAMED else "")
        by = f" at `{_said(evidence['operation'])}`" if evidence["operation"] else ""
        if evidence["behind"]:
            return Ruling.found(
                Severity.ERROR,
                f"The loss is cut off from the model{by}: backward reaches none of the optimiser's weights.",
                expected="backward fills the gradients of the weights that the optimiser holds",
                observed=f"it fills those of a new tensor only; {len(lost)} weights of the called model get none ({named})",
                fix="Keep the model's output as it is: no `.item()`, `.numpy()`, `.data` or `torch.tensor(...)`; "
                "collect outputs with `torch.stack` or `torch.cat`.",
            )
        return Ruling.found(
            Severity.ERROR,
            f"The graph is cut{by}: {len(lost)} weights in the optimiser get no gradient ({named}).",
            expected="weights that change the loss get a gradient",
            observed="changing them changes the loss, but no backward of the program ever gives them a gradient",
            fix="Remove the operation at this line that leaves the graph; if the layers are to stay fixed, "
            "set `requires_grad_(False)` on them and leave them out of the optimiser.",
        )


def _said(operation: str) -> str:
    return {"data.get": ".data", "no_grad": "no_grad"}.get(operation, operation)


def _loss(twin: Any, stretched: torch.Tensor | None = None) -> float:
    """The loss, with one weight multiplied and moved for the time being."""
    import torch

    if stretched is None:
        return float(twin.loss().detach())
    old = stretched.detach().clone()
    noise = torch.rand(old.shape, generator=torch.Generator().manual_seed(0)).to(old) * (float(old.abs().mean()) or 1.0)
    with torch.no_grad():
        stretched.mul_(STRETCH).add_(noise)
    try:
        return float(twin.loss().detach())
    finally:
        with torch.no_grad():
            stretched.copy_(old)


def _owners(step: Step, weights: list[torch.Tensor]) -> list[tuple[list[torch.Tensor], bool]]:
    """The weights of each called module, and whether the layers that hold them are in evaluation mode on purpose."""
    from trainrecipe.capture import members

    left = {id(w): w for w in weights}
    found = []
    for op in step.tape.modules():
        own = [left.pop(id(p)) for p in members.parameters(op.call) if id(p) in left]
        ids = {id(w) for w in own}
        holders = [m for m in members.modules(op.call) if any(id(p) in ids for p in m._parameters.values())]
        copies = [op.memo.get(m) for m in holders] if op.memo is not None else []  # in the mode of that moment
        if own:
            found.append((own, bool(op.training) and all(c is not None and not c.training for c in copies)))
    return found + ([(list(left.values()), False)] if left else [])


def _find_cut(step: Step, weights: list[torch.Tensor]) -> Seen | None:
    """The operation where the way from these weights to the loss leaves the graph: the last that feeds the loss."""
    from trainrecipe.capture.watch import run_watched

    twin = step.twin()
    tainted = {id(w) for o, w in twin.leaves if any(o is x for x in weights)}
    feeds: dict[int, set[int]] = {}
    cuts: list[Seen] = []
    kept: list[Any] = []

    def look(seen: Seen) -> None:
        kept.append(seen)  # keeps the tensors alive, so that their identities stay unique
        if not any(id(t) in tainted for t in seen.inputs):
            return
        loses = not any(t.requires_grad for t in seen.outputs)
        had = any(id(t) in tainted and t.requires_grad for t in seen.inputs)
        if loses and had and (seen.outputs or seen.name in LEAVES):
            cuts.append(seen)
        for out in seen.outputs:
            tainted.add(id(out))
            feeds.setdefault(id(out), set()).update(id(t) for t in seen.inputs)

    env = run_watched(step, twin, look)
    ancestors: set[int] = set()
    work = [id(env[n]) for n in step.tape.roots]
    while work:
        number = work.pop()
        if number not in ancestors:
            ancestors.add(number)
            work += feeds.get(number, ())
    feeding = [c for c in cuts if any(id(o) in ancestors for o in c.outputs)]
    left = [c for c in cuts if c.name in LEAVES or c.name in ("detach", "data.get")]
    return next(iter(feeding or left[-1:] or cuts), None)


def _line(seen: Seen | None) -> Any:
    from trainrecipe.capture.where import place

    return place(seen.at) if seen is not None else None


def _rewrap(step: Step, called: list[Op]) -> Op | None:
    """The recorded operation behind the model's call where its result leaves the graph."""
    made = {n for op in called for n in op.outputs}
    cut = None
    for op in step.tape.history:
        if not any(n in made for n in op.inputs) or (op.kind == "module" and op.parent is None):
            continue
        values = [step.tape.values.get(n) for n in op.outputs]
        keeps = any(v is not None and v.requires_grad for v in values)
        if op.name in LEAVES or op.name in REWRAPS or op.name in ("detach", "data.get") or not keeps:
            cut = op
        if keeps:
            made.update(op.outputs)
    return cut
