"""Which positions of a step's sequences are padding: rows of tokens that end in runs of one and the same value."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainrecipe.capture import members

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

ELSEWHERE = 0.01
"""Share of the tokens before the tails that may have the padding value all the same."""
MASKS = frozenset({"_pack_padded_sequence", "pack_padded_sequence", "_pad_packed_sequence"})


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """A tensor of whole numbers whose rows are padded: `pad` is the value, `tails` marks the padded positions, `declared`
    tells that an embedding has this value as its `padding_idx`, `given` that it goes into the model, `turned` that the
    program has positions first."""

    tensor: torch.Tensor
    pad: int
    tails: torch.Tensor
    declared: bool
    given: bool
    turned: bool = False


def padded(step: Step) -> Iterator[Tokens]:
    """The padded tensors that a step consumes, rows first."""
    size = examples(step)
    declared = declared_pads(step)
    for one in step.consumed:
        t = one.tensor
        if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool or t.ndim != 2 or size not in t.shape:
            continue
        rows = t if t.shape[0] == size else t.T
        found = _tails(rows)
        if found is None:  # positions may come first, and their number be taken for that of the examples
            rows = rows.T
            found = _tails(rows)
        if found is not None:
            pad, tails = found
            yield Tokens(rows, pad, tails, pad in declared, one.role == "input", rows.shape != t.shape)


def examples(step: Step) -> int | None:
    """The number of examples in the batch, by its first input where nothing else has that length."""
    return step.batch_size or next((i.tensor.shape[0] for i in step.inputs if i.tensor.ndim > 1), None)


def declared_pads(step: Step) -> set[int]:
    """The `padding_idx` of the embeddings that the step calls."""
    found = set()
    for op in step.tape.modules():
        for module in members.modules(op.call):
            if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.padding_idx is not None:
                found.add(int(module.padding_idx))
    return found


def _tails(rows: torch.Tensor) -> tuple[int, torch.Tensor] | None:
    """The value that rows end in, and where: tails of different lengths, of a value that is rare before them."""
    if rows.shape[1] < 3 or rows.shape[0] < 4:
        return None
    last = rows[:, -1]
    values, counts = torch.unique(last, return_counts=True)
    pad = int(values[counts.argmax()])
    same = rows == pad
    tails = same.flip(1).long().cumprod(1).flip(1).bool()
    lengths = tails.sum(1)
    before = int((same & ~tails).sum())
    rest = int((~tails).sum())
    varied = len(torch.unique(lengths)) > 1 and int((lengths > 1).sum()) >= 2
    if not varied or float((lengths > 0).double().mean()) < 0.25 or before > ELSEWHERE * max(1, rest) or rest < 4:
        return None
    return pad, tails
