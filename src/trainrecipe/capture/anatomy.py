"""The table of what a model is made of: its layers with what they hold, cost and give."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from trainrecipe import picture
from trainrecipe.picture import Picture
from trainrecipe.subjects.step import Step
from trainrecipe.subjects.structure import Layer, Values, folded, structure, whole

MOST_ROWS = 120
MOST_TABLES = 2
"""Steps of the program whose models get a table, those with the most parameters first."""
_COLUMNS = ("layer", "kind", "input → output", "weights", "FLOPs", "kept", "mean ± sd", "range", "zeros", "remark")
_NUMBERS = (3, 4, 5, 6, 7, 8)
_LONGEST = 22
"""Letters of a kind."""
_BRIEF = (0, 1, 2, 3, 4, 8, 9)


def tables(steps: Iterable[Step]) -> Iterator[Picture]:
    """A table for each step whose models are in none before it; what cannot be watched has none."""
    covered: set[int] = set()
    made = 0
    for step in steps:
        called = {id(op.call) for op in step.tape.modules()}
        if made == MOST_TABLES or (made and called <= covered) or step.distrust:
            continue
        try:
            table = of_step(step)
        except Exception:  # what can be replayed need not be watched
            continue
        if table is not None:
            covered |= called
            made += 1
            yield table


def of_step(step: Step) -> Picture | None:
    """The table of one step's layers. Raises what a replay raises; ask `distrust` first."""
    layers = structure(step)
    if not layers:
        return None
    total = whole(layers)
    rows = list(_rows(folded(layers)))
    frozen = total.parameters - total.trainable
    weights = f"{total.trainable:,} trainable" + (f" and {frozen:,} frozen" if frozen else "") + " parameters"
    batch = f"One forward of a batch of {step.batch_size}" if step.batch_size else "One forward"
    caption = (
        f"{batch} in the first recorded step: {weights}, {short(total.flops)} floating-point operations in matrix products and "
        f"convolutions, {_bytes(total.memory)} of activations kept for backward. Equal blocks in a row are one row with their "
        "sums; results are measured over all their elements."
    )
    repeats = {id(child): layer.repeats for _, layer in rows for child in layer.children}
    cells = [_cells(depth, layer, repeats.get(id(layer), 1)) for depth, layer in rows] + [_cells(0, total, 1)]
    return picture.table("Structure", caption, _COLUMNS, cells, numbers=_NUMBERS, brief=_BRIEF, total=True)


def _rows(layers: Sequence[Layer]) -> list[tuple[int, Layer]]:
    """The rows of a tree that fit into a table: the deepest levels are left out where there are too many."""
    every = [row for layer in layers for row in layer.rows()]
    deepest = max((depth for depth, _ in every), default=0)
    while len(every) > MOST_ROWS and deepest:
        deepest -= 1
        every = [(depth, layer) for depth, layer in every if depth <= deepest]
    return every[:MOST_ROWS]


def _cells(depth: int, layer: Layer, around: int) -> list[str]:
    """The cells of a row; `around` is how often the layer around it is repeated."""
    values = layer.values
    name = "  " * depth + layer.name
    kind = "" if layer.kind == layer.name else _cut(layer.kind)
    kind += f" × {layer.repeats}" if layer.repeats > around else ""
    calls = f"{layer.calls // layer.repeats if layer.repeats > 1 else layer.calls} calls" if layer.calls > layer.repeats else ""
    shapes = " → ".join("×".join(map(str, s)) or "1" for s in (layer.entered, layer.shape) if s is not None)
    measured = ["", "", ""]
    if values.count:
        zeros = values.zeros / values.count
        measured = [_rounded(values), f"{values.low:.2g} … {values.high:.2g}", _share(zeros)]
    remark = "; ".join(part for part in (calls, layer.remark) if part)
    kept = _bytes(layer.memory) if layer.memory else ""
    return [name, kind, shapes, _weights(layer), short(layer.flops) if layer.flops else "", kept, *measured, remark]


def _weights(layer: Layer) -> str:
    frozen = layer.parameters - layer.trainable
    if not layer.parameters:
        return ""
    if not layer.trainable:
        return f"{short(frozen)} frozen"
    return short(layer.trainable) + (f" + {short(frozen)} frozen" if frozen else "")


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _rounded(values: Values) -> str:
    """Mean and deviation, both to two digits of the deviation."""
    size = values.deviation or abs(values.mean)
    digits = 1 - math.floor(math.log10(size)) if size > 0 else 0
    if not 0 <= digits <= 5:
        return f"{values.mean:.1e} ± {values.deviation:.1e}"
    mean = f"{values.mean:.{digits}f}"
    return f"{mean.removeprefix('-') if float(mean) == 0 else mean} ± {values.deviation:.{digits}f}"


def _share(share: float) -> str:
    return "" if share == 0 else f"{share:.0%}" if share >= 0.01 else "<1%"


def _bytes(count: int) -> str:
    return f"{short(count)}B" if count >= 10_000 else f"{count:,} B"


def short(number: float) -> str:
    """A number with three digits and a unit: `1.23 M`; whole up to 9,999."""
    if abs(number) < 10_000:
        return f"{number:,.0f}"
    for unit in ("k", "M", "G", "T"):
        number /= 1000
        if abs(number) < 999.5:
            return f"{number:.3g} {unit}"
    return f"{number / 1000:.3g} P"
