"""Whether the targets of a causal sequence model are the elements that come next, or ones that it has been shown."""

from __future__ import annotations

from typing import Any

import torch

from trainrecipe.finding import Evidence
from trainrecipe.subjects.positions import NOVEL, Positions, shifts
from trainrecipe.subjects.step import Input, LossCall, Step

CLASSES = frozenset({"cross_entropy", "nll_loss"})
OFFSETS = (0, -1, 2)
"""Which element of the input is the target of the prediction at a position: the one there, the last, the next but one."""
SAME = 0.999
"""Share of the targets that must equal the input there; corrupted inputs, as for denoising, differ in more."""
SHORTEST = 6
"""Positions from which a sequence is looked at."""
MOST = 512
"""Sequences from which it is told whether their order means anything."""
LAGS = 16
ROUNDS = 16
BLUNT = 0.01
"""Nats below which a spread is not believed: with few pairs nearly all differ, and shuffled sequences are equally so."""


def misplaced(step: Step, faint: float) -> list[Evidence]:
    """For each loss whose targets stand at a wrong place in the input: what its predictions depend on."""
    found = []
    right = {(call.op.index, one.number) for call, one, _, _ in shifts(step)}  # in periodic data both may hold
    for call in step.losses:
        target = call.target
        if not call.counts or call.name not in CLASSES or target is None or target.is_floating_point():
            continue
        for one in (i for i in step.inputs if (call.op.index, i.number) not in right):
            for offset in OFFSETS:
                ways = [_evidence(step, call, one, axis, length, offset, faint) for axis, length in _aligned(one, call, offset)]
                found += ways if len(ways) < 2 else [max(ways, key=_telling)]
    return found


def _telling(evidence: Evidence) -> int:
    """How likely an axis is that of the positions rather than of the examples, which know nothing of each other."""
    if evidence["no_positions"]:
        return -1
    return 2 * int(not evidence["causal"]) + int(evidence["context"])


def _ids(given: torch.Tensor) -> torch.Tensor | None:
    """Whole numbers as they are, one-hot vectors as the numbers they stand for."""
    if given.layout != torch.strided or given.ndim == 0 or given.dtype is torch.bool:
        return None
    if not given.is_floating_point():
        return None if given.is_complex() else given
    if given.ndim < 2 or given.shape[-1] < 2:
        return None
    hot = bool(((given == 0) | (given == 1)).all()) and bool((given.sum(-1) == 1).all())
    return given.argmax(-1) if hot else None


def _aligned(one: Input, call: LossCall, offset: int) -> list[tuple[int, int]]:
    """The axes along which the target is the input `offset` places further on, the last first, with how many positions are
    predicted."""
    ids, target = _ids(one.tensor), call.target
    assert target is not None
    if ids is None or ids.ndim > 2:
        return []
    found = []
    for axis in reversed(range(ids.ndim)):
        length = ids.shape[axis]
        rest = ids.numel() // max(1, length)
        if length < SHORTEST or target.numel() % max(1, rest) or not 0 <= length - target.numel() // rest <= 2:
            continue
        shape = list(ids.shape)
        shape[axis] = predicted = target.numel() // rest
        if _equal(ids, target.reshape(shape), axis, offset, call.settings.get("ignore_index", -100)):
            found.append((axis, predicted))
    return found


def _equal(ids: torch.Tensor, wanted: torch.Tensor, axis: int, offset: int, ignore: Any) -> bool:
    """Whether the target at each position is the input `offset` places further on, and neighbours differ."""
    start = max(0, -offset)
    count = min(wanted.shape[axis] - start, ids.shape[axis] - start - max(0, offset))
    if count < SHORTEST - 2:
        return False
    given, wanted = ids.narrow(axis, start + offset, count), wanted.narrow(axis, start, count)
    after = given.roll(-1, axis)
    counted = wanted != int(ignore if ignore is not None else -100)
    if int(counted.sum()) < SHORTEST:
        return False
    share = float((given == wanted)[counted].double().mean())
    return share >= SAME and float((given != after)[counted].double().mean()) >= NOVEL


def _evidence(step: Step, call: LossCall, one: Input, axis: int, length: int, offset: int, faint: float) -> Evidence:
    seen = Positions(step, call, one, axis, length, faint).dependence(offset)
    if seen is None:
        return Evidence({"offset": offset, "no_positions": True}, place=call.place)
    sees, causal, context, recurrent = seen
    whole = [ids for given in (one.tensor, *_others(step, one)) if (ids := _ids(given)) is not None and ids.ndim > axis]
    rows = [ids.movedim(axis, -1).reshape(-1, ids.shape[axis]) for ids in whole]
    data = {
        "offset": offset,
        "no_positions": False,
        "sees": sees,
        "causal": causal,
        "context": context,
        "recurrent": recurrent,
        "length": length,
        "several": sum(c.counts and c.target is not None for c in step.losses) > 1,
        "order": _order(torch.cat([r for r in rows if r.shape[1] == rows[0].shape[1]])),
        "loss": call.value,
    }
    return Evidence(data, place=call.place or step.place)


def _others(step: Step, one: Input) -> list[torch.Tensor]:
    """The same input in other batches that were seen."""
    return [feed[one.number] for feed in step.feeds() if one.number in feed]


def _order(ids: torch.Tensor) -> float:
    """By how many standard deviations elements tell more about later ones than in shuffled sequences: the best of several
    distances. Without any order there is nothing to predict."""
    ids = torch.unique(ids, dim=0)[:MOST].cpu()
    _, codes = torch.unique(ids, return_inverse=True)
    codes = codes.reshape(ids.shape)
    generator = torch.Generator().manual_seed(ROUNDS * 7919)
    mixed = []
    for _ in range(ROUNDS):
        order = torch.rand(codes.shape, generator=generator).argsort(1)
        mixed.append(codes.gather(1, order))
    best = 0.0
    lags = {*range(1, LAGS + 1), codes.shape[1] // 2}
    for lag in sorted(k for k in lags if 0 < k <= codes.shape[1] // 2):
        null = torch.tensor([_information(m, lag) for m in mixed])
        best = max(best, (_information(codes, lag) - float(null.mean())) / max(float(null.std()), BLUNT))
    return round(best, 2)


def _information(codes: torch.Tensor, lag: int) -> float:
    """The mutual information between elements and those `lag` places later, in nats, as counted."""
    size = int(codes.max()) + 1
    a, b = codes[:, :-lag].reshape(-1), codes[:, lag:].reshape(-1)

    def entropy(values: torch.Tensor) -> float:
        share = torch.unique(values, return_counts=True)[1].double() / len(values)
        return float(-(share * share.log()).sum())

    return entropy(a) + entropy(b) - entropy(a * size + b)
