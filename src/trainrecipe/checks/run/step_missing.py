from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Optimizer, Run

FEWEST = 8
"""Backwards without a step that are seen before it is called missing; in a rehearsal a source line that might step
speaks against it in any case."""


class StepMissing(Check):
    """An optimiser whose parameters get gradients takes steps.

    What it checks
    --------------
    Optimisers that were built over parameters which received gradients from many backwards, but never took a step, while
    the parameters did not change in any other way.

    Why it matters
    --------------
    Without `optimizer.step()` nothing is learned. The loss is printed, moves a little with each batch, and stays where
    it started.

    What healthy looks like
    -----------------------
    One step per backward, or per window of accumulated backwards.

    What to do
    ----------
    Call `optimizer.step()` after `loss.backward()`, on the optimiser that holds the model's parameters.

    When it is wrong
    ----------------
    Gradients that are computed for their own sake (saliency, attribution, adversarial inputs) come with no optimiser over
    the parameters. A rehearsal sees only a part of each epoch: where the source has a step that it did not reach, such as
    the end of a long accumulation window, the check is unsure; `recipe run` decides.

    Source
    ------
    Fault catalogue 29; PyTorch forum threads 60855, 49643.
    """

    title = "The optimiser never takes a step"
    rows = ("S24",)
    faults = (29,)
    explains = (
        "overfit-one-batch",
        "parameters-never-updated",
        "missing-zero-grad",
        "update-ratio",
        "scheduler-before-optimizer",
    )

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not run.optimizers:
            return Evidence(missing="no optimiser of torch.optim was built while the script was observed")
        return [self._look(run, o) for o in run.optimizers]

    def _look(self, run: Run, optimizer: Optimizer) -> Evidence:
        graded = [p for p in run.parameters if optimizer.number in p.optimizers and p.trainable and p.gradient]
        stepping = {o.number for o in run.optimizers if o.steps}
        alone = [p for p in graded if not stepping & set(p.optimizers)]
        backward = max(run.backwards, key=lambda b: b.count, default=None)
        unreached = [s.place for s in run.unreached if s.kind in ("optimizer step", "step")]
        return Evidence(
            {
                "optimizer": optimizer.name,
                "steps": optimizer.steps,
                "backwards": sum(b.count for b in run.backwards),
                "with_gradient": len(graded),
                "only_here": len(alone),
                "moved": sum(1 for p in alone if p.moved),
                "partial": run.rehearsal,
                "input_gradients": run.input_gradients,
                "unreached": [f"line {p.line}: {p.source}" for p in unreached[:3]],
            },
            place=backward.place if backward is not None else optimizer.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        name, backwards = evidence["optimizer"], evidence["backwards"]
        if evidence["steps"]:
            return Ruling.passed(f"{name} took {evidence['steps']} steps")
        if not evidence["only_here"] or backwards < FEWEST:
            return Ruling.passed(f"{name} took no step, but its parameters got no gradient that calls for one")
        if evidence["moved"]:
            return Ruling.passed(f"the parameters that {name} holds are updated by other means")
        if evidence["input_gradients"]:
            return Ruling.unsure(f"{name} took no step, but backward is also used for gradients of inputs, as in attribution")
        if evidence["partial"] and evidence["unreached"]:
            return Ruling.unsure(
                f"{name} took no step in {backwards} backwards, but {evidence['unreached'][0]} was not reached in the "
                "rehearsal; recipe run will tell"
            )
        return Ruling.found(
            Severity.ERROR,
            f"{name} holds the parameters that backward fills with gradients, but step() is never called on it.",
            expected="optimizer.step() after the backward",
            observed=f"{backwards} backwards, {evidence['with_gradient']} parameter tensors with gradients, 0 steps, "
            "and no weight changed",
            fix="Call optimizer.step() after loss.backward().",
        )
