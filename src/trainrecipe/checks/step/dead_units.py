from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.step import Step

RELUS = frozenset({"relu", "relu_", "relu6", "threshold", "threshold_", "clamp_min", "clamp_min_", "clamp", "clamp_"})
SHARE = 0.6
"""Share of a layer's units. Measured on digits: up to 23 % of units are silent on the whole data in healthy networks of
97-99.9 % accuracy (wide second layer); in faulty ones 78 % to 100 %."""
CHANCE = 3.0
"""Standard deviations above a half: where signals are small, each unit is silent if its bias happens to be negative, so a
layer of 16 may have 10 silent units by chance, and one of 128 may not have 82."""
UNITS = 8
"""Smaller layers are not judged: a few units may all be silent by chance."""
EXAMPLES = 200
"""Examples that must have been seen. On one batch of 32 healthy networks show 5-25 % silent units, so one is not enough."""
PASSING = frozenset(
    {
        *("batch_norm", "group_norm", "layer_norm", "instance_norm", "dropout", "dropout2d", "view", "reshape", "flatten"),
        *("add", "__add__", "__radd__", "__iadd__", "add_", "sub", "__sub__", "mul", "__mul__", "transpose", "permute"),
        *("contiguous", "unsqueeze", "squeeze", "max_pool2d", "avg_pool2d", "max_pool1d"),
    }
)
"""Operations that keep the axis of the units where it is, if they keep the shape."""


