"""Whether a net beats what needs no net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, ranges

if TYPE_CHECKING:
    from trainrecipe.subjects.lessons import Class
    from trainrecipe.subjects.scores import Score
    from trainrecipe.subjects.step import Step

ROWS = 48
"""Examples that must have been judged before a net is said to be beaten."""
MARGIN = 0.05
"""Difference in accuracy, or in relative squared error, below which it does not matter."""
FLAT = 0.03
"""Relative fall of the loss from the last but one quarter of a run to the last, below which it has levelled off."""


class DumbBaselines(Check):
    """The trained net beats a constant, a linear model and the nearest neighbour.

    What it checks
    --------------
    A constant, a ridge regression and the nearest neighbour are fitted on some of the captured training examples and judged on
    others. Next to them stand a twin of the net that was trained on the same examples for a few steps and, at the end of a
    whole run, the net itself as the script leaves it.

    Why it matters
    --------------
    A score means little without a baseline. A net that is beaten by a straight line has learnt less than a fault-free one
    would, however nicely its loss fell.

    What healthy looks like
    -----------------------
    The finished net is at least as good as the best of them, with the intervals in mind.

    What to do
    ----------
    Look at the other findings first; then where the information gets lost: pooling, a bottleneck, strong noise or decay.

    When it is wrong
    ----------------
    Where the net is as good in the mean over the classes, as one that weighs rare classes is, nothing is said. Only whole
    runs that have ended are judged, on examples that the net was itself trained on, which is in its favour. It is a note
    while the loss is still falling: the run was simply short. Several losses and labels per position are skipped. Where
    the script has several models of the same shapes (clients of federated learning, members of an ensemble, folds, a moving
    average), one alone is not its result, and nothing is said.

    Source
    ------
    A. Karpathy, A Recipe for Training Neural Networks ("set up dumb baselines").
    """

    title = "The trained net is beaten by a dumb baseline"
    rows = ("S7",)
    faults = ()
    price = Price.TRAIN
    explains = ()

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.baselines import baselines
        from trainrecipe.subjects.lessons import class_of, lesson_of

        found = class_of(step)
        if isinstance(found, str):
            return Evidence(missing=found)
        if found.silent:
            return Evidence(missing=found.silent)
        scores = dict(baselines(found))
        lesson = lesson_of(found)
        if not isinstance(lesson, str):
            scores[f"net after {lesson.steps} steps"] = lesson.right
        final = _final(found) if step.finished else None
        if final is not None:
            scores["net at the end"] = final
        data: dict[str, Any] = {
            "kind": found.kind,
            "rows": len(found.held_labels()),
            "examples": sum(len(f[found.target]) for f in found.train),
            "scores": {name: score.plain() for name, score in scores.items()},
            "balanced": {name: score.balanced for name, score in scores.items()},
            "final": final is not None,
            "flat": _is_flat([v for _, v in step.values_seen]),
            "copies": step.copies,
            "whole": len(step.trained(step.twin())) >= len(step.tape.parameters),
        }
        return Evidence(data, place=_place(step))

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        text = "; ".join(f"{name} {_told(e, score[0])}" for name, score in e["scores"].items())
        text = f"on {e['rows']} examples, after learning from {e['examples']} others: {text}"
        if not e["final"]:
            return Ruling.passed(text)
        net = e["scores"]["net at the end"]
        dumb = {n: s for n, s in e["scores"].items() if not n.startswith("net")}
        name, best = (min if e["kind"] == "numbers" else max)(dumb.items(), key=lambda item: item[1][0])
        far = abs(net[0] - best[0]) >= MARGIN
        if e["rows"] < ROWS or not far or not _beats(e, best, net):
            return Ruling.passed(text)
        own, other = e["balanced"]["net at the end"], e["balanced"][name]
        if e["kind"] != "numbers" and own >= other:  # such as a net that is trained for rare classes
            return Ruling.passed(f"in the mean over the classes the net has {own:.0%} right, the {name} {other:.0%}; {text}")
        if e["copies"]:
            others = f"{e['copies']} other{'s' if e['copies'] > 1 else ''} of the same shapes"
            return Ruling.unsure(f"the net is one of several, with {others}, so its score is not the script's; {text}")
        return Ruling.found(
            Severity.WARNING if e["flat"] and e["whole"] else Severity.NOTE,
            f"At the end of the run the net is beaten by a {name}: {_told(e, net[0])} against {_told(e, best[0])}.",
            expected=f"at least {_told(e, best[0])} ({best[1]:.3g} … {best[2]:.3g}), which a {name} reaches after seeing "
            f"{e['examples']} of the training examples",
            observed=f"{_told(e, net[0])} ({net[1]:.3g} … {net[2]:.3g}) on {e['rows']} examples that it was trained on"
            + ("" if e["flat"] else "; the loss is still falling"),
            fix="Find where the net loses what the baseline uses: pooling or a bottleneck before the head, noise, dropout or "
            "weight decay that is too strong, a rate that is too low; or train longer.",
            causes=(
                "the net cannot pass on enough: too narrow, or averaged too early (double the width, move the pooling)",
                "noise, dropout or weight decay outweighs the data (switch it off for one run)",
                "it was not trained for long enough (look whether the loss still falls)",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        bars = [{"name": n, "low": s[1], "middle": s[0], "high": s[2]} for n, s in evidence["scores"].items()]
        error = evidence["kind"] == "numbers"
        caption = "95 % intervals, on examples that none was fitted on"
        caption += ", except for the net at the end." if evidence["final"] else "."
        title = "squared error relative to the mean (lower is better)" if error else "share right"
        return ranges("Against dumb baselines", caption, bars, x_title=title)


def _final(found: Class) -> Score | None:
    """The score of the net with the weights that the script left."""
    import torch

    from trainrecipe.capture import members
    from trainrecipe.subjects.lessons import judged

    twin = found.step.twin()
    with torch.no_grad():
        for original, working in twin.leaves:
            working.copy_(original)
        for op in found.step.tape.modules():
            own = dict(members.named_buffers(op.call))
            for name, buffer in members.named_buffers(twin.module(op)):
                if name in own and own[name].shape == buffer.shape:
                    buffer.copy_(own[name])
    try:
        return judged(found, twin)[0]
    except Exception:  # what cannot be evaluated again is not judged
        return None


def _is_flat(losses: list[float]) -> bool:
    quarter = len(losses) // 4
    if quarter < 4:
        return False
    before, last = (sum(part) / quarter for part in (losses[-2 * quarter : -quarter], losses[-quarter:]))
    return before - last <= FLAT * abs(before)


def _beats(e: Evidence, a: list[float], b: list[float]) -> bool:
    return a[2] < b[1] if e["kind"] == "numbers" else a[1] > b[2]


def _told(e: Evidence, value: float) -> str:
    return f"a relative squared error of {value:.2f}" if e["kind"] == "numbers" else f"{value:.0%} right"


def _place(step: Step) -> Any:
    """The forward of the model, or where it is called."""
    from trainrecipe.capture.where import is_user_file, place

    modules = step.tape.modules()
    code = getattr(getattr(type(modules[0].call), "forward", None), "__code__", None) if modules else None
    if code is not None and is_user_file(code.co_filename):
        return place((code.co_filename, code.co_firstlineno, code.co_name))
    return (place(modules[0].at) if modules else None) or step.place
