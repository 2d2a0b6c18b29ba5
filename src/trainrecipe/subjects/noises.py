"""Noise that a step draws, adds to its inputs and asks the model to predict, as diffusion models do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from trainrecipe.subjects.names import GAUSSIAN, UNIFORM

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Input, Step

COMPARES = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "sub", "__sub__", "rsub", "__rsub__", "subtract"})
"""Operations that compare a prediction with a target."""
PART = 0.2
"""Share of the examples at either end of the time scale."""
FEWEST = 200
"""Numbers in such a part, below which its noise is not measured."""


def noise_pair(step: Step) -> tuple[Input, Input] | None:
    """A target that the step draws at random and compares with predictions, and an input of the same shape."""
    ops = {op.index: op for op in step.tape.history}
    for target in step.targets:
        if not target.tensor.is_floating_point() or target.tensor.ndim < 2 or target.op.name not in COMPARES:
            continue
        producer = step.tape.values[target.number].producer
        if producer is None or producer not in ops or ops[producer].name not in GAUSSIAN | UNIFORM:
            continue
        for given in step.inputs:
            if given.tensor.shape == target.tensor.shape and given.tensor.is_floating_point():
                return given, target
    return None


def most_noise(step: Step) -> tuple[float, int, Op] | None:
    """The share of noise in the variance of the inputs at that end of the time scale where it is largest.

    With the number of examples there, and the operation that mixes. None where no noise is predicted from inputs that
    come with a time for each example.
    """
    times, signal, noise, product = [], [], [], []
    op = None
    for one in step.each():
        pair = noise_pair(one)
        if pair is None:
            continue
        given, target = pair
        time = _time(one, given)
        if time is None:
            continue
        x, e = given.tensor.double().flatten(1), target.tensor.double().flatten(1)
        times.append(time.double().flatten())
        signal.append(x.square().sum(1))
        noise.append(e.square().sum(1))
        product.append((x * e).sum(1))
        made = {o.index: o for o in one.tape.history}.get(one.tape.values[given.number].producer or -1)
        op, width = made or target.op, x.shape[1]
    if op is None:
        return None
    order = torch.cat(times).argsort()
    count = int(PART * len(order))
    if count * width < FEWEST:
        return None
    sums = [torch.cat(v) for v in (signal, noise, product)]
    shares = []
    for part in (order[:count], order[-count:]):
        total, own, both = (float(v[part].sum()) for v in sums)
        shares.append(both * both / (own * total) if own * total > 0 else 0.0)
    return max(shares), count, op


def _time(step: Step, given: Input) -> torch.Tensor | None:
    """The number that each example's noise depends on: an input of one value per example that varies over the batch."""
    rows = len(given.tensor)
    for one in step.inputs:
        if one is not given and one.tensor.numel() == rows and one.tensor.ndim and not one.tensor.is_complex():
            values = one.tensor.double().flatten()
            if bool((values != values[0]).any()):
                return values
    return None
