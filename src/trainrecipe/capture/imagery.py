"""Pictures of what a model looks at: weights and results of its first layer, and what its outputs depend on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from trainrecipe import picture
from trainrecipe.capture.replay import Twin
from trainrecipe.capture.watch import Seen, run_watched, watching
from trainrecipe.picture import Picture
from trainrecipe.subjects.lessons import KINDS
from trainrecipe.subjects.step import Input, Step

MOST_TILES = 16
MOST_EXAMPLES = 6
MOST_POSITIONS = 128
SIDE = 56
"""Pixels of a picture's longer side at most: more would make the report heavy."""
_FEWEST = 6
"""Pixels of a picture's shorter side at least."""
_SMOOTH = 0.8
"""Differences between neighbours, relative to those between any two elements, below which a vector is a flat picture."""
_Shape = tuple[int, int, int]


def of_step(step: Step) -> Iterator[Picture]:
    """The pictures of a step that can be replayed; what cannot be drawn is left out."""
    for draw in (first_layer, saliency, positions):
        try:
            made = draw(step)
        except Exception:  # what can be replayed need not be watched
            continue
        if made is not None:
            yield made


# ---- which input is a picture


@dataclasses.dataclass(frozen=True, slots=True)
class Pictures:
    """An input that holds pictures of one `shape` (channels, height, width); `last`: channels come last."""

    input: Input
    shape: _Shape
    last: bool = False

    def unfold(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows shaped as the input's, as pictures (number, channels, height, width)."""
        return rows.movedim(-1, 1) if self.last else rows.reshape(-1, *self.shape)


def pictures(step: Step) -> Pictures | None:
    """The first input that holds pictures: grey or in colour, perhaps with channels last or flat."""
    for one in step.inputs:
        given = one.tensor
        if not given.is_floating_point() or given.ndim < 2 or given.layout != torch.strided or not given.numel():
            continue
        c, *size = given.shape[1:] if given.ndim != 3 else (1, *given.shape[1:])
        if given.ndim in (3, 4) and c in (1, 3) and min(size) >= _FEWEST and (given.ndim == 4 or size[0] == size[1]):
            return Pictures(one, (c, size[0], size[1]))
        if given.ndim == 4 and size[1] in (1, 3) and min(c, size[0]) >= _FEWEST:
            return Pictures(one, (size[1], c, size[0]), last=True)
        if given.ndim == 2 and (shape := _flat(given)) is not None:
            return Pictures(one, shape)
    return None


def _flat(rows: torch.Tensor) -> _Shape | None:
    """The shape of the square pictures that vectors are made of; None where neighbours are as different as any two elements."""
    for channels in (1, 3):
        side = round((rows.shape[1] / channels) ** 0.5)
        if side < _FEWEST or side * side * channels != rows.shape[1]:
            continue
        images = rows.detach().float().reshape(-1, side, side)
        if not bool(images.isfinite().all()):
            return None
        near = (images[:, :, 1:] - images[:, :, :-1]).abs().mean() + (images[:, 1:] - images[:, :-1]).abs().mean()
        far = images.flatten(1)
        apart = (far - far.roll(far.shape[1] // 2 + side // 2, 1)).abs().mean()
        if float(near) < 2 * _SMOOTH * float(apart):
            return channels, side, side
    return None


# ---- the first layer


def first_layer(step: Step) -> Picture | None:
    """The weights of the first layer as pictures, where it looks at pictures, and what it gives for one of them."""
    source = pictures(step)
    if source is None:
        return None
    twin = step.twin()
    originals = {id(w): o for o, w in twin.leaves}

    def look(seen: Seen) -> None:
        weight = next((w for w in seen.weights if id(w) in originals), None)
        if weight is not None and seen.outputs and _fits(seen.name, weight, source.shape):
            raise _Found(originals[id(weight)], seen.outputs[0].detach())

    try:
        with torch.no_grad():
            run_watched(step, twin, look, until=step.predictions)
    except _Found as found:
        weight, result = found.weight, found.result
    else:
        return None
    kernels = weight.detach().float().cpu()
    kernels = kernels if kernels.ndim == 4 else kernels.reshape(-1, *source.shape)
    tiles = [{"image": _drawn(k), "caption": f"unit {i}"} for i, k in enumerate(kernels[:MOST_TILES])]
    caption = (
        f"What {_of(len(tiles), len(kernels), 'units')} of the first layer look for, at the end of observation, each from its "
        "lowest weight (dark) to its highest (bright). Healthy after training: structure, not noise."
    )
    return dataclasses.replace(
        picture.grid("Weights of the first layer", caption, tiles, size="small"),
        beside=_activations(source, result) if result.ndim == 4 else None,
    )


class _Found(Exception):
    """The first layer was executed; what follows is not needed."""

    def __init__(self, weight: torch.Tensor, result: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.result = weight, result


def _fits(name: str, weight: torch.Tensor, shape: _Shape) -> bool:
    channels, height, width = shape
    if name in ("conv2d", "_conv_forward") and weight.ndim == 4:
        return weight.shape[1] == channels and min(weight.shape[2:]) >= 3
    return name == "linear" and weight.ndim == 2 and weight.shape[1] == channels * height * width


def _activations(source: Pictures, result: torch.Tensor) -> Picture:
    """The maps of one example behind the first convolution, all on one scale."""
    maps = result[0].float().cpu()
    size = maps.abs().max().clamp(min=1e-12)
    example = source.unfold(source.input.tensor[:1].detach().float().cpu())[0]
    tiles = [{"image": _drawn(example), "caption": "the example"}]
    shown = maps[: MOST_TILES - 1]
    tiles += [{"image": _drawn(0.5 + 0.5 * m[None] / size, scaled=True), "caption": f"unit {i}"} for i, m in enumerate(shown)]
    caption = (
        f"What {_of(len(shown), len(maps), 'units')} of the first convolution give for one example, in the first recorded "
        "step, on one scale: middle grey is zero, bright is positive."
    )
    return picture.grid("Activations of the first layer", caption, tiles, size="small")


def _of(shown: int, whole: int, noun: str) -> str:
    return f"the {whole} {noun}" if shown == whole else f"{shown} of the {whole} {noun}"


# ---- what outputs depend on


def saliency(step: Step) -> Picture | None:
    """Examples beside the size of the gradient in each pixel, for pictures."""
    source = pictures(step)
    if source is None:
        return None
    leaf = source.input.tensor.detach().clone().requires_grad_()
    twin = step.twin()
    score, what, picked = _score(step, twin.run({source.input.number: leaf.clone()}), twin)
    (gradient,) = torch.autograd.grad(score, [leaf], allow_unused=True)
    if gradient is None or not bool(gradient.any()):
        return None
    sizes = source.unfold(gradient[:MOST_EXAMPLES].abs().float().cpu()).amax(1)
    examples = source.unfold(leaf.detach()[:MOST_EXAMPLES].float().cpu())
    tiles = []
    for i, (example, size) in enumerate(zip(examples, sizes, strict=True)):
        told = [f"label {true}" for true in (label_of(step, i),) if true] + [f"predicted {p}" for p in picked[i : i + 1]]
        tiles.append({"image": _overlaid(example, size), "caption": ", ".join(told) or f"example {i}"})
    caption = (
        f"Examples as they enter the net, and again in grey under red where a change of a pixel moves {what} most, in the "
        "first recorded step. Borders and corners alone are suspect."
    )
    return picture.grid("What the output depends on", caption, tiles, size="wide")


def label_of(step: Step, row: int) -> str:
    """The target of one example as text; empty where there is none, or a large one."""
    for target in step.targets:
        if target.tensor.ndim and target.tensor.shape[0] == step.batch_size and target.tensor[row].numel() <= 4:
            return " ".join(f"{v:g}" for v in target.tensor[row].flatten().double().tolist())
    return ""


def _score(step: Step, env: dict[int, torch.Tensor], twin: Twin) -> tuple[torch.Tensor, str, list[int]]:
    """What the gradient is taken of: the output of the predicted class where there are classes, else the loss."""
    size, numbers = step.batch_size, step.predictions
    prediction = env.get(numbers[0]) if len(numbers) == 1 else None
    classes = any(c.input == numbers[0] and KINDS.get(c.name) == "classes" for c in step.losses) if numbers else False
    if prediction is None or not classes or prediction.ndim != 2 or len(prediction) != size or not prediction.requires_grad:
        return twin.total(env), "the loss", []
    picked = prediction.detach().argmax(1)
    return prediction.gather(1, picked[:, None]).sum(), "the output of the predicted class", picked.tolist()


def positions(step: Step) -> Picture | None:
    """How much each position of a sequence, or each feature of a row, moves the loss, for a few examples."""
    if pictures(step) is not None:
        return None
    given = [i for i in step.inputs if i.tensor.ndim >= 2 and len(i.tensor) > 1 and i.tensor.layout == torch.strided]
    tokens = [i for i in given if i.tensor.ndim == 2 and not i.tensor.is_floating_point() and i.tensor.dtype is not torch.bool]
    series = [i for i in given if i.tensor.ndim in (2, 3) and i.tensor.is_floating_point()]
    if tokens and tokens[0].tensor.shape[1] >= 4:
        sizes, what = _of_tokens(step, tokens[0]), "position"
    elif series and series[0].tensor.shape[1] >= 2:
        sizes, what = _of_numbers(step, series[0]), "position" if series[0].tensor.ndim == 3 else "feature"
    else:
        return None
    if sizes is None or not bool(sizes.any()):
        return None
    rows = sizes[: 2 * MOST_EXAMPLES, :MOST_POSITIONS]
    rows = rows / rows.amax(1, keepdim=True).clamp(min=1e-30)
    caption = (
        f"How much each {what} of an example moves the loss, in the first recorded step: the norm of the gradient in it, "
        "relative to the largest of the example."
    )
    matrix = [[round(v, 4) for v in row] for row in rows.nan_to_num(0.0, 0.0, 0.0).tolist()]
    return picture.heatmap("What the loss depends on", caption, matrix, x_title=what, y_title="example", value_title="relative")


def _of_numbers(step: Step, one: Input) -> torch.Tensor | None:
    leaf = one.tensor.detach().clone().requires_grad_()
    twin = step.twin()
    (gradient,) = torch.autograd.grad(twin.loss({one.number: leaf.clone()}), [leaf], allow_unused=True)
    if gradient is None:
        return None
    size: torch.Tensor = gradient.float().abs().cpu()
    if size.ndim == 3:
        size = torch.linalg.vector_norm(size, dim=2)
    return size


def _of_tokens(step: Step, one: Input) -> torch.Tensor | None:
    """The norm of the gradient in the embedding of each token."""
    twin = step.twin()
    leaves: list[torch.Tensor] = []

    def look(seen: Seen) -> torch.Tensor | None:
        if leaves or "embedding" not in seen.name or seen.name == "embedding_bag" or not seen.outputs:
            return None
        out = seen.outputs[0]
        if out.ndim != 3 or out.shape[:2] != one.tensor.shape:
            return None
        leaves.append(out.detach().clone().requires_grad_())
        return leaves[0].clone()

    with watching(step, twin, look):
        loss = twin.total(twin.run())
    if not leaves or not loss.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(loss, leaves, allow_unused=True)
    if gradient is None:
        return None
    size: torch.Tensor = torch.linalg.vector_norm(gradient.float(), dim=2)
    return size.cpu()


# ---- pixels


def _drawn(values: torch.Tensor, scaled: bool = False) -> str:
    """One picture (channels, height, width), from its lowest value to its highest unless it is `scaled` to 0..1."""
    small = _small(values if scaled else unit(values))
    return encoded(small[0] if len(small) == 1 else small.movedim(0, 2))


def _overlaid(example: torch.Tensor, size: torch.Tensor) -> str:
    """An example, and beside it the same in grey with the size of its gradient in red."""
    whole = _small(unit(example))
    whole = whole.expand(3, -1, -1).movedim(0, 2)
    grey = 0.7 * whole.mean(2)
    heat = _small((size / size.flatten().quantile(0.99).clamp(min=1e-30)).clamp(0, 1)[None])[0]
    red = grey + (1 - grey) * heat
    rest = grey * (1 - heat)
    return encoded(torch.cat([whole, torch.stack([red, rest + 0.15 * heat, rest], 2)], 1))


def encoded(rows: torch.Tensor) -> str:
    """Values in 0..1, grey (height, width) or in colour (height, width, 3), as a picture."""
    data = (255 * rows.clamp(0, 1)).round().to(torch.uint8).contiguous().numpy().tobytes()
    return picture.pixels(data, rows.shape[1], rows.shape[0], colour=rows.ndim == 3)


def unit(values: torch.Tensor) -> torch.Tensor:
    """Values from the lowest (0) to the highest (1); what is not finite counts as 0."""
    finite = values.float().nan_to_num(0.0, 0.0, 0.0)
    return (finite - finite.min()) / (finite.max() - finite.min()).clamp(min=1e-12)


def _small(values: torch.Tensor) -> torch.Tensor:
    """A picture (channels, height, width), reduced where it is larger than what a report has room for."""
    longer = max(values.shape[-2:])
    if longer <= SIDE:
        return values
    height, width = (max(1, round(n * SIDE / longer)) for n in values.shape[-2:])
    return torch.nn.functional.adaptive_avg_pool2d(values[None], (height, width))[0]
