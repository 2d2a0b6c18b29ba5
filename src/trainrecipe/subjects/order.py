"""Whether a model of sequences knows the order of its positions: tokens change places on a twin."""

from __future__ import annotations

import dataclasses

import torch

from trainrecipe.capture.watch import Seen
from trainrecipe.finding import Place
from trainrecipe.subjects.flow import Flow
from trainrecipe.subjects.padding import padded_inputs
from trainrecipe.subjects.positions import CUTS, Positions, shifts
from trainrecipe.subjects.step import Input, Step

EQUAL = 1e-4
"""Change, relative to that by other tokens, below which nothing changed; sums in another order give 1e-6."""
_SHUFFLES = 20
_ATTENTION = frozenset({"softmax", "scaled_dot_product_attention", "multi_head_attention_forward"})


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What happens when the tokens of an input change places.

    `moved` is the change of the predictions relative to that by other tokens; for predictions that move along with their
    tokens, what is left after moving them back. `ahead`: the model predicts the next token. `surprise` is how many standard
    deviations more often pairs of neighbours repeat than in shuffled rows; `sorted` that the rows are in rising order.
    """

    moved: float
    ahead: bool
    attends: bool
    surprise: float
    sorted: bool
    place: Place | None


def orders(step: Step, faint: float = EQUAL) -> list[Order]:
    """Each input of tokens whose order can be tested. Raises what a replay raises."""
    found = []
    ahead = {one.number: (call, one, axis, length) for call, one, axis, length in shifts(step)}
    known = {p.one.number: (p.batch, p.time, int(p.lengths.min())) for p in padded_inputs(step)}
    for one in step.inputs:
        t = one.tensor
        if t.is_floating_point() or t.is_complex() or t.is_sparse or t.dtype == torch.bool or t.ndim != 2:
            continue
        if one.number in ahead:
            call, _, axis, length = ahead[one.number]
            moved = _ahead(Positions(step, call, one, axis, length, faint))
            batch, time, least = 1 - axis, axis, length
        else:
            batch, time, least = known.get(one.number, (0, 1, t.shape[1]))
            moved = _whole(step, one, batch, time, least)
        if moved is None:
            continue
        attention = _attention(step, one, t.shape[time])
        rows = t.movedim((batch, time), (0, 1))[:, :least]
        place = _embedding(step, one) or (attention.place if attention else None) or step.place
        found.append(Order(moved, one.number in ahead, attention is not None, *_surprise(rows), place))
    return found


def _order(first: int, last: int, size: int) -> torch.Tensor:
    """The positions with those from `first` to `last` (exclusive) in another order."""
    order = torch.arange(size)
    inner = torch.randperm(last - first, generator=torch.Generator().manual_seed(0))
    if bool((inner == torch.arange(last - first)).all()):
        inner = inner.roll(1)
    order[first:last] = first + inner
    return order


def _foreign(one: Input, batch: int, time: int, first: int, last: int) -> torch.Tensor:
    """The input with the tokens from `first` to `last` taken from another sequence."""
    made = one.tensor.detach().clone()
    made.narrow(time, first, last - first).copy_(one.tensor.roll(1, batch).narrow(time, first, last - first))
    return made


def _ahead(positions: Positions) -> float | None:
    """How far the prediction behind the last token changes when the tokens before it change places."""
    one, time, last = positions.one, positions.axis, positions.length - 1
    if last < CUTS + 1 or one.tensor.shape[1 - time] < 2:
        return None
    base = positions._positions(positions._run(None))
    order = _order(0, last, one.tensor.shape[time]).to(one.tensor.device)
    shuffled = positions._positions(positions._run(one.tensor.detach().index_select(time, order)))
    other = positions._positions(positions._run(_foreign(one, 1 - time, time, 0, last)))
    if base is None or shuffled is None or other is None or not base.shape == shuffled.shape == other.shape:
        return None
    most = float((other[last] - base[last]).abs().max())
    scale = float(base[last].abs().max())
    return float((shuffled[last] - base[last]).abs().max()) / most if most > 1e-3 * scale > 0 else None


def _whole(step: Step, one: Input, batch: int, time: int, least: int) -> float | None:
    """How far the predictions change, and do not just move along, when the inner tokens of every sequence change places."""
    size = one.tensor.shape[time]
    first, last = 1, min(least, size) - 1
    if last - first < 3 or one.tensor.shape[batch] < 2:
        return None
    order = _order(first, last, size).to(one.tensor.device)
    base = _predictions(step, one, None)
    shuffled = _predictions(step, one, one.tensor.detach().index_select(time, order))
    other = _predictions(step, one, _foreign(one, batch, time, first, last))
    worst: float | None = None
    for a, b, c in zip(base, shuffled, other, strict=True):
        if not a.shape == b.shape == c.shape or not a.is_floating_point() or not a.numel():
            continue
        a, b, c = (_split(t.detach().double(), one, batch, time) for t in (a, b, c))
        most, scale = float((c - a).abs().max()), float(a.abs().max())
        if most <= 1e-3 * scale or _own_only(a, c, size, first, last):
            continue
        ways = [a, *(a.index_select(k, order) for k, n in enumerate(a.shape) if n == size)]
        moved = min(float((b - w).abs().max()) for w in ways) / most
        worst = moved if worst is None else max(worst, moved)
    return worst


def _split(value: torch.Tensor, one: Input, batch: int, time: int) -> torch.Tensor:
    """A value with merged examples and positions taken apart."""
    count, size = one.tensor.shape[batch], one.tensor.shape[time]
    axis = next((k for k, n in enumerate(value.shape) if n == count * size and size not in value.shape), None)
    if axis is None:
        return value
    return value.unflatten(axis, (count, size) if batch == 0 else (size, count))  # type: ignore[no-untyped-call,no-any-return]


def _own_only(a: torch.Tensor, c: torch.Tensor, size: int, first: int, last: int) -> bool:
    """Whether each prediction depends on its own token only: those of the tokens that were kept did not change."""
    axis = next((k for k, n in enumerate(a.shape) if n == size), None)
    if axis is None:
        return False
    change = (c - a).abs()
    kept = torch.cat([change.narrow(axis, 0, first), change.narrow(axis, last, size - last)], axis)
    return float(kept.max()) <= EQUAL * float(change.max())


def _predictions(step: Step, one: Input, tensor: torch.Tensor | None) -> list[torch.Tensor]:
    twin = step.twin()
    twin.evaluating = True
    numbers = step.predictions
    env = twin.run({} if tensor is None else {one.number: tensor}, until=numbers)
    return [env[n] for n in numbers if n in env]


def _attention(step: Step, one: Input, size: int) -> Seen | None:
    """The first attention over the positions of an input."""
    flow = Flow(step, evaluating=True, until=step.predictions)
    for op in flow.ops:
        if op.name in _ATTENTION and any(size in t.shape or size - 1 in t.shape for t in op.inputs if id(t) in flow.data):
            return op
    return None


def _embedding(step: Step, one: Input) -> Place | None:
    """The line that looks the tokens up."""
    op = next((op for op in step.tape.history if op.name == "embedding" and one.number in op.inputs), None)
    return step.place_of(op) if op is not None else None


def _surprise(rows: torch.Tensor) -> tuple[float, bool]:
    """How much more often pairs of neighbours repeat than in shuffled rows, and whether the rows are sorted."""
    rows = rows.detach().cpu().long()
    rising = float((rows[:, 1:] >= rows[:, :-1]).double().mean())
    generator = torch.Generator().manual_seed(0)
    null = torch.tensor([float(_repeats(_shuffled(rows, generator))) for _ in range(_SHUFFLES)])
    return (float(_repeats(rows)) - float(null.mean())) / max(float(null.std()), 1.0), rising > 0.95 or rising < 0.05


def _shuffled(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return rows.gather(1, torch.rand(rows.shape, generator=generator).argsort(1))


def _repeats(rows: torch.Tensor) -> int:
    """How many pairs of neighbours are equal to another one."""
    base = int(rows.max()) + 1
    pairs = (rows[:, :-1] * base + rows[:, 1:]).flatten()
    return pairs.numel() - len(set(pairs.tolist()))
