"""What became of gradients: which backward calls an optimiser's step used, and what was done to them before. Plain data.

Filled in detailed steps only. A backward call has a serial number, counted over the whole run; a *contribution* is what one
call added to the gradients of one optimiser's parameters and that is still there when the optimiser steps.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from trainrecipe.finding import Place

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run


@dataclasses.dataclass(slots=True)
class Contribution:
    """What one backward call left in the gradients that a step used.

    `backward` is the index of its line in `Run.backwards`, `serial` the number of the call, `event` its event; `in_pass` the
    pass over a loader during which it was called and `batch` how many batches had been fetched by then. `share` is the
    share of the optimiser's elements with a gradient that hold it, `norm` that of what it added. `reached` are the optimisers
    whose own parameters it gave a gradient to. `used` are the optimisers that had stepped with it before, over parameters
    of this one; `others` those that had stepped with it over parameters of their own.
    `cosine` is that between what it added and what was there before it, `scale` the factor of a `GradScaler` (1 without one).
    """

    backward: int
    serial: int
    event: int
    in_pass: int | None
    batch: int
    share: float
    norm: float | None
    reached: list[int]
    used: list[int]
    others: list[int]
    scale: float = 1.0
    cosine: float | None = None


@dataclasses.dataclass(slots=True)
class GradientUse:
    """The gradients that one optimiser step used: `contributions`, oldest first.

    `known` tells that all of them were seen in detail, `modified` that the gradients were changed between the last backward
    and the step by something else than clipping and a scaler, `clipped` the coefficient of a clipping that came after
    the last backward (None: not clipped), `unscaled` that a `GradScaler` took its factor out, `by_scaler` that the step was
    taken through one, `inside` the optimiser in whose own step it was taken. `norm` is the norm at the step. `partial`:
    share of the elements with a gradient that still hold a contribution that this optimiser has used before, `stale` some
    names of such parameters.
    """

    optimizer: int
    step: int
    event: int
    contributions: list[Contribution]
    known: bool = True
    modified: bool = False
    clipped: float | None = None
    unscaled: bool = False
    by_scaler: bool = False
    inside: int | None = None
    norm: float | None = None
    partial: float = 0.0
    in_pass: int | None = None
    stale: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class NormShare:
    """One call that clips: how much of the squared norm before it comes from whom.

    `limit` is the limit of this call, `clip` the index of its line in `Run.clips`. `foreign` is the share of parameters that
    no optimiser holds, `stale` that of those of them whose gradients hold more backward calls than any that an optimiser
    holds; `oldest` the most backward calls that one of them holds; `scale` the factor of a `GradScaler` that was still in
    the gradients (1: none).
    """

    clip: int
    step: int
    norm: float
    foreign: float
    stale: float
    oldest: int
    scale: float = 1.0
    limit: float = 0.0
    names: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Scalar:
    """Scalars with a graph to parameters that one line made: how many, and how many of them no backward depended on.

    Those that went into another scalar that no backward depended on either are left out. Of the `lost` ones, `read` were
    read as numbers or detached, and `part` were put together from terms of which some were part of a backward and others,
    made at the places `missing`, were not. `loss`: it is the result of a loss function.
    """

    place: Place | None
    name: str
    made: int = 0
    lost: int = 0
    read: int = 0
    part: int = 0
    loss: bool = False
    missing: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Window:
    """How one line's backward calls make up the steps of an optimiser: `size` calls per step, at `steps` of `seen` steps.

    `batches` tells that each call had a batch of its own from one loader, `turns` that the step is taken in some of the turns
    of the very loop that calls backward. `modified`: the gradients were changed before most
    of the steps; `clipped`: the median coefficient of a clipping, 1 without one; `scale`: the factor of a `GradScaler`.
    """

    size: int
    steps: int
    seen: int
    batches: bool
    turns: bool
    modified: bool
    clipped: float
    scale: float
    scale_free: bool
    optimizer: str


@dataclasses.dataclass(slots=True)
class Scaler:
    """A `GradScaler`: the calls of `step` that it made or left out, and its factor before some of them.

    `skipped` tells, call by call, whether the optimiser's step was left out.
    """

    number: int
    place: Place | None
    step_place: Place | None = None
    skipped: list[bool] = dataclasses.field(default_factory=list)
    scales: list[float] = dataclasses.field(default_factory=list)


def uses_of(run: Run, optimizer: int) -> list[GradientUse]:
    """The steps of one optimiser whose gradients are known in full."""
    return [u for u in run.gradients if u.optimizer == optimizer and u.known and u.contributions]


def window_of(run: Run, optimizer: int, line: int) -> Window | None:
    """The window of one optimiser whose gradients come from the backward calls of one line alone; None without one."""
    uses = [u for u in uses_of(run, optimizer) if u.inside is None]
    uses = [u for u in uses if all(c.backward == line and optimizer not in c.used for c in u.contributions)]
    if not uses:
        return None
    size, steps = Counter(len(u.contributions) for u in uses).most_common(1)[0]
    own = [u for u in uses if len(u.contributions) == size]
    separate = [u for u in own if _one_batch_each(run, u)]
    record = run.optimizers[optimizer]
    return Window(
        size=size,
        steps=steps,
        seen=len(uses),
        batches=len(separate) == len(own),
        turns=record.loop is not None and record.loop == run.backwards[line].loop,
        modified=2 * sum(u.modified for u in own) > len(own),
        clipped=median(1.0 if u.clipped is None else u.clipped for u in own),
        scale=max(c.scale for u in own for c in u.contributions),
        scale_free=record.scale_free,
        optimizer=record.name,
    )


def _one_batch_each(run: Run, use: GradientUse) -> bool:
    """Whether each contribution came from a batch of its own, all of one pass over a loader."""
    passes = {c.in_pass for c in use.contributions}
    batches = [c.batch for c in use.contributions]
    if None in passes or len(passes) != 1:
        return False
    current = run.passes[next(iter(p for p in passes if p is not None))]
    return len(set(batches)) == len(batches) or (current.finished and current.batches == current.backwards)


def lines(run: Run, contributions: Sequence[Contribution]) -> list[str]:
    """The different source lines of the backward calls, as `line 12: loss.backward()`."""
    places = [run.backwards[c.backward].place for c in contributions]
    return list(dict.fromkeys(f"line {p.line}: {p.source}" for p in places if p is not None))
