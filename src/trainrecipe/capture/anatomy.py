"""Pictures of what a model is made of and looks at: its layers, the weights of the first of them, and saliency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from trainrecipe import picture
from trainrecipe.picture import Picture
from trainrecipe.subjects.layers import WEIGHTED
from trainrecipe.subjects.step import Input, Step
from trainrecipe.subjects.structure import Row, structure

MOST_ROWS = 120
MOST_TILES = 16
_COLUMNS = ("layer", "kind", "output", "parameters", "FLOPs", "memory", "range", "remark")


def of_step(step: Step) -> Iterator[Picture]:
    """The pictures of a step that can be replayed; what cannot be drawn is left out."""
    for draw in (layers, first_weights, saliency):
        try:
            made = draw(step)
        except Exception:  # what can be replayed need not be watched
            continue
        if made is not None:
            yield made


def layers(step: Step) -> Picture | None:
    """The table of layers."""
    rows = structure(step)
    if not rows:
        return None
    count, flops = sum(p.numel() for p in step.tape.parameters), sum(r.flops for r in rows)
    caption = (
        f"In the order of execution, in the first recorded step: {_short(count)} parameters with a gradient, {_short(flops)} "
        f"floating-point operations and {_short(sum(r.memory for r in rows))}B of activations in one forward of the batch."
    )
    return picture.table("Structure", caption, _COLUMNS, [_cells(r) for r in rows[:MOST_ROWS]])


def _cells(row: Row) -> list[str]:
    times = f" ({row.calls} calls)" if row.calls > 1 and row.kind[:1].islower() else ""
    shape = "×".join(map(str, row.shape)) or "1"
    size = [_short(row.parameters), _short(row.flops), f"{_short(row.memory)}B"]
    return [row.name + times, row.kind, shape, *size, f"{row.low:.3g} … {row.high:.3g}", row.remark]


def _short(number: float) -> str:
    for unit in ("", " k", " M", " G", " T"):
        if abs(number) < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} P"


def first_weights(step: Step) -> Picture | None:
    """The weights of the first layer as pictures, where it looks at pictures."""
    for op in step.tape.history:
        weight = next((p for n in op.inputs if (p := step.parameter(n)) is not None and p.ndim >= 2), None)
        if op.name in WEIGHTED and weight is not None and op.inputs[0] in {i.number for i in step.inputs}:
            break
    else:
        return None
    side = round(weight.shape[-1] ** 0.5)
    with torch.no_grad():
        if weight.ndim == 4 and min(weight.shape[2:]) >= 3:
            kernels = weight.detach().float().cpu()
            kernels = kernels if weight.shape[1] == 3 else kernels[:, :1]
        elif weight.ndim == 2 and op.name == "linear" and side >= 6 and side * side == weight.shape[1]:
            kernels = weight.detach().float().cpu().reshape(-1, 1, side, side)
        else:
            return None
    tiles = [_picture_of(k, f"unit {i}") for i, k in enumerate(kernels[:MOST_TILES])]
    caption = (
        "What each unit of the first layer looks for, at the end of observation. Healthy after training: structure, not noise."
    )
    return picture.grid("Weights of the first layer", caption, tiles)


def saliency(step: Step) -> Picture | None:
    """How much each element of an example moves the loss: the size of the gradient in the input, for pictures."""
    one = next((i for i in step.inputs if _is_picture(i)), None)
    if one is None:
        return None
    given = one.tensor.detach().clone().requires_grad_()
    twin = step.twin()
    (gradient,) = torch.autograd.grad(twin.loss({one.number: given}), [given], allow_unused=True)
    if gradient is None or not bool(gradient.any()):
        return None
    size = gradient.abs().cpu()
    size = size.amax(1, keepdim=True) if size.ndim == 4 else size.unsqueeze(1)
    tiles = [_picture_of(g, f"example {i}") for i, g in enumerate(size[: MOST_TILES // 2])]
    caption = (
        "Bright: pixels whose change moves the loss most, in the first recorded step. Borders and corners alone are suspect."
    )
    return picture.grid("What the loss depends on", caption, tiles)


def _is_picture(one: Input) -> bool:
    t = one.tensor
    image = (t.ndim == 4 and t.shape[1] in (1, 3)) or (t.ndim == 3 and t.shape[1] == t.shape[2])
    return t.is_floating_point() and image and min(t.shape[-2:]) >= 6


def _picture_of(values: torch.Tensor, caption: str) -> dict[str, Any]:
    values = values.float().nan_to_num(0.0, 0.0, 0.0)
    unit = (values - values.min()) / (values.max() - values.min()).clamp(min=1e-12)
    rows = unit[0] if unit.shape[0] == 1 else unit.permute(1, 2, 0)
    return {"image": picture.png(rows.tolist()), "caption": caption}
