from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run


class GradientsInEvaluation(Check):
    """No graph is built during evaluation.

    What it checks
    --------------
    Forwards of trained models in passes over data without any backward: whether gradients were enabled.

    Why it matters
    --------------
    The results are the same, but each forward builds a graph and keeps all activations until its output is dropped:
    evaluation takes up to twice the memory and more time, and a collected output keeps its graph alive.

    What healthy looks like
    -----------------------
    Evaluation under `torch.no_grad()` or `torch.inference_mode()`.

    What to do
    ----------
    Decorate the evaluation function with `@torch.no_grad()`.

    When it is wrong
    ----------------
    Where gradients with respect to the input are needed later, the graph is meant. It is a note in any case.

    Source
    ------
    PyTorch documentation, "Locally disabling gradient computation"; fault catalogue 80 (related).
    """

    title = "Evaluation builds graphs that nobody uses"
    rows = ("S24",)
    faults = (80,)

    def measure(self, run: Run) -> Evidence:
        trained = run.related_to_training()
        seen = [f for f in run.evaluations() if f.model in trained]
        if not seen:
            return Evidence(missing="no evaluation of a trained model was seen")
        open_graph = [f for f in seen if f.grad]
        return Evidence(
            {"forwards": sum(f.count for f in seen), "with_graph": sum(f.count for f in open_graph)},
            place=(open_graph or seen)[0].place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        count, all_of_them = evidence["with_graph"], evidence["forwards"]
        if not count:
            return Ruling.passed(f"no graph was built in {all_of_them} evaluation forwards")
        return Ruling.found(
            Severity.NOTE,
            "The evaluation runs with gradients enabled.",
            expected="torch.no_grad() or torch.inference_mode() during evaluation",
            observed=f"{count} of {all_of_them} evaluation forwards built a graph",
            fix="Put @torch.no_grad() on the evaluation function, or its loop into `with torch.no_grad():`.",
        )
