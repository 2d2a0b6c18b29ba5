"""Whether layers have biases that the batch norm behind them takes out again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.flow import Flow
    from trainrecipe.subjects.step import Step

NORMS = frozenset({"batch_norm", "instance_norm"})
"""Norms that subtract the mean of each channel, and with it whatever is added to the whole channel."""


class BiasBeforeNorm(Check):
    """No trained bias is taken out again by the norm that follows it.

    What it checks
    --------------
    Biases of linear and convolution layers whose result goes to nothing but a batch norm (or instance norm) in training
    mode: it subtracts each channel's mean, so the bias has no effect and no gradient.

    Why it matters
    --------------
    Little: the weights and the time are wasted, weight decay moves them all the same, and a count of parameters is too
    large. It sometimes shows that the norm was meant to stand elsewhere.

    What healthy looks like
    -----------------------
    `nn.Conv2d(…, bias=False), nn.BatchNorm2d(…)`.

    What to do
    ----------
    Build the layer with `bias=False`; the norm has a bias of its own.

    When it is wrong
    ----------------
    Networks whose norms are fused into the layers for deployment need the bias then. It is always a note.

    Source
    ------
    S. Ioffe and C. Szegedy 2015, section 3.2: the bias is subsumed by the norm's own; fault catalogue 114.
    """

    title = "A bias that the following norm takes out"
    rows = ("S19",)
    faults = (114,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence:
        """Look at what each norm in training mode is given."""
        from trainrecipe.subjects.flow import Flow

        if step.distrust:
            return Evidence(missing=step.distrust)
        flow = Flow.of(step)
        norms = [op for op in flow.ops if op.name in NORMS and op.index in flow.reaching and _by_batch(op)]
        if not norms:
            return Evidence(missing="the step has no batch norm or instance norm in training mode")
        idle: dict[int, tuple[Seen, int]] = {}
        for norm in norms:
            layer = flow.maker(norm.inputs[0], norm)
            if layer is None or len(flow.users(norm.inputs[0], layer)) != 1:
                continue
            bias = _bias(flow, layer)
            if bias is not None:
                idle.setdefault(id(bias), (layer, bias.numel()))
        place = next(iter(idle.values()))[0].place if idle else step.place
        numbers = sum(n for _, n in idle.values())
        return Evidence({"idle": len(idle), "numbers": numbers, "norms": len(norms)}, place=place)

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["idle"]:
            return Ruling.passed(f"no bias stands in front of the {evidence['norms']} norms")
        return Ruling.found(
            Severity.NOTE,
            f"{evidence['idle']} layers have a bias that the norm behind them subtracts again.",
            expected="bias=False in front of a batch norm, which has a bias of its own",
            observed=f"{evidence['numbers']} numbers without effect and without gradient",
            fix="Build these layers with bias=False.",
        )


def _by_batch(op: Seen) -> bool:
    """Whether a norm takes the statistics of its input, and not those that it kept."""
    if op.name == "instance_norm":
        return op.kwargs.get("use_input_stats", op.args[5] if len(op.args) > 5 else True) is True
    return op.kwargs.get("training", op.args[5] if len(op.args) > 5 else False) is True


def _bias(flow: Flow, layer: Seen) -> torch.Tensor | None:
    """The trained bias of a layer of weights."""
    weight = flow.weight_in(layer)
    if weight is None:
        return None
    others = (t for t in layer.inputs if t is not weight and id(t) not in flow.data)
    return next((t for t in others if t.requires_grad and t.is_leaf and t.ndim == 1), None)
