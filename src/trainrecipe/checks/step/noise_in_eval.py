"""Whether a network that predicts labels adds noise to its activations in evaluation as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import plain_name

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.flow import Flow
    from trainrecipe.subjects.step import Step

MATTERS = 0.05
"""Change of the predictions with another draw, in units of their spread, from which it is reported."""
_MEETS = frozenset({"add", "radd", "sub", "rsub", "mul", "rmul", "where", "lerp", "addcmul"})
_SCALES = frozenset({"mul", "rmul", "div", "truediv", "add", "radd", "sub", "rsub", "to", "float", "type", "view", "expand"})
_HOPS = 4


class NoiseInEval(Check):
    """Noise that is added to activations is drawn in training only.

    What it checks
    --------------
    In a replay of the forward in evaluation mode: random numbers that the model draws and, scaled by nothing but numbers, adds
    to an activation or multiplies it with; and how far the predictions for labels change with another draw.

    Why it matters
    --------------
    Noise is a regulariser. Left on, it makes every prediction worse than it needs to be, validation scores change from call to
    call, and model selection follows chance.

    What healthy looks like
    -----------------------
    `if self.training: x = x + sigma * torch.randn_like(x)`.

    What to do
    ----------
    Make it depend on `self.training`, as dropout does.

    When it is wrong
    ----------------
    Noise with a learned or predicted scale is a distribution that is sampled (VAE, Bayesian layers, policies), and not
    reported; nor are networks that generate, denoise or have no label for each example. Averaging over several draws in
    evaluation is meant, and then to be said with a comment that silences this.

    Source
    ------
    Fault catalogue 84 and 85; TrainCheck case transformers-33844 (a module that ignores `self.training`).
    """

    title = "The model adds noise in evaluation as well"
    rows = ("S24", "S10")
    faults = (84, 85)
    price = Price.FORWARD
    explains = ("batch-mixing",)

    def measure(self, step: Step) -> Evidence:
        """Find noise in an evaluation forward, and draw it anew."""
        from trainrecipe.subjects.flow import Flow
        from trainrecipe.subjects.lessons import class_of

        if step.distrust:
            return Evidence(missing=step.distrust)
        found = class_of(step)
        if isinstance(found, str):
            return Evidence(missing=found)
        flow = Flow.of(step, evaluating=True)
        noisy = [op for op in flow.ops if _is_noise(flow, op) and any(_meets(flow, op, t) for t in op.outputs)]
        if not noisy:
            return Evidence({"draws": 0}, place=step.place)
        change = _change(step)
        if change is None:
            return Evidence(missing="what the predictions are with another draw cannot be told")
        return Evidence({"draws": len(noisy), "change": round(change, 4), "name": noisy[0].name}, place=noisy[0].place)

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["draws"] or evidence["change"] < MATTERS:
            return Ruling.passed("no noise of a fixed size reaches the predictions in evaluation mode")
        return Ruling.found(
            Severity.WARNING,
            f"In evaluation mode the model still adds noise (`{evidence['name']}`).",
            expected="the same predictions for the same examples, in evaluation mode",
            observed=f"with another draw the predictions change by {evidence['change']:.0%} of their spread",
            fix="Add the noise only `if self.training`.",
        )


def _is_noise(flow: Flow, op: Seen) -> bool:
    from trainrecipe.subjects.names import GAUSSIAN, UNIFORM

    return op.inside and bool(op.outputs) and op.name in GAUSSIAN | UNIFORM


def _meets(flow: Flow, noise: Seen, tensor: torch.Tensor) -> bool:
    """Whether noise, scaled by numbers only, is added to or multiplied with a value that depends on the data."""
    work: list[tuple[torch.Tensor, Seen, int]] = [(tensor, noise, _HOPS)]
    while work:
        value, after, left = work.pop()
        for user in flow.users(value, after):
            name = plain_name(user)
            others = [t for t in user.inputs if t is not value and t.numel() > 1]
            if name in _MEETS and others and any(id(t) in flow.data and t.shape == user.outputs[0].shape for t in others):
                return not any(t.numel() > 1 and t.requires_grad and id(t) not in flow.data for t in others)
            if name in _SCALES and not others and left:
                work += [(t, user, left - 1) for t in user.outputs]
    return False


def _change(step: Step) -> float | None:
    """The mean absolute difference between predictions of two draws, over the spread of the predictions."""
    import torch

    twin = step.twin()
    twin.evaluating = True
    made: list[list[torch.Tensor]] = []
    with torch.no_grad():
        for seed in (1, 2):
            torch.manual_seed(seed)  # whoever examines puts the streams back
            env = twin.run(until=step.predictions, rng=False)
            made.append([env[n].double() for n in step.predictions if n in env and env[n].is_floating_point()])
    pairs = [(a, b) for a, b in zip(*made, strict=False) if a.shape == b.shape and a.numel() > 1]
    if not pairs:
        return None
    return max(float((a - b).abs().mean()) / max(1e-12, float(a.std())) for a, b in pairs)
