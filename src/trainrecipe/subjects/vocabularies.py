"""How often token ids occur in training and in evaluation, and what that tells of the vocabulary they were numbered by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from trainrecipe.finding import Place
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.fed import Batch

_RISING = 0.9
"""Share of neighbouring numbers that do not fall, from which they are positions and no tokens."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Token ids of one evaluation against those of training; `kinds` different ones were seen in training.

    Of `pairs` neighbouring ids, the later one is more frequent in `ascents`; `expected` by the frequencies of training and
    chance; `train_ascents` and `train_expected` between two parts of the training text. `order`: rank correlation of id and
    rareness in training. Of `new` ids, each larger than all before, `next` are the next number; `highest` is the largest.
    `likeness` is the cosine of the roots of the frequencies, `train_likeness` that between two parts of the training text.
    """

    kinds: int
    pairs: int
    ascents: int
    expected: float
    train_ascents: int
    train_expected: float
    order: float
    new: int
    next: int
    highest: int
    likeness: float
    train_likeness: float
    place: Place | None


def comparisons(data: Data, least: int, most: int) -> list[Vocabulary]:
    """One comparison per line that evaluates; empty where no tokens are fed, or fewer than `least` kinds of them."""
    trained = [b for b in data.fed if b.trains]
    which = _tokens(trained, least, most)
    if which is None:
        return []
    kinds = _types(trained[0])
    train = _ids([b for b in trained if _types(b) == kinds], which)
    groups: dict[str, list[Batch]] = {}
    for batch in data.fed:
        if not batch.trains and _types(batch) == kinds and batch.module == trained[0].module:
            groups.setdefault(str(batch.place), []).append(batch)
    found = []
    for batches in groups.values():
        ids = _ids(batches, which)
        if least <= len(ids) <= len(train) // 2 and int(ids.min()) >= 0 and int(ids.max()) < most and _unordered(ids):
            found.append(_compare(train, ids, batches[0].place))
    return found


def _types(batch: Batch) -> list[torch.dtype]:
    return [t.dtype for t in batch.inputs]


def _ids(batches: Sequence[Batch], which: int) -> torch.Tensor:
    return torch.cat([b.inputs[which].detach().cpu().reshape(-1).long() for b in batches])


def _tokens(batches: list[Batch], least: int, most: int) -> int | None:
    """Which input holds token ids: whole numbers of many kinds, in no order."""
    for which in range(len(batches[0].inputs) if batches else 0):
        if batches[0].inputs[which].dtype not in (torch.int64, torch.int32):
            continue
        ids = _ids([b for b in batches if _types(b) == _types(batches[0])], which)
        if len(ids) < 2 or int(ids.min()) < 0 or int(ids.max()) >= most or len(torch.unique(ids)) < least:
            continue
        if _unordered(ids):
            return which
    return None


def _unordered(ids: torch.Tensor) -> bool:
    """Whether numbers are neither positions nor sorted."""
    return float((ids.diff() >= 0).double().mean()) < _RISING


def _compare(train: torch.Tensor, ids: torch.Tensor, place: Place | None) -> Vocabulary:
    size = 1 + max(int(train.max()), int(ids.max()))
    whole, other = (torch.bincount(v, minlength=size).double() for v in (train, ids))
    first, second = (torch.bincount(v, minlength=size).double() for v in (train[: len(ids)], train[len(ids) : 2 * len(ids)]))
    pairs, ascents, expected = _ascents(whole, other)
    _, train_ascents, train_expected = _ascents(first, second)
    highest = torch.cat([ids.new_tensor([-1]), ids.cummax(0).values])
    steps = highest.diff()
    steps = steps[steps > 0][1:]  # the first id may be any
    return Vocabulary(
        int((whole > 0).sum()),
        pairs,
        ascents,
        expected,
        train_ascents,
        train_expected,
        _order(whole),
        len(steps),
        int((steps == 1).sum()),
        int(ids.max()),
        _likeness(whole, other),
        _likeness(first, second),
        place,
    )


def _ascents(known: torch.Tensor, counts: torch.Tensor) -> tuple[int, int, float]:
    """Neighbouring ids that are frequent enough, of how many the later is more frequent, and how many chance makes of it."""
    mean = known * counts.sum() / known.sum()
    both = mean[:-1] + mean[1:]
    told = both >= 1
    gap = (mean[:-1] - mean[1:] + 0.5)[told] / both[told].sqrt()
    expected = float((0.5 * torch.erfc(gap / 2**0.5)).sum())
    return int(told.sum()), int((counts[:-1] < counts[1:])[told].sum()), expected


def _order(counts: torch.Tensor) -> float:
    """The rank correlation of an id with how rare it is, over the ids that occur."""
    seen = counts[counts > 0]
    values, index, many = torch.unique(-seen, return_inverse=True, return_counts=True)
    ranks = (many.cumsum(0).double() - (many + 1) / 2)[index]
    places = torch.arange(len(seen), dtype=torch.double)
    a, b = ranks - ranks.mean(), places - places.mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size and len(values) > 1 else 0.0


def _likeness(some: torch.Tensor, others: torch.Tensor) -> float:
    a, b = some.sqrt(), others.sqrt()
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-12))
