"""How an evaluated model is related to others: whether its weights come from one whose batch-norm statistics it lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.hashing import exact_hash
from trainrecipe.capture.tape import Tape
from trainrecipe.subjects.evaluation import Kinship

_LARGEST = 4
"""Parameters that are compared, the largest ones."""
_ELEMENTS = 5_000_000


def norms(module: nn.Module) -> list[nn.Module]:
    """The batch-norm layers that keep running statistics."""
    kinds = nn.modules.batchnorm._BatchNorm
    return [
        m
        for m in members.modules(module)
        if isinstance(m, kinds) and m.track_running_stats and m.num_batches_tracked is not None
    ]


def is_fresh(module: nn.Module) -> bool:
    """Whether none of a model's batch-norm layers has seen a batch, and their statistics are those they were made with."""
    own = norms(module)
    return bool(own) and all(int(m.num_batches_tracked) == 0 and bool((m.running_mean == 0).all()) for m in own)  # type: ignore[arg-type,union-attr]


def kinship(module: nn.Module, others: Iterable[tuple[int, nn.Module]], tapes: Sequence[Tape]) -> Kinship | None:
    """The model of the same shapes, with batch-norm statistics, whose weights those of `module` resemble most. `tapes` are
    recorded steps, the first ones among them."""
    mine = list(members.parameters(module))
    if sum(p.numel() for p in mine) > _ELEMENTS:
        return None
    own = {id(p) for p in mine}
    found, later = None, set[bool | None]()
    for number, other in others:
        theirs = list(members.parameters(other))
        if other is module or [p.shape for p in theirs] != [p.shape for p in mine] or any(id(p) in own for p in theirs):
            continue
        if any(int(m.num_batches_tracked) > 0 for m in norms(other)):  # type: ignore[arg-type]
            made = _compare(number, mine, theirs)
            found = made if found is None or made.cosine > found.cosine else found
            later.add(_is_later(mine, theirs, tapes))
    return None if found is None else dataclasses.replace(found, later=later - {None} == {True})


def _is_later(mine: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], tapes: Sequence[Tape]) -> bool | None:
    """Whether the largest weight differs from what the other model's training began with; None where that is not known."""
    largest = max(range(len(mine)), key=lambda i: mine[i].numel())
    for tape in sorted(tapes, key=lambda t: t.step):
        for original, first in tape.first_values():
            if original is theirs[largest]:
                same = exact_hash(mine[largest]) == first if isinstance(first, str) else torch.equal(mine[largest], first)
                return not same
    return None


def _compare(number: int, mine: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> Kinship:
    order = sorted(range(len(mine)), key=lambda i: -mine[i].numel())[:_LARGEST]
    a = torch.cat([mine[i].detach().reshape(-1).double().cpu() for i in order])
    b = torch.cat([theirs[i].detach().reshape(-1).double().cpu() for i in order])
    scale = float(a.norm() * b.norm())
    equal = all(bool((p == q).all()) for p, q in zip(mine, theirs, strict=True))
    return Kinship(number, equal, float(a @ b) / scale if scale else 0.0, exact_hash(mine[order[0]]))
