"""Whether the gradients of autograd are the derivatives of what was computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, points

if TYPE_CHECKING:
    from trainrecipe.subjects.derivatives import Derivative, Element
    from trainrecipe.subjects.step import Step

DIRECTIONS = 2
"""Random directions of all weights along which the whole step is differentiated."""
SHARE = 0.25
"""Share of the elements compared that must be wrong; fewer may lie outside the range that a backward was written for."""
FEW = 3
"""Wrong elements that are needed, if there are that many elements at all."""
CONSTANT = 1e-3
"""Relative spread below which autograd's derivative is the numeric one times a constant."""
CUTS = frozenset({"detach", "detach_", "data.get", "data.set", "item", "numpy", "tolist", "round", "sign", "argmax", "argsort"})
"""Operations behind which autograd sees nothing, or nothing useful."""


class GradientCheck(Check):
    """The gradients are the derivatives of what was computed.

    What it checks
    --------------
    Every hand-written `torch.autograd.Function` behind the loss is called again in float64 on the arguments that it was
    given, and what its backward returns is compared with differences of its forward, element by element. Then the whole
    step is: the derivative of its loss along random directions of all weights, by autograd and by differences.

    Why it matters
    --------------
    A wrong backward raises no error. The loss usually still falls, since a wrong gradient often points roughly downhill, but
    training is slower, ends higher or needs another learning rate, and nothing tells why.

    What healthy looks like
    -----------------------
    Both derivatives agree to six digits.

    What to do
    ----------
    Derive the backward again, or delete it: most functions can be written with PyTorch's own operations, whose backward
    comes for free. Keep `torch.autograd.gradcheck` on float64 inputs as a unit test of the function.

    When it is wrong
    ----------------
    Deliberate differences pass: a gradient where the forward is flat (straight-through estimators, spikes, rounding), an
    identity with another gradient (reversal, scaling, clipping), a backward that is not linear (clipping, normalising, noise),
    and approximations within 2 %. Implicit layers whose solver stops early, and functions whose gradient is meant to be
    another one, are reported: waive them. Where the whole step differs, detached parts are most often meant, so it is unsure.

    Source
    ------
    CS231n, gradient checks; A. Karpathy's recipe; torch.autograd.gradcheck for the method.
    """

    title = "A hand-written backward is not the derivative of its forward"
    rows = ("S16",)
    faults = ()
    price = Price.BACKWARD
    explains = ("overfit-one-batch", "learning-rate-range")

    def measure(self, step: Step) -> list[Evidence]:
        from trainrecipe.subjects.derivatives import Derivative, custom_calls, slopes

        if step.distrust:
            return [Evidence(missing=step.distrust)]
        found = []
        for called in custom_calls(step, step.twin()):
            if step.seconds_left() < 0:
                break
            found.append(_of_function(Derivative(called)))
        if step.seconds_left() < 0:
            return [*found, Evidence(missing="the time ran out before the whole step was differentiated")]
        along = slopes(step, DIRECTIONS)
        if isinstance(along, str):
            return found or [Evidence(missing=along)]
        hidden = sorted({op.name for op in step.tape.history if op.name in CUTS})
        hidden += ["no_grad"] if any(not op.grad for op in step.tape.history) else []
        data = {
            "function": "",
            "autograd": [s.autograd for s in along],
            "numeric": [s.numeric for s in along],
            "agree": all(s.agrees for s in along),
            "steady": all(s.steady for s in along),
            "hidden": hidden,
            "functions": sorted({str(e["function"]) for e in found}),
        }
        return [*found, Evidence(data, place=step.place)]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["function"]:
            return _of_step(e)
        name = e["function"]
        if e["trouble"]:
            return Ruling.unsure(f"the backward of {name} cannot be compared with differences: {e['trouble']}")
        if not e["elements"]:
            return Ruling.passed(f"the backward of {name} is the derivative of its forward")
        if e["identity"] or e["manipulates"] or e["surrogate"]:
            why = "its forward is an identity" if e["identity"] else "it is not linear" if e["manipulates"] else ""
            return Ruling.passed(
                f"the backward of {name} is another one on purpose: {why or 'it gives a gradient where the forward is flat'}"
            )
        if e["wrong"] < min(FEW, e["elements"]) or e["wrong"] < SHARE * e["elements"]:
            return self._stopped(e) if e["stopped"] >= SHARE * e["elements"] else _undecided(e)
        reverse = e["ratio"] is not None and e["ratio"] < 0
        return Ruling.found(
            Severity.NOTE if reverse else Severity.WARNING,
            f"The backward of {name} does not return the derivative of its forward: argument {e['argument']} gets {_how(e)}.",
            expected="the gradient that backward returns equals the change of the result per change of the argument",
            observed=f"{e['wrong']} of {e['elements']} elements compared in float64 differ, such as {e['example'][0]:.6g} from "
            f"backward against {e['example'][1]:.6g} by differences",
            fix="Derive the gradient again and test it with torch.autograd.gradcheck, or write the function with PyTorch's own "
            "operations and delete the backward.",
            causes=_causes(e),
        )

    def _stopped(self, e: Evidence) -> Ruling:
        return Ruling.found(
            Severity.NOTE,
            f"The backward of {e['function']} returns no gradient for argument {e['argument']}, on which its result depends.",
            expected="a gradient for every argument that requires one",
            observed=f"zero for {e['stopped']} of {e['elements']} elements, where differences give {e['example'][1]:.6g}",
            fix="Return its gradient, or detach the argument where it is given, so that the intention can be read.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence.get("pairs"):
            return None
        x, y = zip(*evidence["pairs"], strict=True)
        caption = "Each dot is an element of an argument; a right backward puts all of them on the diagonal."
        titles: dict[str, Any] = {"x_title": "by differences", "y_title": "by backward"}
        return points(f"Gradient of {evidence['function']}", caption, list(y), list(x), diagonal=True, **titles)


def _of_function(derivative: Derivative) -> Evidence:
    """What the comparison of one function tells, with the line to point at."""
    from trainrecipe.subjects.derivatives import backward_place

    d = derivative
    worst = _worst(d.elements)
    chosen = [e for e in d.elements if worst is not None and e.position == worst.position]
    wrong = [e for e in chosen if e.verdict == "wrong"]
    ratios = [e.autograd / e.numeric for e in wrong]
    middle = sum(ratios) / len(ratios) if ratios else 0.0
    constant = bool(ratios) and all(abs(r - middle) <= CONSTANT * abs(middle) for r in ratios) and len(wrong) == len(chosen)
    return Evidence(
        {
            "function": d.called.name,
            "trouble": d.trouble,
            "identity": d.identity,
            "manipulates": d.manipulates,
            "surrogate": sum(e.verdict == "surrogate" for e in d.elements),
            "elements": len(chosen),
            "wrong": len(wrong),
            "stopped": sum(e.verdict == "stopped" for e in chosen),
            "argument": worst.position + 1 if worst is not None else 0,
            "example": [worst.autograd, worst.numeric] if worst is not None else [],
            "ratio": middle if constant else None,
            "pairs": [[e.autograd, e.numeric] for e in chosen],
        },
        place=backward_place(d.called.kind, worst.position if worst is not None else 0),
    )


def _worst(elements: list[Element]) -> Element | None:
    """The element with the largest difference among those whose kind of difference counts most."""
    for verdict in ("wrong", "stopped", "surrogate", "agree"):
        some = [e for e in elements if e.verdict == verdict]
        if some:
            return max(some, key=lambda e: abs(e.autograd - e.numeric))
    return None


def _of_step(e: Evidence) -> Ruling:
    pairs = "; ".join(f"{a:.6g} and {n:.6g}" for a, n in zip(e["autograd"], e["numeric"], strict=True))
    if e["agree"]:
        return Ruling.passed(f"derivatives of the loss along {len(e['autograd'])} random directions, by autograd and by "
                             f"differences: {pairs}")  # fmt: skip
    if not e["steady"]:
        return Ruling.unsure("differences of the loss are not steady along random directions: it has kinks or jumps nearby")
    why = [f"the functions {', '.join(e['functions'])}"] if e["functions"] else []
    why += [f"`{', '.join(e['hidden'])}`"] if e["hidden"] else []
    return Ruling.unsure(
        f"autograd and differences give other derivatives of the loss ({pairs}); "
        + (f"{' and '.join(why)} may be the reason, and meant" if why else "something stops the gradient inside a layer")
    )


def _undecided(e: Evidence) -> Ruling:
    some = f"{e['wrong'] + e['stopped']} of {e['elements']}"
    return Ruling.unsure(f"the backward of {e['function']} differs from differences in {some} elements only")


def _how(e: Evidence) -> str:
    if e["ratio"] is None:
        return "another gradient"
    return f"{e['ratio']:.4g} times its gradient"


def _causes(e: Evidence) -> tuple[str, ...]:
    ratio: Any = e["ratio"]
    if ratio is None:
        return (
            "a term of the derivative is missing or belongs to another argument (compare with gradcheck term by term)",
            "backward uses the saved argument where the result is needed, or the reverse",
        )
    if ratio < 0:
        return ("the sign is wrong", "a gradient reversal on purpose: waive it")
    return ("a constant factor is missing or applied twice (1/N of a mean, 2 of a square, a slope)",)