class DeadUnits(Check):
    """Most units of each ReLU layer respond to some example.

    What it checks
    --------------
    The model runs, with the latest weights, on every batch that was kept. A unit (a channel, for convolutions) of a ReLU
    is dead when its result is 0 on every example, so that its gradient is 0 on all of them, too.

    Why it matters
    --------------
    A dead unit gets no gradient and stays dead. The layer is smaller than it looks, and the rest may not be enough.

    What healthy looks like
    -----------------------
    Up to a quarter of the units of a wide layer may be silent on all data. Any single batch shows more.

    What to do
    ----------
    Start biases at 0, lower the learning rate, normalise the inputs to mean 0, or use LeakyReLU or GELU.

    When it is wrong
    ----------------
    Layers without trained weights before them and networks that are sparse by design (sparse autoencoders, experts) can
    have many silent units without harm. Data that were not seen in this run may wake a unit.

    Source
    ------
    Fault catalogue 110 and its measurements: a threshold per batch raises an alarm on every second healthy model.
    """

    title = "Most units of a ReLU layer are dead"
    rows = ("S17",)
    faults = (110,)
    price = Price.FORWARD
    explains = ("unused-inputs",)

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        if step.distrust:
            return Evidence(missing=step.distrust)
        layers, examples = _silent(step.latest)
        if not layers:
            return Evidence(missing="the step has no ReLU behind trained weights")
        if examples < EXAMPLES:
            return Evidence({"layers": {}, "examples": examples})
        shares = {name: share for name, share, _, _ in layers}
        worst = sorted((layer for layer in layers if layer[1] > _limit(layer[2])), key=lambda layer: -layer[1])
        if not worst:
            return Evidence({"layers": shares, "examples": examples, "share": max(shares.values())})
        first = {name: share for name, share, _, _ in _silent(step)[0]} if step.latest is not step else shares
        name, share, units, where = worst[0]
        over = {"limit": _limit(units), "over": True}
        return Evidence(
            {
                "layers": shares,
                "examples": examples,
                "layer": name,
                "share": share,
                "units": units,
                "first": first.get(name),
                **over,
                "step": step.latest.tape.step,
            },
            place=where or step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["layers"]:
            return Ruling.unsure(f"only {evidence['examples']} examples were seen; {EXAMPLES} are needed to call a unit dead")
        if not evidence.get("over"):
            return Ruling.passed(f"at most {evidence['share']:.0%} of a layer's units are silent")
        born = evidence["first"] is not None and evidence["first"] > evidence["limit"]
        return Ruling.found(
            Severity.WARNING,
            f"{evidence['share']:.0%} of the {evidence['units']} units of `{evidence['layer']}` never respond.",
            expected=f"most units respond to some of {evidence['examples']} examples",
            observed=f"{evidence['share']:.0%} are 0 on all of them after {evidence['step']} steps, so they get no gradient",
            fix="Start the biases at 0 and the weights with He initialisation, and normalise the inputs."
            if born
            else "Lower the learning rate, or clip gradients: the units were alive when the training began.",
            causes=(
                ("The biases start far below 0.", "The inputs are not normalised: look at their mean.")
                if born
                else ("A few large steps pushed the units below 0: run again with a tenth of the learning rate.",)
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if len(evidence["layers"]) < 1:
            return None
        return bars(
            "Silent units",
            "Share of each layer's units that are 0 on every example. Up to a quarter is usual.",
            evidence["layers"],
            x_title="share of units",
            rules={"most units": SHARE},
        )


def _limit(units: int) -> float:
    """The share of silent units that a layer of this size may have."""
    return float(max(SHARE, 0.5 + CHANCE * 0.5 / units**0.5))


def _silent(step: Step) -> tuple[list[tuple[str, float, int, Any]], int]:
    """Per ReLU (name, share of silent units, units, place), and the number of examples seen."""
    from trainrecipe.subjects.layers import label, over_batches

    alive: dict[tuple[int, int], torch.Tensor] = {}
    names: dict[tuple[int, int], tuple[str, Any]] = {}
    axes: dict[int, int] = {}
    kept: list[torch.Tensor] = []
    last = [(-1, -1)]

    def look(op: Any, seen: Seen, number: int) -> None:
        if (op.index, number) != last[0]:
            last[0] = (op.index, number)
            axes.clear()
            kept.clear()
        if not seen.outputs or not seen.inside:
            return
        kept.extend(seen.outputs)
        axis = _axis(seen, axes)
        if axis is None:
            return
        axes[id(seen.outputs[0])] = axis
        out = seen.outputs[0]
        if not _is_relu(seen) or out.ndim < 2 or out.shape[axis] < UNITS or not out.requires_grad:
            return
        responds = (out.detach() > 0).movedim(axis, 0).flatten(1).any(1)
        key = (op.index, seen.index)
        known = alive.get(key)
        alive[key] = responds if known is None or known.shape != responds.shape else known | responds
        names[key] = (label(op, seen), seen.place)

    over_batches(step, look)
    layers = [
        (names[k][0] if i == 0 else f"{names[k][0]} {i + 1}", float((~v).double().mean()), len(v), names[k][1])
        for k, v in alive.items()
        for i in [sum(names[o][0] == names[k][0] and o < k for o in alive)]
    ]
    return layers, _examples(step)


def _examples(step: Step) -> int:
    """How many examples the called modules were seen to get."""
    from trainrecipe.capture.tensors import tensors_in

    counts = []
    for op in step.tape.modules():
        given = [list(tensors_in(pair)) for pair in step.batches(op)] or [
            [i.tensor for i in step.inputs if i.number in op.inputs]
        ]
        counts.append(sum(max((t.shape[0] for t in ts if t.ndim), default=0) for ts in given))
    return max(counts, default=0)


def _axis(seen: Seen, axes: dict[int, int]) -> int | None:
    """The axis of units of a result: from the layer that made it, through operations that keep it."""
    out = seen.outputs[0]
    if seen.name == "linear" and seen.weights:
        return out.ndim - 1
    if seen.name.startswith("conv") and seen.weights:
        return 1
    if seen.name in ("addmm", "matmul", "__matmul__") and seen.weights:
        return out.ndim - 1
    if seen.name in PASSING or _is_relu(seen):
        source = next((t for t in seen.inputs if id(t) in axes), None)
        if source is not None and source.shape == out.shape:
            return axes[id(source)]
        if source is not None and source.ndim == out.ndim and axes[id(source)] == 1 and source.shape[1] == out.shape[1]:
            return 1
    return None


def _is_relu(seen: Seen) -> bool:
    if seen.name not in RELUS:
        return False
    if seen.name.startswith("clamp") and seen.name not in ("clamp_min", "clamp_min_"):
        low = seen.kwargs.get("min", seen.args[1] if len(seen.args) > 1 else None)
        return isinstance(low, int | float) and low == 0
    return True
