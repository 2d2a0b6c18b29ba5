"""The calls of PyTorch's loss functions in a replayed step, with the gradient that flows back into their predictions."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainrecipe.capture.tape import LOSSES
from trainrecipe.subjects.names import RESHAPING, plain_name
from trainrecipe.subjects.summands import Graph

if TYPE_CHECKING:
    from trainrecipe.capture.watch import Seen
    from trainrecipe.finding import Place
    from trainrecipe.subjects.step import Step


@dataclasses.dataclass(slots=True)
class LiveCall:
    """A call of one of PyTorch's loss functions that the loss depends on: its tensors, the gradient of the step's loss in
    its prediction (None when none reaches it), and its other arguments by name."""

    name: str
    prediction: torch.Tensor
    target: torch.Tensor
    gradient: torch.Tensor | None
    settings: dict[str, Any]
    place: Place | None
    made_by: str
    made_at: Place | None


def live_calls(step: Step) -> list[LiveCall]:
    """Every such call of a replayed step with a target, in order; remembered with the step. None when it is not trusted."""
    kept: list[LiveCall] | None = step.__dict__.get("_live_calls")
    if kept is None:
        kept = step.__dict__["_live_calls"] = [] if step.distrust else list(_live_calls(Graph(step)))
    return kept


def _live_calls(graph: Graph) -> Iterator[LiveCall]:
    reached = {op.index for op in graph.cone(graph.root)}
    for op in graph.ops:
        if op.name not in LOSSES or op.index not in reached:
            continue
        bound = _bind(op)
        prediction = bound.pop("input1" if "input1" in bound else "input", None)
        target = bound.pop("target", None)
        if not isinstance(prediction, torch.Tensor) or not isinstance(target, torch.Tensor):
            continue
        gradient = None
        if prediction.requires_grad:
            (gradient,) = torch.autograd.grad(graph.root.sum(), [prediction], retain_graph=True, allow_unused=True)
        maker = graph.maker(prediction, op.index)
        for _ in range(6):
            if maker is None or maker.name not in RESHAPING or not maker.inputs:
                break
            maker = graph.maker(maker.inputs[0], maker.index)
        yield LiveCall(
            op.name,
            prediction.detach(),
            target.detach(),
            None if gradient is None else gradient.detach(),
            bound,
            op.place,
            "" if maker is None else plain_name(maker),
            None if maker is None else maker.place,
        )


def _bind(op: Seen) -> dict[str, Any]:
    """Arguments of a loss function by name."""
    try:
        bound = inspect.signature(getattr(torch.nn.functional, op.name)).bind(*op.args, **op.kwargs)
    except (TypeError, ValueError, AttributeError):
        return {}
    return dict(bound.arguments)
