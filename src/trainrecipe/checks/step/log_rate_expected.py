from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.bounds import bounds
from trainrecipe.subjects.names import RESHAPING, plain_name

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import LossCall, Step

POSITIVE = frozenset({"exp", "softplus", "relu", "square", "pow", "abs", "sqrt", "sigmoid", "relu6"})
"""What makes a number positive, and is put behind a layer that predicts a rate."""
KEEPING = RESHAPING | {"add", "mul", "clamp", "clamp_min", "clip", "dropout", "div", "truediv"}
"""What may follow it, as long as the bounds stay those of a positive number."""
RARE = 0.01
"""Share of targets below one from which a rate of one or more cannot be what was meant."""


class LogRateExpected(Check):
    """A loss that expects the logarithm of a rate gets a logarithm.

    What it checks
    --------------
    The first argument of `poisson_nll_loss`, which by default is the logarithm of the expected count: whether an activation
    (`exp`, `softplus`, ReLU, a square, …) makes it positive whatever the weights are, while some counts are zero. The
    bounds are derived from the recorded operations.

    Why it matters
    --------------
    The exponential of a positive number is more than one: the expected count can never be smaller, so that zeros and small
    counts are overestimated for ever. Nothing crashes, and the loss falls, since larger counts are fitted; what the model
    returns, taken for a count, is its logarithm.

    What healthy looks like
    -----------------------
    The output of a linear layer with `log_input=True`, or a positive one with `log_input=False`.

    What to do
    ----------
    Use `PoissonNLLLoss(log_input=False)` where the model returns counts, or leave the activation away.

    When it is wrong
    ----------------
    Where nearly all counts are one or more, rates of one and more may be meant, and nothing is reported. Likelihoods written
    by hand are not looked at.

    Source
    ------
    PyTorch documentation of PoissonNLLLoss: "if True the loss is computed as exp(input) − target * input". An identity.
    """

    title = "The Poisson loss expects the logarithm of the count, and gets the count"
    rows = ("S18",)
    faults = (10, 13)
    explains = ("overfit-one-batch", "loss-at-init", "learning-rate-range", "output-bias-at-init", "bounded-head")

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        found = [e for call in step.losses if call.name == "poisson_nll_loss" and call.counts and (e := _look(step, call))]
        return found or Evidence(missing="the step's loss has no poisson_nll_loss that expects the logarithm of a rate")

    def judge(self, evidence: Evidence) -> Ruling:
        low, maker = float(evidence["low"]), evidence["maker"]
        if low < 0 or not maker or evidence["small"] < RARE:
            return Ruling.passed(
                "poisson_nll_loss gets values of either sign, as logarithms are, or there are no counts below 1"
            )
        return Ruling.found(
            Severity.ERROR,
            f"poisson_nll_loss takes the logarithm of the expected count, and gets what {maker} made positive.",
            expected="a value of either sign, straight from a linear layer; or log_input=False",
            observed=f"predictions of at least {low:.3g} whatever the weights are, so expected counts of at least "
            f"{math.exp(min(low, 700.0)):.3g}, while {evidence['small']:.0%} of the targets are below 1",
            fix="Use PoissonNLLLoss(log_input=False), since the model returns counts; or remove the activation.",
        )


def _look(step: Step, call: LossCall) -> Evidence | None:
    if not call.op.argument(2, "log_input", True) or call.target is None or not call.target.numel():
        return None
    low, _ = bounds(step, call.input, call.op.index)
    made = _maker(step, call)
    targets = [c.target for one in step.each() for c in one.losses if c.name == call.name and c.place == call.place]
    counts = [t.detach().double().flatten() for t in targets if t is not None and t.numel()]
    small = sum(int((t < 1).sum()) for t in counts) / sum(len(t) for t in counts)
    return Evidence({"low": low, "maker": plain_name(made) if made is not None else "", "small": small}, place=call.place)


def _maker(step: Step, call: LossCall) -> Op | None:
    """The activation that makes the prediction positive; None where something else does."""
    *_, last = (None, *step.back(call.input, KEEPING | {f"__{n}__" for n in KEEPING}, before=call.op.index))
    return last if last is not None and plain_name(last) in POSITIVE else None
