"""Whether a label that is fed in as input is learnt at once, and meets its own prediction in the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, ranges

if TYPE_CHECKING:
    from trainrecipe.subjects.lessons import Class
    from trainrecipe.subjects.step import Step

STEPS = 24
RATES = (3e-3, 3e-4)
FITTED = 0.1
"""Share of the best constant's loss that may be left on the training batches; then the training is over."""
GOOD = 0.8
"""Share right on other batches that shows that the label was learnt."""
SMALL = 0.3
"""The same for numbers: squared error relative to that of their mean."""
SURE = 3.0


class LabelAsInput(Check):
    """A label that is fed in as input is learnt at once.

    What it checks
    --------------
    Rows are followed through the model, by gradients or by replacing them, to see whether row i of the input makes row i of
    the predictions. Then a twin is trained for
    a few steps on inputs over which a pattern for the label is laid, and judged on other batches with their own labels laid
    over them, next to one that was trained without.

    Why it matters
    --------------
    With the answer in the input the task is trivial. What still goes wrong lies between input and loss, and not in the data:
    rows that were sorted inside the model and never put back, so that predictions are compared with labels of other examples.

    What healthy looks like
    -----------------------
    Row i of the predictions depends on row i of the input, and nearly all labels are right within two dozen steps.

    What to do
    ----------
    Put rows back in order before they leave the model: keep the permutation (`order = lengths.argsort()`) and index the result
    with its inverse (`order.argsort()`).

    When it is wrong
    ----------------
    Labels may have been put into the order of the predictions on purpose. So it is reported only if inputs predict the labels
    in their own row much better than those that they meet (nearest neighbours tell, else twins), or if inputs and labels came
    out of the loader in the same order. That the pattern is not learnt is never more than unsure: deep, frozen or normalising
    nets may need longer.

    Source
    ------
    A. Karpathy, A Recipe for Training Neural Networks; fault catalogue 129.
    """

    title = "Predictions are compared with the labels of other examples"
    rows = ("S14",)
    faults = (129,)
    price = Price.TRAIN
    explains = ("shuffled-labels", "two-examples", "dumb-baselines")

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.capture.replay import CannotReplay
        from trainrecipe.subjects.alignment import alignment
        from trainrecipe.subjects.lessons import class_of

        found = class_of(step)
        if isinstance(found, str):
            return Evidence(missing=found)
        try:
            rows = alignment(found)
        except (CannotReplay, RuntimeError) as error:  # such as a step that takes gradients of its own
            return Evidence(missing=f"the predictions cannot be computed again: {error}")
        data: dict[str, Any] = {
            "kind": found.kind,
            "tested": rows.tested,
            "moved": rows.moved,
            "goes": [[i, j] for i, j in rows.goes.items() if i != j][:4],
            "standing": rows.standing,
            "how": rows.how,
            "operation": rows.operation,
            "as_loaded": _as_loaded(found),
        }
        if not rows.goes:
            data |= _fed(found)
        return Evidence(data, place=rows.place or found.call.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["goes"]:
            return _learnt(e)
        (i, j), *_ = e["goes"]
        text = f"row {i} of the input makes row {j} of the predictions"
        if e["standing"] <= -SURE:
            return Ruling.passed(f"{text}, and the labels are in the same order as the predictions")
        if e["standing"] < SURE and not e["as_loaded"]:
            return Ruling.unsure(f"{text}; whether the labels were put into that order as well cannot be told")
        named = f" by `{e['operation']}`" if e["operation"] else ""
        why = "inputs and labels came out of the loader in the same order"
        if e["standing"] >= SURE:
            why = f"inputs belong to the labels in their own row, as {e['how']} tell by {e['standing']:.1f} standard errors"
        return Ruling.found(
            Severity.ERROR,
            f"Rows change places inside the model{named} and are not put back: {text}, which is compared with the label of "
            "another example.",
            expected="row i of the predictions depends on row i of the input",
            observed=f"{e['moved']} of {e['tested']} rows that were followed have an effect on one other row only "
            f"({', '.join(f'{a} → {b}' for a, b in e['goes'])}); {why}",
            fix="Index the result with the inverse permutation (`result[order.argsort()]`) before it leaves the model.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence.get("scores"):
            return None
        bars = [{"name": n, "low": s[1], "middle": s[0], "high": s[2]} for n, s in evidence["scores"].items()]
        caption = (
            f"After {evidence['steps']} steps, on examples that were not trained on. With its label in it, an input tells all."
        )
        error = evidence["kind"] == "numbers"
        title = "squared error relative to the mean (lower is better)" if error else "share right"
        return ranges("The label as input", caption, bars, x_title=title)


def _learnt(e: Evidence) -> Ruling:
    """The ruling on the training with labels laid over the inputs."""
    if not e.get("scores"):
        told = f"rows of the input make their own rows of the predictions ({e['tested']} were followed)"
        return Ruling.passed(f"{told}; {e['untaught']}")
    fed = e["scores"]["own label laid over"]
    text = f"with its label laid over the input, {_told(e, fed[0])} after {e['steps']} steps"
    control = e["scores"].get("without")
    text += f"; without, {_told(e, control[0])}" if control else ""
    if (fed[0] <= SMALL) if e["kind"] == "numbers" else (fed[0] >= GOOD):
        return Ruling.passed(text)
    return Ruling.unsure(f"{text}: this net does not see such a pattern at once, or learns slowly")


def _told(e: Evidence, value: float) -> str:
    return f"a relative squared error of {value:.2f}" if e["kind"] == "numbers" else f"{value:.0%} are right"


def _fed(found: Class) -> dict[str, Any]:
    """Train on inputs with their labels laid over them; the scores, or why they are not there."""
    from trainrecipe.subjects.hints import hinted
    from trainrecipe.subjects.lessons import judged, level, train
    from trainrecipe.subjects.scores import better

    step = found.step
    why = step.transfers and f"the step does not move to other batches: {step.transfers}"
    if not found.main.tensor.is_floating_point():
        why = "labels can be laid over inputs of real numbers only"
    if why or found.silent:
        return {"untaught": why or found.silent}
    best: tuple[Any, int] | None = None
    try:
        taught = hinted(found, found.train, found.labels(found.train))
        asked = _asking(found, hinted(found, found.held, found.labels(found.held)))
        for rate in RATES:
            twin = step.twin()
            goal = found.floor + FITTED * (found.constant - found.floor)
            curve = train(found, twin, taught, rate, goal, steps=STEPS)
            if curve.cut:
                return {"untaught": "the time for experiments ran out"}
            if curve.broken:
                continue
            score = judged(asked, twin)[0]
            if best is None or better(found.kind, score.value, best[0].value):
                best = score, len(curve.losses) - 1
            if found.left(level(found, curve)) <= 2 * FITTED:
                break
    except Exception as error:
        return {"untaught": f"it cannot be trained on other inputs: {type(error).__name__}: {error}"}
    if best is None:
        return {"untaught": "training with labels in the input gave a loss that is not finite"}
    lesson = step.known.get("lesson")
    scores = {"own label laid over": best[0].plain()}
    if lesson is not None and not isinstance(lesson, str):
        scores["without"] = lesson.right.plain()
    return {"scores": scores, "steps": best[1]}


def _asking(found: Class, held: list[Any]) -> Class:
    """The class with other held-out inputs."""
    import dataclasses

    return dataclasses.replace(found, held=held)


def _as_loaded(found: Class) -> bool:
    """Whether inputs and labels are the loader's own tensors, so that they are in the same order."""
    values = found.step.tape.values
    return all(values[n].source.startswith("batch[") for n in (found.target, found.main.number) if n in values)
